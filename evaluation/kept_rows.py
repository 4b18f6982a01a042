"""What earlier runs wrote of other machine types, and stays when a run writes a table again."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from core.errors import BadInput
from core.files import save_csv
from core.log import logger
from evaluation.clip_values import file_name
from evaluation.metrics import SectionKey, SectionResult
from evaluation.result_csv import read_result_csv
from evaluation.years import Definition

Row = Sequence[Any]


def table_path(path: Path, mode: str) -> Path:
    """Return the path of a table of results: that of the evaluation data ends in `_eval`.

    mode : "dev" or "eval"
    """
    return path if mode == "dev" else path.with_name(f"{path.stem}_eval{path.suffix}")


def scored_sections(directory: Path) -> set[SectionKey]:
    """Return the sections whose anomaly scores are in a directory."""
    names = (file_name(path, "anomaly_score") for path in directory.glob("anomaly_score_*.csv"))
    return {name.key for name in names if name}


def save_merged(path: Path, header: Row, rows: Sequence[Row], tested: Collection[str]) -> None:
    """Write a table of which each row begins with a machine type, in the order of these.

    The rows that the file has of other machine types stay, where their scores are still beside it.
    A file of another form is replaced, with a warning.

    Parameters
    ----------
    header : its second name is "section" where the second cell of a row is one
    rows : of the machine types that were tested, without the header
    tested : these machine types
    """
    merged = [*rows, *_other_rows(path, header, tested)]
    merged.sort(key=lambda row: row[0])
    save_csv(path, [header, *merged])


def _other_rows(path: Path, header: Row, tested: Collection[str]) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error):
        rows = []
    if rows[:1] != [list(header)] or any(len(row) != len(header) for row in rows):
        logger.warning("%s: not a table of this kind, replaced", path)
        return []
    scored = scored_sections(path.parent)
    machine_types = {key.machine_type for key in scored}
    return [
        row
        for row in rows[1:]
        if row[0] not in tested
        and row[0] in machine_types
        # Thresholds may be of all sections of a machine type.
        and (
            header[1] != "section"
            or SectionKey(row[0], row[1]) in scored
            or not row[1].startswith(("section_", "id_"))
        )
    ]


def other_results(
    path: Path, definition: Definition, tested: Collection[str]
) -> list[SectionResult]:
    """Return the sections that a result.csv has of other machine types, as `save_merged`.

    Those of another definition are left out, with a warning.
    """
    if not path.exists():
        return []
    try:
        results = read_result_csv(path)
    except BadInput as error:
        logger.warning("%s; replaced", str(error).partition(";")[0])
        return []
    scored = {
        (key.machine_type, key.section.partition("_")[2]) for key in scored_sections(path.parent)
    }
    others = [
        result
        for result in results
        if result.machine_type not in tested and (result.machine_type, result.section) in scored
    ]
    if others and others[0].definition != definition:
        names = ", ".join(dict.fromkeys(result.machine_type for result in others))
        logger.warning(
            "%s: its rows of %s are evaluated as %s and these as %s, so they are left out; test "
            "all machine types again",
            *(path, names, others[0].definition.title, definition.title),
        )
        return []
    return others
