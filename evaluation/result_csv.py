"""result.csv in the official form of the year, and the same as a table on the screen."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import BadInput
from core.files import save_csv
from evaluation import years
from evaluation.metrics import (
    EvaluationError,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
    score_values,
)
from evaluation.text_tables import format_values, group_by_machine_type, text_table
from evaluation.years import Definition

_MEANS = {
    "Average": arithmetic_mean,
    "arithmetic mean": arithmetic_mean,
    "harmonic mean": harmonic_mean,
}
_OVER_ALL = " over all machine types, sections, and domains"


def write_result_csv(
    path: str | Path, results: Sequence[SectionResult], more: Sequence[Sequence[str]] = ()
) -> None:
    """Write result.csv in the form of the official baseline of the year, an undefined value empty.

    The rows are in the order given; the rows `more` follow. Raises EvaluationError where there is
    no section, or where not all are of one definition; OSError where the file cannot be written.
    """
    save_csv(Path(path), [*_result_rows(results), *more])


def _result_rows(results: Sequence[SectionResult]) -> list[list[str]]:
    definition, rows = definition_of(results), []
    for machine_type, group in group_by_machine_type(results):
        rows += [[machine_type], list(definition.header)]
        rows += [
            [*_first_cells(definition, result.section, domain), *_format_exactly(values)]
            for result, domain, values in _lines(definition, group)
        ]
        rows += _mean_rows(definition, group) + [[]]
    if definition.over_all:
        empty = [""] * len(definition.head)
        rows += [[*empty, *definition.header[len(empty) :]]]
        rows += _mean_rows(definition, results, _OVER_ALL) + [[]]
    if definition.total_score:
        values = score_values(results)
        rows += [
            [f"TOTAL score, {name}", *_format_exactly(_MEANS[name](values))]
            for name in ("harmonic mean", "arithmetic mean")
        ]
        rows += [[]]
    return rows


def _first_cells(definition: Definition, name: str, domain: str = "") -> list[str]:
    return [name, domain][: len(definition.head)]


def _lines(
    definition: Definition, results: Sequence[SectionResult]
) -> list[tuple[SectionResult, str, list[float]]]:
    """Return the rows of results: the section, the domain and the values; domain after domain."""
    return [
        (result, domain, [result.metrics[name] for name in columns])
        for domain, columns in definition.rows
        for result in results
    ]


def _mean_rows(
    definition: Definition, results: Sequence[SectionResult], ending: str = ""
) -> list[list[str]]:
    return [
        [*_first_cells(definition, name + ending), *_format_exactly(values)]
        for name, values in _means(definition, results).items()
    ]


def format_table(results: Sequence[SectionResult]) -> str:
    """Return the results as text for the terminal: three decimals, an undefined value empty.

    One block per machine type with its means; in years that have them also the means over all, and
    the official score. Below the blocks stands how the table differs from the usual one.
    Raises as `write_result_csv`.
    """
    definition = definition_of(results)
    columns = definition.header[len(definition.head) :]
    lines: list[list[str]] = []
    for machine_type, group in group_by_machine_type(results):
        lines += _heads(machine_type, columns)
        lines += [
            [f"{result.section} {domain}".rstrip(), *format_values(values)]
            for result, domain, values in _lines(definition, group)
        ]
        lines += _mean_lines(definition, group) + [[""] * len(lines[0])]
    if definition.over_all:
        lines += _heads("all machine types", columns)
        lines += _mean_lines(definition, results)
    parts = [text_table(lines).rstrip() if not definition.over_all else text_table(lines)]
    if definition.note:
        parts.append(definition.note)
    if definition.official:
        (score,) = format_values([official_score(results)])
        parts.append(f"official score (harmonic mean of AUC and pAUC over all): {score}")
    return "\n\n".join(parts).rstrip()


def _mean_lines(definition: Definition, results: Sequence[SectionResult]) -> list[list[str]]:
    means = _means(definition, results)
    return [[name, *format_values(values)] for name, values in means.items()]


def _heads(title: str, columns: Sequence[str]) -> list[list[str]]:
    """Return the two lines above a block, "AUC" and below it "(source)"; one without domains."""
    first = [column.partition(" (")[0] for column in columns]
    second = [
        column.removeprefix(head).strip() for column, head in zip(columns, first, strict=True)
    ]
    return [[title, *first], *([["", *second]] if any(second) else [])]


def _format_exactly(values: Iterable[float]) -> list[str]:
    return format_values(values, "{!r}")


def definition_of(results: Sequence[SectionResult]) -> Definition:
    """Return the definition of results; raises EvaluationError for none, or for several."""
    kinds = {result.definition for result in results}
    if not kinds:
        raise EvaluationError("no section to put into a table of results")
    if len(kinds) > 1:
        sets = "; ".join(sorted(", ".join(kind.column_names) for kind in kinds))
        raise EvaluationError(f"a table of results needs one set of columns, got: {sets}")
    return kinds.pop()


def _means(definition: Definition, results: Sequence[SectionResult]) -> dict[str, np.ndarray]:
    values = [row for _, _, row in _lines(definition, results)]
    return {name: _MEANS[name](values) for name in definition.means}


def read_result_csv(path: Path) -> list[SectionResult]:
    """Return the sections of a result.csv; an empty cell is NaN.

    Raises BadInput for a file that is missing or of another form.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: missing; make the development results with 01_test.py -d"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read as a CSV file ({error})") from None
    try:
        results = _parse_rows(rows)
    except ValueError:
        results = []
    if not results:
        raise BadInput(f"{path}: not a table of results; make it again with 01_test.py -d")
    return results


def _parse_rows(rows: Sequence[Sequence[str]]) -> list[SectionResult]:
    """Return the sections of the rows of a result.csv; raises ValueError for another form."""
    metrics: dict[tuple[str, str], dict[str, float]] = {}
    machine_type, definition, kinds = "", None, set()
    for row in rows:
        if len(row) == 1:
            machine_type, definition = row[0], None
        elif known := years.of_header(row):
            definition = known if machine_type else None
        elif row[:1] in (["section"], ["id"]):
            raise ValueError("a header of no year")
        elif definition and re.fullmatch(r"\d+", row[0] if row else ""):
            kinds.add(definition)
            at = len(definition.head)
            columns = dict(definition.rows).get("" if at == 1 else row[1], ())
            values = [float(cell) if cell else np.nan for cell in row[at:]]
            section = metrics.setdefault((machine_type, row[0]), {})
            section.update(zip(columns, values, strict=True))
        elif not row:
            machine_type = ""
    if len(kinds) != 1:
        raise ValueError("no section, or several years")
    (definition,) = kinds
    if any(set(values) != set(definition.column_names) for values in metrics.values()):
        raise ValueError("a row is missing")
    return [
        SectionResult(
            name,
            section,
            {column: values[column] for column in definition.column_names},
            given=definition,
        )
        for (name, section), values in metrics.items()
    ]
