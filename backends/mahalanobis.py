"""The Mahalanobis distance to the mean of a domain, with one covariance for both.

The covariance is that of the clips around the mean of their domain, shrunk after Ledoit and Wolf
(2004), so that it can be inverted with fewer clips than the embedding is wide.
"""

from __future__ import annotations

import numpy as np
from sklearn.covariance import ledoit_wolf

from backends.base import BackEnd

TINY = 1e-12


class Mahalanobis(BackEnd):
    """The distance to the mean of the source clips or of the target clips, whichever is smaller.

    A training clip is left out of the mean of its domain and of the covariance; how much this is
    shrunk stays as it is.
    """

    uses_domains = True

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        self.embeddings, self.group = embeddings, is_target.astype(int)
        groups = range(1 + int(is_target.any()))
        self.count = np.array([(self.group == group).sum() for group in groups])
        self.means = np.stack([embeddings[self.group == group].mean(axis=0) for group in groups])
        apart = embeddings - self.means[self.group]  # from the mean of the own domain
        n, width = apart.shape
        _, self.shrinkage = ledoit_wolf(apart, assume_centered=True)
        scatter = apart.T @ apart
        level = max(np.trace(scatter) / (n * width), TINY)

        def inverse(of: int) -> np.ndarray:
            """Return the inverse covariance where the scatter is that of so many clips."""
            shrunk = (1 - self.shrinkage) * scatter / of
            return np.linalg.inv(shrunk + max(self.shrinkage, TINY) * level * np.eye(width))

        self.inverse, self.inverse_without = inverse(n), inverse(n - 1)

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        squares = [_squares(embeddings - mean, self.inverse) for mean in self.means]
        return np.sqrt(np.min(squares, axis=0))

    def _training_scores(self) -> np.ndarray:
        # Without clip x the scatter is less by share * z z', z = x - mean, and the mean lies at
        # share * z from x. The inverse follows by Sherman and Morrison's formula.
        n = self.count[self.group]
        share = n / np.maximum(n - 1, 1)
        z = self.embeddings - self.means[self.group]
        weight = (1 - self.shrinkage) * share / (len(z) - 1)
        length = _squares(z, self.inverse_without)
        rest = np.maximum(1 - weight * length, TINY)
        scores = np.full((len(self.means), len(z)), np.inf)
        for group, mean in enumerate(self.means):
            own = self.group == group
            y = self.embeddings - mean
            across = np.einsum("nd,de,ne->n", y, self.inverse_without, z, optimize=True)
            other = _squares(y, self.inverse_without) + weight * across**2 / rest
            scores[group] = np.where(own, share**2 * length / rest, other)
            if self.count[group] < 2:  # its only clip leaves no mean
                scores[group, own] = np.inf
        return np.sqrt(scores.min(axis=0))


def _squares(vectors: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return x' inverse x of vectors (n, width): (n,)."""
    return np.maximum(np.einsum("nd,nd->n", vectors @ inverse, vectors), 0.0)
