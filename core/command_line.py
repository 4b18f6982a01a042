"""The command line that the scripts share.

Imports nothing heavy, so that `--help` and every misspelling answer at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.settings import Assignment, Config, __version__, read_config
from core.system_settings import system_classes

AddArguments = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True)
class Command:
    """The parsed command line of `00_train.py` or `01_test.py`.

    mode : "dev" or "eval"
    systems, machines, seeds : what to work on; no machines: all; no seeds: the one of the settings
    config, assignments : the file of --config, or None; every --set
    jobs, cluster, gpus_per_job : where jobs run, see `engine.executors`
    force : train or score again what exists already
    skip_bad : go on without unusable clips
    print_config : print the settings, and do nothing else
    """

    mode: str
    systems: list[str]
    machines: list[str]
    seeds: list[int]
    config: Path | None
    assignments: list[Assignment]
    jobs: int | None = None
    cluster: str | None = None
    gpus_per_job: float | None = None
    force: bool = False
    skip_bad: bool = False
    print_config: bool = False

    def read_config(self) -> Config:
        """Return the settings; raises BadInput as `core.settings.read_config`."""
        return read_config(self.config, self.assignments)

    def configuration(self, config: Config) -> str:
        """Return what --print-config prints: YAML that --config takes."""
        return config.as_yaml(self.systems, self.seeds)


def parse_command_line(
    description: str, argv: Sequence[str] | None = None, add_arguments: AddArguments | None = None
) -> tuple[Command, argparse.Namespace]:
    """Parse the command line that the scripts share; exit with 2 and the usage on misuse.

    Parameters
    ----------
    description : of the script, for --help
    argv : without the script's name; None takes those of the process
    add_arguments : adds what only this script takes

    Returns
    -------
    The command; and all parsed values by name, for what `add_arguments` added.
    """
    parser = argparse.ArgumentParser(
        prog=program_name(), description=description, allow_abbrev=False
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    for letter, name, dataset in (("d", "dev", "development"), ("e", "eval", "evaluation")):
        mode.add_argument(
            f"-{letter}",
            f"--{name}",
            dest="mode",
            action="store_const",
            const=name,
            help=f"work on {name}_directory, the {dataset} dataset",
        )
    add_settings(parser)
    _add_scope(parser)
    _add_execution(parser)
    if add_arguments:
        add_arguments(parser)
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        parser.error("argument --jobs: expected 1 or more")
    if min(args.seed, default=0) < 0:
        parser.error("argument --seed: expected 0 or more")
    if args.gpus_per_job is not None:
        _check_gpus(parser, args)
    command = Command(
        mode=args.mode,
        systems=select_systems(args.system),
        machines=args.machine,
        seeds=list(dict.fromkeys(args.seed)),
        config=args.config,
        assignments=args.set,
        jobs=args.jobs,
        cluster=args.cluster,
        gpus_per_job=args.gpus_per_job,
        force=args.force,
        skip_bad=args.skip_bad,
        print_config=args.print_config,
    )
    return command, args


def program_name() -> str:
    """Return how the program was started: "00_train.py", or "python -m tools.localize"."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is None:
        return Path(sys.argv[0]).name
    return f"python -m {module.name.removesuffix('.__main__')}"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what every script takes: --version, --config and --set."""
    parser.add_argument("-v", "--version", action="version", version=__version__)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings; what a file leaves out is as in baseline.yaml",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=assignment,
        default=[],
        metavar="KEY=VALUE",
        help="settings for this run: --set fit.epochs=10",
    )


def select_systems(names: Sequence[str]) -> list[str]:
    """Return the systems of --system: each once; the first one for none.

    "all" stands for every one but those that need files beside the clips.
    """
    known = system_classes()
    every = [name for name, kind in known.items() if not kind.reads_files]
    asked = [name for name in names if name != "all"]
    return list(dict.fromkeys([*(every if "all" in names else ()), *asked])) or every[:1]


def assignment(text: str) -> Assignment:
    """Return (dotted key, value) of "key.path=value"; raises argparse.ArgumentTypeError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form key.path=value")
    try:
        return key, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        raise argparse.ArgumentTypeError(f"'{value}' of {key} cannot be read") from None


def cluster_address(text: str) -> str:
    """Return the address of --cluster, checked; raises argparse.ArgumentTypeError."""
    if text == "auto" or re.fullmatch(r"ray://[^/:]+:\d+|local:[1-9]\d*", text):
        return text
    raise argparse.ArgumentTypeError(
        f"'{text}' is not auto, ray://host:port or local:N with N of 1 or more"
    )


def _add_scope(parser: argparse.ArgumentParser) -> None:
    known = list(system_classes())
    lists: list[tuple[str, dict[str, Any]]] = [
        (
            "--system",
            {
                "metavar": "NAME",
                "choices": [*known, "all"],
                "help": f"what to run: {', '.join(known)}, or all (default: {known[0]})",
            },
        ),
        (
            "--machine",
            {
                "metavar": "NAME",
                "help": "machine types to work on (default: every folder of the dataset)",
            },
        ),
        (
            "--seed",
            {"metavar": "N", "type": int, "help": "seeds of this run (default: the config's)"},
        ),
    ]
    for name, options in lists:
        parser.add_argument(name, nargs="+", default=[], **options)
    parser.add_argument(
        "--force", action="store_true", help="train or score again what exists already"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without unusable clips and list them in bad_clips.csv",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings of the run, as YAML that --config takes, and do nothing else",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="trainings or tests at once, each with its share of the cores, and processes that "
        "extract features (default: one after another; one process per core)",
    )
    parser.add_argument(
        "--cluster",
        type=cluster_address,
        metavar="ADDRESS",
        help="run on Ray: auto, ray://host:port, or local:N for a cluster made on this machine",
    )
    parser.add_argument(
        "--gpus-per-job",
        type=float,
        metavar="X",
        help="GPUs, or a fraction of one, for each training or test on the cluster (default: none)",
    )


def _check_gpus(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    share = args.gpus_per_job
    if not args.cluster:
        parser.error("argument --gpus-per-job: goes with --cluster")
    if not (0 < share < 1 or (share >= 1 and share.is_integer())):
        parser.error("argument --gpus-per-job: expected a fraction of one, or a whole number")
