"""The anomaly scores of training clips, which thresholds and ensembles are made from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TrainingScores(NamedTuple):
    """The anomaly scores of the clips of a machine type that a system was trained on.

    scores : (n_clips,) float64; empty where they are unknown
    sections : (n_clips,) the section of each
    names : (n_clips,) the file name of each; empty where they are unknown
    distribution : shape, loc and scale of the gamma distribution that came with a published model
        and gives its threshold; None where thresholds are fitted to the scores
    """

    scores: np.ndarray
    sections: list[str]
    names: list[str]
    distribution: tuple[float, float, float] | None = None
