"""How far chance moves a score: jackknife, bootstrap and a paired test over the test clips.

Pure functions of `evaluation.ScoredSection`. The score is one number for a whole system: the
official score of the year, without domains the mean of AUC and pAUC over machine types and ids. The
score of several runs of a system (its seeds) is their mean, and its interval says what other test
clips would have made of that mean. All runs of one call have the same clips.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation.metrics import EPSILON, MAX_FPR, ScoredSection, clips_of

CONFIDENCE = 0.95
RESAMPLINGS = 2000
VALUES_AT_ONCE = 2**21

Run = Sequence[ScoredSection]


class Interval(NamedTuple):
    """A score and its 95 % interval."""

    score: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A system's score minus another's, with its 95 % interval; p of there being no difference."""

    difference: float
    low: float
    high: float
    p: float


def score(runs: Sequence[Run], max_fpr: float = MAX_FPR) -> float:
    """Return the score of a system: the mean over its runs; NaN where one has nothing defined."""
    scores = [
        _combined([_metrics(section, max_fpr) for section in run], run[0].definition.official)
        for run in runs
    ]
    return float(np.mean(scores))


def jackknife(runs: Sequence[Run], max_fpr: float = MAX_FPR) -> Interval:
    """Return the jackknife interval (Tukey 1958) over all clips of all sections.

    With θ_i the score without clip i, the variance is (N - 1) / N · Σ (θ_i - mean of θ)², and the
    interval is the score ± its root times Student's t of N - 1 degrees of freedom.
    """
    import scipy.stats

    without = np.mean([leave_one_out(run, max_fpr) for run in runs], axis=0)
    centre, n = score(runs, max_fpr), len(without)
    half = _spread(without) * np.sqrt((n - 1) / n) * scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return Interval(centre, float(centre - half), float(centre + half))


def leave_one_out(run: Run, max_fpr: float = MAX_FPR) -> np.ndarray:
    """Return the score of a run without each of its clips: (clips,), section after section.

    Leaving a clip out changes the counts of one section by one step, so all of a section's values
    come from its sorted scores in O(n log n), without a new evaluation.
    """
    harmonic = run[0].definition.official
    whole = [_terms(_metrics(section, max_fpr), harmonic) for section in run]
    terms, known = (np.array(side) for side in zip(*whole, strict=True))  # (sections, columns)
    scores = []
    for index, section in enumerate(run):
        new_terms, new_known = _terms(
            np.array(
                [_without_each(section.scores, *column) for column in _columns(section, max_fpr)]
            ),
            harmonic,
        )
        # Not by subtraction: the term of an AUC of 0 is so large that nothing else would be left.
        others = np.arange(len(run)) != index
        scores.append(
            _mean(
                terms[others].sum(axis=0)[:, None] + new_terms,
                known[others].sum(axis=0)[:, None] + new_known,
                harmonic,
            )
        )
    return np.concatenate(scores)


def evaluator_field(run: Run, max_fpr: float = MAX_FPR) -> float:
    """Return the "official score ci95" that the official evaluator of 2022 writes.

    It is no interval of the official score. The clips of all machine types are pooled, their AUC
    and pAUC are jackknifed, and the two half widths are averaged; the variances are divided by
    N (N - 1), where leave-one-out values want (N - 1) / N, so that the field is N - 1 times
    narrower than it is meant to be.
    Source: Kota-Dohi/dcase2022_evaluator, `jackknife_estimate` and `output_result`.
    """
    import scipy.stats

    labels = np.concatenate([section.labels for section in run])
    scores = np.concatenate([section.scores for section in run])
    n = len(scores)
    spreads = [
        _spread(_without_each(scores, labels == 0, labels == 1, limit)) for limit in (1.0, max_fpr)
    ]
    t = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return float(np.mean(spreads) / np.sqrt(n * (n - 1)) * t)


def resampled(
    runs: Sequence[Run],
    max_fpr: float = MAX_FPR,
    seed: int = 0,
    resamplings: int = RESAMPLINGS,
) -> np.ndarray:
    """Return the score of a system on resampled clips: (resamplings,).

    Clips are drawn with replacement within each section, domain and label, so that each draw has
    normals and anomalies. The draws depend on the seed and the section only: systems with the same
    clips get the same draws.
    """
    drawn = [
        _combined(
            [_resampled_metrics(section, max_fpr, seed, resamplings) for section in run],
            run[0].definition.official,
        )
        for run in runs
    ]
    return np.mean(drawn, axis=0)


def bootstrap(centre: float, drawn: np.ndarray) -> Interval:
    """Return the percentile bootstrap interval (Efron 1979) of a score that was `resampled`."""
    return Interval(centre, *_percentiles(drawn))


def paired_bootstrap(difference: float, drawn: np.ndarray, baseline: np.ndarray) -> Comparison:
    """Compare a system with a baseline: is their difference more than the choice of clips?

    p is two-sided: twice the share of draws in which the difference is zero or has the other sign,
    at least 2 / (resamplings + 1).

    difference : the system's score minus the baseline's
    drawn, baseline : (resamplings,) what `resampled` gave for each, on the same clips and seed
    """
    differences = drawn - baseline
    tail = 1 + min(np.sum(differences <= 0), np.sum(differences >= 0))
    p = min(1.0, float(2 * tail / (len(differences) + 1)))
    return Comparison(difference, *_percentiles(differences), p)


def _resampled_metrics(
    section: ScoredSection, max_fpr: float, seed: int, resamplings: int
) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(str(section.key).encode())])
    n = len(section.scores)
    order = np.argsort(-section.scores, kind="stable")
    starts = np.flatnonzero(np.diff(section.scores[order], prepend=np.inf))
    step = max(1, VALUES_AT_ONCE // n)
    metrics = []
    for at in range(0, resamplings, step):
        times = np.empty((min(step, resamplings - at), n))  # how often each clip is drawn
        for members in _strata(section):
            share = np.full(len(members), 1 / len(members))
            times[:, members] = rng.multinomial(len(members), share, size=len(times))
        times = times[:, order]
        columns = _columns(section, max_fpr)
        masks = {
            mask.tobytes(): mask for normal, anomalous, _ in columns for mask in (normal, anomalous)
        }
        drawn = {
            key: np.add.reduceat(times * mask[order], starts, axis=1) for key, mask in masks.items()
        }
        metrics.append(
            [
                _partial_auc(drawn[normal.tobytes()], drawn[anomalous.tobytes()], limit)
                for normal, anomalous, limit in columns
            ]
        )
    return np.concatenate(metrics, axis=1)


def _strata(section: ScoredSection) -> list[np.ndarray]:
    domains = np.zeros(len(section.labels), "U6") if section.domains is None else section.domains
    pairs = [
        (domains == domain) & (section.labels == label)
        for domain in np.unique(domains)
        for label in (0, 1)
    ]
    return [np.flatnonzero(inside) for inside in pairs if inside.any()]


def _columns(section: ScoredSection, max_fpr: float) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return normals, anomalies and the largest false positive rate of each AUC of a section."""
    columns = {column.name: column for column in section.definition.columns}
    sides = []
    for name in section.definition.score:
        column = columns[name]
        chosen = clips_of(column, section.labels, section.domains)
        limit = max_fpr if column.measure == "pAUC" else 1.0
        sides.append((chosen & (section.labels == 0), chosen & (section.labels == 1), limit))
    return sides


def _metrics(section: ScoredSection, max_fpr: float) -> np.ndarray:
    group = np.unique(-section.scores, return_inverse=True)[1]
    return np.array(
        [
            _partial_auc(np.bincount(group, normal), np.bincount(group, anomalous), limit)
            for normal, anomalous, limit in _columns(section, max_fpr)
        ]
    )


def _partial_auc(negative: np.ndarray, positive: np.ndarray, limit: float) -> np.ndarray:
    """Return the AUC up to a false positive rate, standardised after McClish.

    NaN without both labels.

    negative, positive : (..., groups) how many clips of each score, the highest score first
    """
    after = negative.cumsum(axis=-1)
    n, m = after[..., -1], positive.sum(axis=-1)
    area = np.sum(positive * _area(after - negative, after, limit * n[..., None]), axis=-1)
    return _standardised(area, n, m, limit)


def _without_each(
    scores: np.ndarray, normal: np.ndarray, anomalous: np.ndarray, limit: float
) -> np.ndarray:
    """Return the `_partial_auc` without each clip: (clips,)."""
    group = np.unique(-scores, return_inverse=True)[1]
    negative, positive = np.bincount(group, normal), np.bincount(group, anomalous)
    after = negative.cumsum()
    before, n, m = after - negative, negative.sum(), positive.sum()
    each = _area(before, after, limit * n)
    whole = np.sum(positive * each)
    # Without a normal clip, the steps of the anomalies below it begin and end one earlier, which is
    # as if the limit lay one further; the step of its own score ends one earlier.
    shorter = limit * (n - 1)
    above = np.cumsum(positive * _area(before, after, shorter))
    below = np.cumsum((positive * _area(before, after, shorter + 1))[::-1])[::-1]
    own = positive * _area(before, np.maximum(after - 1, before), shorter)
    no_normal = np.append(0, above[:-1]) + own + np.append(below[1:], 0)
    return np.select(
        [normal, anomalous],
        [
            _standardised(no_normal, n - 1, m, limit)[group],
            _standardised(whole - each, n, m - 1, limit)[group],
        ],
        _standardised(whole, n, m, limit),
    )


def _area(before: np.ndarray, after: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Return what an anomaly adds below the ROC curve, from 0 to a limit of false positives.

    Its step rises evenly while the false positives go from before to after: those of its own score.
    """
    width = after - before
    inside = np.clip(limit - before, 0, width)
    return inside**2 / (2 * np.maximum(width, 1)) + np.maximum(limit - after, 0)


def _standardised(area, n, m, limit: float) -> np.ndarray:
    chance, best = limit**2 / 2, limit
    defined = (n > 0) & (m > 0)
    share = area / np.where(defined, n * m, 1)
    return np.where(defined, 0.5 * (1 + (share - chance) / (best - chance)), np.nan)


def _terms(metrics: np.ndarray, harmonic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return what each metric adds to a mean, and whether it counts: both as metrics in shape."""
    known = ~np.isnan(metrics)
    values = np.where(known, metrics, 1.0)
    return np.where(known, 1 / np.maximum(values, EPSILON) if harmonic else values, 0.0), known


def _mean(terms: np.ndarray, known: np.ndarray, harmonic: bool) -> np.ndarray:
    """Return the score from sums over sections: (columns, ...) → (...)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if harmonic:
            return known.sum(axis=0) / terms.sum(axis=0)
        return np.mean(terms / known, axis=0)


def _combined(sections: Sequence[np.ndarray], harmonic: bool) -> np.ndarray:
    """Return the score of a run from the metrics of its sections, each (columns, ...) → (...)."""
    pairs = (_terms(section, harmonic) for section in sections)
    terms, known = (sum(side) for side in zip(*pairs, strict=True))
    return _mean(terms, known * 1, harmonic)


def _spread(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum((values - values.mean()) ** 2)))


def _percentiles(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
