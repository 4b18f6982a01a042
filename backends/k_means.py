"""K-means of the source clips, with all target clips, as TakuyaFujimura/dcase-asd-toolkit (MIT).

"cosine" is the cosine distance here. Different: a training clip is left out of its own reference.
Its centre moves to the mean of the other clips of its cluster; the clusters stay as they are.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from backends.base import BackEnd, comparable, distances


class KMeansCentres(BackEnd):
    """The distance to the nearest centre of the source clips or the nearest target clip.

    Parameters
    ----------
    clusters : of the source clips
    metric : "cosine" or "euclidean"
    seed : of where k-means starts
    """

    uses_domains = True

    def __init__(self, clusters: int = 16, metric: str = "cosine", seed: int = 0):
        self.clusters, self.metric, self.seed = clusters, metric, seed

    def too_few(self, n_source: int, n_target: int) -> str:
        if n_source > self.clusters:
            return ""
        return (
            f"clusters is {self.clusters}, and there are {n_source} source clips in training; "
            "lower it, or add clips"
        )

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        vectors = comparable(embeddings, self.metric)
        self.vectors, self.is_target = vectors, is_target
        self.source, self.target = vectors[~is_target], vectors[is_target]
        # Several threads add up a cluster's clips in an order that differs from fit to fit.
        with threadpool_limits(1):
            fitted = KMeans(self.clusters, random_state=self.seed).fit(self.source)
        self.cluster = fitted.labels_  # (n_source,)
        self.centres = comparable(fitted.cluster_centers_, self.metric)

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        vectors = comparable(embeddings, self.metric)
        reference = np.concatenate([self.centres, self.target])
        return self._by_metric(distances(vectors, reference).min(axis=1))

    def _training_scores(self) -> np.ndarray:
        apart = distances(self.vectors, np.concatenate([self.centres, self.target]))
        of_source, of_target = np.flatnonzero(~self.is_target), np.flatnonzero(self.is_target)
        apart[of_target, self.clusters + np.arange(len(of_target))] = np.inf
        count = np.bincount(self.cluster, minlength=self.clusters)[self.cluster]  # (n_source,)
        total = np.zeros_like(self.centres)
        np.add.at(total, self.cluster, self.source)
        others = (total[self.cluster] - self.source) / np.maximum(count - 1, 1)[:, None]
        moved = np.linalg.norm(self.source - comparable(others, self.metric), axis=1)
        apart[of_source, self.cluster] = np.where(count > 1, moved, np.inf)
        return self._by_metric(apart.min(axis=1))

    def _by_metric(self, apart: np.ndarray) -> np.ndarray:
        return apart**2 / 2 if self.metric == "cosine" else apart
