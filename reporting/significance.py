"""How sure the scores are: intervals, and whether two systems differ by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from evaluation import intervals
from evaluation.metrics import ScoredSection
from reporting.runs import ReportData, Run, counted

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ScoreInterval:
    """The score of a system over all machine types and how far chance moves it.

    n_clips, n_sections : that the score is over
    evaluator_field : of the first run; the official evaluator has no seeds
    comparison : with the baseline; None for the baseline itself and without one
    n_compared : sections that the comparison is over
    """

    system: str
    n_clips: int
    n_sections: int
    jackknife: intervals.Interval
    bootstrap: intervals.Interval
    evaluator_field: float
    comparison: intervals.Comparison | None
    n_compared: int


def score_intervals(data: ReportData) -> list[ScoreInterval]:
    """Return the intervals of every system that has a score, and its test against the baseline.

    They are over the sections that all of its runs have; the test is over those that all runs of
    the baseline have too.
    """
    systems, max_fpr = data.systems, data.max_fpr
    sections = {name: _common_sections(runs) for name, runs in systems.items()}

    def score(system: str, keys: tuple) -> float:
        return intervals.score(_select(systems[system], keys), max_fpr)

    @cache
    def resampled(system: str, keys: tuple) -> np.ndarray:
        return intervals.resampled(_select(systems[system], keys), max_fpr, data.seed)

    rows = []
    for system, keys in sections.items():
        centre = score(system, keys) if keys else np.nan
        if not np.isfinite(centre):
            continue
        comparison = None
        shared = tuple(key for key in keys if key in sections.get(data.baseline, ()))
        if system != data.baseline and shared:
            comparison = intervals.paired_bootstrap(
                score(system, shared) - score(data.baseline, shared),
                resampled(system, shared),
                resampled(data.baseline, shared),
            )
        runs = _select(systems[system], keys)
        rows.append(
            ScoreInterval(
                system,
                sum(len(section.scores) for section in runs[0]),
                len(keys),
                intervals.jackknife(runs, max_fpr),
                intervals.bootstrap(centre, resampled(system, keys)),
                intervals.evaluator_field(runs[0], max_fpr),
                comparison,
                len(shared),
            )
        )
    return rows


def _common_sections(runs: Sequence[Run]) -> tuple:
    return tuple(sorted(set.intersection(*(set(run.labelled) for run in runs))))


def _select(runs: Sequence[Run], keys: tuple) -> list[list[ScoredSection]]:
    return [[run.sections[key] for key in keys] for run in runs]


def describe_comparison(interval: ScoreInterval, baseline: str) -> str:
    """Return what the paired test says, in a sentence; "" where there is none."""
    if interval.comparison is None:
        return ""
    difference, low, high, p = interval.comparison
    where = f"{abs(difference):.3f} {'above' if difference >= 0 else 'below'} {baseline}"
    verdict = (
        "more than the choice of test clips explains"
        if p < SIGNIFICANT
        else "the choice of test clips alone can explain as much"
    )
    return (
        f"{interval.system} scores {where}; 95 % of the differences over redrawn clips lie between "
        f"{low:+.3f} and {high:+.3f}: {verdict} "
        f"(p {_p(p)}, {counted(interval.n_compared, 'section')})."
    )


def _p(p: float) -> str:
    least = 2 / (intervals.RESAMPLINGS + 1)
    return f"≤ {least:.1g}" if p <= least else f"= {p:.2g}"


def interval_notes(seed: int) -> list[str]:
    """Return how to read the intervals, one paragraph per line."""
    return [
        "Jackknife: every clip left out once; variance (N − 1)/N · Σ(θᵢ − mean)². Bootstrap: clips "
        f"redrawn {intervals.RESAMPLINGS} times within section, domain and label (seed {seed}), "
        "2.5 % and 97.5 % points. Both say what other test clips of the same machines would do; "
        "over several seeds, to the mean of their scores.",
        "Evaluator's field: what the official evaluator of DCASE 2022 writes as \"official score "
        'ci95". It pools the clips of all machine types, and divides by N(N − 1) where '
        "leave-one-out values want (N − 1)/N, so it is N − 1 times too narrow: do not quote it as "
        "an interval.",
        "Each p value is for its own comparison; with many systems some fall below 0.05 by chance.",
    ]


def interval_csv(data: ReportData, rows: Sequence[ScoreInterval]) -> list[Sequence[Any]]:
    """Return the rows of intervals.csv, the heads first."""
    heads = (
        "system", "clips", "sections", data.score_name,
        "jackknife low", "jackknife high", "bootstrap low", "bootstrap high",
        "official evaluator's field", "baseline", "difference", "difference low",
        "difference high", "p", "sections compared",
    )  # fmt: skip
    lines: list[Sequence[Any]] = [heads]
    for row in rows:
        comparison = (
            (data.baseline, *row.comparison, row.n_compared) if row.comparison else [""] * 6
        )
        lines.append(
            (
                *(row.system, row.n_clips, row.n_sections),
                *(*row.jackknife, *row.bootstrap[1:], row.evaluator_field),
                *comparison,
            )
        )
    return lines


def interval_cells(
    data: ReportData, rows: Sequence[ScoreInterval], escape: Callable[[str], str] = str
) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the rows of the table of intervals."""
    heads = ["system", data.score_name, "jackknife", "bootstrap"]
    heads += ["official evaluator's field", "clips"]
    return heads, [
        [
            escape(row.system),
            f"{row.jackknife.score:.4f}",
            f"±{row.jackknife.high - row.jackknife.score:.4f}",
            f"{row.bootstrap.low:.4f} to {row.bootstrap.high:.4f}",
            f"{row.evaluator_field:.2g}",
            str(row.n_clips),
        ]
        for row in rows
    ]
