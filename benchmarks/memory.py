"""Measure the memory of training and scoring with 1000 clips of 10 s: python -m benchmarks.memory

Each system runs in a process of its own, with its published settings. All clips are in memory, but
the slow systems train and score some of them only. The table goes to benchmarks/memory.md; rows of
systems that were not run are kept.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.growth import make_clips
from benchmarks.run import HERE, child, processor
from core import settings
from core.files import save_text
from core.run_settings import SystemSettings
from data.dataset import read_clips
from data.frames import Frames

CLIPS = 1000


class Case(NamedTuple):
    """How many of the clips are trained on, and how many are scored, first and then."""

    trained: int
    few: int
    many: int


# At least a full training batch of stgram_mfn (128 clips) and anomaly_transformer (256 windows).
CASES = {
    "ae": Case(1000, 250, 1000),
    "vae": Case(1000, 250, 1000),
    "idnn": Case(1000, 250, 1000),
    "mobilenet_v2": Case(20, 10, 40),
    "aegan_ad": Case(5, 2, 6),
    "grlnet": Case(4, 5, 20),
    "stgram_mfn": Case(128, 32, 128),
    "anomaly_transformer": Case(24, 2, 6),
}
EXPLANATION = """\
Peak resident memory of the process, which includes the mapped feature cache (the column "features",
all of it in memory) and what TensorFlow takes to start ("start", before the features). The process
trains first, so a peak in scoring begins at what training left and may hide that scoring grows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every system in a process of its own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--system", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help="instead of 1000")
    parser.add_argument("--to", type=Path, default=HERE / "memory.md", metavar="FILE")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.inside:
        print(json.dumps(measure(args.system[0], args.inside, args.clips)))
        return 0
    rows = kept_rows(args.to)
    with tempfile.TemporaryDirectory(prefix="memory-") as work:
        make_clips(Path(work) / "data", args.clips, splits=("train",))
        for system in args.system:
            inside = ["--system", system, "--clips", str(args.clips), "--inside", work]
            measured = child([sys.executable, "-m", "benchmarks.memory", *inside]).printed
            rows[system] = table_row(system, measured, args.clips)
            print(rows[system], flush=True)
            save_text(args.to, report(rows, args.clips))
    print(f"-> {args.to}")
    return 0


def measure(system: str, work: Path, n_clips: int) -> dict[str, float]:
    """Return the peaks of each part of a run in MiB, measured in this process.

    work : the folder with `data`; features are cached in it
    """
    assignments = [
        ("dev_directory", str(work / "data")),
        ("cache_directory", str(work / "cache")),
        ("fit.epochs", 1),
        ("fit.verbose", 0),
    ]
    run = settings.read_config(None, assignments).for_system(system)
    read_clips(run, "dev", "fan", ("train",))  # extracts; the peak of that does not count
    frames, _ = read_clips(run, "dev", "fan", ("train",))
    case = Case(*(min(count, n_clips) for count in CASES[system]))
    return {"features": frames.array.nbytes / 2**20, **peaks(run, frames, case)}


def peaks(run: SystemSettings, frames: Frames, case: Case) -> dict[str, float]:
    """Return the peak memory in MiB once TensorFlow has started, in training and in scoring."""
    import keras_model

    classes = [run.class_name(clip) for clip in frames.clips]
    made = keras_model.build_system(run, classes)
    measured = {"start": status("VmRSS")}
    np.sum(frames.array)  # now all of the features are in memory
    with_peak(measured, "training", lambda: made.train(first_clips(frames, case.trained)))
    for name, count in (("few", case.few), ("many", case.many)):
        chosen = first_clips(frames, count)
        with_peak(measured, name, lambda some=chosen: (made.score(some), made.extra_scores(some)))
    return measured


def first_clips(frames: Frames, count: int) -> Frames:
    """Return some of the clips, in the array of all of them."""
    return frames.select(np.arange(len(frames.clips)) < count)


def with_peak(measured: dict[str, float], name: str, work: Callable[[], object]) -> None:
    """Do some work, and note its peak memory in MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier work has freed
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    work()
    measured[name] = status("VmHWM")


def status(name: str) -> float:
    """Return a memory figure of this process in MiB: VmRSS, now, or VmHWM, the peak."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {name}; this benchmark needs Linux")


def table_row(system: str, peaks: dict[str, float], n_clips: int) -> str:
    """Return the line of a system in the table."""
    counts = dict(zip(("training", "few", "many"), CASES[system], strict=True))
    cells = [f"{peaks[name]:.0f} ({min(count, n_clips)})" for name, count in counts.items()]
    return " | ".join([f"{peaks['start']:.0f}", f"{peaks['features']:.0f}", *cells])


def kept_rows(path: Path) -> dict[str, str]:
    """Return the lines of the table that a file has: system → the cells after it."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    split = [line.strip("| ").partition(" | ") for line in lines if line.startswith("| ")]
    return {name: rest for name, _, rest in split if name in CASES}


def report(rows: dict[str, str], n_clips: int) -> str:
    """Return the table as Markdown; rows : system → its line."""
    lines = [
        "# Memory",
        "",
        f"`python -m benchmarks.memory`: {n_clips} clips of 10 s, published settings; "
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}. MiB.",
        "",
        EXPLANATION,
        "",
        "| system | start | features | training (clips) | scoring (clips) | scoring (clips) |",
        "|---|---|---|---|---|---|",
        *(f"| {system} | {rows[system]} |" for system in CASES if system in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
