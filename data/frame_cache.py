"""The frames of clips: read from the cache, or extracted in parallel and cached."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from core.arrays import LARGEST_JSON, read_json
from core.errors import BadInput
from core.files import atomic_write, remove_stale_files, save_json
from core.log import progress_bar
from core.run_settings import Feature, SystemSettings
from core.script import without_ctrl_c
from data.audio import channel_problems, file_header, file_load, log_mel
from data.clips import Clip
from data.frames import Frames

CACHE_VERSION = 1  # raise when the same settings would give other frames
STALE_SECONDS = 3600  # after which the temporary files of ended runs are removed
CLIPS_PER_TASK = 16
Task = list[tuple[int, Path, int, int]]  # of some clips: index, path, first row, number of rows
TaskResult = tuple[int, list[tuple[int, str]]]  # number of its clips; (index, problem) of bad ones
CLIPS_PER_PROCESS = 200  # extracting fewer takes less time than starting another process
# Frames do not depend on them: only windows and classes do.
WINDOW_KEYS = ("n_frames", "n_hop_frames", "released_hop", "classes")
SAMPLE_KEYS = ("input", "sample_rate", "channel")  # what samples depend on
# What reading a damaged array raises.
_DAMAGED = (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError)


class RemoteWorkers(Protocol):
    """Processes that may be on other machines, and send back what they extract.

    number : how many there are
    """

    number: int

    def starmap(
        self, function: Callable[..., Any], arguments: Sequence[tuple], at_once: int
    ) -> Iterator[Any]:
        """Yield function(*values) of each tuple of values, in any order.

        at_once : the number of calls that wait for their results at any time

        Raises BadInput where a call fails.
        """


class CachedFrames(NamedTuple):
    """What the cache has of some clips.

    array : (total_frames, n_mels) float32, memory-mapped
    count : (n_clips,) int64, the frames of each clip
    problems : index of a clip → what is wrong with it
    """

    array: np.ndarray
    count: np.ndarray
    problems: dict[int, str]


class Extraction(NamedTuple):
    """Where frames are extracted; the fields are arguments of `load_frames`."""

    jobs: int | None
    remote: RemoteWorkers | None
    meanwhile: Callable[[], object] | None

    def start(
        self, tasks: list[Task], n_clips: int, places: tuple[dict[str, Any], Path, Path]
    ) -> Iterator[TaskResult]:
        """Return an iterator that extracts, and yields the result of each task.

        n_clips : of all tasks
        places : the recipe, and the paths of the array and of the marks of its finished clips
        """
        from joblib import cpu_count

        most_workers = -(-n_clips // CLIPS_PER_PROCESS)
        n_remote = min(most_workers, self.remote.number) if self.remote else 0
        if n_remote > 1:
            return _extract_remotely(self.remote, n_remote, tasks, *places)
        n_jobs = self.jobs or cpu_count()
        if not self.meanwhile or not tasks or min(n_jobs, cpu_count()) == 1:
            return _extract_in_processes(max(1, min(n_jobs, most_workers)), tasks, *places)
        # This process takes one core, so there is one process less to extract.
        n_jobs = max(1, min(n_jobs, most_workers - 1))
        return _extract_meanwhile(n_jobs, tasks, *places, self.meanwhile)


def load_frames(
    clips: Sequence[Clip],
    run: SystemSettings,
    jobs: int | None = None,
    title: str = "",
    remote: RemoteWorkers | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> tuple[Frames, list[tuple[Path, str]]]:
    """Return the frames of clips: read from the cache, or extracted in parallel and cached.

    The cache key is each clip's path, size and time of change, and the settings that make the
    frames; anything else in the settings may change without a clip being read again.

    Parameters
    ----------
    clips : what to read, each once
    run : the settings: their `feature` block, and `cache_directory`, where the arrays lie;
        it may be deleted at any time
    jobs : processes of this machine; None takes one per core
    title : of the progress bar
    remote : workers that take the place of the processes where there is enough to do
    meanwhile : what this process may do while processes extract, such as starting TensorFlow; it
        is not called where this process extracts itself, or nothing is to be extracted

    Returns
    -------
    The frames of the clips that can be used, and (path, problem) of the others: unreadable,
    empty, not finite, of another sampling rate, or shorter than one window.
    """
    recipe = _recipe(run.feature)
    key = cache_key([CACHE_VERSION, recipe], [clip.path for clip in clips])
    path = run.cache_directory / f"{key}.npy"
    cached = _read_cache(path, len(clips), recipe)
    if cached is None:
        cached = _fill_cache(clips, recipe, path, title, Extraction(jobs, remote, meanwhile))
    array, count, problems = cached
    problems = _too_short(clips, cached, run.feature, title) | problems
    frames = Frames(array, tuple(clips), np.cumsum(count) - count, count)
    usable = [index not in problems for index in range(len(clips))]
    return frames.select(usable), [
        (clips[index].path, problems[index]) for index in sorted(problems)
    ]


def _recipe(feature: Feature) -> dict[str, Any]:
    """Return the settings that frames depend on."""
    waveform = feature.input == "waveform"
    return {
        key: value
        for key, value in feature.model_dump().items()
        if (key in SAMPLE_KEYS if waveform else key not in WINDOW_KEYS)
    }


def _too_short(
    clips: Sequence[Clip], cached: CachedFrames, feature: Feature, title: str
) -> dict[int, str]:
    """Return index → problem of the clips that are shorter than one window.

    None of a waveform is: it is filled up with zeros. Raises BadInput where that would be so for
    every clip.
    """
    count = cached.count
    short = np.flatnonzero(count < feature.n_frames).tolist()
    if feature.input != "waveform":
        at_least = (feature.n_frames - 1) * feature.hop_length / feature.sample_rate
        return {
            index: f"is too short: {count[index]} frames, and one window takes "
            f"{feature.n_frames} (at least {at_least:.3g} s)"
            for index in short
        }
    if clips and len(short) == len(clips) > len(cached.problems):
        longest = int(np.argmax(count))
        raise BadInput(
            f"{title}: a segment of feature.n_frames ({feature.n_frames} samples) is longer "
            f"than every clip; the longest, {clips[longest].path}, has {count[longest]}"
        )
    return {}


def cache_key(recipe: Any, files: Iterable[Path]) -> str:
    """Return a name for what a recipe makes of files: 24 hex digits, others once a file changes.

    recipe : plain values
    """
    identity = [recipe]
    for path in files:
        try:
            stat = path.stat()
            identity.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
        except OSError:  # a link to nowhere, which fails when it is read
            identity.append(str(path))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _read_cache(path: Path, n_clips: int, recipe: dict[str, Any]) -> CachedFrames | None:
    """Return what the cache has at a path; None for nothing, or something damaged."""
    try:
        index = read_json(path.with_suffix(".json"), LARGEST_JSON + 1000 * n_clips)
        array = np.lib.format.open_memmap(path, "r")
        count, problems = index["count"], index["problems"]
        shape = (sum(count), recipe.get("n_mels", 1))
        valid = len(count) == n_clips and all(0 <= number < n_clips for number, _ in problems)
    except (KeyError, TypeError, *_DAMAGED):
        return None
    if not valid or array.shape != shape or array.dtype != np.float32:
        return None
    return CachedFrames(array, np.array(count, np.int64), dict(problems))


def _fill_cache(
    clips: Sequence[Clip],
    recipe: dict[str, Any],
    path: Path,
    title: str,
    how: Extraction,
) -> CachedFrames:
    """Extract the frames of clips, and return what the cache has then."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_files(path.parent, STALE_SECONDS)
    with FileLock(path.with_name(f".{path.stem}.lock")):
        # Another run may have extracted them meanwhile.
        cached = _read_cache(path, len(clips), recipe)
        if cached is None:
            index = _extract(clips, recipe, path, title, how)
            save_json(path.with_suffix(".json"), index)
            cached = _read_cache(path, len(clips), recipe)
    if cached is None:
        raise BadInput(f"{path}: vanished as soon as it was written; is the disk in order?")
    return cached


def _extract(
    clips: Sequence[Clip],
    recipe: dict[str, Any],
    path: Path,
    title: str,
    how: Extraction,
) -> dict[str, Any]:
    """Extract the frames of clips into an array at `path`.

    Returns
    -------
    What to save beside the array: "count", the frames of each clip, and "problems", (index of a
    clip, what is wrong with it).
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    count, problems = _read_headers(clips, recipe)
    # Both survive an interruption; `done` marks the clips whose frames are in the array.
    unfinished, done = path.with_suffix(".unfinished.npy"), path.with_suffix(".done.npy")
    begun = [
        _unfinished(unfinished, (int(count.sum()), recipe.get("n_mels", 1)), np.float32),
        _unfinished(done, (len(clips),), np.uint8),
    ]
    if not all(begun):
        np.lib.format.open_memmap(done, "r+")[:] = 0
    missing = np.flatnonzero((count > 0) & (np.load(done) == 0)).tolist()
    tasks = _tasks(clips, count, missing)
    results = how.start(tasks, len(missing), (recipe, unfinished, done))
    readable = int((count > 0).sum())
    bar = progress_bar(readable, f"{title} features", "clip", readable - len(missing))
    try:
        with bar:
            for n_clips, wrong in results:
                problems += wrong
                bar.update(n_clips)
    except TerminatedWorkerError:
        raise BadInput(
            f"{title}: a process that extracts features was killed, most likely for want of "
            "memory; run the same command again with a smaller --jobs: what is done is saved"
        ) from None
    os.replace(unfinished, path)
    done.unlink(missing_ok=True)
    return {"count": count.tolist(), "problems": sorted(problems)}


def _tasks(clips: Sequence[Clip], count: np.ndarray, missing: list[int]) -> list[Task]:
    """Return the tasks that extract the missing clips, given by index.

    count : (n_clips,) the frames of each clip
    """
    first = np.cumsum(count) - count
    return [
        [
            (index, clips[index].path.absolute(), int(first[index]), int(count[index]))
            for index in missing[at : at + CLIPS_PER_TASK]
        ]
        for at in range(0, len(missing), CLIPS_PER_TASK)
    ]


def _extract_remotely(
    remote: RemoteWorkers,
    workers: int,
    tasks: list[Task],
    recipe: dict[str, Any],
    unfinished: Path,
    done: Path,
) -> Iterator[TaskResult]:
    """Write the frames that remote workers send, and yield the result of each task.

    They do not write themselves: machines that share a file system must not write into one page of
    a file.
    """
    arguments = [(task, recipe) for task in tasks]
    # Twice as many tasks as workers, so that none waits for this process.
    for task, frames in remote.starmap(_send_frames, arguments, 2 * workers):
        yield _write(task, frames, unfinished, done)
    with unfinished.open("rb+") as stream:
        os.fsync(stream.fileno())  # before other machines read it


def _extract_in_processes(
    n_jobs: int, tasks: list[Task], recipe: dict[str, Any], unfinished: Path, done: Path
) -> Iterator[TaskResult]:
    """Let processes of this machine write frames, and yield the result of each task."""
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=n_jobs, backend="loky", return_as="generator_unordered")
    with without_ctrl_c():
        results = parallel(delayed(_write_frames)(task, recipe, unfinished, done) for task in tasks)
    yield from results


def _extract_meanwhile(
    n_jobs: int,
    tasks: list[Task],
    recipe: dict[str, Any],
    unfinished: Path,
    done: Path,
    meanwhile: Callable[[], object],
) -> Iterator[TaskResult]:
    """Let processes write the first frames, do something else, then yield the result of each task.

    The first tasks are put into a few large ones, so that the processes go on by themselves.
    Threads of this process would not do: while it imports a package, Python runs no other thread.
    """
    from joblib import cpu_count
    from joblib.externals.loky.process_executor import ProcessPoolExecutor

    # As Parallel sets it: rounding differs with the number of threads.
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cpu_count() // n_jobs)))
    size = max(1, CLIPS_PER_PROCESS // CLIPS_PER_TASK)
    n_first = 2 * n_jobs * size
    first = [tasks[at : at + size] for at in range(0, min(n_first, len(tasks)), size)]
    large = [list(itertools.chain(*some)) for some in first]
    small = iter(tasks[n_first:])
    # joblib's Parallel runs in this process what is to run in one process.
    executor = ProcessPoolExecutor(n_jobs, env={"OMP_NUM_THREADS": threads})

    def submit(some: Iterable[Task]) -> set[Future]:
        return {executor.submit(_write_frames, task, recipe, unfinished, done) for task in some}

    try:
        # Few at a time: ended with many, the executor would print a traceback.
        with without_ctrl_c():
            running = submit(large)
        meanwhile()
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            running |= submit(itertools.islice(small, len(ended)))
            for result in ended:
                yield result.result()
    finally:
        executor.shutdown(kill_workers=True)


def _unfinished(path: Path, shape: tuple[int, ...], kind: type) -> bool:
    """Return whether an array of this shape was begun already; if not, make it on the disk."""
    try:
        array = np.lib.format.open_memmap(path, "r")
        if (array.shape, array.dtype) == (shape, kind):
            return True
    except _DAMAGED:
        pass
    with atomic_write(path) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", kind, shape)
        array.flush()
        # Without its space, a memory map on a full disk ends the process without a message.
        if hasattr(os, "posix_fallocate"):
            with temporary.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, temporary.stat().st_size)
    return False


def _read_headers(
    clips: Sequence[Clip], recipe: dict[str, Any]
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Return (n_clips,) the frames of each clip, and (index, problem) of clips with 0 frames."""
    count = np.zeros(len(clips), np.int64)
    channels: dict[int, int] = {}
    problems = []
    for index, clip in enumerate(clips):
        try:
            n_samples, channels[index] = file_header(clip.path, recipe["sample_rate"])
            count[index] = _n_frames(n_samples, recipe)
        except ValueError as problem:
            problems.append((index, str(problem)))
    for index, problem in channel_problems(channels, recipe["channel"]):
        count[index] = 0
        problems.append((index, problem))
    return count, problems


def _write_frames(task: Task, recipe: dict[str, Any], unfinished: Path, done: Path) -> TaskResult:
    return _write(task, _frames(task, recipe), unfinished, done)


def _send_frames(task: Task, recipe: dict[str, Any]) -> tuple[Task, list[np.ndarray | str]]:
    return task, list(_frames(task, recipe))


def _write(
    task: Task, results: Iterable[np.ndarray | str], unfinished: Path, done: Path
) -> TaskResult:
    """Write the frames of a task's clips into the array, and mark the clips as done."""
    array, marks = (np.lib.format.open_memmap(path, "r+") for path in (unfinished, done))
    problems = []
    for (index, _, first, count), frames in zip(task, results, strict=True):
        if isinstance(frames, str):
            problems.append((index, frames))
            continue
        array[first : first + count] = frames
        marks[index] = 1
    return len(task), problems


def _frames(task: Task, recipe: dict[str, Any]) -> Iterator[np.ndarray | str]:
    """Yield the frames of each clip, or what is wrong with it."""
    feature = Feature(**recipe)
    for _, path, _, count in task:
        try:
            y, _ = file_load(path, feature.channel)
            frames = y[:, None] if feature.input == "waveform" else log_mel(y, feature)
            yield frames if len(frames) == count else "ends before its header says"
        except ValueError as problem:
            yield str(problem)


def _n_frames(n_samples: int, recipe: dict[str, Any]) -> int:
    return n_samples if recipe["input"] == "waveform" else 1 + n_samples // recipe["hop_length"]
