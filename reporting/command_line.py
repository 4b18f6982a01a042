"""The command lines of `02_report.py` and `03_submit.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.command_line import add_settings
from core.settings import Assignment

MOST_SYSTEMS = 4  # of a submission


class ReportCommand(NamedTuple):
    """What `02_report.py` was asked.

    results : result directories, with everything below them; none: those of the settings
    to : the folder of the report
    baseline : the system that the others are tested against; None: the default
    ground_truth : the file or folder with the truth of the evaluation data, or None
    config, assignments : the file of --config, or None; every --set
    """

    results: list[Path]
    to: Path
    baseline: str | None
    ground_truth: Path | None
    config: Path | None
    assignments: list[Assignment]


class SubmissionCommand(NamedTuple):
    """What `03_submit.py` was asked.

    systems : systems or ensembles, in the order of their numbers
    to : the folder that gets the zip
    config, assignments : the file of --config, or None; every --set
    """

    systems: list[str]
    to: Path
    config: Path | None
    assignments: list[Assignment]


def parse_report(description: str, argv: Sequence[str] | None) -> ReportCommand:
    """Parse the command line of the report; exit with 2 and the usage on misuse."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "result",
        nargs="*",
        type=Path,
        metavar="RESULT_DIR",
        help="what to report, with everything below (default: result_directory of the settings)",
    )
    parser.add_argument(
        "--to", type=Path, default=Path("report"), metavar="DIR", help="where to (default: report)"
    )
    parser.add_argument(
        "--baseline",
        metavar="SYSTEM",
        help="what the others are tested against (default: ae)",
    )
    parser.add_argument(
        "--ground-truth",
        type=Path,
        metavar="PATH",
        help="published truth of clips without labels: ground_truth_data/, or a list",
    )
    add_settings(parser)
    args = parser.parse_args(argv)
    return ReportCommand(
        args.result, args.to, args.baseline, args.ground_truth, args.config, args.set
    )


def parse_submission(description: str, argv: Sequence[str] | None) -> SubmissionCommand:
    """Parse the command line of the submission; exit with 2 and the usage on misuse."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    add_settings(parser)
    parser.add_argument(
        "--system",
        nargs="+",
        default=["ae"],
        metavar="NAME",
        help="one to four systems or ensembles, in the order of their numbers (default: ae)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder that gets the zip (default: here)",
    )
    args = parser.parse_args(argv)
    if len(args.system) > MOST_SYSTEMS:
        parser.error(f"argument --system: at most {MOST_SYSTEMS} may be submitted")
    if len(set(args.system)) < len(args.system):
        parser.error("argument --system: one of them is named twice")
    return SubmissionCommand(args.system, args.to, args.config, args.set)
