"""Tables of results as text, and what they have in common with those in CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np
from tabulate import tabulate

from evaluation.metrics import SectionResult


def group_by_machine_type(
    results: Iterable[SectionResult],
) -> list[tuple[str, list[SectionResult]]]:
    """Return (machine type, its results), in the order of the results."""
    groups = groupby(results, key=attrgetter("machine_type"))
    return [(machine_type, list(group)) for machine_type, group in groups]


def format_values(values: Iterable[float], form: str = "{:.3f}") -> list[str]:
    """Return one cell per value; an undefined value is empty."""
    return ["" if np.isnan(value) else form.format(float(value)) for value in values]


def text_table(lines: Sequence[Sequence[str]], form: str = "plain") -> str:
    """Return lines of cells in columns, the first one to the left, the others to the right.

    lines : the first has the heads
    form : "plain" or "pipe" (Markdown), as tabulate names them
    """
    return tabulate(
        lines,
        # As mere lines, heads of "plain" are not padded beyond their columns.
        headers="firstrow" if form == "pipe" else (),
        tablefmt=form,
        colalign=("left", *["right"] * (len(lines[0]) - 1)),
        disable_numparse=True,
    )
