"""Measure what every system reaches on the demo sounds: python -m benchmarks.demo

Makes the sounds in a folder of its own, trains and tests as `tools/demo.yaml` says, and writes
`benchmarks/demo.csv`: one row per system, and one for an ensemble, with the means over all machine
types and sections that the table on the screen ends with. The pages of the systems quote them.
Rows of systems that were not run are kept.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.files import save_csv
from core.settings import Config, read_config
from core.system_settings import system_classes
from evaluation.metrics import harmonic_mean, official_score
from evaluation.result_csv import read_result_csv
from evaluation.years import YEAR_2022
from models import saved

HOME = Path(__file__).resolve().parents[1]
RECORD = HOME / "benchmarks" / "demo.csv"
CONFIG = HOME / "tools" / "demo.yaml"
MACHINES = ("fan", "gearbox", "valve")  # as `make demo`
ENSEMBLE, MEMBERS = "mix", ("ae", "vae", "idnn")
COLUMNS = ("system", *YEAR_2022.score, "official score", "seed", "settings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the systems that are asked for, and write their rows; return the exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--system", nargs="+", default=measurable(), metavar="NAME")
    systems = parser.parse_args(arguments).system
    with tempfile.TemporaryDirectory(prefix="demo-") as work:
        measure(Path(work), systems)
        rows = read_record() | {
            path.parent.name: [*figures(path), "0", settings_digest(path.parent.name)]
            for path in Path(work).glob("result/*/result.csv")
        }
    save_csv(RECORD, [COLUMNS, *([name, *rows[name]] for name in sorted(rows))])
    return 0


def measurable() -> list[str]:
    """Return the systems that need nothing but the sounds."""
    return [name for name, kind in system_classes().items() if not kind.reads_files]


def measure(work: Path, systems: Sequence[str], machines: Sequence[str] = MACHINES) -> None:
    """Make the sounds, train and test; the results are in `work`/result/<system>/result.csv."""
    run_command("-m", "tools.demo_data", "--to", str(work), "--machine", *machines)
    places = [f"{kind}_directory={work}/{kind}/{{system}}" for kind in ("model", "result")]
    places += [f"{kind}_directory={work}/{kind}_data" for kind in ("dev", "eval")]
    common = ["-d", "--config", str(CONFIG), "--system", *systems, "--seed", "0"]
    common += ["--set", *places, f"cache_directory={work}/cache"]
    weights = ",".join(f"{name}:1" for name in MEMBERS)
    mix = ["--ensemble", f"{ENSEMBLE}={weights}"] if set(MEMBERS) <= set(systems) else []
    run_command("00_train.py", *common)
    run_command("01_test.py", *common, *mix)


def run_command(*command: str) -> None:
    """Run a script or module of this repository; it ends the measurement where it fails."""
    subprocess.run([sys.executable, *command], cwd=HOME, check=True)


def figures(path: Path) -> list[str]:
    """Return the means of a result.csv and its official score, three decimals each."""
    sections = read_result_csv(path)
    values = [[one.metrics[column] for column in YEAR_2022.score] for one in sections]
    return [f"{figure:.3f}" for figure in (*harmonic_mean(values), official_score(sections))]


def read_record() -> dict[str, list[str]]:
    """Return the rows of `demo.csv`: system → the cells after its name; {} without the file."""
    if not RECORD.is_file():
        return {}
    with RECORD.open(newline="", encoding="utf-8") as stream:
        return {name: row for name, *row in list(csv.reader(stream))[1:]}


def settings_digest(system: str, config: Config | None = None) -> str:
    """Return 12 hex digits that change with every setting that the figures of a system depend on.

    system : or the ensemble, whose figures depend on its members' settings
    config : None reads `tools/demo.yaml`
    """
    config = config or read_config(CONFIG)
    trees = []
    for name in MEMBERS if system == ENSEMBLE else (system,):
        for machine_type in MACHINES:
            run = config.for_system(name).for_machine(machine_type)
            tree = run.model_dump(mode="json", exclude={"back_end"})
            back_end = saved.back_end_of(run)
            tree |= {"back_end": back_end} if back_end else {}
            trees.append({key: tree[key] for key in tree if not key.endswith("_directory")})
    return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
