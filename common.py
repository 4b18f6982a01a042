"""From clips to frames, and from training scores to thresholds: what every system shares."""

from __future__ import annotations

import collections
import contextlib
import csv
import hashlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clips import Clip, dataset_directory, list_clips
from settings import BadInput
from signals import holds_signals, list_signals, read_signal

logger = logging.getLogger("baseline")

CACHE_VERSION = 1  # raise when the same settings would give other frames
CLIPS_A_TASK = 16
CLIPS_WORTH_A_PROCESS = 200  # extracting fewer takes less time than starting another process
WINDOW_KEYS = (
    "n_frames",
    "n_hop_frames",
)  # cut windows out of frames; frames do not depend on them
SAMPLE_KEYS = ("input", "sample_rate", "channel")  # what samples depend on
FEWEST_TO_FIT = 10  # scores below which three gamma parameters mean nothing
# Where a gamma fit and its scores still agree, beside what chance does to few scores (the 1 %
# point of the Kolmogorov-Smirnov statistic, two standard deviations of a share).
LARGEST_DISTANCE = 0.1
LARGEST_EXCESS = 0.05


def setup_log(directory: Path) -> None:
    """Send messages to the screen and, with times, to `baseline.log` in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    screen = logging.StreamHandler(sys.stdout)
    screen.setFormatter(logging.Formatter("%(message)s"))
    # Errors reach the screen as the last word of the run, from `settings.guarded`.
    screen.addFilter(lambda record: record.levelno < logging.ERROR)
    file = logging.FileHandler(directory / "baseline.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(screen)
    logger.addHandler(file)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it there: it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def save_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows in the official form: commas, no header of its own, lines ending in "\\n"."""
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def save_json(path: Path, tree: Any) -> None:
    """Write a tree of plain values as JSON that a person can read."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def progress_bar(total: int, title: str, unit: str) -> tqdm:
    """A progress bar with the time left; rarely redrawn where nobody watches it."""
    watched = sys.stderr.isatty()
    return tqdm(total=total, desc=title, unit=unit, mininterval=0.1 if watched else 10)


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
    import soundfile

    if Path(path).suffix == ".csv":
        return read_signal(Path(path)), 0
    try:
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ValueError(f"cannot be read as audio ({_brief(error)})") from None
    if not len(samples):
        raise ValueError("is empty")
    y = samples[:, 0] if channel == "first" else samples.mean(axis=1)
    if not np.isfinite(y).all():
        raise ValueError("holds samples that are not finite")
    return np.ascontiguousarray(y), sample_rate


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


def read_clips(
    param: dict[str, Any],
    mode: str,
    machine_types: str | Sequence[str],
    folders: tuple[str, ...],
    jobs: int | None = None,
) -> tuple[Frames, list[tuple[Path, str]]]:
    """List the clips of a machine type, or of several, and load their frames, as `load_frames`.

    Training clips of both datasets where fit.deval asks for it.

    Raises BadInput where there are none, or none that can be used.
    """
    names = [machine_types] if isinstance(machine_types, str) else machine_types
    clips: list[Clip] = []
    bad: list[tuple[Path, str]] = []
    for name in names:
        home = dataset_directory(param, mode) / name
        if holds_signals(home, folders):
            found, problems = list_signals(home, folders)
        else:
            found, problems = list_clips(param, mode, name, folders)
            if folders == ("train",) and param["fit"].get("deval"):
                more, unnamed = _other_clips(param, mode, name, folders)
                found, problems = found + more, problems + unnamed
        clips += found
        bad += problems
    machine_type = ", ".join(names)
    frames, unusable = load_frames(clips, param, jobs, machine_type)
    bad += unusable
    if not frames.clips:
        raise BadInput(
            "\n".join(
                [f"{path}: {problem}" for path, problem in bad]
                + [f"{machine_type}: no clip of {', '.join(folders)} is usable"]
            )
        )
    return frames, bad


def _other_clips(
    param: dict[str, Any], mode: str, machine_type: str, folders: tuple[str, ...]
) -> tuple[list[Clip], list[tuple[Path, str]]]:
    other = "eval" if mode == "dev" else "dev"
    home = dataset_directory(param, other) / machine_type / folders[0]
    if home.is_dir():
        return list_clips(param, other, machine_type, folders)
    logger.warning(
        "%s: fit.deval asks for the training clips of both datasets, but there is no directory %s; "
        "training on those of %s_directory alone",
        machine_type,
        home,
        mode,
    )
    return [], []


def load_frames(
    clips: Sequence[Clip], param: dict[str, Any], jobs: int | None = None, title: str = ""
) -> tuple[Frames, list[tuple[Path, str]]]:
    """The frames of clips, from the cache where it holds them, else extracted in parallel.

    The cache key is each clip's path, size and time of change, and the settings that make the
    frames; anything else in the settings may change without a clip being read again.

    Parameters
    ----------
    clips : what to read, each once
    param : the settings: their `feature` block, and `cache_directory`, where the arrays lie;
        it may be deleted at any time
    jobs : processes; None takes one a core
    title : of the progress bar

    Returns
    -------
    The frames of the clips that can be used, and (path, problem) of the others: unreadable,
    empty, not finite, of another sampling rate, or shorter than one window.
    """
    feature, cache = param["feature"], Path(param["cache_directory"])
    waveform = feature["input"] == "waveform"
    makes = {
        key: value
        for key, value in feature.items()
        if (key in SAMPLE_KEYS if waveform else key not in WINDOW_KEYS)
    }
    identity: list[Any] = [CACHE_VERSION, makes]
    for clip in clips:
        stat = clip.path.stat()
        identity.append([str(clip.path.resolve()), stat.st_size, stat.st_mtime_ns])
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    place, about = cache / f"{key}.npy", cache / f"{key}.json"
    try:
        kept = json.loads(about.read_text(encoding="utf-8"))
        array = np.load(place, mmap_mode="r")
    except (OSError, ValueError):
        kept = _extract(clips, makes, place, jobs, title)
        save_json(about, kept)
        array = np.load(place, mmap_mode="r")
    count = np.array(kept["count"], np.int64)
    problems = dict(kept["problems"])
    short = np.flatnonzero(count < feature["n_frames"]).tolist()
    if waveform and clips and len(short) == len(clips) > len(problems):
        longest = int(np.argmax(count))
        raise BadInput(
            f"{title}: a segment of feature.n_frames ({feature['n_frames']} samples) is longer "
            f"than every clip; the longest, {clips[longest].path}, has {count[longest]}"
        )
    # A waveform is filled up with zeros.
    for index in [] if waveform else short:
        at_least = (feature["n_frames"] - 1) * feature["hop_length"] / feature["sample_rate"]
        problems.setdefault(
            index,
            f"is too short: {count[index]} frames, and one window takes "
            f"{feature['n_frames']} (at least {at_least:.3g} s)",
        )
    frames = Frames(array, tuple(clips), np.cumsum(count) - count, count)
    usable = [index not in problems for index in range(len(clips))]
    return frames.of(usable), [(clips[index].path, problems[index]) for index in sorted(problems)]


def _extract(
    clips: Sequence[Clip], makes: dict[str, Any], place: Path, jobs: int | None, title: str
) -> dict[str, Any]:
    from joblib import Parallel, cpu_count, delayed

    count, problems = _read_headers(clips, makes)
    readable = np.flatnonzero(count).tolist()
    first = np.cumsum(count) - count
    with whole_file(place) as beside:
        shape = (int(count.sum()), makes.get("n_mels", 1))
        np.lib.format.open_memmap(beside, "w+", np.float32, shape).flush()
        tasks = [
            [
                (index, clips[index].path, int(first[index]), int(count[index]))
                for index in readable[at : at + CLIPS_A_TASK]
            ]
            for at in range(0, len(readable), CLIPS_A_TASK)
        ]
        worth = -(-len(readable) // CLIPS_WORTH_A_PROCESS)
        parallel = Parallel(
            n_jobs=max(1, min(jobs or cpu_count(), worth)), return_as="generator_unordered"
        )
        with progress_bar(len(readable), f"{title} features", "clip") as bar:
            for n_clips, found in parallel(
                delayed(_write_frames)(task, makes, beside) for task in tasks
            ):
                problems += found
                bar.update(n_clips)
    return {"count": count.tolist(), "problems": sorted(problems)}


def _read_headers(
    clips: Sequence[Clip], makes: dict[str, Any]
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """How many frames each clip has, 0 for those that cannot be used, and what is wrong there."""
    count = np.zeros(len(clips), np.int64)
    channels: dict[int, int] = {}
    problems = []
    for index, clip in enumerate(clips):
        try:
            n_samples, channels[index] = _header(clip.path, makes["sample_rate"])
            count[index] = _n_frames(n_samples, makes)
        except ValueError as problem:
            problems.append((index, str(problem)))
    usual = max(
        collections.Counter(channels.values()).items(), key=lambda pair: pair[::-1], default=(0, 0)
    )[0]
    for index, held in channels.items():
        if held != usual:
            count[index] = 0
            problems.append((index, f"has {held} channels, where most clips have {usual}"))
    return count, problems


def _write_frames(
    task: list[tuple[int, Path, int, int]], makes: dict[str, Any], place: Path
) -> tuple[int, list[tuple[int, str]]]:
    array = np.lib.format.open_memmap(place, "r+")
    problems = []
    for index, path, first, count in task:
        try:
            y, _ = file_load(path, makes["channel"])
            frames = y[:, None] if makes["input"] == "waveform" else log_mel(y, makes)
            if len(frames) != count:
                raise ValueError("ends before its header says")
            array[first : first + count] = frames
        except ValueError as problem:
            problems.append((index, str(problem)))
    return len(task), problems


def _n_frames(n_samples: int, makes: dict[str, Any]) -> int:
    return n_samples if makes["input"] == "waveform" else 1 + n_samples // makes["hop_length"]


def _header(path: Path, sample_rate: int) -> tuple[int, int]:
    import soundfile

    if path.suffix == ".csv":
        return len(read_signal(path)), 1
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise ValueError(f"cannot be read as audio ({_brief(error)})") from None
    if header.frames < 1:
        raise ValueError("is empty")
    if header.samplerate != sample_rate:
        raise ValueError(
            f"is sampled at {header.samplerate} Hz, not at the {sample_rate} Hz of "
            "feature.sample_rate"
        )
    return header.frames, header.channels


def _brief(error: Exception) -> str:
    return str(error).split(": ")[-1].strip(" .")


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


def report_bad_clips(bad: list[tuple[Path, str]], directory: Path, skip: bool) -> None:
    """Stop on unusable clips, all named; or, with skip, list them in `bad_clips.csv` and go on.

    Raises BadInput where there are any and skip is off.
    """
    if not bad:
        (directory / "bad_clips.csv").unlink(missing_ok=True)
        return
    bad = list(dict.fromkeys(bad))  # several systems may have met the same ones
    lines = [f"{path}: {problem}" for path, problem in bad]
    if not skip:
        raise BadInput(
            f"{len(bad)} clips cannot be used:\n"
            + "\n".join(lines)
            + "\nmend or remove them, or go on without them with --skip-bad"
        )
    save_csv(directory / "bad_clips.csv", [("clip", "problem"), *bad])
    for line in lines:
        logger.warning("skipped: %s", line)
    logger.warning("%d clips skipped, listed in %s", len(bad), directory / "bad_clips.csv")


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


ALL_SECTIONS = "all sections"


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
