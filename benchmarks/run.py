"""Measure this project beside the official recipe, in turns: python -m benchmarks.run

Every figure is the median over rounds; a ratio is the median of the rounds' own ratios, so that
what else the machine does in a round falls on both. The table goes to benchmarks/results.md.
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

from core.system_settings import system_classes

HERE = Path(__file__).resolve().parent
HOME = HERE.parent

SAMPLE_RATE = 16000
MACHINE = "fan"


class Size(NamedTuple):
    """How much of everything is measured."""

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
    """One line of the table: what, the figures of each round, and their unit."""

    what: str
    theirs: list[float]
    ours: list[float]
    unit: str

    def cells(self) -> list[str]:
        ratio = statistics.median(a / b for a, b in zip(self.theirs, self.ours, strict=True))
        of_all = [statistics.median(values) for values in (self.theirs, self.ours)]
        return [self.what, *(f"{value:.4g} {self.unit}" for value in of_all), f"{ratio:.2f}"]


class Child(NamedTuple):
    """What a child process printed (its last line, JSON), and what it took."""

    printed: Any
    seconds: float
    mebibytes: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a few clips: does it run at all?")
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
    args.to.write_text(report(rows, size, args.reference), encoding="utf-8")
    print(f"-> {args.to}")
    return 0


def shown(row: Row) -> Row:
    print(" | ".join(row.cells()), flush=True)
    return row


def of_features(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Extraction, cold and from the cache."""
    data, cold, warm, theirs = make_clips(work, size.clips, size.seconds), [], [], []
    for cache in caches(work, size.rounds):
        theirs.append(child([*official, "features", data]).printed["seconds"])
        ours = child([sys.executable, "-m", "benchmarks.here", "features", data, cache]).printed
        cold.append(ours["cold"])
        warm.append(ours["warm"])
    of = f"features of {size.clips} clips"
    yield shown(Row(f"{of}, cold", theirs, cold, "s"))
    yield shown(Row(f"{of}, from the cache", theirs, warm, "s"))


def of_scoring(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Scores after start-up, from wavs and from cached features."""
    data, cold, warm, theirs = make_clips(work, size.clips, size.seconds), [], [], []
    for cache in caches(work, size.rounds):
        theirs.append(1e3 * child([*official, "score", data]).printed["seconds"])
        ours = child([sys.executable, "-m", "benchmarks.here", "score", data, cache]).printed
        cold.append(1e3 * ours["cold"])
        warm.append(1e3 * ours["warm"])
    yield shown(Row("score a clip, dense AE, cold features", theirs, cold, "ms"))
    yield shown(Row("score a clip, dense AE, cached features", theirs, warm, "ms"))


def of_step(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """A training step of the dense AE; the first epoch, which compiles, is left out."""
    data, ours, theirs = make_clips(work, size.clips, size.seconds), [], []
    for cache in caches(work, size.rounds):
        more = ["--epochs", "8"]
        found = child([*official, "step", data, *more]).printed["seconds"]
        theirs.append(1e3 * statistics.median(found[1:]))
        found = child([sys.executable, "-m", "benchmarks.here", "step", data, cache, *more]).printed
        ours.append(1e3 * statistics.median(found["seconds"][1:]))
    yield shown(Row("training step, dense AE, batch 512", theirs, ours, "ms"))


def of_systems(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """A training step of every system against the same networks written plainly in Keras."""
    for system in system_classes():
        command = [sys.executable, "-m", "benchmarks.steps", system, "--rounds", str(size.rounds)]
        found = child([*command, "--seconds", "5"]).printed
        theirs, ours = ([1e3 * value for value in found[name]] for name in ("plain", "here"))
        what = f"training step, {system}, batch {found['batch']}, against plain Keras"
        yield shown(Row(what, theirs, ours, "ms"))


def of_process(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """A whole training of one epoch: wall time and peak memory of the process."""
    data, ours, theirs = make_clips(work, size.memory_clips, size.seconds), [], []
    for cache in caches(work, max(1, size.rounds // 2)):
        theirs.append(child([*official, "train", data]))
        ours.append(child(command_of_training(data, cache)))
    what = f"training on {size.memory_clips} clips of {size.seconds:g} s"
    yield shown(
        Row(f"{what}, wall time", [run.seconds for run in theirs], [r.seconds for r in ours], "s")
    )
    peaks = [[run.mebibytes for run in runs] for runs in (theirs, ours)]
    yield shown(Row(f"{what}, peak memory", *peaks, "MiB"))


def of_scale(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Wall time and memory of training here as clips grow fourfold; "ratio" is the growth."""
    runs = []
    for times in (1, 4, 16):
        data = make_clips(work, times * size.scale_clips, size.seconds)
        for cache in caches(work, 1):
            runs.append((times, child(command_of_training(data, cache))))
    (_, least), *more = runs
    for times, run in more:
        what = f"here, {times} x {size.scale_clips} clips against {size.scale_clips}"
        yield shown(Row(f"{what}, wall time", [run.seconds], [least.seconds], "s"))
        yield shown(Row(f"{what}, peak memory", [run.mebibytes], [least.mebibytes], "MiB"))


def of_evaluation(size: Size, work: Path, official: list[str]) -> Iterator[Row]:
    """Metrics and jackknife of 21 sections, against evaluating a section anew without each clip."""
    theirs, ours = [], []
    for _ in range(size.rounds):
        command = [sys.executable, "-m", "benchmarks.jackknife", "--clips", str(size.section_clips)]
        found = child(command).printed
        if found["difference"] > 1e-9:
            sys.exit(f"error: the jackknife is off recomputation by {found['difference']}")
        theirs.append(found["recomputed"])
        ours.append(found["here"])
    what = f"evaluation with jackknife, {21 * size.section_clips} clips, against leaving out each"
    yield shown(Row(what, theirs, ours, "s"))


PARTS: dict[str, Callable[[Size, Path, list[str]], Iterator[Row]]] = {
    "features": of_features,
    "scoring": of_scoring,
    "step": of_step,
    "systems": of_systems,
    "process": of_process,
    "scale": of_scale,
    "evaluation": of_evaluation,
}


def command_of_training(data: Path, cache: Path) -> list[str | Path]:
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
    """A machine type whose training and test clips hold noise; made once."""
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
    """Empty folders, one after another."""
    for _ in range(count):
        folder = Path(tempfile.mkdtemp(dir=work))
        yield folder
        shutil.rmtree(folder)


def child(command: list[str | Path]) -> Child:
    """Run a command; its peak memory is that of its largest process. Exits with what it says."""
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
    return Child(printed, seconds, used.ru_maxrss / 1024)


def report(rows: list[Row], size: Size, reference: list[str] | None) -> str:
    """The table, and the machine that it was measured on."""
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
    ]
    return "\n".join(lines)


def processor() -> str:
    about = Path("/proc/cpuinfo")
    if about.is_file():
        for line in about.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
