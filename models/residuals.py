"""Selective Mahalanobis: residual frames against the covariances of two domains.

Source: nttcslab/dcase2023_task2_baseline_ae, the official baseline from 2023 on (PyTorch); Harada
et al., "First-shot anomaly detection for machine condition monitoring", arXiv 2303.00455. What
comes out of that code is not what one would expect; all of it is followed, except where it says so:

1. The score of a clip is not the mean distance of its frames. It is rᵀ C⁻¹ r of the mean residual
   frame r of all its windows, without a root: the code averages the products of different frames
   too.
2. A window's residual is cut into its frames, so a covariance has the size n_mels, and a frame
   enters it once for every window that covers it.
3. The scatter is summed batch by batch, each around the mean of its own domain in that batch.
4. The sum is divided by the number of windows less 1, although it is one over frames.
5. The residual is not centred in the score.
6. Batches without clips of a domain, and a last batch of one window, do not count for it. Changed:
   for the source domain they give NaN in the release.
7. Without target clips the source's covariance serves both domains.
8. The batches are those of one more epoch, in inference, over the windows that were trained on.
9. Clips without a domain count as source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from core.errors import BadInput
from core.log import logger

DOMAINS = ("source", "target")


class Covariances(NamedTuple):
    """What the release calls the covariances of the residuals.

    matrices : (2, n_mels, n_mels) float64, as DOMAINS; the second may be the first again
    windows : (2,) how many windows each is from, before the first stood in for the second
    """

    matrices: np.ndarray
    windows: np.ndarray


def check_frames(counts: Sequence[int], n_mels: int, title: str) -> None:
    """Raise BadInput where training clips have too few frames for a covariance that has an inverse.

    Without target clips a warning says that there is one covariance.

    Parameters
    ----------
    counts : frames of source clips, and of target clips
    n_mels : the size of a covariance
    title : the machine type, for the messages
    """
    for domain, count in zip(DOMAINS, counts, strict=True):
        if count <= n_mels and (count or domain == "source"):
            raise BadInput(
                f"{title}: ae.score: selective_mahalanobis needs more than {n_mels} frames "
                f"(feature.n_mels) of {domain} clips to train on, and there are {count}; add "
                "clips, or take ae.score: mse"
            )
    if not counts[1]:
        logger.warning(
            "%s: no training clips of the target domain, so ae.score: selective_mahalanobis has "
            "one covariance, that of the source domain",
            title,
        )


def fit_covariances(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Covariances:
    """Return the covariances of residuals, batch by batch.

    batches : of each the residuals (windows, n_frames, n_mels), and (windows,) whether a window's
        clip is of the target domain

    Raises BadInput where there are fewer than two windows of source clips.
    """
    scatter: list[np.ndarray | float] = [0.0, 0.0]
    windows = np.zeros(2, np.int64)
    for residuals, is_target in batches:
        if len(residuals) < 2:
            continue
        for number, chosen in enumerate((~is_target, is_target)):
            if not chosen.any():
                continue
            frames = residuals[chosen].astype(np.float64).reshape(-1, residuals.shape[-1])
            frames -= frames.mean(axis=0)
            scatter[number] += frames.T @ frames
            windows[number] += chosen.sum()
    if windows[0] < 2:
        raise BadInput(
            "the covariance of the source domain needs two or more windows of source clips"
        )
    matrices = [scatter[0] / (windows[0] - 1)]
    matrices.append(scatter[1] / (windows[1] - 1) if windows[1] > 1 else matrices[0])
    return Covariances(np.stack(matrices), windows)


def invert(covariances: Covariances, title: str) -> np.ndarray:
    """Return the inverses: (2, n_mels, n_mels).

    Raises BadInput, naming the domain, for one that has none.
    """
    for matrix, domain, windows in zip(
        covariances.matrices, DOMAINS, covariances.windows, strict=True
    ):
        values = np.linalg.eigvalsh(matrix)
        if not values[0] > values[-1] * len(matrix) * np.finfo(np.float64).eps:
            raise BadInput(
                f"{title}: the covariance of the residuals of {domain} clips ({windows} windows, "
                f"{len(matrix)} mel bands) has no inverse; train with more clips of that domain, "
                "or with fewer feature.n_mels, or take ae.score: mse"
            )
    return np.linalg.inv(covariances.matrices)


def distances(means: np.ndarray, inverses: np.ndarray) -> np.ndarray:
    """Return the distances of clips by each covariance: (n_clips, 2).

    means : (n_clips, n_mels) the mean residual frame of each clip
    """
    return np.einsum("im,dmn,in->id", means, inverses, means)
