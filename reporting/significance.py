"""How sure the scores are: intervals, and whether two systems differ by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation import intervals
from evaluation.metrics import ScoredSection
from reporting.runs import MEAN_OF_BOTH, SCORE, Gathered, Run, counted

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Chance:
    """The score of a system over all machine types and how far chance moves it.

    n_clips, n_sections : that the score is over
    evaluator_field : of the first run; the official evaluator has no seeds
    against : the comparison with the baseline, None for the baseline itself and without one
    shared : sections that the comparison is over
    """

    system: str
    n_clips: int
    n_sections: int
    jackknife: intervals.Interval
    bootstrap: intervals.Interval
    evaluator_field: float
    against: intervals.Comparison | None
    shared: int


def chances(found: Gathered, baseline: str, max_fpr: float, seed: int) -> list[Chance]:
    """Intervals of every system that has a score, and its test against the baseline.

    Over the sections that all of its runs have; the test over those that the baseline has too.
    """
    held = {name: _shared(runs) for name, runs in found.systems.items()}
    drawn: dict[tuple, np.ndarray] = {}

    def draw(system: str, keys: tuple) -> tuple[list[list[ScoredSection]], np.ndarray]:
        sides = [[run.sections[key] for key in keys] for run in found.systems[system]]
        if (system, keys) not in drawn:
            drawn[system, keys] = intervals.resampled(sides, max_fpr, seed)
        return sides, drawn[system, keys]

    rows = []
    for system, keys in held.items():
        if not keys:
            continue
        runs, resampled = draw(system, keys)
        centre = intervals.score(runs, max_fpr)
        if not np.isfinite(centre):
            continue
        against, shared = None, tuple(key for key in keys if key in held.get(baseline, ()))
        if system != baseline and shared:
            ours, our_draws = draw(system, shared)
            theirs, their_draws = draw(baseline, shared)
            difference = intervals.score(ours, max_fpr) - intervals.score(theirs, max_fpr)
            against = intervals.paired_bootstrap(difference, our_draws, their_draws)
        rows.append(
            Chance(
                system,
                sum(len(section.scores) for section in runs[0]),
                len(keys),
                intervals.jackknife(runs, max_fpr),
                intervals.bootstrap(centre, resampled),
                intervals.evaluator_field(runs[0], max_fpr),
                against,
                len(shared),
            )
        )
    return rows


def _shared(runs: Sequence[Run]) -> tuple:
    return tuple(sorted(set.intersection(*(set(run.labelled) for run in runs))))


def in_words(row: Chance, baseline: str) -> str:
    """What the paired test says, in a sentence or two."""
    if row.against is None:
        return ""
    difference, low, high, p = row.against
    told = p < SIGNIFICANT
    where = f"{abs(difference):.3f} {'above' if difference >= 0 else 'below'} {baseline}"
    verdict = (
        "more than the choice of test clips explains"
        if told
        else "the choice of test clips alone can explain as much"
    )
    return (
        f"{row.system} scores {where}; 95 % of the differences over redrawn clips lie between "
        f"{low:+.3f} and {high:+.3f}: {verdict} (p {_p(p)}, {counted(row.shared, 'section')})."
    )


def _p(p: float) -> str:
    least = 2 / (intervals.RESAMPLINGS + 1)
    return f"≤ {least:.1g}" if p <= least else f"= {p:.2g}"


def chance_explained(seed: int) -> list[str]:
    """How to read the intervals."""
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


def interval_rows(found: Gathered, chance: Sequence[Chance], baseline: str) -> list[Sequence[Any]]:
    head = (
        "system", "clips", "sections", SCORE if found.with_domains else MEAN_OF_BOTH,
        "jackknife low", "jackknife high", "bootstrap low", "bootstrap high",
        "official evaluator's field", "baseline", "difference", "difference low",
        "difference high", "p", "sections compared",
    )  # fmt: skip
    rows: list[Sequence[Any]] = [head]
    for row in chance:
        against = (baseline, *row.against, row.shared) if row.against else [""] * 6
        rows.append(
            (
                row.system,
                row.n_clips,
                row.n_sections,
                *row.jackknife,
                *row.bootstrap[1:],
                row.evaluator_field,
                *against,
            )
        )
    return rows


def chance_cells(
    chance: Sequence[Chance], name: str, escape: Callable[[str], str] = str
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of intervals."""
    heads = ["system", name, "jackknife", "bootstrap", "official evaluator's field", "clips"]
    return heads, [
        [
            escape(row.system),
            f"{row.jackknife.score:.4f}",
            f"±{row.jackknife.high - row.jackknife.score:.4f}",
            f"{row.bootstrap.low:.4f} to {row.bootstrap.high:.4f}",
            f"{row.evaluator_field:.2g}",
            str(row.n_clips),
        ]
        for row in chance
    ]
