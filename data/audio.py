"""Wavs to samples, samples to log-mel frames."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.run_settings import Feature
from data.csv_signals import read_signal

if TYPE_CHECKING:
    import soundfile

# A recording may declare so many samples, of all channels, per byte of its file, and in any case
# MOST_SAMPLES. Except for silence the best codecs reach some 20 samples per byte.
SAMPLES_PER_BYTE = 64
MOST_SAMPLES = 2**22
ONE_CHANNEL = "has 1 channel; feature.channel second and near_minus_far need two microphones"
LARGEST_SAMPLE = 1e10  # its energies are still finite in float32


def file_load(path: str | Path, channel: str = "first") -> tuple[np.ndarray, int]:
    """Return the samples of a clip: (n_samples,) float32, and its sampling rate in hertz.

    channel : of several, "first", "second" or "mix", their mean; "near_minus_far" gives the first

    Raises ValueError as `read_samples`, and where there is no second channel.
    """
    samples, sample_rate = read_samples(path)
    if channel == "second" and samples.shape[1] < 2:
        raise ValueError(ONE_CHANNEL)
    y = samples.mean(axis=1) if channel == "mix" else samples[:, int(channel == "second")]
    return np.ascontiguousarray(y), sample_rate


def read_samples(path: str | Path) -> tuple[np.ndarray, int]:
    """Return the samples of all channels of a clip, and its sampling rate.

    Returns
    -------
    samples : (n_samples, n_channels) float32, within [-1, 1] for PCM
    sample_rate : in hertz; 0 for a CSV signal, which has none

    Raises
    ------
    ValueError : for a file that cannot be decoded, is empty, or has values that are not finite.
    """
    path = Path(path)
    if path.suffix == ".csv":
        _check_file(path)
        samples, sample_rate = read_signal(path)[:, None], 0
    else:
        with _audio(path) as file:
            samples, sample_rate = file.read(dtype="float32", always_2d=True), file.samplerate
        if not len(samples):
            raise ValueError("is empty")
    if not np.isfinite(samples).all():
        raise ValueError("has samples that are not finite")
    if np.abs(samples).max() > LARGEST_SAMPLE:
        raise ValueError(
            f"has a sample of {np.abs(samples).max():.3g}; those of audio lie within 1, and "
            f"beyond {LARGEST_SAMPLE:g} energies overflow"
        )
    return samples, sample_rate


def file_header(path: Path, sample_rate: int) -> tuple[int, int]:
    """Return how many samples a clip has by its header, and how many channels.

    Raises ValueError for one that cannot be read, is empty, or has another sampling rate.
    """
    if path.suffix == ".csv":
        _check_file(path)
        return len(read_signal(path)), 1
    with _audio(path) as file:
        frames, channels, actual_rate = file.frames, file.channels, file.samplerate
    if frames < 1:
        raise ValueError("is empty")
    if actual_rate != sample_rate:
        raise ValueError(
            f"is sampled at {actual_rate} Hz, not at the {sample_rate} Hz of feature.sample_rate"
        )
    return frames, channels


def channel_problems(counts: Mapping[int, int], channel: str) -> list[tuple[int, str]]:
    """Return the clips with too few channels, or others than most: (index, problem).

    Parameters
    ----------
    counts : index of a clip → its channels
    channel : the one that is read, as `file_load` takes it
    """
    ranked = Counter(counts.values()).items()
    usual = max(ranked, key=lambda pair: pair[::-1], default=(0, 0))[0]
    problems = []
    for index, number in counts.items():
        if channel == "second" and number == 1:
            problems.append((index, ONE_CHANNEL))
        elif number != usual:
            problems.append((index, f"has {number} channels, where most clips have {usual}"))
    return problems


@contextlib.contextmanager
def _audio(path: Path) -> Iterator[soundfile.SoundFile]:
    import soundfile

    _check_file(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
        # The library reads twenty kinds more, whatever the name, and its decoders are C.
        if path.suffix.lower() == ".wav" and not re.match(b"(RIFF|RIFX|RF64)....WAVE", start, re.S):
            raise ValueError("no WAV file, though its name says so")
        with soundfile.SoundFile(path) as file:
            most = max(MOST_SAMPLES, SAMPLES_PER_BYTE * path.stat().st_size)
            if file.frames * file.channels > most:
                raise ValueError(f"no file of its size holds the {file.frames} samples it claims")
            yield file
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ValueError(f"cannot be read as audio ({_last_part(error)})") from None


def _check_file(path: Path) -> None:
    # Opening a pipe would wait forever.
    if not path.is_file():
        raise ValueError("is no file: a folder, a link to nowhere, or something else")


def _last_part(error: Exception) -> str:
    return str(error).split(": ")[-1].strip(" .")


def log_mel(y: np.ndarray, feature: Feature) -> np.ndarray:
    """Return the log-mel energies of a clip, in decibels, by librosa.

    With the shared settings these are the official ones (DCASE2022 baseline release): Slaney's mel
    scale and area normalisation, frames centred and zero-padded, and
    20 / power * log10(max(mel, float64's epsilon)).

    Parameters
    ----------
    y : (n_samples,) float32
    feature : the `feature` block of the settings

    Returns
    -------
    (1 + n_samples // hop_length, n_mels) float32
    """
    import librosa

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=.* is too large")  # load_frames names such clips
        mel = librosa.feature.melspectrogram(
            y=y,
            sr=feature.sample_rate,
            n_fft=feature.n_fft,
            hop_length=feature.hop_length,
            n_mels=feature.n_mels,
            power=feature.power,
            pad_mode=feature.pad_mode,
            htk=feature.mel_scale == "htk",
            norm=None if feature.mel_norm == "none" else feature.mel_norm,
        )
    levels = 20.0 / feature.power * np.log10(np.maximum(mel, feature.floor))
    if feature.top_db:
        levels = np.maximum(levels, levels.max() - feature.top_db)
    return np.ascontiguousarray(levels.T, np.float32)


def stack_frames(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the windows of a clip as vectors, as the official code makes them.

    Training and scoring never build this array; they gather the windows in the compiled step.

    Parameters
    ----------
    frames : (n, n_mels), as `log_mel` returns them

    Returns
    -------
    (n - n_frames + 1, n_frames * n_mels); vector t is frames t..t + n_frames - 1, frame-major;
    no vector for a clip that is too short
    """
    if len(frames) < n_frames:
        return np.empty((0, n_frames * frames.shape[1]), frames.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(frames, n_frames, axis=0)
    return windows.transpose(0, 2, 1).reshape(len(windows), -1)
