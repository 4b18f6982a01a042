"""Measure this project and the official recipe in turns: python -m benchmarks.run

Every figure is the median over rounds; a ratio is the median of the rounds' ratios, so that other
work of the machine in a round slows both. The table goes to benchmarks/results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from core.files import save_text
from core.system_settings import system_classes

HERE = Path(__file__).resolve().parent
HOME = HERE.parent

SAMPLE_RATE = 16000
MACHINE = "fan"


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    clips: int  # of the feature, step and scoring rows
    memory_clips: int  # of the whole-process row
    scale_clips: int  # the 1 of 1, 4, 16
    section_clips: int  # in each of the 21 sections of the evaluation row
    seconds: float  # of a clip


USUAL = Size(
    rounds=5, clips=100, memory_clips=1000, scale_clips=60, section_clips=200, seconds=10.0
)
QUICK = Size(rounds=1, clips=4, memory_clips=4, scale_clips=2, section_clips=8, seconds=2.0)


class Row(NamedTuple):
    """One line of the table: what, the figures of each round, and the unit, such as "ms"."""

    what: str
    theirs: list[float]
    ours: list[float]
    unit: str

    def cells(self) -> list[str]:
        """Return the line's cells: what, both medians, and the median of the ratios."""
        ratio = statistics.median(a / b for a, b in zip(self.theirs, self.ours, strict=True))
        medians = [statistics.median(values) for values in (self.theirs, self.ours)]
        return [self.what, *(f"{value:.4g} {self.unit}" for value in medians), f"{ratio:.2f}"]


class Child(NamedTuple):
    """What a child process printed (its last line, JSON), and what it took.

    seconds : of wall time
    mebibytes : the peak memory of its largest process
    cpu_seconds : of all its processes that it waited for
    """

    printed: Any
    seconds: float
    mebibytes: float
    cpu_seconds: float


def main() -> int:
    """Measure the parts, and write their table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a few clips, to see that it runs")
    parser.add_argument(
        "--reference",
        nargs=2,
        metavar=("PYTHON", "DIR"),
        help="a checkout of the official baseline and the interpreter it needs, for the same rows",
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="some of the parts"
    )
    parser.add_argument("--to", type=Path, default=HERE / "results.md", metavar="FILE")
    args = parser.parse_args()
    size = QUICK if args.quick else USUAL
    official = [sys.executable, str(HERE / "official.py")]
    if args.reference:
        python, checkout = (str(Path(path).absolute()) for path in args.reference)
        official = [python, str(HERE / "official.py"), "--checkout", checkout]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as work:
        rows = [row for part in args.only for row in PARTS[part](size, Path(work), official)]
    save_text(args.to, report(rows, size, args.reference))
    print(f"-> {args.to}")
    return 0


def print_row(row: Row) -> Row:
    """Print a row, and return it."""
    print(" | ".join(row.cells()), flush=True)
    return row


def measure_features(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure the extraction of features, cold and from the cache."""
    data, cold, warm, theirs = make_clips(work, size.clips, size.seconds), [], [], []
    for cache in caches(work, size.rounds):
        theirs.append(child([*official, "features", data]).printed["seconds"])
        ours = child([sys.executable, "-m", "benchmarks.here", "features", data, cache]).printed
        cold.append(ours["cold"])
        warm.append(ours["warm"])
    what = f"features of {size.clips} clips"
    yield print_row(Row(f"{what}, cold", theirs, cold, "s"))
    yield print_row(Row(f"{what}, from the cache", theirs, warm, "s"))


def measure_scoring(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure scores after start-up, from wavs and from cached features."""
    data, cold, warm, theirs = make_clips(work, size.clips, size.seconds), [], [], []
    for cache in caches(work, size.rounds):
        theirs.append(1e3 * child([*official, "score", data]).printed["seconds"])
        ours = child([sys.executable, "-m", "benchmarks.here", "score", data, cache]).printed
        cold.append(1e3 * ours["cold"])
        warm.append(1e3 * ours["warm"])
    yield print_row(Row("score a clip, dense AE, cold features", theirs, cold, "ms"))
    yield print_row(Row("score a clip, dense AE, cached features", theirs, warm, "ms"))


def measure_step(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure a training step of the dense AE, without the first epoch, which compiles."""
    data, ours, theirs = make_clips(work, size.clips, size.seconds), [], []
    for cache in caches(work, size.rounds):
        more = ["--epochs", "8"]
        here = [sys.executable, "-m", "benchmarks.here", "step", data, cache]
        for seconds, command in ((theirs, [*official, "step", data]), (ours, here)):
            epochs = child([*command, *more]).printed["seconds"]
            seconds.append(1e3 * statistics.median(epochs[1:]))
    yield print_row(Row("training step, dense AE, batch 512", theirs, ours, "ms"))


def measure_systems(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure a training step of every network and of the same ones in plain Keras."""
    for system in (name for name, kind in system_classes().items() if kind.has_network):
        command = [sys.executable, "-m", "benchmarks.steps", system, "--rounds", str(size.rounds)]
        steps = child([*command, "--seconds", "5"]).printed
        theirs, ours = ([1e3 * value for value in steps[name]] for name in ("plain", "here"))
        what = f"training step, {system}, batch {steps['batch']}, against plain Keras"
        yield print_row(Row(what, theirs, ours, "ms"))


def measure_process(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure a whole training of one epoch: wall time and peak memory of the process."""
    data, ours, theirs = make_clips(work, size.memory_clips, size.seconds), [], []
    for cache in caches(work, max(1, size.rounds // 2)):
        theirs.append(child([*official, "train", data]))
        ours.append(child(training_command(data, cache)))
    what = f"training on {size.memory_clips} clips of {size.seconds:g} s"
    yield print_row(
        Row(f"{what}, wall time", [run.seconds for run in theirs], [r.seconds for r in ours], "s")
    )
    peaks = [[run.mebibytes for run in runs] for runs in (theirs, ours)]
    yield print_row(Row(f"{what}, peak memory", *peaks, "MiB"))


def measure_scale(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure wall time and memory of training here with more clips; "ratio" is the growth."""
    runs = []
    for times in (1, 4, 16):
        data = make_clips(work, times * size.scale_clips, size.seconds)
        for cache in caches(work, 1):
            runs.append((times, child(training_command(data, cache))))
    (_, least), *more = runs
    for times, run in more:
        what = f"here, {times} x {size.scale_clips} clips against {size.scale_clips}"
        yield print_row(Row(f"{what}, wall time", [run.seconds], [least.seconds], "s"))
        yield print_row(Row(f"{what}, peak memory", [run.mebibytes], [least.mebibytes], "MiB"))


def measure_evaluation(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Measure metrics and jackknife of 21 sections, and their recomputation without each clip."""
    theirs, ours = [], []
    for _ in range(size.rounds):
        command = [sys.executable, "-m", "benchmarks.jackknife", "--clips", str(size.section_clips)]
        measured = child(command).printed
        if measured["difference"] > 1e-9:
            sys.exit(f"error: jackknife and recomputation differ by {measured['difference']}")
        theirs.append(measured["recomputed"])
        ours.append(measured["here"])
    what = f"evaluation with jackknife, {21 * size.section_clips} clips, against leaving out each"
    yield print_row(Row(what, theirs, ours, "s"))


PARTS: dict[str, Callable[[Size, Path, list[str]], Iterator[Row]]] = {
    "features": measure_features,
    "scoring": measure_scoring,
    "step": measure_step,
    "systems": measure_systems,
    "process": measure_process,
    "scale": measure_scale,
    "evaluation": measure_evaluation,
}


def training_command(data: Path, cache: Path) -> list[str | Path]:
    """Return the command that trains the dense AE for one epoch."""
    assignments = {
        "dev_directory": data.parent,
        "cache_directory": cache / "cache",
        "model_directory": cache / "model/{system}",
        "result_directory": cache / "result/{system}",
        "fit.epochs": 1,
        "fit.verbose": 0,
    }
    given = [f"{key}={value}" for key, value in assignments.items()]
    return [sys.executable, HOME / "00_train.py", "-d", "--set", *given]


def make_clips(work: Path, count: int, seconds: float) -> Path:
    """Return the folder of a machine type with clips of noise; it is made once."""
    folder = work / f"{count}" / MACHINE
    if folder.is_dir():
        return folder
    random = np.random.default_rng(0)
    for split, label in (("train", "normal"), ("test", "anomaly")):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            name = f"section_00_source_{split}_{label}_{number:04d}_made_up.wav"
            samples = 0.1 * random.standard_normal(round(seconds * SAMPLE_RATE))
            soundfile.write(folder / split / name, samples, SAMPLE_RATE, subtype="PCM_16")
    return folder


def caches(work: Path, count: int) -> Iterator[Path]:
    """Yield empty folders, one after another."""
    for _ in range(count):
        folder = Path(tempfile.mkdtemp(dir=work))
        yield folder
        shutil.rmtree(folder)


def child(command: list[str | Path]) -> Child:
    """Run a command; end with its error output where it fails.

    Its peak memory is that of its largest process.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as notes:
        begun = time.perf_counter()
        words = [str(word) for word in command]
        process = subprocess.Popen(words, stdout=out, stderr=notes, cwd=HOME)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        notes.seek(0)
        lines = out.read().splitlines()
        if process.returncode:
            sys.exit(f"error: {' '.join(map(str, command))}\n{notes.read()}")
    try:
        printed = json.loads(lines[-1]) if lines else None
    except ValueError:
        printed = None
    return Child(printed, seconds, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)


def report(rows: list[Row], size: Size, reference: list[str] | None) -> str:
    """Return the table, and the machine that it was measured on, as Markdown."""
    import tensorflow as tf

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    against = "the original's own code" if reference else "benchmarks/official.py"
    lines = [
        "# Benchmarks",
        "",
        f"`python -m benchmarks.run`: medians over {size.rounds} rounds in turns, and the median "
        f"of the rounds' ratios. Official: {against}.",
        "",
        f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; Python "
        f"{platform.python_version()}, TensorFlow {tf.__version__}; GPUs: "
        f"{len(tf.config.list_physical_devices('GPU'))}.",
        "",
        "| what | official or plain | here | ratio |",
        "|---|---|---|---|",
        *("| " + " | ".join(row.cells()) + " |" for row in rows),
        "",
        "Memory of training and scoring each system: [memory.md](memory.md). Time and memory of "
        "whole runs with more clips, and of training dis_spec on 1000 clips: "
        "[growth.md](growth.md).",
        "",
    ]
    return "\n".join(lines)


def processor() -> str:
    """Return the name of the processor."""
    about = Path("/proc/cpuinfo")
    if about.is_file():
        for line in about.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
