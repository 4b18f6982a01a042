"""result.csv in the official form, and the same as a table on the screen."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import BadInput
from core.files import save_csv
from evaluation.metrics import (
    DOMAIN_COLUMNS,
    PLAIN_COLUMNS,
    EvaluationError,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
)
from evaluation.text_tables import format_values, group_by_machine_type, text_table


def write_result_csv(
    path: str | Path, results: Sequence[SectionResult], more: Sequence[Sequence[str]] = ()
) -> None:
    """Write result.csv in the form of the official baseline of the year, an undefined value empty.

    The rows are in the order given; the rows `more` follow. Raises EvaluationError where there is
    no section, or some have domains and some have none; OSError where the file cannot be written.
    """
    save_csv(Path(path), [*_result_rows(results), *more])


def _result_rows(results: Sequence[SectionResult]) -> list[list[str]]:
    columns, rows = _columns(results), []
    with_domains = columns == DOMAIN_COLUMNS
    for machine_type, group in group_by_machine_type(results):
        rows += [[machine_type], ["section" if with_domains else "id", *columns]]
        rows += [[result.section, *_format_exactly(result.metrics.values())] for result in group]
        rows += [[name, *_format_exactly(values)] for name, values in _means(group).items()] + [[]]
    if with_domains:
        over_all = " over all machine types, sections, and domains"
        rows += [["", *columns]]
        rows += [
            [name + over_all, *_format_exactly(values)] for name, values in _means(results).items()
        ]
        rows += [[]]
    return rows


def format_table(results: Sequence[SectionResult]) -> str:
    """Return the results as text for the terminal: three decimals, an undefined value empty.

    One block per machine type with its means; with domains also the means over all, and the
    official score.
    Raises as `write_result_csv`.
    """
    columns = _columns(results)
    lines: list[list[str]] = []
    for machine_type, group in group_by_machine_type(results):
        lines += _heads(machine_type, columns)
        lines += [[result.section, *format_values(result.metrics.values())] for result in group]
        lines += [[name, *format_values(values)] for name, values in _means(group).items()]
        lines += [[""] * len(lines[0])]
    if columns != DOMAIN_COLUMNS:
        return text_table(lines).rstrip()
    lines += _heads("all machine types", columns)
    lines += [[name, *format_values(values)] for name, values in _means(results).items()]
    (score,) = format_values([official_score(results)])
    score = f"official score (harmonic mean of AUC and pAUC over all): {score}"
    return f"{text_table(lines)}\n\n{score}".rstrip()


def _heads(title: str, columns: Sequence[str]) -> list[list[str]]:
    """Return the two lines above a block, "AUC" and below it "(source)"; one without domains."""
    first = [column.partition(" (")[0] for column in columns]
    second = [
        column.removeprefix(head).strip() for column, head in zip(columns, first, strict=True)
    ]
    return [[title, *first], *([["", *second]] if any(second) else [])]


def _format_exactly(values: Iterable[float]) -> list[str]:
    return format_values(values, "{!r}")


def _columns(results: Sequence[SectionResult]) -> tuple[str, ...]:
    kinds = {tuple(result.metrics) for result in results}
    if not kinds:
        raise EvaluationError("no section to put into a table of results")
    if len(kinds) > 1 or not kinds <= {DOMAIN_COLUMNS, PLAIN_COLUMNS}:
        sets = "; ".join(sorted(", ".join(kind) for kind in kinds))
        raise EvaluationError(f"a table of results needs one set of columns, got: {sets}")
    return kinds.pop()


def _means(results: Sequence[SectionResult]) -> dict[str, np.ndarray]:
    values = [list(result.metrics.values()) for result in results]
    if tuple(results[0].metrics) == PLAIN_COLUMNS:
        return {"Average": arithmetic_mean(values)}
    return {"arithmetic mean": arithmetic_mean(values), "harmonic mean": harmonic_mean(values)}


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
    results, machine_type, columns = [], "", []
    try:
        for row in rows:
            if len(row) == 1:
                machine_type, columns = row[0], []
            elif row[:1] in (["section"], ["id"]):
                columns = row[1:]
            elif columns and re.fullmatch(r"\d+", row[0] if row else ""):
                values = [float(cell) if cell else np.nan for cell in row[1:]]
                metrics = dict(zip(columns, values, strict=True))
                results.append(SectionResult(machine_type, row[0], metrics))
    except ValueError:
        results = []
    known = (DOMAIN_COLUMNS, PLAIN_COLUMNS)
    if not results or any(tuple(result.metrics) not in known for result in results):
        raise BadInput(f"{path}: not a table of results; make it again with 01_test.py -d")
    return results
