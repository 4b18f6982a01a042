"""Reproduce a year's published results: python -m tools.reproduce 2022 --system ae

downloads the data of the year and its published truth, trains and tests systems with several seeds
by 00_train.py and 01_test.py, and writes one page: our figures, mean and standard deviation over
the seeds, beside the published ones. After an interruption the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from core.command_line import assignment, program_name, select_systems
from core.errors import BadInput, ProblemCollector
from core.files import lock_directories
from core.script import run_script
from core.settings import HOME, Config, read_config
from core.system_settings import system_classes
from evaluation.kept_rows import table_path
from evaluation.metrics import SectionResult
from evaluation.result_csv import read_result_csv
from tools import comparison, download, estimate, truth
from tools.zenodo import ZenodoClient

PARTS = {"dev": ("dev",), "eval": ("additional", "eval")}  # of the download
SCRIPTS = ("00_train.py", "01_test.py")
SECONDS_TO_STOP = 30.0  # for a script that was interrupted with this one

Results = Mapping[int, Sequence[SectionResult]]  # seed → its sections


class Plan(NamedTuple):
    """What a command asks for.

    systems, seeds, modes : each in its order; a mode is "dev" or "eval"
    data : the folder with dev_data, eval_data and the truth
    work : the folder with models, results and cache
    """

    args: argparse.Namespace
    config: Config
    systems: list[str]
    seeds: list[int]
    modes: list[str]
    data: Path
    work: Path


def main(argv: Sequence[str] | None = None, pause: float = 1.0) -> int:
    """Run the command line; return the exit status 0.

    pause : seconds, see ZenodoClient

    Raises BadInput naming everything that failed, after all the rest is done.
    """
    args = _arguments(argv)
    config = read_config(args.config, [assignment(text) for text in args.set])
    work = args.to / str(args.year)
    modes = [mode for mode in PARTS if getattr(args, mode)] or list(PARTS)
    seeds = list(dict.fromkeys(args.seed))
    plan = Plan(args, config, select_systems(args.system), seeds, modes, (args.data or work), work)
    if args.dry_run:
        for line in dry_run(plan, ZenodoClient(args.base_url or download.BASE_URL, pause)):
            print(line, flush=True)
        return 0
    with lock_directories(work):
        reproduce(plan, pause)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Train and test systems on a year's data, and compare with published results.",
        epilog="Without --dev and --eval both datasets are taken.",
        allow_abbrev=False,
    )
    known = list(system_classes())
    lists = {"nargs": "+", "default": []}
    add = parser.add_argument
    add("year", type=int, choices=download.RECORDS, help="year of the challenge")
    add("--dev", action="store_true", help="the development data")
    add("--eval", action="store_true", help="the evaluation data, with the published truth")
    add("--system", metavar="NAME", choices=[*known, "all"], help="default: ae", **lists)
    add("--machine", metavar="NAME", help="machine types (default: all of the year)", **lists)
    add("--seed", metavar="N", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    add("--jobs", metavar="N", type=int, help="as of 00_train.py")
    add("--config", type=Path, metavar="FILE", help="as of 00_train.py")
    add("--set", metavar="KEY=VALUE", type=_set, action="extend", help="as of 00_train.py", **lists)
    add(
        "--to",
        type=Path,
        default=Path("reproduce"),
        metavar="DIR",
        help="folder of the page, and of a folder <year> for data, models and results "
        "(default: reproduce)",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with the year's dev_data and eval_data, as tools.download fills it "
        "(default: <year> in the folder of --to)",
    )
    add("--dry-run", action="store_true", help="say sizes and expected time, and do nothing else")
    add("--base-url", metavar="URL", help="another server of the data and of the truth")
    args = parser.parse_args(argv)
    if min(args.seed) < 0:
        parser.error("argument --seed: expected 0 or more")
    return args


def _set(text: str) -> str:
    assignment(text)  # it says what is wrong
    return text


def reproduce(plan: Plan, pause: float) -> None:
    """Do all that a plan asks for and that is not done yet, and write the page.

    Raises BadInput naming everything that failed, at the end.
    """
    problems, modes, known = ProblemCollector(), list(plan.modes), None
    if "eval" in modes:
        with problems:
            known = fetch_truth(plan, pause)
        if known is None:
            modes.remove("eval")
    if modes:
        fetch_data(plan, modes, pause)
    results: dict[str, dict[str, Results]] = {system: {} for system in plan.systems}
    for mode in modes:
        for system in plan.systems:
            with problems:
                train_and_test(plan, system, mode, known)
                results[system][mode] = read_results(plan, mode, system)
    if any(by_seed for by_mode in results.values() for by_seed in by_mode.values()):
        write_page(plan, results, problems.messages)
    problems.stop()


def fetch_data(plan: Plan, modes: Sequence[str], pause: float) -> None:
    """Download what is missing of the data; raises BadInput as tools.download."""
    machines = ["--machine", *plan.args.machine] if plan.args.machine else []
    parts = [f"--{part}" for part in parts_of(plan, modes)]
    download.main([*_source(plan), *parts, *machines], pause)


def parts_of(plan: Plan, modes: Sequence[str]) -> list[str]:
    """Return the parts of the data that are needed: all where a system trains on both datasets."""
    names = {count.machine_type for count in comparison.read_clip_counts(plan.args.year)}
    both = any(
        plan.config.for_system(system).for_machine(name).trains_on_both_datasets()
        for system in plan.systems
        for name in plan.args.machine or names
    )
    return [part for mode in (PARTS if both else modes) for part in PARTS[mode]]


def fetch_truth(plan: Plan, pause: float) -> Path:
    """Return the folder with the published truth of the evaluation data, downloaded if missing.

    Raises BadInput where it cannot be downloaded.
    """
    folder = plan.data / truth.FOLDER
    if not folder.is_dir():
        try:
            download.main([*_source(plan), "--truth"], pause)
        except BadInput as error:
            raise BadInput(
                f"{error}\nso the evaluation data are left out; the same command tries again, or "
                f"put the truth into {folder}"
            ) from None
    return folder


def _source(plan: Plan) -> list[str]:
    server = ["--base-url", plan.args.base_url] if plan.args.base_url else []
    return [str(plan.args.year), "--to", str(plan.data), *server]


def train_and_test(plan: Plan, system: str, mode: str, known: Path | None) -> None:
    """Train and test a system on a dataset, with every seed; raises BadInput where that fails.

    known : the published truth, for the evaluation data
    """
    present = [name for name in plan.args.machine if (plan.data / f"{mode}_data" / name).is_dir()]
    if plan.args.machine and not present:
        print(f"{mode} data: has none of the machine types {', '.join(plan.args.machine)}")
        return
    for script in SCRIPTS:
        command = [sys.executable, HOME / script, f"--{mode}", "--system", system, "--seed"]
        command += [*plan.seeds, *(["--machine", *present] if present else [])]
        command += [*(["--jobs", plan.args.jobs] if plan.args.jobs else [])]
        command += [*(["--config", plan.args.config] if plan.args.config else [])]
        if script == SCRIPTS[1]:
            command += ["--year", plan.args.year]
            command += ["--ground-truth", known] if mode == "eval" else []
        command += ["--set", *plan.args.set, *_places(plan)]
        print(f"\n{system}, {mode} data: {script}", flush=True)
        if status := _run([str(word) for word in command]):
            raise BadInput(
                f"{system}, {mode} data: {script} failed (exit status {status}); see its message "
                f"above, or baseline.log in {_result_directory(plan, system, plan.seeds[0])}"
            )


def _places(plan: Plan) -> Iterator[str]:
    """Yield the directories of a run, as --set takes them."""
    places = {
        "dev_directory": plan.data / "dev_data",
        "eval_directory": plan.data / "eval_data",
        "model_directory": plan.work / "model" / "{system}_seed{seed}",
        "result_directory": _result_directory(plan, "{system}", "{seed}"),
        "cache_directory": plan.work / "cache",
    }
    yield from (f"{key}={json.dumps(str(path))}" for key, path in places.items())


def _result_directory(plan: Plan, system: str, seed: object) -> Path:
    return plan.work / "result" / f"{system}_seed{seed}"


def _run(command: Sequence[str]) -> int:
    """Run a script, and return its exit status; where this one is stopped, the script is too."""
    with subprocess.Popen(command) as process:
        try:
            status = process.wait()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # a terminal interrupts both
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_TO_STOP)
            process.terminate()
            process.wait()
            raise
    if status == 130:
        raise KeyboardInterrupt
    return status


def read_results(plan: Plan, mode: str, system: str) -> Results:
    """Return seed → the metrics of its sections, of the seeds that have a result.csv."""
    results = {}
    for seed in plan.seeds:
        name = plan.config.for_system(system, seed).result_file
        path = table_path(_result_directory(plan, system, seed) / name, mode)
        if path.is_file():
            results[seed] = read_result_csv(path)
    return results


def write_page(
    plan: Plan, results: Mapping[str, Mapping[str, Results]], failed: Sequence[str]
) -> None:
    """Write the page; results : system → mode → what `read_results` returned."""
    lines = {
        system: [
            line
            for mode, by_seed in by_mode.items()
            for line in comparison.compare(
                plan.config.for_system(system), plan.args.year, mode, by_seed, len(plan.seeds)
            )
        ]
        for system, by_mode in results.items()
        if by_mode
    }
    given = [f"`--config {plan.args.config}`"] if plan.args.config else []
    given += [f"`--set {' '.join(plan.args.set)}`"] if plan.args.set else []
    about = [
        f"Seeds: {', '.join(map(str, plan.seeds))}. Settings: {', '.join(given) or 'shipped'}."
    ]
    comparison.write(plan.args.to, plan.args.year, lines, about, failed)
    print(f"\npage -> {plan.args.to / str(plan.args.year)}.md, and its table .csv")


def dry_run(plan: Plan, client: ZenodoClient) -> Iterator[str]:
    """Yield lines on what is left to download, the disk space, and the expected time."""
    names, parts = plan.args.machine, parts_of(plan, plan.modes)
    yield estimate.left_to_download(client, plan.args.year, plan.data, parts, names)
    counts = comparison.read_clip_counts(plan.args.year)
    counts = [count for count in counts if not names or count.machine_type in names]
    runs = [plan.config.for_system(system) for system in plan.systems]
    counts = estimate.clips_on_disk(plan.data, counts)
    yield from estimate.lines(runs, counts, plan.modes, len(plan.seeds))
    existing = next(path for path in (plan.work, *plan.work.absolute().parents) if path.is_dir())
    free = estimate.size_text(shutil.disk_usage(existing).free)
    yield f"{free} are free on the disk of {plan.work}"


if __name__ == "__main__":
    sys.exit(run_script(main))
