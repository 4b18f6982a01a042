"""The comparison of systems as Markdown, CSV and LaTeX, and its intervals and tests in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.files import save_csv
from evaluation.metrics import (
    DOMAINS,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
)
from evaluation.text_tables import text_table
from reporting.folder import save_text
from reporting.runs import MEAN_OF_BOTH, SCORE, ReportData
from reporting.significance import (
    ScoreInterval,
    describe_comparison,
    interval_cells,
    interval_csv,
    interval_notes,
    score_intervals,
)

ALL = "all machine types"

BOTH_DOMAINS = ("precision", "recall", "F1 score")
GAP = "–"

_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


@dataclass(frozen=True)
class Row:
    """A system in the comparison of one machine type, or of ALL.

    values : column → (mean over seeds, standard deviation over them); NaN where there is none
    seeds : how many runs the means are over
    complete : whether these runs have every section that any run has
    """

    group: str
    system: str
    values: dict[str, tuple[float, float]]
    seeds: int
    complete: bool


class Cell(NamedTuple):
    """A mean in a table; Markdown, LaTeX, the screen and the page each write it in their own way.

    value : the mean as it is, NaN for a gap
    mean : with three decimals
    deviation : the standard deviation over seeds with three decimals, "" of a single run
    best : whether it is the best of its column among the complete rows
    complete : whether its row is, see `Row`
    """

    value: float
    mean: str
    deviation: str
    best: bool
    complete: bool

    @property
    def gap(self) -> bool:
        """Return whether there is no result."""
        return not np.isfinite(self.value)

    def text(self, best: str = "{}") -> str:
        """Return the cell in plain letters; best: how the best of a column is written."""
        if self.gap:
            return GAP
        text = best.format(self.mean) if self.best else self.mean
        if self.deviation:
            text += f" ± {self.deviation}"
        return text if self.complete else f"{text} †"


class Table(NamedTuple):
    """The comparison in one group, that is a machine type or ALL: rows with a cell per column."""

    group: str
    rows: list[tuple[Row, list[Cell]]]

    @property
    def label(self) -> str:
        """Return the group in letters and digits, for \\label."""
        return re.sub("[^A-Za-z0-9]+", "-", self.group)

    @property
    def complete(self) -> bool:
        """Return whether all rows are."""
        return all(row.complete for row, _ in self.rows)

    @property
    def several_seeds(self) -> bool:
        """Return whether any row is a mean over several seeds."""
        return any(row.seeds > 1 for row, _ in self.rows)


@dataclass(frozen=True)
class Report:
    """The numbers of a report.

    rows : for all machine types first, then for each; none without labels
    intervals : of every system that has a score
    """

    data: ReportData
    rows: list[Row]
    intervals: list[ScoreInterval]

    @property
    def columns(self) -> list[str]:
        """Return the columns of the comparison."""
        definition = self.data.definition
        if definition.official:
            return [*definition.score, SCORE, *BOTH_DOMAINS]
        return [*definition.score, MEAN_OF_BOTH]

    @property
    def tables(self) -> list[Table]:
        """Return one table per group."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return [
            Table(group, list(zip(rows, cells(rows, self.columns), strict=True)))
            for group, rows in groups.items()
        ]

    @property
    def comparisons(self) -> list[str]:
        """Return the tests against the baseline, one sentence each."""
        sentences = [describe_comparison(one, self.data.baseline) for one in self.intervals]
        return [sentence for sentence in sentences if sentence]


def compare(data: ReportData) -> Report:
    """Compute the comparison, the intervals and the tests.

    Where some of a system's runs miss sections of a group, its row is over the others; where all
    do, it is over what there is and not `complete`.
    """
    results = {
        run.directory: [section.evaluate(data.max_fpr) for section in run.labelled.values()]
        for run in data.runs
    }
    labelled = [key.machine_type for key in data.labelled]
    rows = []
    for group in [ALL, *dict.fromkeys(labelled)] if labelled else []:
        n_sections = sum(group in (ALL, machine_type) for machine_type in labelled)
        for system, runs in data.systems.items():
            of_runs = [
                [result for result in results[run.directory] if group in (ALL, result.machine_type)]
                for run in runs
            ]
            rows.append(_row(group, system, [one for one in of_runs if one], n_sections))
    return Report(data, rows, score_intervals(data))


def _row(group: str, system: str, runs: Sequence[Sequence[SectionResult]], n_sections: int) -> Row:
    complete = [run for run in runs if len(run) == n_sections]
    means = [_means(run) for run in complete or runs]
    values = {}
    for name in means[0] if means else ():
        column = [run[name] for run in means]
        deviation = float(np.std(column, ddof=1)) if len(column) > 1 else np.nan
        values[name] = (float(np.mean(column)), deviation)
    return Row(group, system, values, len(means), bool(complete))


def _means(results: Sequence[SectionResult]) -> dict[str, float]:
    """Return the means of result.csv, the official score, and the means of both domains' clips."""
    definition = results[0].definition
    values = [list(result.metrics.values()) for result in results]
    names = tuple(results[0].metrics)
    if not definition.official:
        means = dict(zip(names, arithmetic_mean(values).tolist(), strict=True))
        return {**means, MEAN_OF_BOTH: float(np.mean(list(means.values())))}
    means = dict(zip(names, harmonic_mean(values).tolist(), strict=True))
    pooled = dict(definition.pooled)
    for name in BOTH_DOMAINS:
        columns = dict.fromkeys(pooled.get(name, name).format(domain) for domain in DOMAINS)
        both = [[result.metrics[column]] for result in results for column in columns]
        means[name] = float(harmonic_mean(both)[0])
    return {**means, SCORE: official_score(results)}


def cells(rows: Sequence[Row], columns: Sequence[str]) -> list[list[Cell]]:
    """Return the cells of one group's rows: a list per row, with one cell per column.

    The best of a column is compared as it is shown; where all are equal, none is the best.
    """
    best = {}
    for name in columns:
        shown = [
            f"{row.values[name][0]:.3f}"
            for row in rows
            if row.complete and np.isfinite(row.values.get(name, (np.nan,))[0])
        ]
        best[name] = max(shown, key=float) if len(set(shown)) > 1 else None
    return [
        [_cell(row, row.values.get(name, (np.nan, np.nan)), best[name]) for name in columns]
        for row in rows
    ]


def _cell(row: Row, value: tuple[float, float], best: str | None) -> Cell:
    mean, deviation = value
    return Cell(
        mean,
        f"{mean:.3f}",
        f"{deviation:.3f}" if np.isfinite(deviation) else "",
        row.complete and f"{mean:.3f}" == best,
        row.complete,
    )


def notes(report: Report) -> list[str]:
    """Return how to read the tables, one or two sentences per line."""
    domains = report.data.definition.official
    lines = [
        f"Means over machine types and sections are {'harmonic' if domains else 'arithmetic'}, as "
        f"in result.csv{', so one section at 0 makes a mean 0' if domains else ''}; pAUC is taken "
        f"up to a false alarm rate of {report.data.max_fpr:g}."
    ]
    if domains:
        lines.append("Precision, recall and F1 score are over the sections of both domains.")
    if any(len(runs) > 1 for runs in report.data.systems.values()):
        lines.append("± is the standard deviation over seeds.")
    if not all(row.complete for row in report.rows):
        lines.append(
            "† The mean is over fewer sections than others have, and competes with none of theirs; "
            f"{GAP}: no result."
        )
    return lines


def save(folder: Path, report: Report) -> None:
    """Write comparison.md, comparison.csv, comparison.tex and intervals.csv."""
    save_csv(folder / "comparison.csv", _comparison_csv(report))
    save_csv(folder / "intervals.csv", interval_csv(report.data, report.intervals))
    save_text(folder / "comparison.md", markdown(report))
    save_text(folder / "comparison.tex", latex(report))


def _comparison_csv(report: Report) -> list[list[Any]]:
    columns = [*report.columns, *(name for row in report.rows for name in row.values)]
    columns = list(dict.fromkeys(columns))
    heads = [head for name in columns for head in (name, f"{name} std")]
    lines: list[list[Any]] = [["machine_type", "system", "seeds", "complete", *heads]]
    for row in report.rows:
        pairs = [row.values.get(name, (np.nan, np.nan)) for name in columns]
        numbers = ["" if np.isnan(value) else repr(value) for pair in pairs for value in pair]
        lines.append([row.group, row.system, row.seeds, int(row.complete), *numbers])
    return lines


def markdown(report: Report) -> str:
    """Return the comparison, the intervals, the tests and the gaps as GitHub's Markdown."""
    lines = ["# Comparison", ""]
    for table in report.tables:
        lines += [f"## {_escape_markdown(table.group)}", ""]
        rows = [
            [_escape_markdown(row.system), str(row.seeds), *(one.text("**{}**") for one in of_row)]
            for row, of_row in table.rows
        ]
        lines += [text_table([["system", "seeds", *report.columns], *rows], "pipe"), ""]
    lines += [*notes(report), ""]
    if report.intervals:
        heads, rows = interval_cells(report.data, report.intervals, _escape_markdown)
        lines += [f"## 95 % intervals of the {report.data.score_name}", ""]
        lines += [text_table([heads, *rows], "pipe"), ""]
        lines += map(_escape_markdown, report.comparisons)
        lines += ["", *interval_notes(report.data.seed), ""]
    for title, items in (("Missing", report.data.gaps), ("Left out", report.data.problems)):
        if items:
            lines += [f"## {title}", "", *(f"- {_escape_markdown(item)}" for item in items), ""]
    return "\n".join(lines)


def _escape_markdown(text: str) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def on_screen(report: Report) -> str:
    """Return the comparison over all machine types, the intervals and the tests as plain text."""
    table = next(iter(report.tables), None)
    if table is None:
        return "no clip has a label, so there is nothing to compare"
    rows = [[row.system, *(one.text() for one in of_row)] for row, of_row in table.rows]
    lines = [text_table([[ALL, *report.columns], *rows]), ""]
    if report.intervals:
        heads, rows = interval_cells(report.data, report.intervals)
        lines += [text_table([heads, *rows]), ""]
    return "\n".join([*lines, *report.comparisons]).rstrip() + "\n"


def latex(report: Report) -> str:
    """Return one table per group, to paste into a paper that loads booktabs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=lambda value: escape_latex(str(value)),  # every value, so none is forgotten
    )
    template = environment.get_template("comparison.tex.jinja")
    return template.render(tables=report.tables, columns=report.columns)


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in text if letter.isprintable())
