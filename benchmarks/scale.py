"""Measure jobs per minute with one and two workers, and project them: python -m benchmarks.scale

Trains the dense autoencoder with several seeds on demo sounds, as `--jobs 1`, `--jobs 2` and
`--cluster local:2` do it, in turns. The table, and the projection for a million clips with what
it assumes, go to benchmarks/scale.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core.files import save_text

HERE = Path(__file__).resolve().parent
HOME = HERE.parent

NODES = (1, 10, 100, 1000)
MILLION = 1_000_000
SWEEP = 8 * 7 * 5  # systems, machine types and seeds of the projection
FEATURE_MB = 313 * 128 * 4 / 1e6  # log-mel of a clip of 10 s
AUDIO_MB = 10 * 16000 * 2 / 1e6
SHARE_MB = 1000  # per second of a shared directory, on a server with 10 Gbit/s
CLIPS = 30  # of a job here, 10 s each
CORES = 16  # of a node in the projection
SATURATES = """\
What saturates first: a sweep, at as many cores as it has jobs ({sweep}); more nodes than that do
not help. With a million clips the cores are the limit until there is one per machine type; then the
longest job takes the whole time, and the shared directory is the next limit, which no node moves.
What could change, in this order: cut the clips of a machine type by section into jobs of their own;
copy clips to the nodes' disks before the run; let nodes write features into files of their own
(now they are sent to the driver, whose network card every frame passes once); list clips once, not
in each training (which asks for size and date of each of its clips). Testing is cut already, into
slices of 1024 clips. Ray's head starts some thousand tasks per second, more than jobs of a second
or longer need."""


def main() -> int:
    """Measure every way in turns, and write the table and the projection."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=4, help="two machine types each")
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    ways = {"one job": (), "--jobs 2": ("--jobs", "2")}
    if importlib.util.find_spec("ray"):
        ways["--cluster local:2"] = ("--cluster", "local:2")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="scale-") as work:
        data = Path(work) / "data"
        make = [sys.executable, "-m", "tools.demo_data", "--to", str(data)]
        make += ["--machine", "fan", "valve", "--clips", "10", "--test-clips", "4"]
        subprocess.run([*make, "--seconds", "10"], check=True, capture_output=True, cwd=HOME)
        run((), data, Path(work) / "warm-up", 1, 1)
        for number in range(args.rounds):
            for name, options in ways.items():
                out = Path(work) / f"{number}{name.replace(' ', '')}"
                seconds[name].append(run(options, data, out, args.seeds, args.epochs))
                print(name, seconds[name][-1], flush=True)
    text = table(seconds, 2 * args.seeds, args.epochs)
    save_text(HERE / "scale.md", text)
    print(text)
    return 0


def run(options: tuple[str, ...], data: Path, out: Path, seeds: int, epochs: int) -> float:
    """Train both machine types with every seed, and return the seconds."""
    command = [sys.executable, str(HOME / "00_train.py"), "-d", *options]
    command += ["--seed", *map(str, range(seeds)), "--set", f"fit.epochs={epochs}"]
    command += [f"dev_directory={data}/dev_data", f"cache_directory={data}/cache"]
    command += [
        f"{kind}_directory={out}/{kind}/{{system}}/{{seed}}" for kind in ("model", "result")
    ]
    began = time.time()
    subprocess.run(command, check=True, capture_output=True, cwd=HOME)
    ended = time.time()
    assert len(list(out.rglob("model_*.json"))) == 2 * seeds
    return ended - began


def table(seconds: dict[str, list[float]], n_jobs: int, epochs: int) -> str:
    """Return the table and the projection as Markdown.

    seconds : name of a way → its seconds in each round
    """
    lines = [
        "# Scale",
        "",
        f"{n_jobs} trainings of the dense autoencoder, {epochs} epochs on demo sounds, on "
        f"{os.cpu_count()} cores ({platform.machine()}, load {os.getloadavg()[2]:.1f} in the "
        f"last quarter of an hour), starting included; medians of {len(seconds['one job'])} "
        "rounds in turns, made by `python -m benchmarks.scale`.",
        "",
        "| | seconds | jobs per minute | against one job |",
        "|---|---|---|---|",
    ]
    one_job = seconds["one job"]
    for name, rounds in seconds.items():
        median = statistics.median(rounds)
        ratio = statistics.median(a / b for a, b in zip(one_job, rounds, strict=True))
        lines.append(f"| {name} | {median:.0f} | {60 * n_jobs / median:.1f} | {ratio:.2f} |")
    core_seconds = 2 * min(map(statistics.median, seconds.values())) / n_jobs
    return "\n".join([*lines, "", *projection(core_seconds)]) + "\n"


def projection(core_seconds: float) -> list[str]:
    """Return what more nodes would do, as Markdown, from the seconds of a job on a core here."""
    per_clip = core_seconds / CLIPS
    reading = MILLION * (AUDIO_MB + 2 * FEATURE_MB) / SHARE_MB
    assumed = (
        f"Not measured. Assumed: nodes of {CORES} cores; a job takes {core_seconds:.0f} core "
        f"seconds, as here ({per_clip:.2f} per clip of 10 s); a sweep is {SWEEP} such jobs (8 "
        "systems × 7 machine types × 5 seeds); a million clips are 1000 machine types of 1000, "
        f"one system and seed; the shared directory gives {SHARE_MB} MB/s to all nodes in total, "
        "and each clip is read once, its features written once and read once."
    )
    lines = ["## Projection", "", assumed, ""]
    lines += ["| nodes | a sweep, minutes | a million clips, minutes | of that reading | limit |"]
    lines += ["|---|---|---|---|---|"]
    for nodes in NODES:
        slots = nodes * CORES
        sweep = -(-SWEEP // slots) * core_seconds / 60
        work = -(-1000 // slots) * per_clip * 1000 / 60
        limits = {work: "cores" if slots < 1000 else "too few jobs", reading / 60: "directory"}
        row = (nodes, f"{sweep:.1f}", f"{max(limits):.1f}", f"{reading / 60:.1f}")
        lines.append(f"| {' | '.join(map(str, row))} | {limits[max(limits)]} |")
    lines += ["", SATURATES.format(sweep=SWEEP)]
    return lines


if __name__ == "__main__":
    sys.exit(main())
