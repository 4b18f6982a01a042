"""The frames of clips, from the cache where it holds them, else extracted in parallel."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import signal
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.arrays import LARGEST_JSON, read_json
from core.errors import BadInput
from core.files import save_json, sweep, whole_file
from core.log import progress_bar
from core.system_settings import Feature, SystemSettings
from data.audio import file_header, file_load, log_mel
from data.clips import Clip
from data.frames import Frames

CACHE_VERSION = 1  # raise when the same settings would give other frames
CACHE_LEFTOVERS = 3600  # seconds after which what a dead run left half-written is removed
CLIPS_A_TASK = 16
Task = list[tuple[int, Path, int, int]]  # of some clips: index, path, first row, number of rows
CLIPS_WORTH_A_PROCESS = 200  # extracting fewer takes less time than starting another process
WINDOW_KEYS = (
    "n_frames",
    "n_hop_frames",
)  # cut windows out of frames; frames do not depend on them
SAMPLE_KEYS = ("input", "sample_rate", "channel")  # what samples depend on
_BROKEN = (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError)  # of an array


def load_frames(
    clips: Sequence[Clip], param: SystemSettings, jobs: int | None = None, title: str = ""
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
    from filelock import FileLock

    feature, cache = param.feature, param.cache_directory
    waveform = feature.input == "waveform"
    makes = {
        key: value
        for key, value in feature.model_dump().items()
        if (key in SAMPLE_KEYS if waveform else key not in WINDOW_KEYS)
    }
    key = cache_key([CACHE_VERSION, makes], [clip.path for clip in clips])
    place, about = cache / f"{key}.npy", cache / f"{key}.json"
    found = _cached(place, about, len(clips), makes)
    if found is None:
        cache.mkdir(parents=True, exist_ok=True)
        sweep(cache, CACHE_LEFTOVERS)
        with FileLock(cache / f".{key}.lock"):
            # Another run may have extracted them meanwhile.
            found = _cached(place, about, len(clips), makes)
            if found is None:
                save_json(about, _extract(clips, makes, place, jobs, title))
                found = _cached(place, about, len(clips), makes)
    if found is None:
        raise BadInput(f"{place}: vanished as soon as it was written; is the disk in order?")
    kept, array = found
    count = np.array(kept["count"], np.int64)
    problems = dict(kept["problems"])
    short = np.flatnonzero(count < feature.n_frames).tolist()
    if waveform and clips and len(short) == len(clips) > len(problems):
        longest = int(np.argmax(count))
        raise BadInput(
            f"{title}: a segment of feature.n_frames ({feature.n_frames} samples) is longer "
            f"than every clip; the longest, {clips[longest].path}, has {count[longest]}"
        )
    # A waveform is filled up with zeros.
    for index in [] if waveform else short:
        at_least = (feature.n_frames - 1) * feature.hop_length / feature.sample_rate
        problems.setdefault(
            index,
            f"is too short: {count[index]} frames, and one window takes "
            f"{feature.n_frames} (at least {at_least:.3g} s)",
        )
    frames = Frames(array, tuple(clips), np.cumsum(count) - count, count)
    usable = [index not in problems for index in range(len(clips))]
    return frames.of(usable), [(clips[index].path, problems[index]) for index in sorted(problems)]


def cache_key(makes: Any, files: Iterable[Path]) -> str:
    """A name for what is made so from files: 24 hex digits, others as soon as a file changes.

    makes : plain values
    """
    identity = [makes]
    for path in files:
        try:
            stat = path.stat()
            identity.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
        except OSError:  # a link to nowhere: reading it will tell
            identity.append(str(path))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _cached(
    place: Path, about: Path, n_clips: int, makes: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray] | None:
    """What the cache holds, or None where it holds nothing, or something broken."""
    try:
        kept = read_json(about, LARGEST_JSON + 1000 * n_clips)
        array = np.lib.format.open_memmap(place, "r")
        count, problems = kept["count"], kept["problems"]
        shape = (sum(count), makes.get("n_mels", 1))
        well = len(count) == n_clips and all(0 <= index < n_clips for index, _ in problems)
    except (KeyError, TypeError, *_BROKEN):
        return None
    return (kept, array) if well and array.shape == shape and array.dtype == np.float32 else None


def _extract(
    clips: Sequence[Clip], makes: dict[str, Any], place: Path, jobs: int | None, title: str
) -> dict[str, Any]:
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from joblib.parallel import get_active_backend

    count, problems = _read_headers(clips, makes)
    first = np.cumsum(count) - count
    # Both survive an interruption; `done` says which clips' frames are in place.
    unfinished, done = place.with_suffix(".unfinished.npy"), place.with_suffix(".done.npy")
    begun = [
        _unfinished(unfinished, (int(count.sum()), makes.get("n_mels", 1)), np.float32),
        _unfinished(done, (len(clips),), np.uint8),
    ]
    if not all(begun):
        np.lib.format.open_memmap(done, "r+")[:] = 0
    missing = np.flatnonzero((count > 0) & (np.load(done) == 0)).tolist()
    tasks = [
        [
            (index, clips[index].path.absolute(), int(first[index]), int(count[index]))
            for index in missing[at : at + CLIPS_A_TASK]
        ]
        for at in range(0, len(missing), CLIPS_A_TASK)
    ]
    worth = -(-len(missing) // CLIPS_WORTH_A_PROCESS)
    far = min(worth, getattr(get_active_backend()[0], "far", 0))
    if far > 1:
        # Machines that share a file system must not write into one page of a file, so they send.
        parallel = Parallel(far, return_as="generator_unordered")
        sent = parallel(delayed(_send_frames)(task, makes) for task in tasks)
        found = (_keep(task, frames, unfinished, done) for task, frames in sent)
    else:
        parallel = Parallel(
            n_jobs=max(1, min(jobs or cpu_count(), worth)),
            backend="loky",
            return_as="generator_unordered",
        )
        with _without_ctrl_c():
            found = parallel(
                delayed(_write_frames)(task, makes, unfinished, done) for task in tasks
            )
    readable = int((count > 0).sum())
    bar = progress_bar(readable, f"{title} features", "clip", readable - len(missing))
    try:
        with bar:
            for n_clips, wrong in found:
                problems += wrong
                bar.update(n_clips)
    except TerminatedWorkerError:
        raise BadInput(
            f"{title}: a process that extracts features was killed, most likely for want of "
            "memory; run the same command again with a smaller --jobs: what is done is kept"
        ) from None
    if far > 1:
        with unfinished.open("rb+") as stream:
            os.fsync(stream.fileno())  # before others look
    os.replace(unfinished, place)
    done.unlink(missing_ok=True)
    return {"count": count.tolist(), "problems": sorted(problems)}


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes started within never see Ctrl-C, which this process hears of afterwards.

    A terminal sends it to all of them, and each would print where it was.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it within would take the mask away again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unfinished(path: Path, shape: tuple[int, ...], kind: type) -> bool:
    """Whether an array of this shape was begun already; if not, begin it, its disk space taken."""
    try:
        array = np.lib.format.open_memmap(path, "r")
        if (array.shape, array.dtype) == (shape, kind):
            return True
    except _BROKEN:
        pass
    with whole_file(path) as beside:
        array = np.lib.format.open_memmap(beside, "w+", kind, shape)
        array.flush()
        # Without its space, a memory map on a full disk ends the process, and nobody learns why.
        if hasattr(os, "posix_fallocate"):
            with beside.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, beside.stat().st_size)
    return False


def _read_headers(
    clips: Sequence[Clip], makes: dict[str, Any]
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """How many frames each clip has, 0 for those that cannot be used, and what is wrong there."""
    count = np.zeros(len(clips), np.int64)
    channels: dict[int, int] = {}
    problems = []
    for index, clip in enumerate(clips):
        try:
            n_samples, channels[index] = file_header(clip.path, makes["sample_rate"])
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
    task: Task, makes: dict[str, Any], place: Path, done: Path
) -> tuple[int, list[tuple[int, str]]]:
    return _keep(task, _frames(task, makes), place, done)


def _send_frames(task: Task, makes: dict[str, Any]) -> tuple[Task, list[np.ndarray | str]]:
    return task, list(_frames(task, makes))


def _keep(
    task: Task, made: Iterable[np.ndarray | str] | Exception, place: Path, done: Path
) -> tuple[int, list[tuple[int, str]]]:
    if isinstance(made, Exception):
        raise BadInput(
            f"extracting features failed on the cluster ({str(made).strip().splitlines()[-1]}); "
            "run the same command again: what is done is kept"
        )
    array, marks = (np.lib.format.open_memmap(path, "r+") for path in (place, done))
    problems = []
    for (index, _, first, count), frames in zip(task, made, strict=True):
        if isinstance(frames, str):
            problems.append((index, frames))
            continue
        array[first : first + count] = frames
        marks[index] = 1
    return len(task), problems


def _frames(task: Task, makes: dict[str, Any]) -> Iterator[np.ndarray | str]:
    """The frames of each clip, or what is wrong with it."""
    for _, path, _, count in task:
        try:
            y, _ = file_load(path, makes["channel"])
            frames = y[:, None] if makes["input"] == "waveform" else log_mel(y, Feature(**makes))
            yield frames if len(frames) == count else "ends before its header says"
        except ValueError as problem:
            yield str(problem)


def _n_frames(n_samples: int, makes: dict[str, Any]) -> int:
    return n_samples if makes["input"] == "waveform" else 1 + n_samples // makes["hop_length"]
