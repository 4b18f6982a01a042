"""Four anomaly scores of a clip from its embedding: AEGAN-AD's D scores.

They are of `jianganbai/AEGAN-AD` (Apache-2.0), which scores with scikit-learn too. One thing is
otherwise: a covariance that cannot be inverted is shrunk after Ledoit and Wolf; there the release
divides by nearly nothing.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import DistanceMetric
from sklearn.metrics.pairwise import cosine_distances
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from core.log import logger

LOF_NEIGHBOURS = 4
KNN_NEIGHBOURS = 2
LARGEST = float(np.finfo(np.float32).max)  # stands for a score without a value, as released


class EmbeddingDetectors:
    """The D scores: how far a clip's embedding lies from those of the training clips.

    D_maha : the Mahalanobis distance to their mean
    D_knn : the sum of the cosine distances to the nearest KNN_NEIGHBOURS
    D_lof : the local outlier factor by cosine distance to LOF_NEIGHBOURS
    D_cos : the cosine distance to their mean

    Parameters
    ----------
    embeddings : (n_clips, width) float32, of the training clips; more than LOF_NEIGHBOURS
    """

    def __init__(self, embeddings: np.ndarray):
        # A copy, so that a clip's distance to itself is rounded alike after loading: scikit-learn
        # takes it for exactly nought where the very same array is asked about.
        self.embeddings = embeddings = embeddings.copy()
        self.mean = embeddings.mean(axis=0, keepdims=True)  # (1, width)
        self.mahalanobis = DistanceMetric.get_metric("mahalanobis", V=covariance(embeddings))
        self.nearest = NearestNeighbors(n_neighbors=KNN_NEIGHBOURS, metric="cosine").fit(embeddings)
        with warnings.catch_warnings():
            # scikit-learn warns of equal embeddings, whose factor is large, but finite.
            warnings.simplefilter("ignore", UserWarning)
            self.outlier = LocalOutlierFactor(
                n_neighbors=LOF_NEIGHBOURS, contamination=1e-6, metric="cosine", novelty=True
            ).fit(embeddings)

    def scores(self, embeddings: np.ndarray) -> dict[str, np.ndarray]:
        """Return the four scores of clips by name, (n_clips,) each.

        embeddings : (n_clips, width) float32
        """
        exact = embeddings.astype(np.float64)
        scores = {
            "D_maha": self.mahalanobis.pairwise(self.mean.astype(np.float64), exact)[0],
            "D_knn": self.nearest.kneighbors(embeddings)[0].sum(axis=1),
            "D_lof": -self.outlier.score_samples(embeddings),
            "D_cos": cosine_distances(exact, self.mean.astype(np.float64))[:, 0],
        }
        return {
            name: np.nan_to_num(score.astype(np.float64), nan=LARGEST, posinf=LARGEST)
            for name, score in scores.items()
        }


def covariance(embeddings: np.ndarray) -> np.ndarray:
    """Return an invertible covariance of embeddings (n_clips, width): (width, width) float64.

    Where there are too few clips for the width, or embeddings that do not vary, it is shrunk
    towards a multiple of the identity (Ledoit and Wolf, 2004), with a warning.
    """
    exact = embeddings.astype(np.float64)
    sample = np.atleast_2d(np.cov(exact, rowvar=False))
    rank = np.linalg.matrix_rank(sample, hermitian=True)
    if rank == len(sample):
        return sample
    logger.warning(
        "the covariance of the %d training embeddings is singular (rank %d of %d): "
        "D_maha uses one shrunk after Ledoit and Wolf",
        len(embeddings),
        rank,
        len(sample),
    )
    # What does not vary at all has no covariance to shrink.
    return ledoit_wolf(exact)[0] if rank else np.eye(len(sample))
