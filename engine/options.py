"""The options of `01_test.py` only: the ground truth, and ensembles of the systems tested."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.command_line import Command, parse_command_line, select_systems
from core.errors import BadInput, nearest
from core.system_settings import system_classes
from evaluation.years import NAMES

NORMS = ("rank", "z", "minmax")


class Ensemble(NamedTuple):
    """An ensemble: its name, like that of a system, and system → weight; the weights sum to 1."""

    name: str
    weights: dict[str, float]


class TestOptions(NamedTuple):
    """The options that only `01_test.py` takes.

    ground_truth : the file or folder with the published truth of the evaluation data, or None
    ensembles : of the systems tested
    norm : how an ensemble normalises scores, one of NORMS
    year : to evaluate by, one of `evaluation.years.NAMES`, or None to go by the names
    """

    ground_truth: Path | None = None
    ensembles: Sequence[Ensemble] = ()
    norm: str = NORMS[0]
    year: str | None = None


def parse_test_command(
    description: str, argv: Sequence[str] | None = None
) -> tuple[Command, TestOptions]:
    """Parse the command line of `01_test.py`; exit with 2 and the usage on misuse.

    The members of an ensemble are systems to test too.
    """
    command, args = parse_command_line(description, argv, add_arguments)
    options = TestOptions(args.ground_truth, args.ensemble, args.norm, args.year)
    members = [system for ensemble in args.ensemble for system in ensemble.weights]
    systems = select_systems([*args.system, *members])
    return dataclasses.replace(command, systems=systems), options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only `01_test.py` takes."""
    parser.add_argument(
        "--ground-truth",
        type=Path,
        metavar="PATH",
        help="published truth of the evaluation data: ground_truth_data/, or a list",
    )
    parser.add_argument(
        "--year",
        choices=NAMES,
        help="evaluate as in this year (default: the year that the names of the clips tell)",
    )
    parser.add_argument(
        "--ensemble",
        nargs="+",
        action="extend",
        type=parse_ensemble,
        default=[],
        metavar="NAME=SYSTEM:WEIGHT,...",
        help="systems to score and combine, as in mix=ae:0.5,idnn:0.5",
    )
    parser.add_argument(
        "--norm",
        choices=NORMS,
        default=NORMS[0],
        help="how an ensemble normalises scores, always on training scores (default: rank)",
    )


def parse_ensemble(text: str) -> Ensemble:
    """Return what "mix=ae:0.5,idnn:0.5" asks for; raises ArgumentTypeError with what is wrong."""
    name, _, listed = text.partition("=")
    weights: dict[str, float] = {}
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or not listed:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=ae:0.5,idnn:0.5")
    if name.lower() in (*system_classes(), "all"):
        raise argparse.ArgumentTypeError(f"{name} is a system's name; give the ensemble another")
    for part in listed.split(","):
        system, _, weight = part.partition(":")
        if system not in system_classes():
            hint = nearest(system, list(system_classes()))
            raise argparse.ArgumentTypeError(f"{name}: there is no system '{system}'{hint}")
        if system in weights:
            raise argparse.ArgumentTypeError(f"{name}: {system} is in it twice")
        try:
            weights[system] = float(weight)
        except ValueError:
            weights[system] = 0.0
        if not 0 < weights[system] < np.inf:
            raise argparse.ArgumentTypeError(
                f"{name}: the weight of {system} is '{weight}'; expected a number above 0"
            )
    if len(weights) < 2:
        raise argparse.ArgumentTypeError(f"{name}: an ensemble needs two systems or more")
    total = sum(weights.values())
    return Ensemble(name, {system: weight / total for system, weight in weights.items()})


def check_names(ensembles: Sequence[Ensemble]) -> None:
    """Raise BadInput where two ensembles of a run have the same name."""
    names = [ensemble.name.lower() for ensemble in ensembles]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"--ensemble {name}: asked for twice; give each its own name")
