"""Measure the memory of training and scoring with 1000 clips of 10 s: python -m benchmarks.memory

Training and scoring of each system run in processes of their own, with its published settings. All
clips are in memory, but the slow systems train and score some of them only. The table goes to
benchmarks/memory.md; rows of systems that were not run are kept.
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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.growth import make_clips
from benchmarks.run import HERE, child, processor
from core import settings
from core.files import save_text
from data.dataset import read_clips
from data.frames import Frames

if TYPE_CHECKING:
    from models.base import System

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
    "twfr_gmm": Case(1000, 250, 1000),
    "raw_spec": Case(1000, 250, 1000),
    "dis_spec": Case(1000, 250, 1000),
    "dis_multispec": Case(128, 32, 128),
}
EXPLANATION = """\
Peak resident memory of a process, which includes the mapped feature cache (the column "features",
all of it in memory) and what TensorFlow takes to start ("start", before the features). Scoring has
a process of its own, which loads the trained weights and scores few clips first and then many."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every system in a process of its own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--system", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help="instead of 1000")
    parser.add_argument("--to", type=Path, default=HERE / "memory.md", metavar="FILE")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.inside:
        print(json.dumps(measure(args.system[0], args.part, args.inside, args.clips)))
        return 0
    rows = kept_rows(args.to)
    with tempfile.TemporaryDirectory(prefix="memory-") as work:
        make_clips(Path(work) / "data", args.clips, splits=("train",))
        for system in args.system:
            inside = ["--system", system, "--clips", str(args.clips), "--inside", work]
            command = [sys.executable, "-m", "benchmarks.memory", *inside, "--part"]
            measured = child([*command, "training"]).printed | child([*command, "scoring"]).printed
            rows[system] = table_row(system, measured, args.clips)
            print(rows[system], flush=True)
            save_text(args.to, report(rows, args.clips))
    print(f"-> {args.to}")
    return 0


def measure(system: str, part: str, work: Path, n_clips: int) -> dict[str, float]:
    """Return the peaks of a part of a run in MiB, measured in this process.

    part : training or scoring, which takes the weights that training left
    work : the folder with `data`; features and weights are kept in it
    """
    import keras_model

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
    made = keras_model.build_system(run, [run.class_name(clip) for clip in frames.clips])
    measured = {"features": frames.array.nbytes / 2**20, "start": status("VmRSS")}
    np.sum(frames.array)  # now all of the features are in memory
    PARTS[part](made, frames, case, work / f"{system}.npz", measured)
    return measured


def training(
    made: System, frames: Frames, case: Case, weights: Path, peaks: dict[str, float]
) -> None:
    """Note the peak of training, and keep the trained weights."""
    some = first_clips(frames, case.trained)
    with_peak(peaks, "training", lambda: made.train(some))
    trained = {f"weight_{n:04}": values for n, values in enumerate(made.get_weights())}
    np.savez(weights, **trained, **made.get_extra_state())


def scoring(
    made: System, frames: Frames, case: Case, weights: Path, peaks: dict[str, float]
) -> None:
    """Note the peaks of scoring few clips, and then many, with the trained weights."""
    with np.load(weights) as kept:
        arrays = dict(kept)
    made.set_weights([arrays.pop(name) for name in sorted(arrays) if name.startswith("weight_")])
    made.set_extra_state(arrays)
    for name, count in (("few", case.few), ("many", case.many)):
        some = first_clips(frames, count)
        with_peak(peaks, name, lambda some=some: (made.score(some), made.extra_scores(some)))


PARTS = {"training": training, "scoring": scoring}


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
