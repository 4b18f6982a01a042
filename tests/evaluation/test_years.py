"""Every year's evaluation against what its official code computed, and the choice of the year.

tests/evaluation/years/ has one machine type of 2020, 2021 and of MobileNetV2's release of 2022:
made-up scores, the published truth of their clips (MIT) and the results of the official code. All
years, with all machine types, are read from REFERENCE_DIR where it is set.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from evaluation import years
from evaluation.csv_files import evaluate_directory
from evaluation.metrics import SectionResult, section_metrics
from evaluation.result_csv import format_table, read_result_csv, write_result_csv
from tests.evaluation.test_metrics import dev_clips, fails, run, save_section, write

HERE = Path(__file__).parent / "years"
TOLERANCE = 1e-9
OVER_ALL = "all machine types"
VALUES = re.compile(r"AUC|precision|recall|F1 score")

Figures = dict[tuple[str, str, str], float]


def reference(name: str) -> Path:
    folder = os.environ.get("REFERENCE_DIR")
    if not folder:
        pytest.skip("REFERENCE_DIR is not set: the results of all machine types are not here")
    return Path(folder) / "evaluation" / name


def figures(path: Path, title: str = OVER_ALL) -> Figures:
    """Read every figure of a table: machine type or OVER_ALL, row, column → value."""
    found: Figures = {}
    group, header = title, []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    for row in rows:
        first = next((at for at, cell in enumerate(row) if VALUES.match(cell)), None)
        if not row:
            group, header = OVER_ALL, []
        elif len(row) == 1:
            group = row[0]
        elif row[0].startswith(("official score", "TOTAL")):
            found[OVER_ALL, row[0], ""] = float(next(filter(None, row[1:])))
        elif first is not None:
            header, start = row, first
        elif header:
            names = [cell.partition(" over all")[0] for cell in row[:start] if cell]
            if header[0] == "machine type":
                own, names = names[0], names[1:]
            else:
                own = group
            for column, cell in zip(header[start:], row[start:], strict=True):
                if cell:
                    found[own, " ".join(names), column] = float(cell)
    return found


def evaluated(source: Path, folder: Path, *arguments: object) -> Figures:
    shutil.copytree(source, folder)
    done: subprocess.CompletedProcess = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return figures(folder / "result.csv")


def assert_has(ours: Figures, official: Figures, left_out: str = "$^") -> int:
    """Hold every official figure to ours; returns their number."""
    wanted = {key: value for key, value in official.items() if not re.search(left_out, str(key))}
    assert set(wanted) - set(ours) == set()
    for key, value in wanted.items():
        assert abs(ours[key] - value) <= TOLERANCE, key
    return len(wanted)


# A row of a machine type in the evaluators of 2021 and 2022 that does not cover its domain.
WRONG_ROW = r"\('(?!all machine types).*'(source|target) harmonic mean'"
MOBILENET = ("--year", "2022_mobilenet_v2")
LISTS = ("2020", "2023_made_up", "2024_made_up", "2025_made_up", "2026")
OFFICIAL_FORM = {"2020": (), "2021": (), "2022": (), "2022_mobilenet_v2": MOBILENET}


@pytest.mark.parametrize("name", ["2020", "2021", "2022_mobilenet_v2"])
def test_official_results_of_one_machine_type(name, tmp_path):
    source = HERE / name
    form = OFFICIAL_FORM[name]
    official = figures(source / "baseline_result.csv")
    assert assert_has(evaluated(source / "labelled", tmp_path / "a", *form), official) >= 8
    truth = ("--ground-truth", source / "truth")
    ours = evaluated(source / "unlabelled", tmp_path / "b", *truth)
    official = figures(source / "evaluator_result.csv")
    left_out = WRONG_ROW if name.startswith("2022") else "$^"
    assert assert_has(ours, official, left_out) >= 8


def test_the_table_of_2021_is_the_official_file_byte_for_byte_but_for_the_last_digit(tmp_path):
    evaluated(HERE / "2021" / "labelled", tmp_path / "a")
    found, official = (
        re.sub(r"(\.\d{12})\d*", r"\1", path.read_text())
        for path in (tmp_path / "a" / "result.csv", HERE / "2021" / "baseline_result.csv")
    )
    assert found.startswith(official)
    assert ",,AUC,pAUC,precision,recall,F1 score\n" in found.removeprefix(official)


@pytest.mark.parametrize("name", [*OFFICIAL_FORM, *LISTS[1:]])
def test_every_figure_of_the_years_evaluator(name, tmp_path):
    source = reference(name)
    left_out = WRONG_ROW if name.startswith(("2021", "2022")) else "$^"
    official = figures(source / "official" / "evaluator_result.csv")
    paths = [source / "truth", *(source / "truth").glob("eval_data_list.csv")]
    assert (len(paths) == 2) == (name in LISTS)
    for number, path in enumerate(paths):
        ours = evaluated(source / "unlabelled", tmp_path / str(number), "--ground-truth", path)
        assert assert_has(ours, official, left_out) >= 20
    if name == "2021":
        path = source / "official" / "evaluator_result_as_of_7_machine_types.csv"
        assert_has(ours, figures(path))


@pytest.mark.parametrize("name", OFFICIAL_FORM)
def test_every_figure_of_the_years_baseline(name, tmp_path):
    source = reference(name)
    path = source / "official" / "baseline_result.csv"
    ours = evaluated(source / "labelled", tmp_path / "a", *OFFICIAL_FORM[name])
    assert ours == pytest.approx(figures(path), abs=TOLERANCE)


@pytest.mark.parametrize(
    "name", [name for name in (*OFFICIAL_FORM, *LISTS[1:]) if "mob" not in name]
)
def test_every_figure_of_the_common_baseline_since_2023(name, tmp_path):
    source = reference(name)
    year = ("--year", "2023") if name in OFFICIAL_FORM else ()
    ours = evaluated(source / "labelled", tmp_path / "a", *year)
    # It decides by itself, on float32 scores: of 2020 there are no other decisions, and in 2022 one
    # clip of fan section 04 lies so near its threshold that it decides as no decision file does.
    left_out = {"2020": "precision|recall|F1", "2022": "'fan'.*(precision|recall|F1)"}.get(name)
    folder = source / "official" / "baseline2023"
    for path in folder.glob("result_*_roc.csv"):
        (machine_type,) = re.findall(r"DCASE20\d\dT2(.+)_test_", path.name)
        assert assert_has(ours, figures(path, machine_type), left_out or "$^") >= 6
    (path,) = folder.glob("*_auc_pauc_extract.csv")
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            column = row["metric"].replace("pAUC (source, target)", "pAUC")
            for head, mean in (("h-mean", "harmonic mean"), ("a-mean", "arithmetic mean")):
                key = (OVER_ALL, mean, column)
                if column == "TOTAL score":
                    key = (OVER_ALL, f"TOTAL score, {mean}", "")
                assert ours[key] == pytest.approx(float(row[head]), abs=TOLERANCE)
            for machine_type in set(row) - {"System", "metric", "h-mean", "a-mean"}:
                if row[machine_type]:
                    key = (machine_type, "arithmetic mean", column)
                    assert ours[key] == pytest.approx(float(row[machine_type]), abs=TOLERANCE)


def by_hand(labels, scores, domains, decisions, columns) -> dict[str, float]:
    """The figures said again with scikit-learn: column → (metric, normals, anomalies)."""
    labels, scores, domains, decisions = map(np.asarray, (labels, scores, domains, decisions))
    found = {}
    for name, (metric, normals, anomalies) in columns.items():
        kept = np.isin(domains, normals) & (labels == 0) | np.isin(domains, anomalies) & (
            labels == 1
        )
        true, score, decided = labels[kept], scores[kept], decisions[kept]
        found[name] = {
            "AUC": lambda true=true, score=score: roc_auc_score(true, score),
            "pAUC": lambda true=true, score=score: roc_auc_score(true, score, max_fpr=0.1),
            "precision": lambda t=true, d=decided: precision_score(t, d, zero_division=0),
            "recall": lambda t=true, d=decided: recall_score(t, d, zero_division=0),
            "F1 score": lambda t=true, d=decided: f1_score(t, d, zero_division=0),
        }[metric]()
    return found


S, T, B = ("source",), ("target",), ("source", "target")
DECIDED = {
    f"{metric} ({domain})": (metric, (domain,), (domain,))
    for metric in ("precision", "recall", "F1 score")
    for domain in B
}
DECIDED_TARGET = [name for name in DECIDED if "target" in name]
BOTH_DECIDED = {name: (metric, own, B) for name, (metric, own, _) in DECIDED.items()}
RANKED = {"AUC (source)": ("AUC", S, B), "AUC (target)": ("AUC", T, B), "pAUC": ("pAUC", B, B)}
WITHIN = {"pAUC (source)": ("pAUC", S, S), "pAUC (target)": ("pAUC", T, T)}
COLUMNS = {
    "2020": {"AUC": ("AUC", B, B), "pAUC": ("pAUC", B, B)},
    "2021": {"AUC (source)": ("AUC", S, S), "AUC (target)": ("AUC", T, T), **WITHIN, **DECIDED},
    "2022": {**RANKED, **DECIDED},
    "2022_mobilenet_v2": {**RANKED, **BOTH_DECIDED},
    "2026": {**RANKED, **WITHIN, **DECIDED},
}


@pytest.mark.parametrize("kind", ["random", "ties", "constant"])
@pytest.mark.parametrize("name", COLUMNS)
def test_whose_clips_each_column_takes(name, kind):
    rng = np.random.default_rng(7)
    labels, domains = rng.integers(2, size=200), rng.choice(B, 200)
    scores = {
        "random": rng.normal(labels + (domains == "target")),
        "ties": rng.integers(4, size=200) + labels,
        "constant": np.ones(200),
    }[kind]
    decisions = (scores > 1.5).astype(int)
    found = section_metrics(labels, scores, domains, decisions, 0.1, years.NAMES[name])
    expected = by_hand(labels, scores, domains, decisions, COLUMNS[name])
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "undefined"),
    [
        ("2021", ["AUC (target)", "pAUC (target)", *DECIDED_TARGET]),
        ("2022", DECIDED_TARGET),
        ("2022_mobilenet_v2", []),
        ("2023", ["pAUC (target)", *DECIDED_TARGET]),
    ],
)
def test_a_domain_without_anomalies_leaves_its_own_figures_empty(name, undefined, tmp_path):
    """The official code gives 0 for precision, recall and F1 where one of its clips is an alarm."""
    scores = dev_clips(section="01")
    scores = {clip: score for clip, score in scores.items() if "target_test_anomaly" not in clip}
    alarm = next(clip for clip in scores if "target_test_normal" in clip)
    save_section(tmp_path, "fan", {**scores, alarm: 9.0}, "section_01_test")
    done = run(tmp_path, "--year", name)
    assert done.returncode == 0
    (result,) = read_result_csv(tmp_path / "result.csv")
    assert [column for column, value in result.metrics.items() if np.isnan(value)] == undefined
    if undefined:
        assert f"no normal clips, anomalies or decisions for {undefined[0]}" in done.stderr


@pytest.mark.parametrize("name", ["2021", "2022", "2022_mobilenet_v2", "2023"])
def test_a_section_of_one_class_is_empty_and_its_means_are_over_the_others(name, tmp_path):
    save_section(tmp_path, "fan", dev_clips(section="01"), "section_01_test")
    normal = {clip: score for clip, score in dev_clips(section="02").items() if "normal" in clip}
    save_section(tmp_path, "fan", normal, "section_02_test")
    assert run(tmp_path, "--year", name).returncode == 0
    one, two = read_result_csv(tmp_path / "result.csv")
    assert np.isnan(list(two.metrics.values())).all()
    ours = figures(tmp_path / "result.csv")
    for _, columns in one.definition.rows:
        for column in columns:
            head = column.rpartition(" (")[0] if one.definition.by_domain else column
            assert not np.isnan(ours["fan", "arithmetic mean", head])


@pytest.mark.parametrize("definition", years.ALL_DEFINITIONS, ids=lambda one: one.title)
def test_a_table_is_read_as_it_was_written(definition, tmp_path):
    rng = np.random.default_rng(3)
    results = [
        SectionResult(
            name,
            section,
            dict(zip(definition.column_names, rng.random(len(definition.columns)), strict=True)),
            given=definition,
        )
        for name in ("3018", "fan", "source")
        for section in ("00", "01")
    ]
    write_result_csv(tmp_path / "result.csv", results)
    again = read_result_csv(tmp_path / "result.csv")
    assert again == results
    assert [one.definition for one in again] == [definition] * 6
    write_result_csv(tmp_path / "again.csv", again)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "result.csv").read_bytes()
    assert definition.note in format_table(results)


@pytest.mark.parametrize(
    ("endings", "domains", "name"),
    [
        (["id_00", "id_01"], {None}, "DCASE 2020"),
        (["section_00_source_test", "section_00_target_test"], {"source", "target"}, "DCASE 2021"),
        (["section_00_test", "section_01_test"], {"source", "target"}, "DCASE 2022"),
        (["section_03_test"], {"source", "target"}, "DCASE 2022"),
        (["section_00_test"], {"source", "target"}, "DCASE 2023 to 2026"),
        (["section_00_test"], {"source"}, "DCASE 2023 to 2026, no target clips"),
        (["section_00_test"], {None}, "DCASE 2020"),
        (["section_01_test"], {"source"}, "DCASE 2022"),
        (["section_00_source_test", "section_00_test"], {"source", "target"}, "DCASE 2022"),
    ],
)
def test_names_tell_the_year(endings, domains, name):
    assert years.choose(endings, domains).title == name


def test_a_year_in_the_names_of_the_files_and_on_the_command_line(tmp_path):
    clips = dev_clips()
    for year, heads in (("2021", ["section", "domain"]), ("2022", ["section", "AUC (source)"])):
        folder = tmp_path / year
        tail = "section_00_test_seed13711_id(0_)_Eval"
        save_section(folder, f"DCASE{year}T2fan", clips, tail)
        assert run(folder).returncode == 0
        with (folder / "result.csv").open() as file:
            rows = list(csv.reader(file))
        assert (rows[0], rows[1][:2]) == (["fan"], heads)
    done = run(tmp_path / "2022", "--year", "2025")
    assert "evaluated as DCASE 2023 to 2026" in done.stdout
    assert "pAUC (source)" in (tmp_path / "2022" / "result.csv").read_text()


def test_a_folder_keeps_the_form_of_mobilenet_v2_unless_told_otherwise(tmp_path):
    save_section(tmp_path, "fan", dev_clips(section="01"), "section_01_test")
    for arguments, first in (
        ((), "section"),
        (MOBILENET, ""),
        ((), ""),
        (("--year", "2022"), "section"),
        ((), "section"),
    ):
        done = run(tmp_path, *arguments)
        assert ("take the anomalies of both domains" in done.stdout) == (not first)
        assert (tmp_path / "result.csv").read_text().splitlines()[1].startswith(f"{first},")


def test_a_year_that_needs_domains(tmp_path):
    write(tmp_path / "anomaly_score_fan_id_00.csv", {
        f"{label}_id_00_0000000{number}.wav": number
        for label in ("normal", "anomaly") for number in range(3)
    })  # fmt: skip
    assert fails(run(tmp_path, "--year", "2022"), "--year 2022 needs the domain of every clip")
    assert not (tmp_path / "result.csv").exists()
    assert run(tmp_path, "--year", "2023").returncode == 0
    results, _ = evaluate_directory(tmp_path)
    assert results[0].definition is years.YEAR_2020


def test_the_last_blocks_of_a_year_are_over_all_machine_types(tmp_path):
    for machine_type in ("fan", "valve"):
        save_section(tmp_path, machine_type, dev_clips(seed=len(machine_type)))
    assert run(tmp_path).returncode == 0
    ours = figures(tmp_path / "result.csv")
    ranked = [
        ours[machine_type, "00", column]
        for machine_type in ("fan", "valve")
        for column in ("AUC (source)", "AUC (target)", "pAUC")
    ]
    assert ours[OVER_ALL, "TOTAL score, arithmetic mean", ""] == pytest.approx(np.mean(ranked))
    harmonic = 6 / np.sum(1 / np.array(ranked))
    assert ours[OVER_ALL, "TOTAL score, harmonic mean", ""] == pytest.approx(harmonic)
