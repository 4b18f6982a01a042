"""The official CSV files of clips: names, and one value per clip, read and compared."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.clip_names import clip_key, parse_name
from evaluation.metrics import EvaluationError, SectionKey, raise_if_any

# The common baseline since 2023 puts the year before the machine type, and its seed at the end.
_FILE = re.compile(
    r"(DCASE(?P<year>20\d\d)T2)?(?P<machine_type>.+)"
    r"_(?P<ending>(?P<section>(section|id)_\d+)(_(source|target))?(_test)?)(_seed\d.*)?\.csv"
)
MISNAMED = "the name has no <machine type>_section_<NN>_test"


class FileName(NamedTuple):
    """The parts of the name of a CSV file of clips.

    ending : what follows the machine type, such as "section_00_test", "section_03_source_test"
    year : of the challenge, where the name has it
    """

    key: SectionKey
    ending: str
    year: int | None


class Section(NamedTuple):
    """The values of the clips of a section, by `clip_key`, and the names of their files."""

    clips: dict
    files: list[FileName]


def file_name(path: Path, prefix: str) -> FileName | None:
    """Return the parts of a file's name; None for a name of another form.

    prefix : "anomaly_score", "decision_result" or "ground_truth"
    """
    words = _FILE.fullmatch(path.name.removeprefix(f"{prefix}_"))
    if words is None:
        return None
    year = int(words["year"]) if words["year"] else None
    return FileName(SectionKey(words["machine_type"], words["section"]), words["ending"], year)


def read_scores(path: str | Path) -> dict[str, float]:
    """Return the scores in a headerless CSV of `file,anomaly score`.

    They are clip name → anomaly score (finite, higher is more abnormal), in the order of the file.
    Raises EvaluationError with file and line of every problem: not two columns, not a finite
    number, a clip twice; and if the file cannot be read or has no clip.
    """
    return _read_values(path, _parse_score)


def read_decisions(path: str | Path) -> dict[str, int]:
    """Return the decisions, true labels or true domains in a headerless CSV of `file,0|1`.

    They are clip name → 0 or 1, in the order of the file. Raises as `read_scores`.
    """
    return _read_values(path, _parse_decision)


def _parse_score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        raise EvaluationError(f"{text!r} is not a number") from None
    if not np.isfinite(score):
        raise EvaluationError(f"{text!r} is not a finite number")
    return score


def _parse_decision(text: str) -> int:
    # The published evaluators read 1.0 too.
    if text.strip() not in ("0", "1", "0.0", "1.0"):
        raise EvaluationError(f"{text!r} is neither 0 nor 1")
    return int(float(text))


def _read_values(path: str | Path, parse: Callable[[str], float]) -> dict:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error
    values, seen = {}, set()
    problems = [] if rows else [f"{path}: has no clip"]
    for where, row in rows:
        if len(row) != 2 or not row[0]:
            problems.append(f"{where}: expected two columns (file,value), got {','.join(row)!r}")
            continue
        name, text = row
        if clip_key(name) in seen:
            problems.append(f"{where}: {name} a second time")
        seen.add(clip_key(name))
        try:
            values[name] = parse(text)
        except EvaluationError as error:
            problems.append(f"{where}: {error}")
    raise_if_any(problems)
    return values


def read_folder(
    folder: Path,
    prefix: str,
    read: Callable[[Path], dict],
    problems: list[str],
    only: Container[SectionKey] | None = None,
    misnamed: list[str] | None = None,
    pattern: str = "",
) -> dict[SectionKey, Section]:
    """Return the values of all files of one kind; the domain files of a section of 2021 become one.

    Parameters
    ----------
    prefix : of the files, see `file_name`
    read : of one file, `read_scores` or `read_decisions`
    problems : gets one line per problem
    only : sections to read; None reads all
    misnamed : gets one line per misnamed file; None puts these among the problems
    pattern : of the names of the files; "" takes all that begin with the prefix

    Raises EvaluationError where there is no such folder.
    """
    misnamed = problems if misnamed is None else misnamed
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such directory")
    sections: dict[SectionKey, Section] = {}
    for path in sorted(folder.glob(pattern or f"{prefix}_*.csv")):
        name = file_name(path, prefix)
        if name is None:
            misnamed.append(f"{path}: {MISNAMED}")
            continue
        if only is not None and name.key not in only:
            continue
        section = sections.setdefault(name.key, Section({}, []))
        section.files.append(name)
        try:
            values = read(path)
        except EvaluationError as error:
            problems.append(str(error))
            continue
        for clip, value in values.items():
            if parse_name(clip).section not in (None, name.key.section):
                problems.append(f"{path}: {clip} is a clip of another section")
            if clip_key(clip) in section.clips:
                problems.append(f"{path}: {clip} is in another {prefix} file too")
            section.clips[clip_key(clip)] = value
    return sections


def compare_clips(
    key: SectionKey, name: str, clips: Iterable[str], other: str, others: Iterable[str]
) -> list[str]:
    """Return which clips of a section only one of two sources has, one line per source.

    name, other : of the two sources, for the lines: "the labels", "the domains"
    """
    own, its = set(clips), set(others)
    if own and its and not own & its:
        return [
            f"{key}: {name} and {other} have no clip in common, such as {min(own)} and {min(its)}; "
            "are they of one year?"
        ]
    sides = ((name, own - its, other), (other, its - own, name))
    return [
        f"{key}: {len(missing)} of {complete} missing from {incomplete}: "
        f"{', '.join(sorted(missing))}"
        for complete, missing, incomplete in sides
        if missing
    ]
