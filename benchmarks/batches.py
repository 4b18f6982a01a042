"""Scoring in batches of several sizes: python -m benchmarks.batches writes benchmarks/batches.md

For every system with its published settings, at the sizes of `benchmarks.side`: the CPU time of a
window when as many are scored at a time as `values_per_scoring_batch` of its class says, and when
it is a quarter, half, twice and four times as much. The first batch is left out, in which the
scoring is compiled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.our_side import SETUPS, Clips, build, made_up
from benchmarks.side import CLASSES
from core.files import atomic_write
from data.frames import Frames
from models.base import System

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
CLIPS = {"ae": 100, "ae_asd": 100, "vae": 100, "idnn": 100, "stgram_mfn": 16, "grlnet": 12}
FEW = 4
HERE = Path(__file__).with_name("batches.md")


def windows_per_batch(system: System, frames: Frames, factor: float) -> int:
    """Return how many windows are scored at a time, with a factor on the system's own number."""
    values = system.n_frames * frames.array.shape[1]
    return max(1, round(factor * system.values_per_scoring_batch) // values)


def seconds_per_window(system: System, frames: Frames, batch: int) -> float:
    """Return the CPU seconds that scoring a window takes, with so many windows at a time."""
    starts, owner = system.windows(frames, 1)
    section = system.section_index(frames)[owner]
    function = getattr(system, "window_outputs", system.window_scores)
    system.values_per_scoring_batch = batch * system.n_frames * frames.array.shape[1]
    batches = system.window_batches(frames, starts, section, function)
    compiled, _ = next(batches)
    begun = time.process_time()
    for _ in batches:
        pass
    left = len(starts) - compiled.stop
    return (time.process_time() - begun) / left


def rows(name: str, n_clips: int, rounds: int) -> list[str]:
    """Return a table's rows of a comparison of `benchmarks.our_side`, one per size."""
    system = build(name)
    frames = made_up(system.settings, Clips(n_clips, SETUPS[name].score.rows), CLASSES.get(name, 1))
    sizes = {windows_per_batch(system, frames, factor): factor for factor in FACTORS}
    own = windows_per_batch(system, frames, 1.0)
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            seconds[size].append(seconds_per_window(system, replace(frames), size))
    base = statistics.median(seconds[own])
    return [
        f"| {name} | {size}{' (as it is)' if size == own else ''} | "
        f"{1000 * statistics.median(taken):.4g} ms | {statistics.median(taken) / base:.2f} |"
        for size, taken in seconds.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--clips", type=int, help="of a test set (default: by system)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=HERE, metavar="FILE")
    args = parser.parse_args(argv)
    lines = []
    for name in args.system:
        lines += rows(name, args.clips or CLIPS.get(name, FEW), args.rounds)
        print(*lines[-len(FACTORS) :], sep="\n", flush=True)
    with atomic_write(args.to) as temporary:
        temporary.write_text("\n".join([_HEAD.format(rounds=args.rounds), *lines, ""]))
    return 0


_HEAD = """# Windows scored at a time

`python -m benchmarks.batches`: CPU time of scoring a window, median of {rounds} rounds in turns,
compiling left out, and the time by that of the size in use. Larger batches leave the processor's
caches, and their memory is taken from the system and given back for every batch.

| system | windows at a time | a window | by the size in use |
|---|---|---|---|"""


if __name__ == "__main__":
    sys.exit(main())
