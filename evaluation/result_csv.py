"""result.csv in the official form, and the same as a table on the screen."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from core.errors import BadInput
from evaluation.metrics import (
    DOMAIN_COLUMNS,
    PLAIN_COLUMNS,
    EvaluationError,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
)


def write_result_csv(
    path: str | Path, results: Sequence[SectionResult], more: Sequence[Sequence[str]] = ()
) -> None:
    """Write result.csv in the form of the official baseline of the year, an undefined value empty.

    The rows keep the order given, `more` follow. The file is written beside and renamed,
    so a reader never sees half of it. Raises EvaluationError where there is no section, or some
    have domains and some have none; OSError where the file cannot be written.
    """
    rows = [*_result_rows(results), *more]
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _result_rows(results: Sequence[SectionResult]) -> list[list[str]]:
    columns, rows = _columns(results), []
    with_domains = columns == DOMAIN_COLUMNS
    for machine_type, group in _by_machine_type(results):
        rows += [[machine_type], ["section" if with_domains else "id", *columns]]
        rows += [[result.section, *_cells(result.metrics.values())] for result in group]
        rows += [[name, *_cells(values)] for name, values in _means(group).items()] + [[]]
    if with_domains:
        over_all = " over all machine types, sections, and domains"
        means = [[name + over_all, *_cells(values)] for name, values in _means(results).items()]
        rows += [["", *columns], *means, []]
    return rows


def format_table(results: Sequence[SectionResult]) -> str:
    """Lay the results out for the terminal: three decimals, an undefined value empty.

    A block a machine type with its means; with domains, the means over all and the official score.
    Raises as `write_result_csv`.
    """
    columns, lines = _columns(results), []
    for machine_type, group in _by_machine_type(results):
        rows = {result.section: result.metrics.values() for result in group} | _means(group)
        lines += _format_block(machine_type, columns, rows)
    if columns == DOMAIN_COLUMNS:
        lines += _format_block("all machine types", columns, _means(results))
        score = "".join(_cells([official_score(results)], "{:.3f}"))
        lines.append(f"official score (harmonic mean of AUC and pAUC over all): {score}")
    return "\n".join(lines).rstrip("\n")


def _format_block(title: str, columns: Sequence[str], rows: Mapping[str, Iterable]) -> list[str]:
    first, second = zip(*(column.partition(" (")[::2] for column in columns), strict=True)
    table = [(title, first), ("", [f"({word}" if word else "" for word in second])]
    table += [(f"  {name}", _cells(values, "{:.3f}")) for name, values in rows.items()]
    lines = [f"{name:<17}" + "".join(f"{cell:>10}" for cell in cells) for name, cells in table]
    return [line.rstrip() for line in lines if line.strip()] + [""]


def _columns(results: Sequence[SectionResult]) -> tuple[str, ...]:
    kinds = {tuple(result.metrics) for result in results}
    if not kinds:
        raise EvaluationError("no section to put into a table of results")
    if len(kinds) > 1 or not kinds <= {DOMAIN_COLUMNS, PLAIN_COLUMNS}:
        found = "; ".join(sorted(", ".join(kind) for kind in kinds))
        raise EvaluationError(f"a table of results needs one set of columns, found: {found}")
    return kinds.pop()


def _by_machine_type(results: Iterable[SectionResult]) -> list[tuple[str, list[SectionResult]]]:
    groups = groupby(results, key=attrgetter("machine_type"))
    return [(machine_type, list(group)) for machine_type, group in groups]


def _means(results: Sequence[SectionResult]) -> dict[str, np.ndarray]:
    values = [list(result.metrics.values()) for result in results]
    if tuple(results[0].metrics) == PLAIN_COLUMNS:
        return {"Average": arithmetic_mean(values)}
    return {"arithmetic mean": arithmetic_mean(values), "harmonic mean": harmonic_mean(values)}


def _cells(values: Iterable[float], form: str = "{!r}") -> list[str]:
    return ["" if np.isnan(value) else form.format(float(value)) for value in values]


def read_result_csv(path: Path) -> list[SectionResult]:
    """The sections of a result.csv; an empty cell is NaN.

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
    found, machine_type, columns = [], "", []
    try:
        for row in rows:
            if len(row) == 1:
                machine_type, columns = row[0], []
            elif row[:1] in (["section"], ["id"]):
                columns = row[1:]
            elif columns and re.fullmatch(r"\d+", row[0] if row else ""):
                values = [float(cell) if cell else np.nan for cell in row[1:]]
                metrics = dict(zip(columns, values, strict=True))
                found.append(SectionResult(machine_type, row[0], metrics))
    except ValueError:
        found = []
    known = (DOMAIN_COLUMNS, PLAIN_COLUMNS)
    if not found or any(tuple(result.metrics) not in known for result in found):
        raise BadInput(f"{path}: not a table of results; make it again with 01_test.py -d")
    return found
