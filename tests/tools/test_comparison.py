"""Our figures beside the published ones: what is compared with what, the page, and the tables."""

from __future__ import annotations

import csv

import pytest

from core.command_line import assignment
from core.settings import read_config
from evaluation.metrics import DOMAIN_COLUMNS, SectionResult
from evaluation.years import NAMES, YEAR_2021
from tools import comparison, download
from tools.comparison import Line, Published

OFFICIAL_SCORE = "AUC (source) + AUC (target) + pAUC"
OFFICIAL = ("threshold_scope=machine_type", "threshold_fit=official")


def sections(machine_type: str, *values: float) -> list[SectionResult]:
    return [
        SectionResult(machine_type, f"{n:02}", dict.fromkeys(DOMAIN_COLUMNS, value))
        for n, value in enumerate(values)
    ]


def line(values, published: str | None = "0.6", **more) -> Line:
    row = published and Published(2022, "ae", "", "dev", "fan", "pAUC", "harmonic", "0.6", "", "S")
    given = {"remarks": (), "comparable": True, **more}
    return Line("dev", "fan", "pAUC", "harmonic", tuple(values), row, **given)


def test_mean_and_deviation_over_seeds():
    several = line([0.5, 0.6, 0.8])
    assert several.average == pytest.approx(0.6333333)
    assert several.deviation == pytest.approx(0.1527525)  # n - 1
    assert several.difference == pytest.approx(0.1 / 3)
    assert several.in_deviations == pytest.approx(0.2182179)


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7]])
def test_without_a_deviation_the_difference_is_not_in_deviations(values):
    one = line(values)
    assert one.difference == pytest.approx(0.1)
    assert str(one.in_deviations) == "nan"
    text = comparison.page(2022, {"ae": [one]}, ["About."], [])
    (row,) = [text for text in text.splitlines() if text.startswith("| fan")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    ours = "0.7000 ± 0.0000" if len(values) > 1 else "0.7000"
    assert cells == ["fan", "pAUC, harmonic", ours, "0.6000 [1]", "+0.1000", "", ""]


def test_figures_of_results():
    results = [*sections("fan", 0.5, 1.0), *sections("valve", 0.25)]
    assert comparison.figure(results, "fan", "pAUC", "harmonic") == pytest.approx(2 / 3)
    assert comparison.figure(results, "all", "pAUC", "arithmetic") == pytest.approx(1.75 / 3)
    over = comparison.figure(results, "all", "pAUC", "arithmetic over machine types")
    assert over == pytest.approx((0.75 + 0.25) / 2)
    mixed = [SectionResult("fan", "00", {"AUC": 0.5, "pAUC": 0.7})]
    assert comparison.figure(mixed, "fan", "AUC + pAUC", "arithmetic") == pytest.approx(0.6)
    assert str(comparison.figure(mixed, "fan", "AUC (source)", "harmonic")) == "nan"
    assert str(comparison.figure(mixed, "valve", "AUC", "arithmetic")) == "nan"


def compared(system: str, year: int, results, *assigned: str, dataset: str = "dev"):
    given = [assignment(text) for text in assigned]
    run = read_config(None, given).for_system(system)
    lines = comparison.compare(run, year, dataset, dict(enumerate(results)), len(results))
    return {(x.machine_type, x.metric, x.mean): x for x in lines}


def test_a_mean_over_all_is_compared_only_with_all_machine_types():
    names = [c.machine_type for c in comparison.read_clip_counts(2022) if c.dataset == "dev"]
    whole = [x for name in names for x in sections(name, 0.5)]
    key = ("all", "pAUC", "harmonic")
    assert compared("ae", 2022, [whole])[key].difference == pytest.approx(0.5 - 0.538)
    part = compared("ae", 2022, [[x for x in whole if x.machine_type != "fan"]])[key]
    assert str(part.difference) == "nan" and part.average == pytest.approx(0.5)
    assert part.remarks == ("ours without fan",)


def test_a_figure_made_with_other_settings_is_not_compared():
    key, results = ("fan", "recall (source)", "harmonic"), [sections("fan", 0.5)]
    other = compared("ae", 2022, results)[key]
    assert str(other.difference) == "nan" and other.published.value == "0.534"
    assert other.other_settings and other.values == ()
    text = comparison.page(2022, {"ae": [other]}, [], [])
    assert (
        "0.5340" not in text
        and "- 1 of `--set threshold_scope=machine_type threshold_fit=official`" in text
    )
    same = compared("ae", 2022, results, *OFFICIAL)[key]
    assert same.difference == pytest.approx(0.5 - 0.534)


def test_a_figure_of_other_settings_does_not_hide_ours():
    given = dict.fromkeys(NAMES["2023"].column_names, 0.5)
    run = read_config().for_system("ae")
    lines = comparison.compare(run, 2023, "eval", {0: [SectionResult("Vacuum", "00", given)]}, 1)
    own = [x for x in lines if (x.machine_type, x.metric) == ("Vacuum", "pAUC")]
    assert [x.values for x in own] == [(0.5,), (), ()]
    assert [bool(x.other_settings) for x in own] == [False, True, True]


def test_settings_that_a_system_does_not_have_are_named_as_such():
    row = Published(2022, "ae", "ae.no_such=1", "dev", "fan", "pAUC", "harmonic", "0.6", "", "S")
    run = read_config().for_system("ae")
    assert not row.holds(run) and not row.can_hold(run)
    other = row._replace(settings="ae.fit.epochs=3 threshold_scope=machine_type")
    assert not other.holds(run) and other.can_hold(run)
    assert other.holds(run.with_values({"fit.epochs": 3, "threshold_scope": "machine_type"}))
    text = comparison.page(2022, {"ae": [comparison._beside(line([0.5], None), row, run)]}, [], [])
    assert "- 1 of `--set ae.no_such=1`, which this version does not have" in text


def test_oracle_figures_and_other_definitions_are_marked():
    lines = compared("aegan_ad", 2022, [sections("fan", 0.5)])
    (remark,) = lines["fan", OFFICIAL_SCORE, "harmonic"].remarks
    assert remark == "oracle: epoch and score (G_z_cos_min) chosen on the test clips"
    lines = compared("mobilenet_v2", 2022, [sections("fan", 0.5)], *OFFICIAL)
    remarks = lines["fan", "recall (source)", "harmonic"].remarks
    assert remarks[0].startswith("definition: ")
    assert lines["fan", "pAUC", "harmonic"].remarks == ()


def test_a_system_without_published_figures_has_its_own():
    lines = compared("grlnet", 2022, [sections("fan", 0.5), sections("fan", 0.7)])
    own = lines["fan", "pAUC", "harmonic"]
    assert (own.published, own.values) == (None, (0.5, 0.7))
    text = comparison.page(2022, {"grlnet": list(lines.values())}, [], [])
    assert "No published figures of this system" in text and "## Sources" not in text


def test_ids_of_2020_have_their_own_figures():
    results = [
        SectionResult(name, "00", {"AUC": value, "pAUC": 0.5})
        for name, value in (("fan", 0.6), ("pump", 0.8))
    ]
    lines = compared("idnn", 2020, [results])
    assert lines["fan", "AUC", "arithmetic"].difference == pytest.approx(0.6 - 0.6569)
    over = lines["all", "AUC", "arithmetic over machine types"]
    assert over.average == pytest.approx(0.7)
    assert over.remarks[0] == "ours of fan, pump only"


def test_figures_of_2021_are_within_a_domain():
    metrics = dict.fromkeys(YEAR_2021.column_names, 0.5)
    results = [SectionResult("fan", "00", {**metrics, "AUC (target)": 0.9, "pAUC (source)": 1.0})]
    lines = compared("ae", 2021, [results])
    both = lines["fan", "AUC (source) + AUC (target)", "harmonic"]
    assert both.average == pytest.approx(2 / (1 / 0.5 + 1 / 0.9))
    assert both.published.value == "0.631866714"
    score = lines["all", " + ".join(YEAR_2021.score), "harmonic"]
    assert comparison.label(score) == "official score"
    assert score.average == pytest.approx(4 / (1 / 0.5 + 1 / 0.9 + 1 / 1.0 + 1 / 0.5))


def rows() -> list[Published]:
    with comparison.PUBLISHED.open(newline="", encoding="utf-8") as stream:
        return [Published(int(year), *rest) for year, *rest in list(csv.reader(stream))[1:]]


def test_table_of_published_figures():
    seen = set()
    for row in rows():
        system = read_config().for_system(row.system)
        assert type(system).__name__ != "SystemSettings", row
        machine_types = {
            c.machine_type
            for c in comparison.read_clip_counts(row.year)
            if c.dataset == row.dataset
        }
        assert row.machine_type in {*machine_types, "all"}, row
        assert 0 <= float(row.value) <= 1 and row.source, row
        assert set(row.metric.split(" + ")) <= set(NAMES[str(row.year)].column_names), row
        kinds = (comparison.HARMONIC, comparison.ARITHMETIC, comparison.OVER_MACHINE_TYPES)
        assert row.mean in kinds, row
        for part in filter(None, row.differs.split("; ")):
            assert part.partition(": ")[0] in comparison.DIFFERENCES, row
        assert row.can_hold(system), row
        read_config(None, [assignment(word) for word in row.settings.split()])
        key = row[:7] + (row.source,)
        assert key not in seen, f"twice: {row}"
        seen.add(key)


# Figures of the release's own tables, read again from there.
PRINTED = {
    (2020, "stgram_mfn", "dev", "all", "AUC"): "0.923614376",
    (2020, "idnn", "dev", "valve", "pAUC"): "0.6399",
    (2020, "vae", "eval", "all", "AUC"): "0.6956",
    (2022, "ae", "dev", "valve", "AUC (target)"): "0.496",
    (2022, "mobilenet_v2", "dev", "valve", "pAUC"): "0.630",
    (2022, "aegan_ad", "dev", "slider", OFFICIAL_SCORE): "0.7406",
}


@pytest.mark.parametrize("key", PRINTED)
def test_printed_figure(key):
    found = {
        row.value
        for row in rows()
        if (row.year, row.system, row.dataset, row.machine_type, row.metric) == key
    }
    assert found == {PRINTED[key]}


def test_means_of_the_evaluators_follow_from_their_machine_types():
    groups: dict[tuple, list[Published]] = {}
    for row in rows():
        if row.year >= 2023:
            groups.setdefault((row.year, row.settings), []).append(row)
    assert len(groups) == 8
    for own in groups.values():
        names = {row.machine_type for row in own} - {"all"}
        value = {(r.machine_type, r.metric): float(r.value) for r in own if r.machine_type != "all"}
        results = [
            SectionResult(name, "00", {c: value[name, c] for c in NAMES["2023"].score})
            for name in names
        ]
        for row in own:
            ours = comparison.figure(results, row.machine_type, row.metric, row.mean)
            assert ours == pytest.approx(float(row.value), abs=1e-12), row


def test_clip_counts_name_a_source_where_they_are_known():
    with comparison.CLIP_COUNTS.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            assert bool(row["train"] or row["test"]) == bool(row["source"]), row
    assert {year: bool(comparison.read_clip_counts(year)) for year in download.RECORDS} == (
        dict.fromkeys(download.RECORDS, True)
    )
