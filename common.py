"""From clips to log-mel frames, from training scores to thresholds: what every system shares."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clips import Clip
from output import logger, save_csv, whole_file
from signals import read_signal

if TYPE_CHECKING:
    import soundfile

# What a recording may claim: the samples of all channels, by the size of its file; any small file
# MOST_SAMPLES. Beside silence the best codecs reach some 20 a byte.
SAMPLES_A_BYTE = 64
MOST_SAMPLES = 2**22
LARGEST_SAMPLE = 1e10  # its energies are still numbers, in float32

FEWEST_TO_FIT = 10  # scores below which three gamma parameters mean nothing
# Where a gamma fit and its scores still agree, beside what chance does to few scores (the 1 %
# point of the Kolmogorov-Smirnov statistic, two standard deviations of a share).
LARGEST_DISTANCE = 0.1
LARGEST_EXCESS = 0.05
ALL_SECTIONS = "all sections"


@dataclass(frozen=True)
class Frames:
    """The log-mel frames, or the samples, of many clips as one array.

    array : (total_frames, n_mels) float32, memory-mapped from the cache; (total_samples, 1) where
        feature.input is waveform: a frame is then one sample
    clips : the clips in it that can be used
    first : (n_clips,) int64, the row of each clip's first frame
    count : (n_clips,) int64, how many frames each clip has
    """

    array: np.ndarray
    clips: tuple[Clip, ...]
    first: np.ndarray
    count: np.ndarray

    def windows(
        self, n_frames: int, hop: int = 1, at_least: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the windows of n_frames lie that start every hop frames of each clip.

        Every clip has at_least so many, though it may end before they do.

        Returns
        -------
        starts : (n_windows,) int64, rows of `array`; window i is `array[starts[i]:][:n_frames]`
        owner : (n_windows,) int64, the index into `clips` of each window's clip, ascending
        """
        per_clip = np.maximum(at_least, (self.count - n_frames) // hop + 1)
        owner = np.repeat(np.arange(len(self.clips)), per_clip)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(per_clip) - per_clip, per_clip)
        return self.first[owner] + hop * within, owner

    def of(self, keep: Sequence[bool] | np.ndarray) -> Frames:
        """The same array with only some of its clips; keep : (n_clips,) bool."""
        keep = np.asarray(keep, dtype=bool)
        clips = tuple(clip for clip, kept in zip(self.clips, keep, strict=True) if kept)
        return Frames(self.array, clips, self.first[keep], self.count[keep])

    def slices(self, n_clips: int) -> list[Frames]:
        """The same array again and again, each time with at most so many of its clips."""
        cuts = [slice(at, at + n_clips) for at in range(0, len(self.clips), n_clips)]
        return [
            Frames(self.array, self.clips[cut], self.first[cut], self.count[cut]) for cut in cuts
        ]

    def narrowed(self) -> Frames:
        """The same clips, with only the rows of the array that lie from the first to the last."""
        begin, end = self.first[0], self.first[-1] + self.count[-1]
        return Frames(self.array[begin:end], self.clips, self.first - begin, self.count)


def file_load(path: str | Path, channel: str = "first") -> tuple[np.ndarray, int]:
    """Read a clip; a CSV signal has the sampling rate 0, for it does not say.

    Returns
    -------
    y : (n_samples,) float32 within [-1, 1] for PCM; of several channels the first, or their mean
        where channel is "mix"
    sample_rate : in hertz

    Raises
    ------
    ValueError : for a file that cannot be decoded, is empty, or holds values that are not finite.
    """
    path = Path(path)
    if path.suffix == ".csv":
        _check_file(path)
        y, sample_rate = read_signal(path), 0
    else:
        with _audio(path) as file:
            samples, sample_rate = file.read(dtype="float32", always_2d=True), file.samplerate
        if not len(samples):
            raise ValueError("is empty")
        y = samples[:, 0] if channel == "first" else samples.mean(axis=1)
    if not np.isfinite(y).all():
        raise ValueError("holds samples that are not finite")
    if np.abs(y).max() > LARGEST_SAMPLE:
        raise ValueError(
            f"holds a sample of {np.abs(y).max():.3g}; those of audio lie within 1, and beyond "
            f"{LARGEST_SAMPLE:g} energies overflow"
        )
    return np.ascontiguousarray(y), sample_rate


def file_header(path: Path, sample_rate: int) -> tuple[int, int]:
    """How many samples a clip says it has, and how many channels.

    Raises ValueError for one that cannot be read, is empty, or has another sampling rate.
    """
    if path.suffix == ".csv":
        _check_file(path)
        return len(read_signal(path)), 1
    with _audio(path) as file:
        frames, channels, found = file.frames, file.channels, file.samplerate
    if frames < 1:
        raise ValueError("is empty")
    if found != sample_rate:
        raise ValueError(
            f"is sampled at {found} Hz, not at the {sample_rate} Hz of feature.sample_rate"
        )
    return frames, channels


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
            most = max(MOST_SAMPLES, SAMPLES_A_BYTE * path.stat().st_size)
            if file.frames * file.channels > most:
                raise ValueError(f"no file of its size holds the {file.frames} samples it claims")
            yield file
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ValueError(f"cannot be read as audio ({_brief(error)})") from None


def _check_file(path: Path) -> None:
    # Opening a pipe would wait forever.
    if not path.is_file():
        raise ValueError("is no file: a folder, a link to nowhere, or something else")


def _brief(error: Exception) -> str:
    return str(error).split(": ")[-1].strip(" .")


def log_mel(y: np.ndarray, feature: dict[str, Any]) -> np.ndarray:
    """The log-mel energies of a clip, in decibels, by librosa.

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
        warnings.filterwarnings("ignore", "n_fft=.* is too large")  # such clips are told otherwise
        mel = librosa.feature.melspectrogram(
            y=y,
            sr=feature["sample_rate"],
            n_fft=feature["n_fft"],
            hop_length=feature["hop_length"],
            n_mels=feature["n_mels"],
            power=feature["power"],
            pad_mode=feature["pad_mode"],
            htk=feature["mel_scale"] == "htk",
            norm=None if feature["mel_norm"] == "none" else feature["mel_norm"],
        )
    levels = 20.0 / feature["power"] * np.log10(np.maximum(mel, feature["floor"]))
    if feature["top_db"]:
        levels = np.maximum(levels, levels.max() - feature["top_db"])
    return np.ascontiguousarray(levels.T, np.float32)


def file_to_vectors(path: str | Path, feature: dict[str, Any]) -> np.ndarray:
    """Frame-stacked log-mel of one clip, as the official code makes it: for looking and checking.

    Training and scoring never build this array; they cut the same windows in the compiled step.

    Returns
    -------
    (n_vectors, n_frames * n_mels) float32; vector t is frames t..t + n_frames - 1, frame-major
    """
    y, _ = file_load(path, feature["channel"])
    frames = log_mel(y, feature)
    if len(frames) < feature["n_frames"]:
        return np.empty((0, feature["n_frames"] * feature["n_mels"]), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(frames, feature["n_frames"], axis=0)
    return windows.transpose(0, 2, 1).reshape(len(windows), -1)


def save_history(stem: Path, history: dict[str, list[float]]) -> None:
    """Write the losses of every epoch as `<stem>.csv` and their curves as `<stem>.png`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = range(1, 1 + len(next(iter(history.values()))))
    columns = [[float(value) for value in values] for values in history.values()]
    save_csv(
        stem.with_name(stem.name + ".csv"),
        [["epoch", *history], *zip(epochs, *columns, strict=True)],
    )
    figure = Figure(figsize=(7, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss", title=stem.name)
    for name, values in zip(history, columns, strict=True):
        axes.plot(epochs, values, label=name)
    axes.legend()
    with whole_file(stem.with_name(stem.name + ".png")) as beside:
        FigureCanvasAgg(figure).print_png(beside)


def decision_threshold(scores: np.ndarray, quantile: float) -> dict[str, Any]:
    """The threshold of a section: the quantile of a gamma distribution fitted to its scores.

    SciPy's fit, as in the official code, can end far from its data when a few scores lie apart
    from the others, as with a handful of target clips among source clips: then every clip is
    called anomalous, or none. So each fit is checked against the scores it came from, by its
    largest distance to their empirical distribution and by the share of them above the threshold.
    Where it does not describe them, the threshold is their empirical quantile.

    Parameters
    ----------
    scores : (n_clips,) anomaly scores of normal training clips
    quantile : the share of normal clips that are to be called normal, in (0, 1)

    Returns
    -------
    threshold : a clip is called anomalous above it
    method : "gamma" or "empirical quantile"
    shape, loc, scale : of the gamma distribution; None for the empirical quantile
    exceeded : the share of the scores above the threshold
    n_clips : how many scores there were

    Raises
    ------
    ValueError : without scores, or with scores that are not finite.
    """
    import scipy.stats

    scores = np.asarray(scores, np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError("a threshold needs finite training scores")
    method, parameters = "empirical quantile", (None, None, None)
    threshold = np.quantile(scores, quantile)
    if len(scores) >= FEWEST_TO_FIT and np.ptp(scores) > 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fitted = tuple(float(value) for value in scipy.stats.gamma.fit(scores))
            except (scipy.stats.FitError, ValueError):
                fitted = (np.nan,) * 3
            candidate = scipy.stats.gamma.ppf(quantile, *fitted)
            distance = scipy.stats.kstest(scores, "gamma", args=fitted).statistic
        noise = np.sqrt(1 / len(scores))
        off = abs(np.mean(scores > candidate) - (1 - quantile))
        # Comparisons with NaN are false, so a fit without a result is not taken.
        if distance <= max(LARGEST_DISTANCE, 1.63 * noise) and off <= max(
            LARGEST_EXCESS, 2 * noise * np.sqrt(quantile * (1 - quantile))
        ):
            method, parameters, threshold = "gamma", fitted, candidate
    return {
        "threshold": float(threshold),
        "method": method,
        **dict(zip(("shape", "loc", "scale"), parameters, strict=True)),
        "exceeded": float(np.mean(scores > threshold)),
        "n_clips": len(scores),
    }


def imported_threshold(
    scores: np.ndarray, distribution: tuple[float, float, float], quantile: float
) -> dict[str, Any]:
    """As `decision_threshold`, from a gamma distribution that came with an official model."""
    import scipy.stats

    threshold = float(scipy.stats.gamma.ppf(quantile, *distribution))
    return {
        "threshold": threshold,
        "method": "imported gamma",
        **dict(zip(("shape", "loc", "scale"), distribution, strict=True)),
        "exceeded": float(np.mean(scores > threshold)) if len(scores) else None,
        "n_clips": len(scores),
    }


def fit_thresholds(
    scores: np.ndarray,
    sections: Sequence[str],
    param: dict[str, Any],
    machine_type: str,
    distribution: tuple[float, float, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """A threshold for every section of a machine type, warning where the gamma fit would not do.

    Parameters
    ----------
    scores : (n_clips,) training scores
    sections : (n_clips,) the section of each
    param : the settings: `decision_threshold` is the quantile; `threshold_scope` "section" fits
        each section its own, "machine_type" one over all, as the official code
    machine_type : for the warnings
    distribution : shape, loc and scale of the gamma distribution of an imported official model,
        whose quantile is then the threshold of all sections

    Returns
    -------
    section name → what `decision_threshold` returned for it; the one of a whole machine type
    stands under ALL_SECTIONS; empty without scores
    """
    if distribution:
        return {ALL_SECTIONS: imported_threshold(scores, distribution, param["decision_threshold"])}
    sections = np.asarray(sections)
    chosen = {name: sections == name for name in sorted(set(sections.tolist()))}
    if param["threshold_scope"] == "machine_type" and chosen:
        chosen = {ALL_SECTIONS: np.ones(len(scores), bool)}
    thresholds = {}
    for name, members in chosen.items():
        fitted = decision_threshold(scores[members], param["decision_threshold"])
        if fitted["method"] != "gamma":
            logger.warning(
                "%s %s: SciPy's gamma fit does not describe the %d training scores; "
                "threshold %.6g from the %s",
                machine_type,
                name,
                fitted["n_clips"],
                fitted["threshold"],
                fitted["method"],
            )
        thresholds[name] = fitted
    return thresholds
