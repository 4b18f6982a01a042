"""Scores, decisions and ground truth in CSV files: read, compared and evaluated."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

import numpy as np

from data.clip_names import ClipName, clip_key, parse_name
from evaluation.metrics import (
    DOMAINS,
    MAX_FPR,
    EvaluationError,
    ScoredSection,
    SectionKey,
    SectionResult,
    raise_if_any,
    undefined_warnings,
)

_RESULT_FILE = re.compile(
    r"(?P<machine_type>.+)_(?P<section>(section|id)_\d+)(_(?P<domain>source|target))?(_test)?\.csv"
)
_MISNAMED = "the name has no <machine type>_section_<NN>_test"


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
    if text.strip() not in ("0", "1"):
        raise EvaluationError(f"{text!r} is neither 0 nor 1")
    return int(text)


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


def _read_folder(
    folder: Path,
    prefix: str,
    read: Callable,
    problems: list[str],
    only: Container | None = None,
    misnamed: list[str] | None = None,
) -> dict[SectionKey, dict]:
    """Return section → clip key → value; the two domain files of a section of 2021 become one."""
    misnamed = problems if misnamed is None else misnamed
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such directory")
    sections: dict[SectionKey, dict] = {}
    for path in sorted(folder.glob(f"{prefix}_*.csv")):
        key = _section_key(path, prefix)
        if key is None:
            misnamed.append(f"{path}: {_MISNAMED}")
            continue
        if only is not None and key not in only:
            continue
        clips = sections.setdefault(key, {})
        try:
            values = read(path)
        except EvaluationError as error:
            problems.append(str(error))
            continue
        for name, value in values.items():
            if parse_name(name).section not in (None, key.section):
                problems.append(f"{path}: {name} is a clip of another section")
            if clip_key(name) in clips:
                problems.append(f"{path}: {name} is in another {prefix} file too")
            clips[clip_key(name)] = value
    return sections


def read_ground_truth(directory: str | Path) -> dict[SectionKey, dict[str, ClipName]]:
    """Return the ground truth of evaluation clips, in the folders of the official evaluators.

    directory has ground_truth_data/ground_truth_<machine type>_section_<NN>_test.csv (`file,0|1`)
    and the same names under ground_truth_domain/ (0 source, 1 target), which ids of 2020, without
    domains, and clips whose names have the domain can do without. Returns section → `clip_key` →
    ClipName. Raises EvaluationError with every problem.
    """
    label_folder = Path(directory) / "ground_truth_data"
    domain_folder = Path(directory) / "ground_truth_domain"
    problems: list[str] = []
    labels = _read_folder(label_folder, "ground_truth", read_decisions, problems)
    domains = {}
    if domain_folder.is_dir():
        domains = _read_folder(domain_folder, "ground_truth", read_decisions, problems, labels)
    raise_if_any(problems or ([] if labels else [f"{label_folder}: no ground_truth_*.csv in it"]))
    truth = {}
    for key, clips in labels.items():
        named = {name: parse_name(name).domain for name in clips}
        if key in domains:
            problems += compare_clips(key, "the labels", clips, "the domains", domains[key])
            named = {name: DOMAINS[number] for name, number in domains[key].items()}
        elif None in named.values() and not key.section.startswith("id_"):
            problems.append(f"{key}: no file in {domain_folder}")
        truth[key] = {name: ClipName(key.section, named.get(name), clips[name]) for name in clips}
    raise_if_any(problems)
    return truth


def compare_clips(
    key: SectionKey, name: str, clips: Iterable[str], other: str, others: Iterable[str]
) -> list[str]:
    """Return which clips of a section only one of two sources has, one line per source.

    name, other : of the two sources, for the lines: "the labels", "the domains"
    """
    sides = ((name, set(clips) - set(others), other), (other, set(others) - set(clips), name))
    return [
        f"{key}: {len(missing)} of {complete} missing from {incomplete}: "
        f"{', '.join(sorted(missing))}"
        for complete, missing, incomplete in sides
        if missing
    ]


def list_sections(directory: str | Path) -> tuple[list[SectionKey], list[str]]:
    """Return the sections with anomaly_score_*.csv in a directory, and what is wrong there.

    That is one line per file that is misnamed or has decisions without scores.
    """
    problems: list[str] = []
    kinds = {"anomaly_score": set(), "decision_result": set()}
    for prefix, keys in kinds.items():
        for path in sorted(Path(directory).glob(f"{prefix}_*.csv")):
            key = _section_key(path, prefix)
            if key is None:
                problems.append(f"{path}: {_MISNAMED}")
            else:
                keys.add(key)
    scored, decided = kinds.values()
    problems += [f"{key}: decisions without anomaly scores" for key in sorted(decided - scored)]
    return sorted(scored), problems


def _section_key(path: Path, prefix: str) -> SectionKey | None:
    words = _RESULT_FILE.fullmatch(path.name.removeprefix(f"{prefix}_"))
    return SectionKey(words["machine_type"], words["section"]) if words else None


def read_section(
    directory: str | Path, key: SectionKey, truth: Mapping[SectionKey, Mapping] | None = None
) -> ScoredSection:
    """Return the scores, decisions and labels of one section, as `evaluate_directory` takes them.

    truth: what `read_ground_truth` returned; for a section that is not in it, clip names count.
    Raises EvaluationError with one line per problem.
    """
    problems: list[str] = []
    folder, others = Path(directory), []
    scores = _read_folder(folder, "anomaly_score", read_scores, problems, {key}, others)
    decisions = _read_folder(folder, "decision_result", read_decisions, problems, {key}, others)
    raise_if_any(problems)
    known = (truth or {}).get(key) or {name: parse_name(name) for name in scores[key]}
    return _scored_section(key, scores[key], decisions.get(key), known)


def evaluate_directory(
    directory: str | Path, ground_truth: str | Path | None = None, max_fpr: float = MAX_FPR
) -> tuple[list[SectionResult], list[str]]:
    """Return the results of the anomaly_score_*.csv and decision_result_*.csv of a directory.

    The labels come from the clip names or, if given, from the ground truth (`read_ground_truth`),
    and then only the sections it covers are evaluated. The results are in the ASCII order of
    machine types and sections. Also returns warnings: sections left out, decisions missing, metrics
    undefined. Raises EvaluationError with one line per problem.
    """
    truth = None if ground_truth is None else read_ground_truth(ground_truth)
    problems: list[str] = []
    scores = _read_folder(Path(directory), "anomaly_score", read_scores, problems, truth)
    decisions = _read_folder(Path(directory), "decision_result", read_decisions, problems, truth)
    raise_if_any(problems)
    decided_only, true_only = (sorted((keys or {}).keys() - scores) for keys in (decisions, truth))
    problems += [f"{key}: decisions without anomaly scores" for key in decided_only]
    warnings = [f"{key}: no anomaly scores, left out" for key in true_only]
    results = []
    for key, clips in sorted(scores.items()):
        known = truth[key] if truth is not None else {name: parse_name(name) for name in clips}
        if all(clip.label is None for clip in known.values()):
            warnings.append(f"{key}: no labels in the clip names and no ground truth, left out")
            continue
        try:
            section = _scored_section(key, clips, decisions.get(key), known)
            results.append(section.evaluate(max_fpr))
        except EvaluationError as error:
            problems.append(str(error))
    raise_if_any(problems)
    if not results:
        reason = "\n".join(warnings or ["no anomaly_score_*.csv of a section in it"])
        raise EvaluationError(f"{directory}: nothing to evaluate\n{reason}")
    return results, warnings + undefined_warnings(results)


def _scored_section(
    key: SectionKey, scores: Mapping, decisions: Mapping | None, known: Mapping
) -> ScoredSection:
    problems = compare_clips(key, "the anomaly scores", scores, "the ground truth", known)
    if decisions is not None:
        problems += compare_clips(key, "the anomaly scores", scores, "the decisions", decisions)
    unlabelled = [name for name, clip in known.items() if clip.label is None]
    if unlabelled and len(unlabelled) < len(known):
        problems.append(f"{key}: no label in the names of {', '.join(unlabelled)}")
    if len({clip.domain is None for clip in known.values()}) > 1:
        problems.append(f"{key}: some clips have a domain and some have none")
    raise_if_any(problems)
    names = sorted(scores)
    domains = [known[name].domain for name in names]
    return ScoredSection(
        key,
        np.array(names),
        np.array([scores[name] for name in names], dtype=float),
        None if unlabelled else np.array([known[name].label for name in names]),
        None if None in domains else np.array(domains),
        None if decisions is None else np.array([decisions[name] for name in names]),
    )
