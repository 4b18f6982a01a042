"""The local outlier factor (Breunig et al., SIGMOD 2000), by scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.neighbors import LocalOutlierFactor

from backends.base import BackEnd, comparable


class OutlierFactor(BackEnd):
    """How much less dense it is around a clip than around its neighbours; domains do not count.

    Parameters
    ----------
    neighbours : of a clip
    metric : "cosine", by vectors of unit length, or "euclidean"
    """

    def __init__(self, neighbours: int = 4, metric: str = "cosine"):
        self.neighbours, self.metric = neighbours, metric

    def too_few(self, n_source: int, n_target: int) -> str:
        if n_source + n_target > self.neighbours:
            return ""
        return (
            f"outlier_neighbours is {self.neighbours}, and there are {n_source + n_target} "
            "training clips; lower it, or add clips"
        )

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        with warnings.catch_warnings():
            # scikit-learn warns of equal embeddings, whose factor is large, but finite.
            warnings.simplefilter("ignore", UserWarning)
            self.outlier = LocalOutlierFactor(
                n_neighbors=self.neighbours, novelty=True, algorithm="ball_tree"
            ).fit(comparable(embeddings, self.metric))

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        return -self.outlier.score_samples(comparable(embeddings, self.metric))

    def _training_scores(self) -> np.ndarray:
        return -self.outlier.negative_outlier_factor_  # a clip is not among its neighbours
