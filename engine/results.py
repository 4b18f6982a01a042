"""What a test run leaves behind: the official CSV files, result.csv and the thresholds used."""

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
from data.clip_names import Clip as NamedClip
from data.clip_names import clip_key
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
from evaluation.thresholds import ALL_SECTIONS, Threshold


class TestedRun(NamedTuple):
    """What testing one run gave.

    settings : of the run, or of an ensemble
    sections : the metrics of its sections
    scores : machine type → its scores; empty of an ensemble
    """

    settings: SystemSettings
    sections: list[SectionResult]
    scores: dict[str, Scores]

    @property
    def name(self) -> str:
        """The system and the seed."""
        return f"{self.settings.system} seed {self.settings.seed}"


Truth = Mapping[SectionKey, Mapping[str, NamedClip]]


def read_truth(directory: Path) -> Truth:
    """The published ground truth of a folder; raises BadInput as `evaluation.read_ground_truth`."""
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
    """Test clips with the labels and domains of the ground truth, matched by name.

    A section that the truth does not cover stays as it is, with a warning. Test clips that are
    there but unusable may be in the truth.

    Raises BadInput where a section's clips and those of the truth are not the same.
    """
    named = [(SectionKey(machine_type, clip.section), clip) for clip in clips]
    problems, there = [], {clip_key(path.name) for path, _ in unusable}
    for key in sorted({key for key, _ in named}):
        if key not in truth:
            logger.warning("%s: not in the ground truth, so not evaluated", key)
            continue
        here = (there & set(truth[key])) | {clip_key(clip.name) for of, clip in named if of == key}
        problems += compare_clips(key, "the test clips", here, "the ground truth", truth[key])
    if problems:
        raise BadInput("\n".join(problems))
    known = [truth.get(key, {}).get(clip_key(clip.name)) for key, clip in named]
    return [
        replace(clip, label=("normal", "anomaly")[said.label], domain=said.domain or "")
        if said
        else clip
        for clip, said in zip(clips, known, strict=True)
    ]


def save(
    param: SystemSettings,
    machine_type: str,
    clips: Sequence[Clip],
    scores: np.ndarray,
    thresholds: Mapping[str, Threshold],
) -> list[SectionResult]:
    """Write the score and decision CSVs of a machine type.

    Parameters
    ----------
    param : the settings; the files go to `result_directory`
    clips : the test clips, in the official order
    scores : (n_clips,) their anomaly scores
    thresholds : section → its threshold, as `fit_thresholds` returns them; without one for a
        section its decisions are left out

    Returns
    -------
    The metrics of the sections whose clips all have labels.
    """
    rows = [(clip, float(score)) for clip, score in zip(clips, scores, strict=True)]
    judged = []
    for section, of_section in groupby(sorted(rows, key=_section), key=_section):
        held = list(of_section)
        fitted = thresholds.get(section) or thresholds.get(ALL_SECTIONS)
        decided = fitted.decide([score for _, score in held]) if fitted else None
        _write(param.result_directory, machine_type, held, decided)
        if all(clip.label for clip, _ in held):
            judged.append(_evaluate(machine_type, section, held, decided, param.max_fpr))
    return judged


def conclude(
    param: SystemSettings,
    judged: Sequence[SectionResult],
    thresholds: Mapping[str, Mapping[str, Threshold]],
    truth: bool = False,
) -> None:
    """Write `thresholds.csv` and, where anything could be evaluated, `result_file`; print it.

    With truth, what the published evaluators give beside: see `evaluator_table`.
    """
    directory = param.result_directory
    save_csv(
        directory / "thresholds.csv",
        [("machine_type", "section", *Threshold._fields)]
        + [
            (machine_type, section, *fitted)
            for machine_type, sections in thresholds.items()
            for section, fitted in sections.items()
        ],
    )
    if judged:
        for warning in undefined_warnings(judged):
            logger.warning("%s", warning)
        more = evaluator_2022.rows(judged, param.max_fpr) if truth else ()
        write_result_csv(directory / param.result_file, judged, more)
        if truth and (means := evaluator_2022.text(judged, param.max_fpr)):
            logger.info("\n%s", means)
        logger.info("\n%s\n", format_table(judged))
    logger.info("results -> %s", directory)


def compare(tested: Sequence[TestedRun]) -> None:
    """Log the comparison of several runs."""
    if len(tested) > 1:
        logger.info("%s\n", comparison({run.name: run.sections for run in tested}))


def comparison(judged: Mapping[str, Sequence[SectionResult]]) -> str:
    """A table with a row a run, three decimals: its means over all machine types and sections.

    The means are those of result.csv: with domains the harmonic means of the AUCs and the pAUC,
    and the official score; without, the arithmetic means. Runs without labelled clips are left
    out; an undefined value is empty, and so is one that a run has no column for.

    Parameters
    ----------
    judged : name of a run → the metrics of its sections
    """
    rows: dict[str, dict[str, float]] = {}
    for name, sections in judged.items():
        means = {}
        for column in (*OFFICIAL_SCORE_COLUMNS, *PLAIN_COLUMNS):
            values = [[held.metrics[column]] for held in sections if column in held.metrics]
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
    wide = max(map(len, rows), default=0)
    lines = ["".join([" " * wide, *(f"{column:>16}" for column in columns)])]
    for name, row in rows.items():
        values = (row.get(column, np.nan) for column in columns)
        cells = (f"{value:16.3f}" if np.isfinite(value) else " " * 16 for value in values)
        lines.append("".join([f"{name:<{wide}}", *cells]).rstrip())
    return "\n".join(lines) if rows else "no labelled clips, so nothing to compare"


def save_all_scores(param: SystemSettings, scored: Sequence[Scores]) -> None:
    """Write every score of a system that has several: `all_scores.csv`, `all_scores_hmean.csv`.

    The second holds, for each machine type whose test clips all have labels, what each score
    reaches: the harmonic mean of AUC (source), AUC (target) and pAUC over its sections, or without
    domains the arithmetic mean of AUC and pAUC. Its best row is chosen with the labels of the test
    clips, as papers do that publish the best of many scores, and is marked so.

    Parameters
    ----------
    param : the settings; the files go to `result_directory`
    scored : of each machine type
    """
    directory = param.result_directory
    columns = list(dict.fromkeys(name for scores in scored for name in scores.extra))
    if not columns:
        return
    rows: list[Sequence[Any]] = [("machine_type", "section", "clip", *columns)]
    reached: list[Sequence[Any]] = [("machine_type", "score", "hmean", "note")]
    for clips, scores in ((part.clips, part.extra) for part in scored):
        rows += [
            (clip.machine_type, clip.section, clip.name, *(float(x) for x in values))
            for clip, *values in zip(clips, *(scores[name] for name in columns), strict=True)
        ]
        if not all(clip.label for clip in clips):
            continue
        means = {name: _mean_metric(clips, scores[name], param.max_fpr) for name in columns}
        best = max(means, key=lambda name: np.nan_to_num(means[name], nan=-1))
        for name, mean in means.items():
            note = "chosen on test labels, as published" if name == best else ""
            reached.append((clips[0].machine_type, name, "" if np.isnan(mean) else mean, note))
    save_csv(directory / "all_scores.csv", rows)
    if len(reached) > 1:
        save_csv(directory / "all_scores_hmean.csv", reached)
    logger.info("%d scores of every clip -> %s", len(columns), directory / "all_scores.csv")


def _mean_metric(clips: Sequence[Clip], scores: np.ndarray, max_fpr: float) -> float:
    rows = [(clip, float(score)) for clip, score in zip(clips, scores, strict=True)]
    judged = [
        _evaluate(clips[0].machine_type, section, list(held), None, max_fpr)
        for section, held in groupby(sorted(rows, key=_section), key=_section)
    ]
    if any(tuple(result.metrics) == DOMAIN_COLUMNS for result in judged):
        return official_score(judged)
    values = [list(result.metrics.values()) for result in judged]
    return float(np.mean(arithmetic_mean(values)))


def _section(row: tuple[Clip, float]) -> str:
    return row[0].section


def file_name(kind: str, machine_type: str, clip: Clip) -> str:
    """The official name of the CSV that lists a clip; kind: anomaly_score or decision_result."""
    # The files of 2020 are named by the id alone.
    ending = clip.section if clip.section.startswith("id") else f"{clip.section}_{clip.folder}"
    return f"{kind}_{machine_type}_{ending}.csv"


def _write(
    directory: Path, machine_type: str, held: list[tuple[Clip, float]], decided: list[int] | None
) -> None:
    for folder in sorted({clip.folder for clip, _ in held}):
        inside = [clip.folder == folder for clip, _ in held]
        clip = held[inside.index(True)][0]
        columns = {"anomaly_score": [score for _, score in held], "decision_result": decided}
        for kind, values in columns.items():
            path = directory / file_name(kind, machine_type, clip)
            if values is None:
                path.unlink(missing_ok=True)
                continue
            save_csv(
                path,
                [
                    (clip.name, value)
                    for (clip, _), value, chosen in zip(held, values, inside, strict=True)
                    if chosen
                ],
            )


def _evaluate(
    machine_type: str,
    section: str,
    held: list[tuple[Clip, float]],
    decided: list[int] | None,
    max_fpr: float,
) -> SectionResult:
    domains = [clip.domain for clip, _ in held]
    return ScoredSection(
        SectionKey(machine_type, section),
        np.array([clip.name for clip, _ in held]),
        np.array([score for _, score in held]),
        np.array([int(clip.label == "anomaly") for clip, _ in held]),
        np.array(domains) if all(domains) else None,
        None if decided is None else np.array(decided),
    ).evaluate(max_fpr)
