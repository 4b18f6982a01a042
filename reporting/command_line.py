"""The command line of `02_report.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from core.command_line import add_settings


def parse(description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 and the usage on misuse."""
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
        metavar="DIR",
        help="holds ground_truth_data/ and ground_truth_domain/, for clips without labels",
    )
    add_settings(parser)
    return parser.parse_args(argv)
