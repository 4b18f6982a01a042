"""The results of a test run: the official CSV files, result.csv and the thresholds used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from evaluation import evaluator_2022
from evaluation.csv_files import compare_clips, read_ground_truth
from evaluation.metrics import (
    DOMAIN_COLUMNS,
    OFFICIAL_SCORE_COLUMNS,
    PLAIN_COLUMNS,
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
Truth = Mapping[SectionKey, Mapping[str, ClipName]]


def read_truth(directory: Path) -> Truth:
    """Return the published ground truth of a folder.

    Raises BadInput where `evaluation.csv_files.read_ground_truth` raises EvaluationError.
    """
    try:
        return read_ground_truth(directory)
    except EvaluationError as error:
        raise BadInput(f"--ground-truth: {error}") from None


def with_truth(
    clips: Sequence[Clip],
    machine_type: str,
    truth: Truth,
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
) -> list[SectionResult]:
    """Write the score and decision CSVs of a machine type.

    Parameters
    ----------
    run : the settings; the files go to `result_directory`
    clips : the test clips, in the official order
    scores : (n_clips,) their anomaly scores
    thresholds : section → its threshold, as `fit_thresholds` returns them; without one for a
        section its decisions are left out

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
            evaluated.append(_evaluate(machine_type, section, scored, decisions, run.max_fpr))
    return evaluated


def save_summary(
    run: SystemSettings,
    sections: Sequence[SectionResult],
    thresholds: Mapping[str, Mapping[str, Threshold]],
    truth: bool = False,
) -> None:
    """Write `thresholds.csv` and, where there are evaluated sections, `result_file`; log it.

    truth : also write and log what the published evaluator gives, see `evaluation.evaluator_2022`
    """
    directory = run.result_directory
    save_csv(
        directory / "thresholds.csv",
        [("machine_type", "section", *Threshold._fields)]
        + [
            (machine_type, section, *fitted)
            for machine_type, by_section in thresholds.items()
            for section, fitted in by_section.items()
        ],
    )
    if sections:
        for warning in undefined_warnings(sections):
            logger.warning("%s", warning)
        more = evaluator_2022.rows(sections, run.max_fpr) if truth else ()
        write_result_csv(directory / run.result_file, sections, more)
        if truth and (means := evaluator_2022.text(sections, run.max_fpr)):
            logger.info("\n%s", means)
        logger.info("\n%s\n", format_table(sections))
    logger.info("results -> %s", directory)


def compare(tested: Sequence[TestedRun]) -> None:
    """Log the comparison of several runs."""
    if len(tested) > 1:
        logger.info("%s\n", comparison({run.name: run.sections for run in tested}))


def comparison(runs: Mapping[str, Sequence[SectionResult]]) -> str:
    """Return a table with one row per run: its means over all machine types and sections.

    The means are those of result.csv: with domains the harmonic means of the AUCs and the pAUC,
    and the official score; without, the arithmetic means. Runs without labelled clips are left
    out; an undefined value is empty, and so is one that a run has no column for. Three decimals.

    Parameters
    ----------
    runs : name of a run → the metrics of its sections
    """
    rows: dict[str, dict[str, float]] = {}
    for name, sections in runs.items():
        means = {}
        for column in (*OFFICIAL_SCORE_COLUMNS, *PLAIN_COLUMNS):
            values = [[one.metrics[column]] for one in sections if column in one.metrics]
            with_domains = sections and tuple(sections[0].metrics) == DOMAIN_COLUMNS
            mean = harmonic_mean if with_domains else arithmetic_mean
            if values:
                means[column] = float(mean(values)[0])
        if means:
            rows[name] = {**means, "official score": official_score(sections)}
    columns = [
        column
        for column in (*OFFICIAL_SCORE_COLUMNS[:2], "AUC", "pAUC", "official score")
        if any(np.isfinite(row.get(column, np.nan)) for row in rows.values())
    ]
    if not rows:
        return "no labelled clips, so nothing to compare"
    lines = [
        [name, *format_values(row.get(column, np.nan) for column in columns)]
        for name, row in rows.items()
    ]
    return text_table([["", *columns], *lines])


def save_all_scores(run: SystemSettings, scored: Sequence[Scores]) -> None:
    """Write every score of a system that has several: `all_scores.csv`, `all_scores_hmean.csv`.

    The second has, for each machine type whose test clips all have labels, what each score
    reaches: the harmonic mean of AUC (source), AUC (target) and pAUC over its sections, or without
    domains the arithmetic mean of AUC and pAUC. Its best row is chosen with the labels of the test
    clips, as some papers do that publish the best of many scores, and is marked so.

    Parameters
    ----------
    run : the settings; the files go to `result_directory`
    scored : of each machine type
    """
    directory = run.result_directory
    columns = list(dict.fromkeys(name for scores in scored for name in scores.extra))
    if not columns:
        return
    rows: list[Sequence[Any]] = [("machine_type", "section", "clip", *columns)]
    reached: list[Sequence[Any]] = [("machine_type", "score", "hmean", "note")]
    of_best = "chosen on test labels" + (", as published" if run.publishes_best_score else "")
    for clips, scores in ((part.clips, part.extra) for part in scored):
        rows += [
            (clip.machine_type, clip.section, clip.name, *(float(x) for x in values))
            for clip, *values in zip(clips, *(scores[name] for name in columns), strict=True)
        ]
        if not all(clip.label for clip in clips):
            continue
        means = {name: _mean_metric(clips, scores[name], run.max_fpr) for name in columns}
        best = max(means, key=lambda name: np.nan_to_num(means[name], nan=-1))
        for name, mean in means.items():
            note = of_best if name == best else ""
            reached.append((clips[0].machine_type, name, "" if np.isnan(mean) else mean, note))
    save_csv(directory / "all_scores.csv", rows)
    if len(reached) > 1:
        save_csv(directory / "all_scores_hmean.csv", reached)
    logger.info("%d scores of every clip -> %s", len(columns), directory / "all_scores.csv")


def _mean_metric(clips: Sequence[Clip], scores: np.ndarray, max_fpr: float) -> float:
    evaluated = [
        _evaluate(clips[0].machine_type, section, scored, None, max_fpr)
        for section, scored in _by_section(clips, scores)
    ]
    if any(tuple(result.metrics) == DOMAIN_COLUMNS for result in evaluated):
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
    machine_type: str,
    section: str,
    scored: list[ScoredClip],
    decisions: list[int] | None,
    max_fpr: float,
) -> SectionResult:
    domains = [clip.domain for clip, _ in scored]
    return ScoredSection(
        SectionKey(machine_type, section),
        np.array([clip.name for clip, _ in scored]),
        np.array([score for _, score in scored]),
        np.array([int(clip.label == "anomaly") for clip, _ in scored]),
        np.array(domains) if all(domains) else None,
        None if decisions is None else np.array(decisions),
    ).evaluate(max_fpr)
