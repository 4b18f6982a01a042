"""How long a system's training and tests take on this machine, from a short measurement."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from joblib import cpu_count
from tqdm import tqdm

import keras_model
from core.run_settings import SystemSettings
from data.clips import TEST_FOLDERS
from data.dataset import read_clips
from data.frames import Frames
from tools import demo_data, download
from tools.comparison import ClipCount
from tools.zenodo import Unreachable, ZenodoClient

if TYPE_CHECKING:
    from models.base import System

MACHINE = "fan"
SECONDS = 10.0  # of a clip
BYTES_OF_A_CLIP = 320_000  # at 16 kHz, 16 bit
FEW = {"clips": 2, "test_clips": 4}  # in each of three sections
# An epoch is measured on more clips until it takes so many seconds, or on so many clips or bytes.
LONG_ENOUGH, MOST_CLIPS, MOST_BYTES = 1.0, 600, 10**8


class Cost(NamedTuple):
    """Seconds for one clip: to read it, to train on it for one epoch, and to score it.

    disk : bytes of the cache for one clip
    """

    read: float
    epoch: float
    score: float
    disk: float

    def seconds(self, train: int, test: int, epochs: int, seeds: int) -> float:
        """Return the seconds of training and testing with so many clips."""
        trained = train * (epochs * self.epoch + self.score)  # scored for the thresholds
        return (train + test) * self.read + seeds * (trained + test * self.score)


def measure(run: SystemSettings) -> Cost:
    """Train a system for two epochs on a few demo sounds in a temporary folder; return its cost."""
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        demo_data.make_dataset(folder, 2022, [MACHINE], seconds=SECONDS, **FEW)
        places = {f"{name}_directory": f"{folder}/{name}_data" for name in ("dev", "eval")}
        places["cache_directory"] = f"{folder}/cache"
        run = run.with_values({**places, "fit.epochs": 2, "fit.verbose": 0})
        run = run.for_machine(MACHINE)
        few, _ = read_clips(run, "dev", MACHINE, ("train",), jobs=1)
        before = time.perf_counter()  # what is needed only once is loaded by now
        test, _ = read_clips(run, "dev", MACHINE, TEST_FOLDERS, jobs=1)
        read = (time.perf_counter() - before) / len(test.clips)
        files = sum(path.stat().st_size for path in Path(folder, "cache").rglob("*"))
        disk = files / (len(few.clips) + len(test.clips))
        times = 1
        while True:
            frames = repeated(few, times)
            system = keras_model.build_system(run, [run.class_name(clip) for clip in frames.clips])
            epoch = _second_epoch(system, frames)
            most = max(1, min(MOST_CLIPS // len(few.clips), MOST_BYTES // few.array.nbytes))
            if epoch > LONG_ENOUGH or times >= most:
                break
            times = min(10 * times, most)
        # Other frames than those of the training, whose scores a system may still have.
        score = _score_seconds(system, repeated(few, times)) / len(frames.clips)
        keras_model.clear_session()
    return Cost(read / cpu_count(), epoch / len(frames.clips), score, disk)


def repeated(frames: Frames, times: int) -> Frames:
    """Return the same clips several times over."""
    rows = len(frames.array)
    return Frames(
        np.tile(frames.array, (times, 1)),
        tuple(frames.clips) * times,
        np.concatenate([frames.first + number * rows for number in range(times)]),
        np.tile(frames.count, times),
    )


def _second_epoch(system: System, frames: Frames) -> float:
    """Train, and return the seconds of the second epoch; the first compiles the step.

    A system without a network has one epoch and nothing to compile.
    """
    import keras

    if not system.settings.has_network:
        before = time.perf_counter()
        system.train(frames, "measuring")
        return time.perf_counter() - before

    ends: list[float] = []
    usual = system.callbacks
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    system.callbacks = lambda: [*usual(), clock]
    system.train(frames, "measuring")
    return ends[1] - ends[0]


def _score_seconds(system: System, frames: Frames) -> float:
    before = time.perf_counter()
    system.score(frames)
    return time.perf_counter() - before


def clips_on_disk(data: Path, counts: Iterable[ClipCount]) -> list[ClipCount]:
    """Return the numbers of clips, counted in a folder where a machine type is there already."""
    counted = []
    for count in counts:
        home = data / f"{count.dataset}_data" / count.machine_type
        train = len(list(home.glob("train/*.wav")))
        test = sum(len(list(home.glob(f"{folder}/*.wav"))) for folder in TEST_FOLDERS)
        counted.append(count._replace(train=train or count.train, test=test or count.test))
    return counted


def left_to_download(
    client: ZenodoClient, year: int, data: Path, parts: Sequence[str], machines: Sequence[str]
) -> str:
    """Return a line on the archives that tools.download would still download; nothing is left.

    data, parts, machines : its `--to`, its parts of the data, and its `--machine`
    """
    state, records = data / ".download", download.RECORDS[year]
    with tempfile.TemporaryDirectory() as folder:
        saved = state if state.is_dir() else Path(folder)
        try:
            listed = {
                part: download.list_archives(client, saved, part, records[part]) for part in parts
            }
        except Unreachable as error:
            return f"download: size not known ({error})"
    archives = download.choose(listed, machines)
    left = [each for each in archives if not download.is_unpacked(data, state, each)]
    size = size_text(sum(each.size for each in left))
    return f"download: {size} in {len(left)} of {len(archives)} archives"


def lines(
    runs: Sequence[SystemSettings], counts: Sequence[ClipCount], modes: Sequence[str], seeds: int
) -> Iterator[str]:
    """Yield what the runs will take, one line per system, and then all of them.

    Parameters
    ----------
    counts : of the machine types of both datasets
    modes : the datasets that are worked on, of "dev" and "eval"
    """
    asked = [count for count in counts if count.dataset in modes]
    clips = sum((count.train or 0) + (count.test or 0) for count in asked)
    unknown = [f"{c.dataset} {c.machine_type}" for c in asked if None in (c.train, c.test)]
    total, features = 0.0, {}
    for run in runs:
        print(f"measuring {run.system} on a few demo sounds", flush=True)
        cost = measure(run)
        seconds = seconds_of(run, cost, counts, modes, seeds)
        features[str(run.feature)] = cost.disk * clips
        total += seconds
        yield f"{run.system}: about {time_text(seconds)} for {seeds} seeds"
    yield f"all, one system after another: about {time_text(total)}"
    data, cache = size_text(clips * BYTES_OF_A_CLIP), size_text(sum(features.values()))
    yield f"disk: about {data} of clips and {cache} of features"
    yield f"(an estimate: {clips} clips, as if each were {SECONDS:.0f} s long)"
    if unknown:
        yield f"without {', '.join(unknown)}: how many clips they have is not known before"


def seconds_of(
    run: SystemSettings, cost: Cost, counts: Sequence[ClipCount], modes: Sequence[str], seeds: int
) -> float:
    """Return the seconds for all machine types whose numbers of clips are known."""
    total, training = 0.0, {(c.dataset, c.machine_type): c.train or 0 for c in counts}
    for count in counts:
        if count.dataset not in modes or None in (count.train, count.test):
            continue
        own = run.for_machine(count.machine_type)
        datasets = own.training_datasets(count.dataset)
        train = sum(training.get((name, count.machine_type), 0) for name in datasets)
        total += cost.seconds(train, count.test, own.fit.epochs, seeds)
    return total


def time_text(seconds: float) -> str:
    """Return a time in words: "40 minutes", "3.5 hours", "12 days"."""
    for name, length in (("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{max(seconds / 60, 1):.0f} minutes"


def size_text(size: float) -> str:
    """Return a number of bytes in words: "3.21GB"."""
    return tqdm.format_sizeof(size, "B", 1000)
