"""Scoring in batches of several sizes: python -m benchmarks.batches writes benchmarks/batches.md

For every system with its published settings, at the sizes of `benchmarks.side`: the CPU time of a
window when as many are scored at a time as `values_per_scoring_batch` of its class says, and when
it is a quarter, half, twice and four times as much. The first batch is left out, in which the
scoring is compiled.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.our_side import SETUPS, Clips, build, made_up
from benchmarks.run import HERE, processor
from benchmarks.side import CLASSES
from core.files import save_text
from data.frames import Frames
from models.base import System

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
# More windows than the largest size, so that some are left after the first batch.
CLIPS = {"ae": 100, "ae_asd": 100, "vae": 100, "idnn": 100, "stgram_mfn": 16, "grlnet": 12}
FEW = 4
HEAD = """\
# Windows scored at a time

`python -m benchmarks.batches`: CPU time of scoring a window, median of {rounds} rounds in turns,
without the first batch, in which the scoring is compiled; and the time by that of the size in use.
{processor}, {cores} cores. Larger batches leave the processor's caches, and their memory is taken
from the system and given back for every batch.

| system | windows at a time | a window | by the size in use |
|---|---|---|---|"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--system", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=HERE / "batches.md", metavar="FILE")
    args = parser.parse_args(argv)
    lines = [HEAD.format(rounds=args.rounds, processor=processor(), cores=os.cpu_count())]
    for name in args.system:
        made = rows(name, CLIPS.get(name, FEW), args.rounds)
        print(*made, sep="\n", flush=True)
        lines += made
    save_text(args.to, "\n".join(lines) + "\n")
    return 0


def rows(name: str, n_clips: int, rounds: int) -> list[str]:
    """Return the table's rows of a comparison of `benchmarks.our_side`, one per size."""
    system = build(name)
    frames = made_up(system.settings, Clips(n_clips, SETUPS[name].score.rows), CLASSES.get(name, 1))
    values, own = system.values_per_scoring_batch, system.windows_at_a_time(frames)
    seconds: dict[int, list[float]] = {}
    for _ in range(rounds):
        measured = set()
        for factor in FACTORS:
            system.values_per_scoring_batch = round(factor * values)
            size = system.windows_at_a_time(frames)
            if size not in measured:
                seconds.setdefault(size, []).append(seconds_per_window(system, replace(frames)))
            measured.add(size)
    medians = {size: statistics.median(taken) for size, taken in seconds.items()}
    return [
        f"| {name} | {size}{' (in use)' if size == own else ''} | "
        f"{1000 * median:.4g} ms | {median / medians[own]:.2f} |"
        for size, median in medians.items()
    ]


def seconds_per_window(system: System, frames: Frames) -> float:
    """Return the CPU seconds that scoring a window takes."""
    starts, owner = system.windows(frames, 1)
    section = system.section_index(frames)[owner]
    function = getattr(system, "window_outputs", system.window_scores)
    batches = system.window_batches(frames, starts, section, function)
    compiled, _ = next(batches)
    begun = time.process_time()
    for _ in batches:
        pass
    return (time.process_time() - begun) / (len(starts) - compiled.stop)


if __name__ == "__main__":
    sys.exit(main())
