"""Pooled log-mel energies with a back end: the baseline that every learnt embedding has to beat.

Nothing is trained. A clip's embedding is its spectrum in decibels, pooled over time.
"""

from __future__ import annotations

import numpy as np

from data.frames import Frames
from models.embedding_system import StatisticalSystem

POOLINGS = {
    "mean": lambda levels: levels.mean(axis=0),
    "max": lambda levels: levels.max(axis=0),
    "mean_and_deviation": lambda levels: np.concatenate([levels.mean(axis=0), levels.std(axis=0)]),
}


class RawSpec(StatisticalSystem):
    """The log-mel energies of a clip, pooled over its frames: n_mels values, or twice as many.

    Score of a clip: that of the back end.
    """

    def embeddings(self, frames: Frames) -> np.ndarray:
        pool = POOLINGS[self.settings.network.pooling]
        rows = zip(frames.first, frames.count, strict=True)
        levels = (frames.array[first : first + count].astype(np.float64) for first, count in rows)
        return np.stack([pool(of_clip) for of_clip in levels])
