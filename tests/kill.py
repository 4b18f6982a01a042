"""Kill the three scripts at random moments, start them again, and compare what they leave.

    python -m tests.kill --kills 50

Runs the scripts on small demo data: undisturbed, then again and again interrupted by SIGKILL,
SIGTERM or SIGINT, until so many kills have struck. After every kill each file must be whole; each
finished series must leave the CSV files of the undisturbed run.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from tests import processes
from tools import demo_data

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("00_train.py", "01_test.py", "02_report.py")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SETTINGS = ("fit.epochs=6", "fit.batch_size=64")


class Broken(Exception):
    """What was found that must not be."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-") as work:
        try:
            print(strike(Path(work), args.kills, args.seed))
        except Broken as problem:
            print(f"error: {problem}", file=sys.stderr)
            return 1
    return 0


def strike(work: Path, kills: int, seed: int) -> str:
    """Kill so many times; say what happened. Raises Broken where something was lost or half."""
    data = work / "data"
    demo_data.make_dataset(data, machines=["fan", "valve"], clips=10, test_clips=8, seconds=2.0)
    whole, took = work / "undisturbed", {}
    for script in SCRIPTS:
        begun = time.monotonic()
        finish(script, data, whole)
        took[script] = time.monotonic() - begun
    expected = results(whole)
    chance, struck, series = random.Random(seed), 0, 0
    while struck < kills:
        out = work / f"series_{series}"
        for script in SCRIPTS:
            while struck < kills:
                with start(script, data, out) as process:
                    try:
                        process.wait(chance.uniform(0.02, 1.0) * took[script])
                        break
                    except subprocess.TimeoutExpired:
                        struck += 1
                        kill(process, chance.choice(SIGNALS))
                check_whole(out)
            finish(script, data, out)
        series += 1
        for name, rows in results(out).items():
            if rows != expected.get(name):
                raise Broken(f"{name} differs after {struck} kills")
        left = [path for part in ("model", "result") for path in (out / part).rglob(".[0-9]*.*")]
        left += [*out.glob(".report.new"), *out.glob(".report.old")]
        if left:
            raise Broken(f"killed runs left {', '.join(map(str, left))}")
        if set(results(out)) != set(expected):
            raise Broken(f"files differ: {sorted(set(results(out)) ^ set(expected))}")
    return f"{struck} kills in {series} series; {len(expected)} CSV files as undisturbed"


def start(script: str, data: Path, out: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    mode = ["--to", str(out / "report")] if script == "02_report.py" else ["-d"]
    command = [
        *(sys.executable, "-X", "faulthandler", str(ROOT / script), *mode, "--set", *SETTINGS),
        f"dev_directory={data}/dev_data",
        f"model_directory={out}/model/{{system}}",
        f"result_directory={out}/result/{{system}}",
        f"cache_directory={out}/cache",
    ]
    return processes.child(command)


def finish(script: str, data: Path, out: Path) -> None:
    with start(script, data, out) as process:
        _, said = process.communicate(timeout=300)
    if process.returncode:
        raise Broken(f"{script} ends with {process.returncode}: {said}")


def kill(process: subprocess.Popen[str], how: signal.Signals) -> None:
    """Send a signal; what can be caught must end within ten seconds, without a traceback."""
    process.send_signal(how)
    try:
        _, said = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler then says where it is
        _, said = process.communicate()
        raise Broken(f"still there ten seconds after {how.name}:\n{said}") from None
    # While a script's first lines import its modules, nothing can catch a signal yet.
    if how == signal.SIGKILL or ", in <module>\n    import " in said:
        return
    if "Traceback" in said:
        raise Broken(f"a traceback after {how.name}:\n{said}")
    # What ends as the signal comes may have ended well, or without Python to catch it.
    if process.returncode not in (128 + how, -how, 0):
        raise Broken(f"exit status {process.returncode} after {how.name}:\n{said}")


def check_whole(out: Path) -> None:
    """Every file that bears its name is whole."""
    for path in out.rglob("[!.]*"):
        if any(part.startswith(".") for part in path.relative_to(out).parts):
            continue  # beside its place
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".npz":
                with np.load(path) as held:
                    [held[name].shape for name in held.files]
            elif path.suffix == ".npy":
                np.load(path)
            elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
                raise ValueError("ends amid the page")
            elif path.suffix == ".csv" and not path.read_bytes().endswith(b"\n"):
                raise ValueError("ends amid a line")
        except (ValueError, OSError, EOFError) as error:
            raise Broken(f"{path} is half-written: {error}") from None


def results(out: Path) -> dict[str, list[list[str]]]:
    found = {}
    for path in sorted(out.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            found[str(path.relative_to(out))] = list(csv.reader(stream))
    return found


if __name__ == "__main__":
    sys.exit(main())
