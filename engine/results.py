"""The results of a test run: the official CSV files, result.csv and the thresholds used.

The tables hold every machine type that is scored in their directory: a run replaces the rows of
those that it tested. Tables of the evaluation data end in `_eval`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.errors import BadInput
from core.files import save_csv
from core.log import logger
from core.run_settings import SystemSettings
from data.clip_names import ClipName, clip_key
from data.clips import Clip
from engine.scoring import Scores
from evaluation import evaluators, kept_rows
from evaluation.clip_values import compare_clips
from evaluation.csv_files import read_section
from evaluation.kept_rows import save_merged, table_path
from evaluation.metrics import (
    EvaluationError,
    ScoredSection,
    SectionKey,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
    undefined_warnings,
)
from evaluation.result_csv import format_table, write_result_csv
from evaluation.text_tables import format_values, text_table
from evaluation.thresholds import ALL_SECTIONS, Threshold
from evaluation.truth import Truth
from evaluation.years import Definition


class TestedRun(NamedTuple):
    """The results of testing one run.

    settings : of the run, or of an ensemble
    sections : the metrics of its sections
    scores : machine type → its scores; empty for an ensemble
    """

    settings: SystemSettings
    sections: list[SectionResult]
    scores: dict[str, Scores]

    @property
    def name(self) -> str:
        """Return the system and the seed."""
        return f"{self.settings.system} seed {self.settings.seed}"


ScoredClip = tuple[Clip, float]


class Evaluation(NamedTuple):
    """How the results of a run are evaluated.

    mode : "dev" or "eval", the dataset
    definition : of the year; None takes what each section's domains tell
    truth : of evaluation clips
    """

    mode: str = "dev"
    definition: Definition | None = None
    truth: Truth | None = None


DEVELOPMENT = Evaluation()


def with_truth(
    clips: Sequence[Clip],
    machine_type: str,
    truth: Mapping[SectionKey, Mapping[str, ClipName]],
    unusable: Sequence[tuple[Path, str]] = (),
) -> list[Clip]:
    """Return test clips with the labels and domains of the ground truth, matched by name.

    A section that the truth does not cover stays as it is, with a warning. Unusable test clips may
    be in the truth.

    Raises BadInput where a section's clips and those of the truth are not the same.
    """
    named = [(SectionKey(machine_type, clip.section), clip) for clip in clips]
    problems, unusable_keys = [], {clip_key(path.name) for path, _ in unusable}
    for key in sorted({key for key, _ in named}):
        if key not in truth:
            logger.warning("%s: not in the ground truth, so not evaluated", key)
            continue
        tested = {clip_key(clip.name) for other, clip in named if other == key}
        tested |= unusable_keys & set(truth[key])
        problems += compare_clips(key, "the test clips", tested, "the ground truth", truth[key])
    if problems:
        raise BadInput("\n".join(problems))
    known = [truth.get(key, {}).get(clip_key(clip.name)) for key, clip in named]
    return [
        replace(clip, label=("normal", "anomaly")[true.label], domain=true.domain or "")
        if true
        else clip
        for clip, true in zip(clips, known, strict=True)
    ]


def save(
    run: SystemSettings,
    machine_type: str,
    clips: Sequence[Clip],
    scores: np.ndarray,
    thresholds: Mapping[str, Threshold],
    definition: Definition | None = None,
) -> list[SectionResult]:
    """Write the score and decision CSVs of a machine type.

    Parameters
    ----------
    run : the settings; the files go to `result_directory`
    clips : the test clips, in the official order
    scores : (n_clips,) their anomaly scores
    thresholds : section → its threshold, as `fit_thresholds` returns them; without one for a
        section its decisions are left out
    definition : of the year to evaluate by

    Returns
    -------
    The metrics of the sections whose clips all have labels.
    """
    evaluated = []
    for section, scored in _by_section(clips, scores):
        fitted = thresholds.get(section) or thresholds.get(ALL_SECTIONS)
        decisions = fitted.decide([score for _, score in scored]) if fitted else None
        _write(run.result_directory, machine_type, scored, decisions)
        if all(clip.label for clip, _ in scored):
            key = SectionKey(machine_type, section)
            evaluated.append(_evaluate(key, scored, decisions, run.max_fpr, definition))
    return evaluated


def save_summary(
    run: SystemSettings,
    sections: Sequence[SectionResult],
    thresholds: Mapping[str, Mapping[str, Threshold]],
    evaluation: Evaluation,
) -> None:
    """Write `thresholds.csv` and, where there are evaluated sections, `result_file`; log it.

    With a ground truth also write and log what the published evaluator gives, see
    `evaluation.evaluators`.

    Parameters
    ----------
    sections : the metrics of the sections that were tested
    thresholds : machine type → section → its threshold, of all machine types that were tested
    """
    directory, mode = run.result_directory, evaluation.mode
    save_merged(
        table_path(directory / "thresholds.csv", mode),
        ("machine_type", "section", *Threshold._fields),
        [
            (machine_type, section, *fitted)
            for machine_type, by_section in thresholds.items()
            for section, fitted in by_section.items()
        ],
        thresholds,
    )
    ending = ""
    if sections:
        for warning in undefined_warnings(sections):
            logger.warning("%s", warning)
        path = table_path(directory / run.result_file, mode)
        results = _with_other_machine_types(run, path, sections, thresholds, evaluation)
        truth = evaluation.truth is not None
        more = evaluators.rows(results, run.max_fpr) if truth else ()
        try:
            write_result_csv(path, results, more)
        except EvaluationError as error:
            raise BadInput(f"{path}: {error}") from None
        if truth and (means := evaluators.text(results, run.max_fpr)):
            logger.info("\n%s", means)
        logger.info("\n%s\n", format_table(results))
        ending = f"; {path.name}: evaluated as {results[0].definition.title}"
    logger.info("results -> %s%s", directory, ending)


def _with_other_machine_types(
    run: SystemSettings,
    path: Path,
    sections: Sequence[SectionResult],
    tested: Collection[str],
    evaluation: Evaluation,
) -> list[SectionResult]:
    """Return the sections tested and those that result.csv has of other machine types, in order.

    With a ground truth the others are evaluated again, for the figures over all clips.
    """
    others = kept_rows.other_results(path, sections[0].definition, tested)
    again = []
    for result in others if evaluation.truth else ():
        word = "id" if sections[0].scored.key.section.startswith("id_") else "section"
        key = SectionKey(result.machine_type, f"{word}_{result.section}")
        try:
            section = read_section(path.parent, key, evaluation.truth, sections[0].definition)
            again.append(section.evaluate(run.max_fpr))
        except EvaluationError as error:
            logger.warning("%s: left out of %s: %s", key, path, error)
    if others:
        names = ", ".join(dict.fromkeys(result.machine_type for result in others))
        logger.info("%s: %s as tested before", path, names)
    results = [*sections, *(again if evaluation.truth else others)]
    return sorted(results, key=lambda result: (result.machine_type, result.section))


def compare(tested: Sequence[TestedRun]) -> None:
    """Log the comparison of several runs."""
    if len(tested) > 1:
        logger.info("%s\n", comparison({run.name: run.sections for run in tested}))


def comparison(runs: Mapping[str, Sequence[SectionResult]]) -> str:
    """Return a table with one row per run: its means over all machine types and sections.

    The means are those of result.csv: with an official score the harmonic means of the columns that
    it is made of, and itself; without, the arithmetic means of AUC and pAUC. Runs without labelled
    clips are left out; an undefined value is empty, and so is one that a run has no column for.
    Three decimals.

    Parameters
    ----------
    runs : name of a run → the metrics of its sections
    """
    rows: dict[str, dict[str, float]] = {}
    columns: list[str] = []
    for name, sections in runs.items():
        if not sections:
            continue
        definition = sections[0].definition
        mean = harmonic_mean if definition.official else arithmetic_mean
        means = mean([[one.metrics[column] for column in definition.score] for one in sections])
        rows[name] = dict(zip(definition.score, means.tolist(), strict=True))
        rows[name]["official score"] = official_score(sections)
        columns += [column for column in rows[name] if column not in columns]
    columns = [
        column
        for column in sorted(columns, key="official score".__eq__)
        if any(np.isfinite(row.get(column, np.nan)) for row in rows.values())
    ]
    if not rows:
        return "no labelled clips, so nothing to compare"
    lines = [
        [name, *format_values(row.get(column, np.nan) for column in columns)]
        for name, row in rows.items()
    ]
    return text_table([["", *columns], *lines])


def save_all_scores(
    run: SystemSettings, scored: Sequence[Scores], evaluation: Evaluation = DEVELOPMENT
) -> None:
    """Write every score of a system that has several: `all_scores.csv`, `all_scores_hmean.csv`.

    The second has, for each machine type whose test clips all have labels, what each score
    reaches: the official score over its sections, or without domains the arithmetic mean of AUC and
    pAUC. Its best row is chosen with the labels of the test clips, as some papers do that publish
    the best of many scores, and is marked so.

    Parameters
    ----------
    run : the settings; the files go to `result_directory`
    scored : of each machine type
    """
    columns = list(dict.fromkeys(name for scores in scored for name in scores.extra))
    if not columns:
        return
    rows: list[Sequence[Any]] = []
    reached: list[Sequence[Any]] = []
    of_best = "chosen on test labels" + (", as published" if run.publishes_best_score else "")
    for clips, scores in ((part.clips, part.extra) for part in scored):
        rows += [
            (clip.machine_type, clip.section, clip.name, *(float(x) for x in values))
            for clip, *values in zip(clips, *(scores[name] for name in columns), strict=True)
        ]
        if not all(clip.label for clip in clips):
            continue
        means = {
            name: _mean_metric(clips, scores[name], run.max_fpr, evaluation.definition)
            for name in columns
        }
        best = max(means, key=lambda name: np.nan_to_num(means[name], nan=-1))
        for name, mean in means.items():
            note = of_best if name == best else ""
            reached.append((clips[0].machine_type, name, "" if np.isnan(mean) else mean, note))
    tested = {part.clips[0].machine_type for part in scored}
    path, hmean_path = (
        table_path(run.result_directory / name, evaluation.mode)
        for name in ("all_scores.csv", "all_scores_hmean.csv")
    )
    save_merged(path, ("machine_type", "section", "clip", *columns), rows, tested)
    if reached:
        save_merged(hmean_path, ("machine_type", "score", "hmean", "note"), reached, tested)
    logger.info("%d scores of every clip -> %s", len(columns), path)


def _mean_metric(
    clips: Sequence[Clip], scores: np.ndarray, max_fpr: float, definition: Definition | None
) -> float:
    evaluated = [
        _evaluate(SectionKey(clips[0].machine_type, section), scored, None, max_fpr, definition)
        for section, scored in _by_section(clips, scores)
    ]
    if any(result.definition.official for result in evaluated):
        return official_score(evaluated)
    values = [list(result.metrics.values()) for result in evaluated]
    return float(np.mean(arithmetic_mean(values)))


def _by_section(clips: Sequence[Clip], scores: np.ndarray) -> list[tuple[str, list[ScoredClip]]]:
    """Return (section, its clips and their scores), sorted by section."""
    pairs = [(clip, float(score)) for clip, score in zip(clips, scores, strict=True)]
    pairs.sort(key=lambda pair: pair[0].section)
    groups = groupby(pairs, key=lambda pair: pair[0].section)
    return [(section, list(group)) for section, group in groups]


def file_name(kind: str, machine_type: str, clip: Clip) -> str:
    """Return the official name of the CSV that lists a clip.

    kind : "anomaly_score" or "decision_result"
    """
    # The names of the files of 2020 have the id only.
    ending = clip.section if clip.section.startswith("id") else f"{clip.section}_{clip.folder}"
    return f"{kind}_{machine_type}_{ending}.csv"


def _write(
    directory: Path, machine_type: str, scored: list[ScoredClip], decisions: list[int] | None
) -> None:
    for folder in sorted({clip.folder for clip, _ in scored}):
        inside = [clip.folder == folder for clip, _ in scored]
        clip = scored[inside.index(True)][0]
        columns = {"anomaly_score": [score for _, score in scored], "decision_result": decisions}
        for kind, values in columns.items():
            path = directory / file_name(kind, machine_type, clip)
            if values is None:
                path.unlink(missing_ok=True)
                continue
            save_csv(
                path,
                [
                    (clip.name, value)
                    for (clip, _), value, chosen in zip(scored, values, inside, strict=True)
                    if chosen
                ],
            )


def _evaluate(
    key: SectionKey,
    scored: list[ScoredClip],
    decisions: list[int] | None,
    max_fpr: float,
    definition: Definition | None,
) -> SectionResult:
    domains = [clip.domain for clip, _ in scored]
    return ScoredSection(
        key,
        np.array([clip.name for clip, _ in scored]),
        np.array([score for _, score in scored]),
        np.array([int(clip.label == "anomaly") for clip, _ in scored]),
        np.array(domains) if all(domains) else None,
        None if decisions is None else np.array(decisions),
        definition,
    ).evaluate(max_fpr)
