"""Nearest neighbours by local density: a distance counts by how close the reference clips lie.

Source: Wilkinghoff et al., "Keeping the Balance: Anomaly Score Calculation for Domain
Generalization", ICASSP 2025, as `KnnRescale` of TakuyaFujimura/dcase-asd-toolkit (MIT). It needs
no domains: target clips are few, so they lie far from one another, and distances to them count
less. "cosine" is the Euclidean distance of vectors of unit length.

Different: a training clip is left out of its own reference and of the density of the others.
"""

from __future__ import annotations

import numpy as np

from backends.base import SHORTEST, BackEnd, comparable, distances, mean_of_smallest, row_slices


class LocalDensity(BackEnd):
    """The mean of the smallest of: distance to a training clip / its distance to its neighbours.

    Parameters
    ----------
    neighbours : how many of the smallest
    density_neighbours : neighbours of a training clip, whose mean distance from it divides
    metric : "cosine" or "euclidean"
    """

    def __init__(self, neighbours: int = 1, density_neighbours: int = 4, metric: str = "cosine"):
        self.neighbours, self.around, self.metric = neighbours, density_neighbours, metric

    def too_few(self, n_source: int, n_target: int) -> str:
        # One clip is left out of its own reference, and one more is the clip whose density counts.
        n = n_source + n_target
        if n >= self.around + 2 and n > self.neighbours:
            return ""
        return (
            f"neighbours is {self.neighbours}, density_neighbours is {self.around}, and there are "
            f"{n} training clips; lower them to {max(1, n - 1)} and {max(1, n - 2)} at most, or "
            "add clips"
        )

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        self.vectors = comparable(embeddings, self.metric)
        nearest = [self._nearest(rows) for rows in row_slices(len(embeddings))]
        # (n_clips, around + 1) the nearest others of each clip, and how far they lie
        self.near, self.far = (np.concatenate(parts) for parts in zip(*nearest, strict=True))
        self.density = _above_nought(self.far[:, : self.around].mean(axis=1))  # (n_clips,)

    def _apart(self, rows: slice) -> np.ndarray:
        """Return the distances of some training clips to all others, to themselves infinite."""
        apart = distances(self.vectors[rows], self.vectors)
        apart[np.arange(len(apart)), np.arange(rows.start, rows.stop)] = np.inf
        return apart

    def _nearest(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        apart = self._apart(rows)
        near = np.argsort(apart, axis=1, kind="stable")[:, : self.around + 1]
        return near, np.take_along_axis(apart, near, axis=1)

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        apart = distances(comparable(embeddings, self.metric), self.vectors)
        return mean_of_smallest(apart / self.density, self.neighbours)

    def _training_scores(self) -> np.ndarray:
        total, scores = self.far.sum(axis=1), np.empty(len(self.vectors))
        for rows in row_slices(len(scores)):
            apart = self._apart(rows)
            density = np.tile(self.density, (len(apart), 1))  # [i, j]: of clip j without clip i
            for left_out, far in zip(self.near.T[: self.around], self.far.T, strict=False):
                inside = np.flatnonzero((left_out >= rows.start) & (left_out < rows.stop))
                without = (total[inside] - far[inside]) / self.around
                density[left_out[inside] - rows.start, inside] = _above_nought(without)
            scores[rows] = mean_of_smallest(apart / density, self.neighbours)
        return scores


def _above_nought(density: np.ndarray) -> np.ndarray:
    """Return densities that can divide: that of a clip with enough exact copies is 0."""
    return np.maximum(density, SHORTEST)
