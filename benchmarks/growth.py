"""Measure runs with 1, 4 and 16 times the clips, and project them: python -m benchmarks.growth

Trains and tests on clips of noise of 10 s, features included, each run in a process of its own. The
table, and the projection to a thousand nodes with what it assumes, go to benchmarks/growth.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from benchmarks.run import HERE, HOME, Child, child, processor
from core.files import save_text

TIMES = (1, 4, 16)
WORKS = {"training": "00_train.py", "testing": "01_test.py", "testing again": "01_test.py"}
SAMPLE_RATE, SECONDS = 16000, 10
NODES = (1, 10, 100, 1000)
MILLION, JOB_CLIPS = 1_000_000, 1000
SWEEP = 8 * 7 * 5  # systems, machine types and seeds of the projection
FEATURE_MB = 313 * 128 * 4 / 1e6  # log-mel of a clip of 10 s
AUDIO_MB = SECONDS * SAMPLE_RATE * 2 / 1e6
SHARE_MB = 1000  # per second of a shared directory, on a server with 10 Gbit/s
CORES = 16  # of a node in the projection
SATURATES = """\
What saturates first: a sweep, at as many cores as it has jobs ({sweep}); more nodes than that do
not help. With a million clips the cores are the limit until there is one per machine type; then one
job takes the whole time, unless the shared directory takes longer, which no node moves. What could
change, in this order: cut the clips of a machine type by section into jobs of their own; copy clips
to the nodes' disks before the run; let nodes write features into files of their own (now they are
sent to the driver, whose network card every frame passes once); list clips once, not in each
training (which asks for size and date of each of its clips). Testing is cut already, into slices of
1024 clips. Ray's head starts some thousand tasks per second, more than jobs of a second or longer
need."""


class Case(NamedTuple):
    """What is measured of a system: the clips of the smallest run, and what --set assigns."""

    system: str
    clips: int
    assigned: tuple[str, ...]


CASES = (
    Case("ae", 50, ("fit.epochs=10",)),
    Case("mobilenet_v2", 5, ("fit.epochs=1", "mobilenet_v2.feature.n_hop_frames=32")),
    Case("dis_spec", 63, ("fit.epochs=16", "dis_spec.fit.train_on=same")),
)


class Measured(NamedTuple):
    """One run: the system, one of WORKS, its clips, and what the process took."""

    system: str
    work: str
    clips: int
    run: Child


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the runs, and write their table and the projection."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="1 to 16 clips, to see that it runs")
    parser.add_argument("--to", type=Path, default=HERE / "growth.md", metavar="FILE")
    args = parser.parse_args(arguments)
    cases = [case._replace(clips=2) for case in CASES[:1]] if args.quick else CASES
    measured = []
    with tempfile.TemporaryDirectory(prefix="growth-") as work:
        for case in cases:
            measured += measure(case, Path(work))
    text = report(cases, measured)
    save_text(args.to, text)
    print(text)
    return 0


def measure(case: Case, work: Path) -> list[Measured]:
    """Return the runs of a system."""
    measured = []
    for times in TIMES:
        clips = times * case.clips
        data = make_clips(work / f"clips_{clips}", clips)
        for name, script in WORKS.items():
            out = work / f"{case.system}_{clips}"
            run = child(command(script, case, data, out))
            measured.append(Measured(case.system, name, clips, run))
            print(case.system, name, clips, run, flush=True)
    return measured


def make_clips(folder: Path, count: int, splits: Sequence[str] = ("train", "test")) -> Path:
    """Return a dataset of one machine type, two sections and clips of noise; it is made once."""
    random = np.random.default_rng(0)
    for split in splits if not folder.is_dir() else ():
        home = folder / "fan" / split
        home.mkdir(parents=True)
        for number in range(count):
            label = "anomaly" if split == "test" and number // 2 % 2 else "normal"
            name = f"section_0{number % 2}_source_{split}_{label}_{number:04}_made_up.wav"
            samples = 0.1 * random.standard_normal(SECONDS * SAMPLE_RATE)
            soundfile.write(home / name, samples, SAMPLE_RATE, subtype="PCM_16")
    return folder


def command(script: str, case: Case, data: Path, out: Path) -> list[str | Path]:
    """Return the command that runs a script on a dataset, its outputs in a folder."""
    places = [f"{kind}_directory={out}/{kind}" for kind in ("cache", "model", "result")]
    assigned = [f"dev_directory={data}", *places, "fit.verbose=0", *case.assigned]
    return [sys.executable, HOME / script, "-d", "--system", case.system, "--set", *assigned]


def report(cases: Sequence[Case], measured: Sequence[Measured]) -> str:
    """Return the table and the projection as Markdown."""
    lines = [
        "# Growth",
        "",
        f"`python -m benchmarks.growth`: whole runs on clips of {SECONDS} s, start and features "
        f"included; {processor()}, {os.cpu_count()} cores (load {os.getloadavg()[2]:.1f} in "
        f"the last quarter of an hour), Python {platform.python_version()}. "
        "Testing again takes all scores from the cache. Growth is that of the CPU seconds against "
        "the smallest run. Memory is the peak of the largest process; the mapped feature cache is "
        "part of it.",
        "",
        *(f"- {case.system}: {', '.join(case.assigned)}" for case in cases),
        "",
        "| system | run | clips | seconds | CPU seconds | times the clips | growth | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = {}
    for system, work, clips, run in measured:
        least = first.setdefault((system, work), (clips, run))
        growth = run.cpu_seconds / least[1].cpu_seconds
        row = (system, work, clips, f"{run.seconds:.1f}", f"{run.cpu_seconds:.1f}")
        row += (clips // least[0], f"{growth:.2f}", f"{run.mebibytes:.0f}")
        lines.append(f"| {' | '.join(map(str, row))} |")
    jobs = {
        work: job_seconds([one for one in measured if one[:2] == (cases[0].system, work)])
        for work in ("training", "testing")
    }
    return "\n".join([*lines, "", *projection(cases[0], jobs)]) + "\n"


def job_seconds(runs: Sequence[Measured]) -> tuple[float, float]:
    """Return the core seconds of a job's start, and of each of its clips.

    runs : of one system and kind, with different numbers of clips
    """
    clips, seconds = [one.clips for one in runs], [one.run.cpu_seconds for one in runs]
    per_clip, start = np.polyfit(clips, seconds, 1)
    return max(0.0, float(start)), float(per_clip)


def projection(case: Case, jobs: dict[str, tuple[float, float]]) -> list[str]:
    """Return what more nodes would do, as Markdown.

    jobs : "training" and "testing" → the core seconds of a job's start, and of each clip
    """
    took = " and ".join(
        f"{work} {start:.1f} core seconds to start and {1000 * per_clip:.0f} ms per clip"
        for work, (start, per_clip) in jobs.items()
    )
    reading = MILLION * (AUDIO_MB + 2 * FEATURE_MB) / SHARE_MB
    lines = ["## Projection", ""]
    lines += [
        f"Not measured. Assumed: nodes of {CORES} cores; jobs of {case.system} with {JOB_CLIPS} "
        f"clips take what the line through the runs above gives: {took}; a sweep is {SWEEP} such "
        "trainings (8 systems × 7 machine types × 5 seeds); a million clips are 1000 machine types "
        f"of {JOB_CLIPS}, one system and seed; the shared directory gives {SHARE_MB} MB/s to all "
        "nodes in total, and each clip is read once, its features written once and read once. "
        "Minutes:",
        "",
        "| nodes | a sweep | train on a million clips | test a million clips | reading | limit |",
        "|---|---|---|---|---|---|",
    ]
    seconds = {work: start + JOB_CLIPS * per_clip for work, (start, per_clip) in jobs.items()}
    for nodes in NODES:
        slots = nodes * CORES
        sweep = -(-SWEEP // slots) * seconds["training"]
        work = [-(-MILLION // JOB_CLIPS // slots) * seconds[name] for name in jobs]
        cores = "cores" if slots < MILLION // JOB_CLIPS else "too few jobs"
        limit = cores if work[0] > reading else "directory"
        row = [sweep, *(max(reading, value) for value in work), reading]
        cells = " | ".join(f"{value / 60:.1f}" for value in row)
        lines.append(f"| {nodes} | {cells} | {limit} |")
    return [*lines, "", SATURATES.format(sweep=SWEEP)]


if __name__ == "__main__":
    sys.exit(main())
