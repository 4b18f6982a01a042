"""Measure jobs per minute with one and two workers: python -m benchmarks.scale

Trains the dense autoencoder with several seeds on demo sounds, as `--jobs 1`, `--jobs 2` and
`--cluster local:2` do it, in turns. The table goes to benchmarks/scale.md; the projection from it
to more nodes is in benchmarks/growth.md.
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


def main() -> int:
    """Measure every way in turns, and write the table."""
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
    """Return the table as Markdown.

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
    return "\n".join([*lines, "", "Projection to 1000 nodes: [growth.md](growth.md)."]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
