"""A Gaussian mixture; the score is minus the log density of its likeliest component.

As in liuyoude/TWFR-GMM (MIT): the weights of the components do not count, and their densities are
not added up.

Different: a training clip is left out of its own reference. The components are those of one more
step of expectation maximisation without the clip; with one component that is a fit without it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from backends.base import BackEnd

TINY = 1e-12


class Mixture(BackEnd):
    """Minus the log density of the likeliest component; domains do not count.

    Parameters
    ----------
    components : their number; of several numbers, the one with the least Bayesian information
        criterion is taken
    smallest_variance : added to the variances
    tolerance : of the log likelihood, at which the fit stops
    seed : of the k-means that it starts from
    """

    def __init__(
        self,
        components: Sequence[int] = (1,),
        smallest_variance: float = 1e-6,
        tolerance: float = 1e-6,
        seed: int = 0,
    ):
        self.components, self.tolerance, self.seed = tuple(components), tolerance, seed
        self.smallest = smallest_variance

    def too_few(self, n_source: int, n_target: int) -> str:
        n, most = n_source + n_target, max(2, *self.components)
        if n >= most:
            return ""
        return (
            f"components is {list(self.components)}, and there are {n} training clips; give "
            f"{n} at most, or add clips"
        )

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        fits = {}
        # Several threads add up in an order that differs from fit to fit.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # equal clips; 100 steps, as there
            for n in self.components:
                fits[n] = GaussianMixture(
                    n, tol=self.tolerance, reg_covar=self.smallest, random_state=self.seed
                ).fit(embeddings)
            self.n_components = min(fits, key=lambda n: fits[n].bic(embeddings))
            fitted = fits[self.n_components]
            self.share = fitted.predict_proba(embeddings)  # (n_clips, components)
        self.embeddings, self.means = embeddings, fitted.means_
        self.covariances, self.cholesky = fitted.covariances_, fitted.precisions_cholesky_

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        densities = []
        for mean, cholesky in zip(self.means, self.cholesky, strict=True):
            square = (((embeddings - mean) @ cholesky) ** 2).sum(axis=1)
            log_det = np.log(np.diagonal(cholesky)).sum()
            densities.append(log_det - (square + _normaliser(embeddings)) / 2)
        return -np.max(densities, axis=0)

    def _training_scores(self) -> np.ndarray:
        x, densities = self.embeddings, []
        for share, mean, covariance in zip(self.share.T, self.means, self.covariances, strict=True):
            left = share.sum() - share  # clips of the component without each clip
            grow = share.sum() / np.maximum(left, TINY)
            spread, axes = np.linalg.eigh(covariance - self.smallest * np.eye(len(mean)))
            apart = (x - mean) @ axes
            # (n_clips, width) the variances without the clip, but for its own part in them.
            variances = np.maximum(grow[:, None] * spread, 0.0) + self.smallest
            square = (apart**2 / variances).sum(axis=1)
            own = share * grow / np.maximum(left, TINY)
            rest = np.maximum(1 - own * square, TINY)
            log_det = np.log(variances).sum(axis=1) + np.log(rest)
            density = -(log_det + grow**2 * square / rest + _normaliser(x)) / 2
            densities.append(np.where(left > 0.5, density, -np.inf))
        return -np.max(densities, axis=0)


def _normaliser(embeddings: np.ndarray) -> float:
    return embeddings.shape[1] * math.log(2 * math.pi)
