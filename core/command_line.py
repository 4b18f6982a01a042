"""The command line that the scripts share.

Imports nothing heavy, so that `--help` and every misspelling answer at once.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from core.settings import __version__
from core.system_settings import system_classes


def command_line_chk(
    description: str,
    argv: Sequence[str] | None = None,
    add: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Parse the command line that `00_train.py` and `01_test.py` share; `add` gives it more.

    Returns
    -------
    Namespace with `mode` ("dev" or "eval"), `config` (Path), `system` (list of names),
    `machine` (list of names, empty: all), `set` (list of (key, value)), `seed` (list of int, empty:
    the config's), `jobs` (int or None), `cluster` (text or None), `gpus_per_job` (float or None),
    `force` (bool), `skip_bad` (bool).

    Exits with 2 and the usage on misuse.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "-d",
        "--dev",
        dest="mode",
        action="store_const",
        const="dev",
        help="work on dev_directory, the development dataset",
    )
    mode.add_argument(
        "-e",
        "--eval",
        dest="mode",
        action="store_const",
        const="eval",
        help="work on eval_directory, the evaluation dataset",
    )
    add_settings(parser)
    parser.add_argument(
        "--system",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=[*system_classes(), "all"],
        help=f"what to run: {', '.join(system_classes())}, or all (default: ae)",
    )
    parser.add_argument(
        "--machine",
        nargs="+",
        default=[],
        metavar="NAME",
        help="machine types to work on (default: every folder of the dataset)",
    )
    parser.add_argument(
        "--seed",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="seeds of this run (default: the config's)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=None,
        metavar="N",
        help="trainings or tests at once, each with its share of the cores, and processes that "
        "extract features (default: one after another; one process a core)",
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
    parser.add_argument(
        "--force", action="store_true", help="train or score again what exists already"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without unusable clips and list them in bad_clips.csv",
    )
    if add:
        add(parser)
    args = parser.parse_args(argv)
    if "all" in args.system:
        args.system = list(system_classes())
    members = [name for ensemble in getattr(args, "ensemble", ()) for name in ensemble.weights]
    args.system = list(dict.fromkeys([*args.system, *members])) or ["ae"]
    args.seed = list(dict.fromkeys(args.seed))
    if args.jobs is not None and args.jobs < 1:
        parser.error("argument --jobs: expected 1 or more")
    if min(args.seed, default=0) < 0:
        parser.error("argument --seed: expected 0 or more")
    if args.gpus_per_job is not None:
        check_gpus(parser, args)
    return args


def check_gpus(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with 2 where --gpus-per-job makes no sense."""
    share = args.gpus_per_job
    if not args.cluster:
        parser.error("argument --gpus-per-job: goes with --cluster")
    if not (0 < share < 1 or (share >= 1 and share.is_integer())):
        parser.error("argument --gpus-per-job: expected a fraction of one, or a whole number")


def cluster_address(text: str) -> str:
    """Check what --cluster is given; raises argparse.ArgumentTypeError."""
    if text == "auto" or re.fullmatch(r"ray://[^/:]+:\d+|local:[1-9]\d*", text):
        return text
    raise argparse.ArgumentTypeError(
        f"'{text}' is not auto, ray://host:port or local:N with N of 1 or more"
    )


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


def assignment(text: str) -> tuple[str, Any]:
    """(dotted key, value) of "key.path=value"; raises argparse.ArgumentTypeError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form key.path=value")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"'{value}' of {key} cannot be read") from None
