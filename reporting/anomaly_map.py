"""Where in time and frequency a clip is anomalous, by AEGAN-AD's recipe (arXiv 2303.17949).

The map of a clip is the absolute difference between the clip as the system rebuilds it and the mean
training clip, both scaled to the training clips' range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from core.run_settings import Feature
from data.frames import Frames

if TYPE_CHECKING:
    from models.base import System

WINDOW_VALUES_PER_BATCH = 2**22


class TrainingMean(NamedTuple):
    """The training clips of a machine type: range and mean of their levels.

    low, high : the least and the greatest level, in decibels
    mean : (n_frames, n_mels) float64 in decibels
    """

    low: float
    high: float
    mean: np.ndarray


class AnomalyMap(NamedTuple):
    """What a map is drawn from, each (n_frames, n_mels) and scaled to the training clips' range.

    reconstruction : the clip as the system rebuilds it
    mean : the mean training clip
    difference : the absolute difference of the two, the map
    """

    reconstruction: np.ndarray
    mean: np.ndarray
    difference: np.ndarray


def compute(system: System, frames: np.ndarray, training: TrainingMean) -> AnomalyMap:
    """Return the anomaly map of a clip.

    Parameters
    ----------
    system : one with `reconstruct`
    frames : (n_frames, n_mels) float32 in decibels, at least one window long
    training : with a mean of at least as many frames
    """
    low, high, mean = training
    rebuilt = scaled(rebuild(system, frames), low, high)
    mean = scaled(mean[: len(frames)], low, high)
    return AnomalyMap(rebuilt, mean, np.abs(rebuilt - mean))


def rebuild(system: System, frames: np.ndarray) -> np.ndarray:
    """Return a clip, put back from the windows that a system rebuilds: one window per frame.

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
    batch = max(1, WINDOW_VALUES_PER_BATCH // (length * frames.shape[1]))
    windows = np.lib.stride_tricks.sliding_window_view(frames, length, axis=0)
    total = np.zeros(frames.shape)
    for at in range(0, n_windows, batch):
        given = np.ascontiguousarray(windows[at : at + batch].transpose(0, 2, 1))
        rebuilt = np.asarray(system.reconstruct(given))  # (batch, length, n_mels)
        for within in range(length):
            total[at + within : at + within + len(rebuilt)] += rebuilt[:, within]
    covered = np.convolve(np.ones(n_windows), np.ones(length))
    return total / np.round(covered)[:, None]


def training_mean(training: Frames, length: int) -> TrainingMean:
    """Return the range of the training clips' levels, and their mean, frame by frame.

    Parameters
    ----------
    training : the training clips
    length : frames that the mean is to have; those beyond every training clip are the mean over
        time
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
    return TrainingMean(low, high, mean[:length])


def scaled(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return levels in decibels such that the training clips' least is 0 and their greatest 1."""
    return (levels - low) / (high - low if high > low else 1.0)


def axes_of(feature: Feature, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of frames and of mel bands: (n_frames,) seconds and (n_mels,) hertz."""
    import librosa

    hertz = librosa.mel_frequencies(
        feature.n_mels + 2, fmax=feature.sample_rate / 2, htk=feature.mel_scale == "htk"
    )
    return np.arange(n_frames) * feature.hop_length / feature.sample_rate, hertz[1:-1]
