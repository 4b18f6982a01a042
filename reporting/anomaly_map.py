"""Where in time and frequency a clip is anomalous, by AEGAN-AD's recipe (arXiv 2303.17949).

The map of a clip is the absolute difference between the clip as the system rebuilds it and the mean
training clip, both scaled to the training clips' range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.system_settings import Feature
from data.frames import Frames

if TYPE_CHECKING:
    from models.base import System

WINDOW_VALUES_A_BATCH = 2**22


def rebuild(system: System, frames: np.ndarray) -> np.ndarray:
    """A clip from the windows that a system rebuilds, one from every frame.

    Parameters
    ----------
    system : one with `reconstruct`
    frames : (n_frames, n_mels) float32 in decibels, at least one window long

    Returns
    -------
    (n_frames, n_mels) float64 in decibels: each frame the mean over the windows that cover it
    """
    length = system.n_frames
    n_windows = len(frames) - length + 1
    batch = max(1, WINDOW_VALUES_A_BATCH // (length * frames.shape[1]))
    windows = np.lib.stride_tricks.sliding_window_view(frames, length, axis=0)
    total = np.zeros(frames.shape)
    for at in range(0, n_windows, batch):
        held = np.ascontiguousarray(windows[at : at + batch].transpose(0, 2, 1))
        rebuilt = np.asarray(system.reconstruct(held))  # (batch, length, n_mels)
        for within in range(length):
            total[at + within : at + within + len(rebuilt)] += rebuilt[:, within]
    covered = np.convolve(np.ones(n_windows), np.ones(length))
    return total / np.round(covered)[:, None]


def training_mean(training: Frames, length: int) -> tuple[float, float, np.ndarray]:
    """The least and the greatest level of the training clips, and their mean, frame by frame.

    Parameters
    ----------
    training : the training clips
    length : frames that the mean is to have; those beyond every training clip are the mean over
        time

    Returns
    -------
    low, high in decibels, and (length, n_mels) float64 in decibels
    """
    total = np.zeros((max(length, int(training.count.max())), training.array.shape[1]))
    covered = np.zeros(len(total))
    low, high = np.inf, -np.inf
    for first, count in zip(training.first, training.count, strict=True):
        levels = training.array[first : first + count]
        total[:count] += levels
        covered[:count] += 1
        low, high = min(low, float(levels.min())), max(high, float(levels.max()))
    mean = total / np.maximum(covered, 1)[:, None]
    mean[covered == 0] = total.sum(axis=0) / covered.sum()
    return low, high, mean[:length]


def scaled(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Levels in decibels such that the training clips' least is 0 and their greatest 1."""
    return (levels - low) / (high - low if high > low else 1.0)


def axes_of(feature: Feature, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Where frames and mel bands lie: the middles, (n_frames,) seconds and (n_mels,) hertz."""
    import librosa

    hertz = librosa.mel_frequencies(
        feature.n_mels + 2, fmax=feature.sample_rate / 2, htk=feature.mel_scale == "htk"
    )
    return np.arange(n_frames) * feature.hop_length / feature.sample_rate, hertz[1:-1]
