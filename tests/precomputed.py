"""Embeddings as a person would bring them: one `.npy` file for each clip, in its folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.run_settings import Feature
from data.audio import file_load, log_mel


def write_embeddings(data: Path, to: Path) -> Path:
    """Write the mean log-mel of every wav below a folder into another one, and return that."""
    feature = Feature(n_mels=16)
    for wav in sorted(data.rglob("*.wav")):
        path = (to / wav.relative_to(data)).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, log_mel(file_load(wav)[0], feature).mean(axis=0))
    return to
