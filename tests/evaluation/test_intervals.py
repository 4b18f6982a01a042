"""Intervals against leaving clips out one by one, drawing them one by one, and known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from evaluation import intervals, years
from evaluation.metrics import ScoredSection, SectionKey, arithmetic_mean, official_score


def section(
    seed: int,
    machine_type: str = "fan",
    n: int = 24,
    ties: bool = True,
    domains: bool = True,
    lift: float = 1.0,
) -> ScoredSection:
    """Clips of two labels and domains; with ties, most scores are shared."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    scores = rng.normal(size=n) + lift * labels
    return ScoredSection(
        SectionKey(machine_type, "section_00"),
        np.array([f"section_00_{index:04d}.wav" for index in range(n)]),
        np.round(scores * 2) / 2 if ties else scores,
        labels,
        np.array(["source", "target"])[np.arange(n) // 2 % 2] if domains else None,
        None,
    )


def evaluated(run: list[ScoredSection], max_fpr: float) -> float:
    """The score of a run by the evaluation itself."""
    results = [held.evaluate(max_fpr) for held in run]
    if run[0].domains is not None:
        return official_score(results)
    return float(np.mean(arithmetic_mean([list(r.metrics.values()) for r in results])))


def some(held: ScoredSection, chosen: np.ndarray) -> ScoredSection:
    domains = None if held.domains is None else held.domains[chosen]
    return replace(
        held,
        names=held.names[chosen],
        scores=held.scores[chosen],
        labels=held.labels[chosen],
        domains=domains,
    )


def one_by_one(run: list[ScoredSection], max_fpr: float) -> np.ndarray:
    return np.array(
        [
            evaluated(
                [*run[:k], some(held, np.arange(len(held.scores)) != i), *run[k + 1 :]], max_fpr
            )
            for k, held in enumerate(run)
            for i in range(len(held.scores))
        ]
    )


@pytest.mark.parametrize("definition", years.ALL_DEFINITIONS[1:], ids=lambda one: one.title)
def test_leaving_out_equals_recomputation_by_the_definition_of_a_year(definition) -> None:
    run = [section(seed, name).by(definition) for seed, name in enumerate(("fan", "valve"))]
    np.testing.assert_allclose(
        intervals.leave_one_out(run, 0.1), one_by_one(run, 0.1), rtol=0, atol=1e-12
    )
    assert intervals.score([run], 0.1) == pytest.approx(evaluated(run, 0.1), abs=1e-12)
    drawn = intervals.resampled([run], 0.1, resamplings=50)
    assert abs(np.mean(drawn) - evaluated(run, 0.1)) < 0.1


@pytest.mark.parametrize("max_fpr", [0.1, 0.37, 1.0])
@pytest.mark.parametrize("domains", [True, False])
def test_leaving_out_equals_recomputation(domains, max_fpr) -> None:
    run = [
        section(0, "fan", domains=domains),
        section(1, "valve", n=13, ties=False, domains=domains),
        replace(section(2, "gearbox", n=8, domains=domains), scores=np.ones(8)),
        section(3, "slider", n=16, lift=-3.0, domains=domains),
    ]
    assert intervals.score([run], max_fpr) == pytest.approx(evaluated(run, max_fpr), abs=1e-12)
    expected = one_by_one(run, max_fpr)
    assert np.ptp(expected) > 1e-3
    assert np.allclose(intervals.leave_one_out(run, max_fpr), expected, rtol=0, atol=1e-12)


def test_a_metric_that_vanishes_with_a_clip_is_left_out_of_the_mean() -> None:
    few = section(5, "valve", n=8, ties=False)
    few = replace(few, labels=np.array([0, 0, 0, 0, 0, 0, 0, 1]))
    run = [few, section(1, n=12)]
    found = intervals.leave_one_out(run)
    assert np.allclose(found, one_by_one(run, 0.1), rtol=0, atol=1e-12)


def test_a_section_ranked_backwards_does_not_swallow_the_others() -> None:
    """Its AUC of 0 counts as the float epsilon, whose inverse is 4.5e15."""
    backwards = replace(section(0), scores=1.0 - section(0).labels)
    run = [backwards, section(1, "valve")]
    expected = one_by_one(run, 0.1)
    assert np.allclose(intervals.leave_one_out(run), expected, rtol=1e-9, atol=0)


def test_the_jackknife_interval_is_the_textbook_one() -> None:
    runs = [[section(s), section(s + 1, "valve")] for s in (0, 7)]
    without = np.mean([one_by_one(run, 0.1) for run in runs], axis=0)
    n = len(without)
    half = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    half *= scipy.stats.t.ppf(0.975, n - 1)
    centre = np.mean([evaluated(run, 0.1) for run in runs])
    found = intervals.jackknife(runs)
    assert found == pytest.approx((centre, centre - half, centre + half), abs=1e-9)


def test_the_evaluator_field_is_what_the_official_evaluator_writes() -> None:
    """Its recipe in plain words: pooled clips, N (N - 1), half widths of AUC and pAUC averaged."""
    run = [section(0), section(1, "valve", n=30)]
    labels = np.concatenate([held.labels for held in run])
    scores = np.concatenate([held.scores for held in run])
    n, halves = len(labels), []
    for max_fpr in (None, 0.1):
        without = np.array(
            [
                roc_auc_score(np.delete(labels, i), np.delete(scores, i), max_fpr=max_fpr)
                for i in range(n)
            ]
        )
        sigma = np.sqrt(np.sum((without - without.mean()) ** 2) / (n * (n - 1)))
        halves.append(abs(scipy.stats.t.ppf(0.025, n - 1)) * sigma)
    assert intervals.evaluator_field(run) == pytest.approx(np.mean(halves), rel=1e-9)


@pytest.mark.parametrize("domains", [True, False])
def test_a_resampling_is_the_evaluation_of_drawn_clips(domains, monkeypatch) -> None:
    """The draws are caught, and the clips that they name evaluated one draw at a time."""
    run = [section(0, domains=domains), section(1, "valve", n=20, domains=domains)]
    caught = []
    partial = intervals._strata

    def keep(held):
        caught.append(held.key)
        return partial(held)

    monkeypatch.setattr(intervals, "_strata", keep)
    found = intervals.resampled([run], 0.3, seed=4, resamplings=12)
    assert [key.machine_type for key in caught] == ["fan", "valve"]
    draws = []
    for held in run:
        rng = np.random.default_rng([4, intervals.zlib.crc32(str(held.key).encode())])
        times = np.zeros((12, len(held.scores)), int)
        for members in partial(held):
            share = np.full(len(members), 1 / len(members))
            times[:, members] = rng.multinomial(len(members), share, size=12)
        draws.append(times)
    for number in range(12):
        drawn = [
            some(held, np.repeat(np.arange(len(held.scores)), times[number]))
            for held, times in zip(run, draws, strict=True)
        ]
        assert found[number] == pytest.approx(evaluated(drawn, 0.3), abs=1e-12)


def test_draws_stay_within_domain_and_label() -> None:
    held = section(0)
    strata = intervals._strata(held)
    assert len(strata) == 4
    assert sorted(np.concatenate(strata).tolist()) == list(range(24))
    for members in strata:
        assert len(set(held.labels[members])) == len(set(held.domains[members])) == 1


def test_draws_in_parts_are_as_many_and_the_seed_decides_them(monkeypatch) -> None:
    run = [section(0)]
    whole = intervals.resampled([run], seed=1, resamplings=50)
    assert not np.array_equal(whole, intervals.resampled([run], seed=2, resamplings=50))
    monkeypatch.setattr(intervals, "VALUES_AT_ONCE", 24 * 7)
    assert len(intervals.resampled([run], seed=1, resamplings=50)) == 50


def bootstrap(run: list[ScoredSection]) -> intervals.Interval:
    return intervals.bootstrap(intervals.score([run]), intervals.resampled([run], resamplings=500))


def paired(run: list, base: list) -> intervals.Comparison:
    return intervals.paired_bootstrap(
        intervals.score([run]) - intervals.score([base]),
        *(intervals.resampled([side], resamplings=500) for side in (run, base)),
    )


def test_jackknife_and_bootstrap_agree_on_many_clips() -> None:
    run = [section(number, f"m{number}", n=400, ties=False) for number in range(3)]
    left, drawn = intervals.jackknife([run]), bootstrap(run)
    assert left.score == drawn.score
    assert left.high - left.low == pytest.approx(drawn.high - drawn.low, rel=0.2)
    assert drawn.low < drawn.score < drawn.high


def test_a_better_system_is_told_from_an_equal_one() -> None:
    base = [section(number, f"m{number}", n=200, ties=False) for number in range(3)]
    rng = np.random.default_rng(9)
    better = [replace(held, scores=held.scores + 1.0 * held.labels) for held in base]
    equal = [replace(held, scores=held.scores + rng.normal(0, 0.05, 200)) for held in base]
    told = paired(better, base)
    assert told.difference == pytest.approx(evaluated(better, 0.1) - evaluated(base, 0.1))
    assert 0 < told.low < told.difference < told.high
    assert told.p == pytest.approx(2 / 501)
    same = paired(equal, base)
    assert same.low < 0 < same.high
    assert same.p > 0.05
    assert paired(base, base) == (0, 0, 0, 1)
    # Paired: what both share does not widen the interval.
    assert same.high - same.low < 0.5 * np.ptp(bootstrap(base)[1:])
