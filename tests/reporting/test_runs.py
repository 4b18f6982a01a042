"""What is read below result directories, and what is skipped there and named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.errors import BadInput
from data.clip_names import parse_name
from evaluation import years
from evaluation.csv_files import evaluate_directory
from evaluation.metrics import DOMAINS, SectionKey, harmonic_mean, official_score
from evaluation.result_csv import write_result_csv
from reporting import runs, tables
from tests.reporting.report_data import names, results, write

PATTERN = "./result/{system}"


def read(*given: Path, **options) -> runs.ReportData:
    return runs.read_runs(list(given), PATTERN, **options)


@pytest.mark.parametrize(
    ("pattern", "directory", "identity"),
    [
        ("result/{system}", "result/vae", ("vae", "")),
        ("result/{system}/{seed}", "result/vae/3", ("vae", "3")),
        ("r[1]/seed_{seed}/{system}", "r[1]/seed_3/vae", ("vae", "3")),
        ("{system}/{system}_{seed}", "vae/vae_3", ("vae", "3")),
        ("result/{system}", "result/vae/seed_3", ("vae", "3")),
        ("result/{system}/{seed}", "result/vae/old", ("vae/old", "")),
    ],
)
def test_the_settings_name_where_results_lie(
    pattern, directory, identity, tmp_path, monkeypatch
) -> None:
    results(tmp_path / directory)
    monkeypatch.chdir(tmp_path)
    for written in (pattern, str(tmp_path / pattern)):
        (run,) = runs.read_runs([], written).runs
        assert (run.system, run.seed) == identity
        assert len(run.sections) == 4


@pytest.mark.parametrize(
    ("directory", "identity"),
    [
        ("all/idnn", ("idnn", "")),
        ("all/idnn/seed_12", ("idnn", "12")),
        ("all/idnn/0", ("idnn", "0")),
        ("all/seed-1/idnn", ("idnn", "1")),
        ("all/team_a/second/seed_1", ("team_a/second", "1")),
        ("all", ("all", "")),
    ],
)
def test_a_directory_given_is_searched_and_named_by_its_path(directory, identity, tmp_path) -> None:
    results(tmp_path / directory)
    (run,) = read(tmp_path / "all").runs
    assert (run.system, run.seed) == identity


def test_the_run_itself_given_is_named_as_from_above(tmp_path) -> None:
    results(tmp_path / "idnn" / "seed_1")
    for given in (tmp_path / "idnn" / "seed_1", tmp_path / "idnn"):
        (run,) = read(given).runs
        assert (run.system, run.seed, run.name) == ("idnn", "1", "idnn seed 1")


def test_the_same_directory_twice_is_one_run_and_namesakes_are_two(tmp_path) -> None:
    first, second = (results(tmp_path / place / "ae") for place in "ab")
    assert len(read(first, first, tmp_path / "a").runs) == 1
    assert len({run.name for run in read(first, second).runs}) == 2


def test_the_baseline_comes_first_then_systems_and_seeds_in_order(tmp_path) -> None:
    for name in ("ae/1", "vae/10", "vae/9", "mobilenet_v2/0"):
        results(tmp_path / name)
    names_in_order = [run.name for run in read(tmp_path, baseline="vae").runs]
    assert names_in_order == ["vae seed 9", "vae seed 10", "ae seed 1", "mobilenet_v2 seed 0"]


def test_nothing_to_report_names_every_reason(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"\./result/\{system\}: no results to report; 01_test"):
        runs.read_runs([], PATTERN)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "bad" / "anomaly_score_fan_section_00_test.csv", [["a.wav", "x"]])
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "gone", tmp_path / "empty", tmp_path / "bad")
    message = str(caught.value)
    assert f"{tmp_path / 'gone'}: no such directory" in message
    assert f"{tmp_path / 'empty'}: no anomaly_score_*.csv in it or below" in message
    assert "line 1: 'x' is not a number" in message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text + text.splitlines()[0] + "\n", "a second time"),
        (lambda text: text[: text.rindex(",")], "expected two columns"),
        (
            lambda text: text.replace(text.splitlines()[3] + "\n", ""),
            "missing from the anomaly scores",
        ),
        (lambda text: "", "has no clip"),
        (lambda text: "\x00\xff" + text, "section 00 skipped"),
    ],
)
def test_a_damaged_section_is_skipped_named_and_a_gap(spoil, message, tmp_path) -> None:
    for system in ("ae", "vae"):
        results(tmp_path / system)
    path = tmp_path / "vae" / "anomaly_score_fan_section_00_test.csv"
    path.write_text(spoil(path.read_text()), encoding="latin-1")
    data = read(tmp_path)
    (run,) = data.systems["vae"]
    assert len(run.sections) == 3
    assert any(message in line for line in data.problems), data.problems
    assert data.gaps == ["vae: 1 of 4 sections missing: fan section 00"]


def test_a_misnamed_file_is_named_and_foreign_csvs_are_not_read(tmp_path) -> None:
    results(tmp_path / "ae")
    write(tmp_path / "ae" / "anomaly_score_fan.csv", [["a", 1]])
    write(tmp_path / "ae" / "notes.csv", [["anything"]])
    (problem,) = read(tmp_path).problems
    assert "anomaly_score_fan.csv: the name has no" in problem


def test_another_test_set_is_skipped_the_usual_one_stays(tmp_path) -> None:
    for system in ("idnn", "vae", "ae"):
        results(tmp_path / system, clips=8 if system != "idnn" else 10)
    data = read(tmp_path)
    assert [run.system for run in data.runs] == ["ae", "vae"]
    (problem, *others) = data.problems
    assert re.search(
        r"idnn: fan section 00 skipped: another test set \(10 clips, where 2 of 3 "
        r"runs have 8; differing in 4: section_00",
        problem,
    )
    assert len(others) == 3
    # Of two the baseline's counts.
    shutil.rmtree(tmp_path / "vae")
    assert [run.system for run in read(tmp_path).runs] == ["ae"]
    assert [run.system for run in read(tmp_path, baseline="idnn").runs] == ["idnn"]


def test_a_dataset_without_domains_does_not_mix_with_one_that_has_them(tmp_path) -> None:
    results(tmp_path / "ae")
    results(tmp_path / "vae", domains=False, sections=["00"])
    data = read(tmp_path)
    assert [run.system for run in data.runs] == ["ae"]
    assert "vae: fan id 00, valve id 00 skipped: a dataset without domains" in data.problems[0]
    results(tmp_path / "idnn", domains=False)
    data = read(tmp_path)
    assert [run.system for run in data.runs] == ["idnn", "vae"]
    assert "fan section 00, fan section 01" in data.problems[0]
    assert "skipped: a dataset with domains" in data.problems[0]
    only = read(tmp_path / "vae")
    assert not only.with_domains
    assert not only.problems


def test_missing_machines_sections_and_seeds_are_counted_and_named(tmp_path) -> None:
    results(tmp_path / "ae" / "seed_0")
    results(tmp_path / "ae" / "seed_1", machines=["fan"])
    results(tmp_path / "vae" / "seed_0", sections=["00"])
    assert read(tmp_path).gaps == [
        "ae seed 1: 2 of 4 sections missing: valve (all sections)",
        "vae: 1 of 2 seeds missing: 1",
        "vae seed 0: 2 of 4 sections missing: fan section 01, valve section 01",
    ]


def test_metrics_that_cannot_be_computed_are_gaps_too(tmp_path) -> None:
    folder = results(tmp_path / "ae")
    for path in folder.glob("decision_result_fan_*.csv"):
        path.unlink()
    (gap,) = read(folder).gaps
    assert gap.startswith("ae: 2 of 4 sections without normal clips, anomalies or decisions for ")
    assert gap.endswith("F1 score (source), F1 score (target): fan (all sections)")


def test_a_result_csv_that_differs_is_named(tmp_path) -> None:
    folder = results(tmp_path / "ae")
    path = folder / "result.csv"
    judged, _ = evaluate_directory(folder)
    write_result_csv(path, judged)
    assert read(folder).problems == []
    value = repr(judged[0].metrics["AUC (source)"])
    path.write_text(path.read_text().replace(f"00,{value}", "00,0.123", 1))
    (problem,) = read(folder).problems
    assert (
        "fan section 00: not what the scores beside it give (AUC (source) 0.123 against" in problem
    )
    path.write_bytes(b"\xff\xfe\x00fan")
    assert "result.csv: cannot be read" in read(folder).problems[0]
    path.write_text("not,a,table\n")
    assert "result.csv: not a table of results" in read(folder).problems[0]
    assert read(folder).problems[0].endswith("; the scores beside it count")


def test_thresholds_come_from_their_file_else_from_the_decisions(tmp_path) -> None:
    folder, key = results(tmp_path / "ae"), SectionKey("fan", "section_00")
    (run,) = read(folder).runs
    assert run.thresholds[key] == (1.0, "gamma", (2.0, -1.0, 0.5))
    (folder / "thresholds.csv").unlink()
    (run,) = read(folder).runs
    scores = run.sections[key].scores
    between = (scores[scores <= 1].max() + scores[scores > 1].min()) / 2
    assert run.thresholds[key] == (between, "read off the decisions", None)


def test_thresholds_that_contradict_the_decisions_are_named(tmp_path) -> None:
    folder = results(tmp_path / "ae", machines=["fan"], sections=["00"])
    path = folder / "thresholds.csv"
    path.write_text(path.read_text().replace("section_00,1.0", "section_00,-9.0"))
    data = read(folder)
    (key,) = data.runs[0].sections
    assert "threshold -9 does not give the decisions beside it" in data.problems[0]
    assert data.runs[0].thresholds[key].method == "read off the decisions"
    path.write_text("machine_type,section,thresh")
    path.write_text("machine_type,section,threshold\nfan,section_00,1.")
    assert "thresholds.csv: half-written or foreign" in read(folder).problems[0]


def test_the_threshold_of_a_machine_type_serves_all_its_sections(tmp_path) -> None:
    folder = results(tmp_path / "ae", machines=["fan"])
    rows = [["machine_type", "section", "threshold", "method", "shape", "loc", "scale"]]
    write(folder / "thresholds.csv", [*rows, ["fan", "all sections", 1.0, "gamma", 2, 0, 1]])
    (run,) = read(folder).runs
    assert [threshold.value for threshold in run.thresholds.values()] == [1.0, 1.0]


def test_clips_without_labels_are_kept_to_listen_to_and_truth_labels_them(tmp_path) -> None:
    folder = tmp_path / "ae"
    listed = [f"section_03_{index:04d}.wav" for index in range(6)]
    write(folder / "anomaly_score_fan_section_03_test.csv", [(n, i) for i, n in enumerate(listed)])
    data = read(folder)
    assert data.labelled == []
    assert len(data.runs[0].sections) == 1
    tested = [name.replace("section_03", "section_03_test") for name in listed]
    for kind, values in (("data", [0, 1] * 3), ("domain", [0, 0, 0, 1, 1, 1])):
        write(
            tmp_path / f"truth/ground_truth_{kind}" / "ground_truth_fan_section_03_test.csv",
            list(zip(tested, values, strict=True)),
        )
    data = read(folder, ground_truth=tmp_path / "truth")
    (section,) = data.runs[0].labelled.values()
    assert section.labels.tolist() == [0, 1] * 3
    assert np.unique(section.domains).tolist() == ["source", "target"]
    with pytest.raises(BadInput, match="no such directory"):
        read(folder, ground_truth=tmp_path / "nowhere")


def test_a_baseline_without_results(tmp_path) -> None:
    for system in ("idnn", "vae"):
        results(tmp_path / system)
    data = read(tmp_path)
    assert data.baseline == "ae"
    assert "ae has no results; --baseline names another" in data.problems[0]
    data = read(tmp_path, baseline="vae")
    assert data.baseline == "vae"
    assert data.problems == []
    with pytest.raises(BadInput, match="--baseline idn: no results of it; did you mean idnn"):
        read(tmp_path, baseline="idn")


def test_the_names_of_the_made_clips_are_those_of_the_challenge() -> None:
    assert {parse_name(name).label for name in names()} == {0, 1}
    assert {parse_name(name).domain for name in names()} == {"source", "target"}


def test_the_tables_of_the_evaluation_data_are_read_too(tmp_path) -> None:
    folder, key = results(tmp_path / "ae", machines=["fan"]), SectionKey("fan", "section_01")
    path = folder / "thresholds.csv"
    lines = path.read_text().splitlines(keepends=True)
    (folder / "thresholds_eval.csv").write_text(
        "".join(line for line in lines if "_00" not in line)
    )
    path.write_text("".join(line for line in lines if "_01" not in line))
    (run,) = read(folder).runs
    assert run.thresholds[key] == (1.0, "gamma", (2.0, -1.0, 0.5))
    judged, _ = evaluate_directory(folder)
    write_result_csv(folder / "result_eval.csv", judged)
    assert read(folder).problems == []
    text = (folder / "result_eval.csv").read_text()
    (folder / "result_eval.csv").write_text(re.sub(r"(?m)^01,[^,]*", "01,0.123", text, count=1))
    assert (
        "result_eval.csv: fan section 01: not what the scores beside it give"
        in (read(folder).problems[0])
    )


def test_a_threshold_of_the_evaluation_data_is_taken_where_that_of_the_others_does_not_fit(
    tmp_path,
) -> None:
    folder = results(tmp_path / "ae", machines=["fan"])
    rows = [["machine_type", "section", "threshold", "method", "shape", "loc", "scale"]]
    write(folder / "thresholds.csv", [*rows, ["fan", "all sections", -9.0, "gamma", 2, 0, 1]])
    write(folder / "thresholds_eval.csv", [*rows, ["fan", "all sections", 1.0, "gamma", 2, 0, 1]])
    data = read(folder)
    assert [threshold.value for threshold in data.runs[0].thresholds.values()] == [1.0, 1.0]
    assert data.problems == []


def test_the_form_of_mobilenet_v2_is_no_contradiction_and_is_compared_as_the_others(
    tmp_path,
) -> None:
    results(tmp_path / "ae")
    folder = results(tmp_path / "mobilenet_v2")
    judged, _ = evaluate_directory(folder, year="2022_mobilenet_v2")
    write_result_csv(folder / "result.csv", judged)
    data = read(tmp_path)
    assert data.problems == []
    assert data.definition is years.YEAR_2022
    text = (folder / "result.csv").read_text()
    (folder / "result.csv").write_text(re.sub(r"(?m)^01,[^,]*", "01,0.123", text, count=1))
    assert "not what the scores beside it give" in read(tmp_path).problems[0]


def test_runs_of_2021_are_compared_within_the_domains(tmp_path) -> None:
    folder = results(tmp_path / "ae")
    for path in folder.glob("*_section_*_test.csv"):
        lines = path.read_text().splitlines(keepends=True)
        for domain in ("source", "target"):
            own = path.with_name(path.name.replace("_test.csv", f"_{domain}_test.csv"))
            own.write_text("".join(line for line in lines if f"_{domain}_" in line))
        path.unlink()
    data = read(folder)
    assert data.definition is years.YEAR_2021
    report = tables.compare(data)
    assert report.columns[:5] == [*years.YEAR_2021.score, "official score"]
    judged, _ = evaluate_directory(folder)
    (row,) = [row for row in report.rows if row.group == tables.ALL]
    assert row.values["official score"][0] == official_score(judged)
    recalls = [one.metrics[f"recall ({domain})"] for domain in DOMAINS for one in judged]
    assert row.values["recall"][0] == pytest.approx(harmonic_mean(np.array([recalls]).T)[0])
