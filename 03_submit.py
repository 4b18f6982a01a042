"""Make the package of a challenge submission: python 03_submit.py --system ae mix"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core import settings
from core.command_line import add_settings
from core.errors import ProblemCollector
from core.script import run_script
from reporting import submission


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then write the zip."""
    args = arguments(argv)
    param = settings.read_config(args.config, args.set)
    problems, label, systems = ProblemCollector(), "", {}
    with problems:
        label = submission.stem(param)
    for number, name in enumerate(args.system, start=1):
        with problems:
            of = f"{label}_{number}"
            systems[of] = submission.system_files(param, name, of)
    problems.stop()
    path = args.to / f"{label}.zip"
    submission.write(path, systems)
    for of, name in zip(systems, args.system, strict=True):
        print(f"{of}: {name}, {len(systems[of]) - 1} CSV files and {of}.meta.yaml")
    print(f"package -> {path}; the technical report is not in it")
    return 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 and the usage on misuse."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
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
    if len(args.system) > submission.MOST_SYSTEMS:
        parser.error(f"argument --system: at most {submission.MOST_SYSTEMS} may be submitted")
    if len(set(args.system)) < len(args.system):
        parser.error("argument --system: one of them is named twice")
    return args


if __name__ == "__main__":
    sys.exit(run_script(main))
