"""The results in a directory of official CSV files, evaluated by the definition of their year."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data.clip_names import ClipName, parse_name
from evaluation import years
from evaluation.clip_values import (
    MISNAMED,
    FileName,
    Section,
    compare_clips,
    file_name,
    read_decisions,
    read_folder,
    read_scores,
)
from evaluation.metrics import (
    MAX_FPR,
    EvaluationError,
    ScoredSection,
    SectionKey,
    SectionResult,
    raise_if_any,
    undefined_warnings,
)
from evaluation.truth import Truth, read_ground_truth
from evaluation.years import Definition

Known = Mapping[str, ClipName]


def list_sections(directory: str | Path) -> tuple[list[SectionKey], list[str]]:
    """Return the sections with anomaly_score_*.csv in a directory, and what is wrong there.

    That is one line per file that is misnamed or has decisions without scores.
    """
    problems: list[str] = []
    kinds = {"anomaly_score": set(), "decision_result": set()}
    for prefix, keys in kinds.items():
        for path in sorted(Path(directory).glob(f"{prefix}_*.csv")):
            name = file_name(path, prefix)
            if name is None:
                problems.append(f"{path}: {MISNAMED}")
            else:
                keys.add(name.key)
    scored, decided = kinds.values()
    problems += [f"{key}: decisions without anomaly scores" for key in sorted(decided - scored)]
    return sorted(scored), problems


def read_section(
    directory: str | Path,
    key: SectionKey,
    truth: Truth | None = None,
    definition: Definition | None = None,
) -> ScoredSection:
    """Return the scores, decisions and labels of one section, as `evaluate_directory` takes them.

    truth: for a section that is not in it, clip names count. definition: to evaluate by; None takes
    that of 2022, or without domains that of 2020. Raises EvaluationError with one line per problem.
    """
    problems: list[str] = []
    folder, others = Path(directory), []
    scores = read_folder(folder, "anomaly_score", read_scores, problems, {key}, others)
    decisions = read_folder(folder, "decision_result", read_decisions, problems, {key}, others)
    raise_if_any(problems)
    known = _known(key, scores[key].clips, truth)
    return _scored_section(key, scores[key], decisions.get(key), known, truth, definition)


def folder_definition(
    directory: str | Path, sections: Sequence[ScoredSection], year: str | None = None
) -> Definition:
    """Return the definition for the labelled sections of a directory, by the names of its files.

    Of several definitions of the year, that of a result.csv in the directory is taken.

    year: one of `years.NAMES`, or None to go by the names. Raises EvaluationError where the
    definition of that year cannot be taken.
    """
    definition = common_definition([(Path(directory), sections)], year)
    written = written_definition(Path(directory) / "result.csv")
    if year is None and written in years.variants(definition):
        return written
    return definition


def common_definition(
    directories: Iterable[tuple[Path, Iterable[ScoredSection]]], year: str | None = None
) -> Definition:
    """Return the definition for the labelled sections of several directories, see above."""
    files: list[FileName] = []
    domains: set[str | None] = set()
    for directory, sections in directories:
        labelled = {section.key: section for section in sections if section.labels is not None}
        names = (file_name(path, "anomaly_score") for path in directory.glob("anomaly_score_*.csv"))
        files += [name for name in names if name and name.key in labelled]
        for section in labelled.values():
            domains |= {None} if section.domains is None else set(section.domains.tolist())
    stated = {file.year for file in files if file.year}
    try:
        return years.choose((file.ending for file in files), domains, year, stated)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def written_definition(path: Path) -> Definition | None:
    """Return the definition whose form a result.csv has; None without one that can be read."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream)
            next(rows, None)
            return years.of_header(next(rows, []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None


def evaluate_directory(
    directory: str | Path,
    ground_truth: str | Path | None = None,
    max_fpr: float = MAX_FPR,
    year: str | None = None,
) -> tuple[list[SectionResult], list[str]]:
    """Return the results of the anomaly_score_*.csv and decision_result_*.csv of a directory.

    The labels come from the clip names or, if given, from the ground truth (`read_ground_truth`),
    and then only the sections it covers are evaluated, by the definition of their year
    (`folder_definition`). The results are in the ASCII order of machine types and sections. Also
    returns warnings: sections left out, decisions missing, metrics undefined. Raises
    EvaluationError with one line per problem.
    """
    problems: list[str] = []
    folder, truth, covered, warnings = Path(directory), None, None, []
    if ground_truth is not None:
        # Problems of files that the truth does not cover are none.
        scored = read_folder(folder, "anomaly_score", read_scores, [], misnamed=[])
        truth = read_ground_truth(ground_truth, {key: one.clips for key, one in scored.items()})
        covered = truth.sections
        warnings += [*truth.warnings, *_uncovered(folder, scored, truth)]
    scores = read_folder(folder, "anomaly_score", read_scores, problems, covered)
    decisions = read_folder(folder, "decision_result", read_decisions, problems, covered)
    decided_only = sorted(decisions.keys() - scores)
    problems += [f"{key}: decisions without anomaly scores" for key in decided_only]
    raise_if_any(problems)
    sections = []
    for key, section in sorted(scores.items()):
        known = _known(key, section.clips, truth)
        if all(clip.label is None for clip in known.values()):
            warnings.append(f"{key}: no labels in the clip names and no ground truth, left out")
            continue
        try:
            sections.append(_scored_section(key, section, decisions.get(key), known, truth))
        except EvaluationError as error:
            problems.append(str(error))
    raise_if_any(problems)
    if not sections:
        reason = "\n".join(warnings or ["no anomaly_score_*.csv of a section in it"])
        raise EvaluationError(f"{directory}: nothing to evaluate\n{reason}")
    definition = folder_definition(folder, sections, year)
    results = [section.by(definition).evaluate(max_fpr) for section in sections]
    return results, warnings + undefined_warnings(results)


def _uncovered(folder: Path, scores: Mapping[SectionKey, Section], truth: Truth) -> list[str]:
    """Return warnings on the sections that only the scores or only the ground truth have.

    Raises EvaluationError where there are scores, and none of a section of the truth.
    """
    warnings = [
        f"{key}: no anomaly scores, left out" for key in sorted(truth.sections.keys() - scores)
    ]
    others = sorted(scores.keys() - truth.sections)
    if others and len(others) == len(scores):
        names = years.by_names(file.ending for key in others for file in scores[key].files)
        raise EvaluationError(
            f"{folder}: nothing to evaluate\n{truth.path}: has no section that was scored: it has "
            f"{_some(truth.sections)} (names as of {truth.definition.title}), and there are scores "
            f"of {_some(others)} (names as of {names.title})"
        )
    return warnings + [
        f"{key}: not in the ground truth, left out"
        for key in others
        if all(parse_name(name).label is None for name in scores[key].clips)
    ]


def _some(keys: Iterable[SectionKey]) -> str:
    first, *others = sorted(keys)
    return f"{first}{f' and {len(others)} more' if others else ''}"


def _known(key: SectionKey, scores: Mapping[str, float], truth: Truth | None) -> Known:
    if truth is not None and key in truth:
        return truth.sections[key]
    return {name: parse_name(name) for name in scores}


def _scored_section(
    key: SectionKey,
    scored: Section,
    decided: Section | None,
    known: Known,
    truth: Truth | None = None,
    definition: Definition | None = None,
) -> ScoredSection:
    scores = truth.matched(key, scored.clips) if truth else scored.clips
    problems = compare_clips(key, "the anomaly scores", scores, "the ground truth", known)
    decisions = None
    if decided is not None:
        decisions = truth.matched(key, decided.clips) if truth else decided.clips
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
        definition,
    )
