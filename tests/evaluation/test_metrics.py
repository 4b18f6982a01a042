"""The evaluation against figures worked out by hand, scikit-learn, and official results.

tests/evaluation/ holds the fan part of a public run of the official DCASE2022 autoencoder
baseline on the development set (returncode13/anomaly_detection_baseline_ae, MIT); as fan is there
the only machine type, the rows over all machine types repeat its means. The whole run and the
published ground truth of the evaluation set are read from REFERENCE_DIR where it is set.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from data.clip_names import parse_name
from evaluation.__main__ import main
from evaluation.csv_files import (
    evaluate_directory,
    list_sections,
    read_decisions,
    read_scores,
    read_section,
)
from evaluation.metrics import (
    DOMAIN_COLUMNS,
    PLAIN_COLUMNS,
    EvaluationError,
    SectionResult,
    official_score,
    section_metrics,
    undefined_warnings,
)
from evaluation.result_csv import format_table, write_result_csv
from tests import processes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FAN = Path(__file__).parents[1] / "golden"
# The same float64 formulas on the same scores: only the order of a few hundred additions differs.
TOLERANCE = 1e-12
NAN = float("nan")
DOMAIN_HEADER = (
    "AUC (source),AUC (target),pAUC,precision (source),precision (target),"
    "recall (source),recall (target),F1 score (source),F1 score (target)"
)


def reference(name):
    folder = os.environ.get("REFERENCE_DIR")
    if not folder:
        pytest.skip("REFERENCE_DIR is not set: the whole official result is not here")
    return Path(folder) / name


def run(*arguments):
    """As `run_command`, but in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_command(*arguments):
    """Run `python -m evaluation` as a person does."""
    return processes.run([sys.executable, "-m", "evaluation", *arguments], cwd=ROOT, timeout=120)


def fails(done, *words):
    """A failed run says every one of the words on stderr, prints no table and no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    return True


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name},{value}\n" for name, value in values.items()))


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def assert_same_table(ours, official):
    """Same rows, columns and words; numbers within TOLERANCE."""
    ours, official = rows_of(ours), rows_of(official)
    assert [[row[:1], len(row)] for row in ours] == [[row[:1], len(row)] for row in official]
    numbers = 0
    for our_row, official_row in zip(ours, official, strict=True):
        for cell, expected in zip(our_row[1:], official_row[1:], strict=True):
            if expected[0].isdigit():
                numbers += 1
                assert abs(float(cell) - float(expected)) <= TOLERANCE, (our_row, official_row)
            else:
                assert cell == expected
    return numbers


def dev_clips(domains=("source", "target"), section="00", per_class=4, seed=0):
    """Name → anomaly score of a section with per_class normals and anomalies a domain."""
    rng = np.random.default_rng(seed)
    return {
        f"section_{section}_{domain}_test_{label}_{i:04d}_at.wav": rng.normal(label == "anomaly")
        for domain in domains
        for label in ("normal", "anomaly")
        for i in range(per_class)
    }


def decide(scores, threshold=0.5):
    return {name: int(score > threshold) for name, score in scores.items()}


def save_section(folder, machine_type, scores, tail="section_00_test", decisions=True):
    write(folder / f"anomaly_score_{machine_type}_{tail}.csv", scores)
    if decisions:
        write(folder / f"decision_result_{machine_type}_{tail}.csv", decide(scores))


# Two clips a class and domain. Source normals 1, 4 and target normals 2, 6; anomalies 3, 5 | 0, 7.
HAND = {
    "labels": [0, 0, 1, 1, 0, 0, 1, 1],
    "scores": [1.0, 4.0, 3.0, 5.0, 2.0, 6.0, 0.0, 7.0],
    "domains": ["source"] * 4 + ["target"] * 4,
    "decisions": [0, 1, 0, 1, 0, 1, 0, 1],
}


def plain_metrics(labels, scores, domains, decisions, max_fpr=0.1):
    """The nine metrics said again with scikit-learn alone."""
    labels, scores, domains, decisions = map(np.asarray, (labels, scores, domains, decisions))
    out = {}
    for domain in ("source", "target"):
        kept = (domains == domain) | (labels == 1)
        out[f"AUC ({domain})"] = roc_auc_score(labels[kept], scores[kept])
        here = labels[domains == domain], decisions[domains == domain]
        out[f"precision ({domain})"] = precision_score(*here, zero_division=0)
        out[f"recall ({domain})"] = recall_score(*here, zero_division=0)
        out[f"F1 score ({domain})"] = f1_score(*here, zero_division=0)
    out["pAUC"] = roc_auc_score(labels, scores, max_fpr=max_fpr)
    return out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("section_00_source_test_normal_0000_car_A2_spd_28V.wav", ("section_00", "source", 0)),
        ("section_01_target_test_anomaly_0012_noAttribute.wav", ("section_01", "target", 1)),
        ("section_02_target_test_anomaly_0099.wav", ("section_02", "target", 1)),
        (
            "section_00_source_test_anomaly_0001_normal_id_00_target.wav",
            ("section_00", "source", 1),
        ),
        ("section_00_target_test_normal_0001_anomaly_source.wav", ("section_00", "target", 0)),
        ("normal_fan/test/section_00_source_test_anomaly_0001.wav", ("section_00", "source", 1)),
        ("normal_id_00_00000000.wav", ("id_00", None, 0)),
        ("anomaly_id_06_00000010.wav", ("id_06", None, 1)),
        ("id_01_00000000.wav", ("id_01", None, None)),
        ("section_03_source_test_0000.wav", ("section_03", "source", None)),
        ("section_03_test_0000.wav", ("section_03", None, None)),
        ("section_03_0000.wav", ("section_03", None, None)),
        ("normal.wav", (None, None, None)),
    ],
)
def test_clip_names_of_every_year(name, expected):
    assert tuple(parse_name(name)) == expected


def test_reading_names_every_problem_with_its_line(tmp_path):
    path = tmp_path / "anomaly_score_fan_section_00_test.csv"
    path.write_text("a.wav,1.5\nb.wav\nc.wav,high\na.wav,2\nd.wav,nan\ne.wav,1,2\nf.wav,inf\n")
    with pytest.raises(EvaluationError) as error:
        read_scores(path)
    lines = str(error.value).splitlines()
    assert [int(line.split("line ")[1].split(":")[0]) for line in lines] == [2, 3, 4, 5, 6, 7]
    assert all(str(path) in line for line in lines)


def test_reading_keeps_order_and_takes_only_0_and_1_as_decisions(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("b.wav,1\na.wav,0\n")
    assert list(read_decisions(path).items()) == [("b.wav", 1), ("a.wav", 0)]
    path.write_text("b.wav,1\na.wav,2\nc.wav,0.5\n")
    with pytest.raises(EvaluationError, match=r"line 2(.|\n)*line 3"):
        read_decisions(path)


def test_metrics_of_a_section_worked_out_by_hand():
    found = section_metrics(**HAND)
    # Pairs won by the anomalies 3 5 0 7: against 1 and 4: 3+2 of 8; against 2 and 6: 3+1 of 8.
    # pAUC: the first false alarm is at rate 1/4, the line from (0, 1/4) to (1/4, 1/4) is flat, so
    # the area up to 0.1 is 0.025, and McClish makes it (1 + (0.025-0.005) / (0.1-0.005)) / 2.
    pauc = (1 + 0.02 / 0.095) / 2
    expected = [5 / 8, 4 / 8, pauc, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2]
    assert ",".join(found) == DOMAIN_HEADER
    np.testing.assert_allclose(list(found.values()), expected, atol=TOLERANCE, rtol=0)


def test_metrics_without_domains_are_auc_and_pauc():
    found = section_metrics(HAND["labels"], HAND["scores"])
    assert list(found) == ["AUC", "pAUC"]
    assert found["AUC"] == pytest.approx(9 / 16, abs=TOLERANCE)
    assert found["pAUC"] == pytest.approx((1 + 0.02 / 0.095) / 2, abs=TOLERANCE)


def test_max_fpr_is_where_pauc_stops():
    whole = section_metrics(HAND["labels"], HAND["scores"], max_fpr=1.0)
    assert whole["pAUC"] == pytest.approx(whole["AUC"], abs=TOLERANCE)


def test_a_system_that_calls_nothing_anomalous_gets_zero_not_an_error():
    found = section_metrics(**HAND | {"decisions": [0] * 8})
    assert list(found.values())[3:] == [0.0] * 6


@pytest.mark.parametrize(
    ("change", "undefined"),
    [
        ({"decisions": None}, ["precision", "recall", "F1"]),
        ({"labels": [0] * 8}, ["AUC", "pAUC", "precision", "recall", "F1"]),
        ({"labels": [1] * 8}, ["AUC", "pAUC", "precision", "recall", "F1"]),
    ],
)
def test_undefined_metrics_are_nan(change, undefined):
    found = section_metrics(**HAND | change)
    assert {name.split()[0] for name, value in found.items() if np.isnan(value)} == set(undefined)


def test_auc_of_a_domain_without_normals_alone_is_nan():
    labels = [1] * 4 + HAND["labels"][4:]
    found = section_metrics(**HAND | {"labels": labels})
    nan = [name for name, value in found.items() if np.isnan(value)]
    assert nan == [name for name in found if "(source)" in name]


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [1.0] * 7},
        {"scores": [NAN] * 8},
        {"labels": [2] * 8},
        {"decisions": [0.5] * 8},
        {"domains": ["both"] * 8},
        {"max_fpr": 0},
    ],
)
def test_metrics_refuse_what_they_cannot_mean(change):
    with pytest.raises(ValueError, match=r"expected|finite|max_fpr"):
        section_metrics(**HAND | change)


def section_result(machine_type, section, values):
    columns = DOMAIN_COLUMNS if len(values) == 9 else PLAIN_COLUMNS
    return SectionResult(machine_type, section, dict(zip(columns, values, strict=True)))


def test_means_leave_undefined_out_and_official_score_is_the_harmonic_mean_of_three(tmp_path):
    results = [
        section_result("fan", "00", [0.5, 1.0, 0.5, NAN, 0.0, 1, 1, 1, 1]),
        section_result("fan", "01", [0.25, NAN, 1.0, NAN, 1.0, 1, 1, 1, 1]),
    ]
    write_result_csv(tmp_path / "result.csv", results)
    fan, overall = rows_of(tmp_path / "result.csv")[2:6], rows_of(tmp_path / "result.csv")[8:10]
    assert fan[0] == ["00", "0.5", "1.0", "0.5", "", "0.0", "1.0", "1.0", "1.0", "1.0"]
    assert fan[2] == [
        "arithmetic mean",
        "0.375",
        "1.0",
        "0.75",
        "",
        "0.5",
        "1.0",
        "1.0",
        "1.0",
        "1.0",
    ]
    assert float(fan[3][1]) == pytest.approx(1 / 3, abs=TOLERANCE)
    assert fan[3][2:5] == ["1.0", fan[3][3], ""]
    assert float(fan[3][5]) == pytest.approx(2 * sys.float_info.epsilon, rel=1e-9, abs=0)
    assert [row[1:] for row in overall] == [row[1:] for row in fan[2:]]
    score = 5 / (1 / 0.5 + 1 + 1 / 0.5 + 1 / 0.25 + 1)
    assert official_score(results) == pytest.approx(score, abs=TOLERANCE)
    assert f"{score:.3f}" in format_table(results).splitlines()[-1]
    warnings = undefined_warnings(results)
    assert ["fan section 01" in line for line in warnings] == [False, True]
    assert "AUC (target), precision (source)" in warnings[1]


def test_without_domains_the_official_score_is_undefined_and_mixing_is_refused(tmp_path):
    plain, nine = section_result("fan", "00", [0.5, 0.5]), section_result("fan", "01", [0.5] * 9)
    assert np.isnan(official_score([plain]))
    for bad in ([plain, nine], []):
        with pytest.raises(EvaluationError):
            write_result_csv(tmp_path / "result.csv", bad)
    assert list(tmp_path.iterdir()) == []


def test_result_csv_of_given_metrics_is_the_official_file_byte_for_byte(tmp_path):
    rows = [row for row in rows_of(FAN / "result.csv") if row and row[0].isdigit()]
    results = [section_result("fan", row[0], [float(cell) for cell in row[1:]]) for row in rows]
    write_result_csv(tmp_path / "result.csv", results)
    assert (tmp_path / "result.csv").read_bytes() == (FAN / "result.csv").read_bytes()


def test_a_failed_write_leaves_the_old_result_and_nothing_beside_it(tmp_path, monkeypatch):
    (tmp_path / "result.csv").write_text("old\n")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_result_csv(tmp_path / "result.csv", [section_result("fan", "00", [1, 1])])
    assert [path.name for path in tmp_path.iterdir()] == ["result.csv"]
    assert (tmp_path / "result.csv").read_text() == "old\n"


def test_command_recomputes_the_official_fan_result(tmp_path):
    for path in FAN.glob("*_test.csv"):
        shutil.copy(path, tmp_path)
    done = run_command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert assert_same_table(tmp_path / "result.csv", FAN / "result.csv") == 7 * 9
    table = done.stdout.splitlines()
    assert table[2].split() == [
        "00",
        "0.847",
        "0.416",
        "0.614",
        "0.815",
        "0.490",
        "0.440",
        "0.960",
        "0.571",
        "0.649",
    ]
    widths = {len(line) for line in table if line.startswith("  ")}
    assert len(widths) == 1
    assert table[-1].startswith("official score")


def test_command_recomputes_a_whole_official_result(tmp_path):
    folder = reference("dcase2022_dev_ae")
    for path in folder.glob("*_test.csv"):
        shutil.copy(path, tmp_path)
    done = run_command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    sections, machine_types = 21, 7
    numbers = assert_same_table(tmp_path / "result.csv", folder / "result.csv")
    assert numbers == 9 * (sections + 2 * machine_types + 2)


def test_2020_ids_get_auc_pauc_and_an_average_row(tmp_path):
    hand = [
        f"{'anomaly' if label else 'normal'}_id_00_{i:08d}.wav"
        for i, label in enumerate(HAND["labels"])
    ]
    scores = dict(zip(hand, HAND["scores"], strict=True))
    other = {name.replace("id_00", "id_02"): float("anomaly" in name) for name in hand}
    write(tmp_path / "anomaly_score_my_fan_id_02.csv", other)
    write(tmp_path / "anomaly_score_my_fan_id_00.csv", scores)
    write(tmp_path / "decision_result_my_fan_id_00.csv", decide(scores))
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(tmp_path / "result.csv")
    assert [row[0] for row in rows if row] == ["my_fan", "id", "00", "02", "Average"]
    assert (rows[1], rows[3], rows[5]) == (["id", "AUC", "pAUC"], ["02", "1.0", "1.0"], [])
    assert float(rows[4][1]) == pytest.approx((9 / 16 + 1) / 2, abs=TOLERANCE)
    assert "official score" not in done.stdout


def test_domain_files_of_2021_evaluated_as_2022_become_one_row(tmp_path):
    scores = dev_clips()
    for domain in ("source", "target"):
        part = {name: score for name, score in scores.items() if domain in name}
        save_section(tmp_path / "2021", "fan", part, f"section_00_{domain}_test")
    save_section(tmp_path / "2022", "fan", scores)
    for year in ("2021", "2022"):
        assert run(tmp_path / year, "--year", "2022").returncode == 0
    assert_same_table(tmp_path / "2021" / "result.csv", tmp_path / "2022" / "result.csv")


def test_machine_types_are_in_ascii_order_and_may_hold_underscores_and_labels(tmp_path):
    for machine_type in ("fan_b", "fan", "normal_section_fan", "ToyCar", "bearing"):
        for section in ("10", "02"):
            scores = dev_clips(section=section)
            save_section(tmp_path, machine_type, scores, f"section_{section}_test")
    assert run(tmp_path).returncode == 0
    names = [row[0] for row in rows_of(tmp_path / "result.csv") if len(row) == 1]
    assert names == ["ToyCar", "bearing", "fan", "fan_b", "normal_section_fan"]
    assert [row[0] for row in rows_of(tmp_path / "result.csv")[2:4]] == ["02", "10"]


def test_without_decisions_their_cells_are_empty_with_a_warning(tmp_path):
    save_section(tmp_path, "fan", dev_clips(section="01"), "section_01_test", decisions=False)
    done = run(tmp_path)
    assert done.returncode == 0
    assert "fan section 01" in done.stderr
    assert "precision (source), precision (target), recall (source)" in done.stderr
    rows = rows_of(tmp_path / "result.csv")
    for row in (*rows[2:5], *rows[7:9]):
        assert "" not in row[:4]
        assert row[4:] == [""] * 6


def test_unlabelled_files_are_left_out_with_a_warning(tmp_path):
    save_section(tmp_path, "fan", dev_clips())
    eval_scores = {f"section_03_{i:04d}.wav": i for i in range(4)}
    save_section(tmp_path, "fan", eval_scores, "section_03_test")
    done = run(tmp_path)
    assert done.returncode == 0
    assert "fan section 03" in done.stderr
    assert [row[0] for row in rows_of(tmp_path / "result.csv")[2:4]] == ["00", "arithmetic mean"]


def make_truth(folder, machine_type="fan", section="03", tail="_test", clips=8):
    """Truth of clips whose label is 1 for odd numbers and domain is target from the half on."""
    names = [f"section_{section}_{i:04d}.wav" for i in range(clips)]
    file = f"ground_truth_{machine_type}_section_{section}{tail}.csv"
    labels = {name: i % 2 for i, name in enumerate(names)}
    domains = {name: int(i >= clips // 2) for i, name in enumerate(names)}
    write(folder / "ground_truth_data" / file, labels)
    write(folder / "ground_truth_domain" / file, domains)
    return labels, domains


@pytest.mark.parametrize("truth_tail", ["", "_test"])
@pytest.mark.parametrize("word", ["", "_test"])
def test_truth_is_matched_by_name_and_alone_decides_what_is_evaluated(tmp_path, truth_tail, word):
    labels, domains = make_truth(tmp_path / "truth", tail=truth_tail)
    rng = np.random.default_rng(1)
    scores = {name: rng.normal(label) for name, label in labels.items()}
    renamed = {name.replace("03_", f"03{word}_"): scores[name] for name in reversed(scores)}
    save_section(tmp_path / "result", "fan", renamed, "section_03_test")
    save_section(tmp_path / "result", "fan", dev_clips())
    done = run(tmp_path / "result", "--ground-truth", tmp_path / "truth")
    assert (done.returncode, done.stderr) == (0, "")
    rows = rows_of(tmp_path / "result" / "result.csv")
    assert [row[0] for row in rows[2:4]] == ["03", "arithmetic mean"]
    said = [("source", "target")[number] for number in domains.values()]
    values = list(scores.values())
    expected = plain_metrics(list(labels.values()), values, said, [v > 0.5 for v in values])
    for column, cell in zip(rows[1][1:], rows[2][1:], strict=True):
        assert abs(float(cell) - expected[column]) <= TOLERANCE


def test_clips_missing_on_either_side_of_the_truth_are_all_named(tmp_path):
    labels, _ = make_truth(tmp_path / "truth")
    names = [*list(labels)[2:], "section_03_0008.wav"]
    save_section(tmp_path / "result", "fan", dict.fromkeys(names, 1.0), "section_03_test")
    done = run(tmp_path / "result", "--ground-truth", tmp_path / "truth")
    assert fails(done, "fan section 03", "section_03_0000.wav, section_03_0001.wav", "03_0008.wav")
    assert not (tmp_path / "result" / "result.csv").exists()


def test_truth_without_scores_is_warned_of_and_without_domains_refused(tmp_path):
    labels, _ = make_truth(tmp_path / "truth")
    make_truth(tmp_path / "truth", "valve")
    save_section(tmp_path / "result", "fan", dict.fromkeys(labels, 1.0), "section_03_test")
    done = run(tmp_path / "result", "--ground-truth", tmp_path / "truth")
    assert done.returncode == 0
    assert "valve section 03: no anomaly scores" in done.stderr
    shutil.rmtree(tmp_path / "truth" / "ground_truth_domain")
    done = run(tmp_path / "result", "--ground-truth", tmp_path / "truth")
    assert fails(done, "fan section 03", "ground_truth_domain")


def test_published_ground_truth_evaluates_synthetic_scores(tmp_path):
    folder = reference("evaluator2022")
    rng = np.random.default_rng(2022)
    expected = []
    for path in sorted((folder / "ground_truth_data").glob("*.csv")):
        labels = {name: int(label) for name, label in rows_of(path)}
        domains = {name: int(d) for name, d in rows_of(folder / "ground_truth_domain" / path.name)}
        scores = {name: rng.normal(labels[name]) for name in rng.permutation(list(labels))}
        machine_type, _, section = path.stem.removeprefix("ground_truth_").split("_")[:3]
        with_test = {
            name.replace(f"_{section}_", f"_{section}_test_"): v for name, v in scores.items()
        }
        save_section(tmp_path, machine_type, with_test, f"section_{section}_test")
        metrics = plain_metrics(
            [labels[name] for name in scores],
            list(scores.values()),
            [("source", "target")[domains[name]] for name in scores],
            list(decide(scores).values()),
        )
        expected.append([metrics[column] for column in DOMAIN_HEADER.split(",")])
    done = run(tmp_path, "--ground-truth", folder)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [row for row in rows_of(tmp_path / "result.csv") if row and row[0].isdigit()]
    assert len(rows) == 21
    found = np.array([row[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    official = 63 / np.sum(1 / np.array(expected)[:, :3])
    assert done.stdout.splitlines()[-1].endswith(f"{official:.3f}")


def test_scores_and_decisions_of_different_clips_are_an_error(tmp_path):
    scores = dev_clips()
    save_section(tmp_path, "fan", scores)
    lost, kept = next(iter(scores)), dict(list(scores.items())[1:])
    write(tmp_path / "decision_result_fan_section_00_test.csv", decide(kept))
    problem = "fan section 00: 1 of the anomaly scores missing from the decisions"
    assert fails(run(tmp_path), problem, lost)
    (tmp_path / "anomaly_score_fan_section_00_test.csv").unlink()
    save_section(tmp_path, "valve", scores)
    assert fails(run(tmp_path), "fan section 00: decisions without anomaly scores")


def test_problems_of_all_files_are_said_at_once_and_nothing_is_written(tmp_path):
    for section in ("00", "01", "02"):
        save_section(tmp_path, "fan", dev_clips(section=section), f"section_{section}_test")
    with open(tmp_path / "anomaly_score_fan_section_00_test.csv", "a") as file:
        file.write("section_00_source_test_normal_0009.wav,loud\n")
    with open(tmp_path / "decision_result_fan_section_01_test.csv", "a") as file:
        file.write("section_01_source_test_normal_0009.wav,2\n")
    write(tmp_path / "anomaly_score_fan_section_02_test.csv", dev_clips(section="03"))
    (tmp_path / "anomaly_score_fan.csv").write_text("")
    (tmp_path / "result.csv").write_text("old\n")
    words = ("section_00_test.csv, line 17: 'loud'", "section_01_test.csv, line 17: '2'")
    assert fails(run(tmp_path), *words, "section_03_source_test_normal_0000", "score_fan.csv")
    assert (tmp_path / "result.csv").read_text() == "old\n"


def test_a_clip_without_label_among_labelled_ones_is_named(tmp_path):
    save_section(tmp_path, "fan", dev_clips() | {"section_00_source_test_nrmal_0000.wav": 1.0})
    assert fails(run(tmp_path), "fan section 00", "section_00_source_test_nrmal_0000.wav")


def test_nothing_to_evaluate_is_said(tmp_path):
    assert fails(run(tmp_path / "missing"), "missing: no such directory")
    assert fails(run(tmp_path), "nothing to evaluate", "no anomaly_score_*.csv")
    save_section(tmp_path, "fan", {"section_03_0000.wav": 1.0}, "section_03_test")
    before = sorted(tmp_path.iterdir())
    assert fails(run(tmp_path), "nothing to evaluate", "fan section 03: no labels")
    assert fails(run(tmp_path, "--ground-truth", tmp_path), "ground_truth_data: no such directory")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [[], [".", "--max-fpr", "0"], [".", "--max-fpr", "x"]])
def test_misuse_exits_2(arguments):
    assert run_command(*arguments).returncode == 2


def test_importing_does_nothing_heavy():
    code = "import sys, evaluation; print([m for m in ('sklearn', 'scipy') if m in sys.modules])"
    done = processes.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_sections_can_be_read_one_by_one(tmp_path):
    """With the metrics of the whole directory, and a broken section beside them left alone."""
    shutil.copytree(FAN, tmp_path, dirs_exist_ok=True)
    whole, _ = evaluate_directory(FAN)
    (tmp_path / "anomaly_score_fan_section_01_test.csv").write_text("half,")
    write(tmp_path / "anomaly_score_fan.csv", {"a.wav": 1})
    write(tmp_path / "decision_result_pump_section_00_test.csv", {"a.wav": 1})
    keys, problems = list_sections(tmp_path)
    assert [str(key) for key in keys] == ["fan section 00", "fan section 01", "fan section 02"]
    assert problems == [
        f"{tmp_path / 'anomaly_score_fan.csv'}: the name has no <machine type>_section_<NN>_test",
        "pump section 00: decisions without anomaly scores",
    ]
    for key, expected in ((keys[0], whole[0]), (keys[2], whole[2])):
        section = read_section(tmp_path, key)
        assert section.names.tolist() == sorted(section.names)
        assert section.evaluate() == expected
    with pytest.raises(EvaluationError, match="'' is not a number"):
        read_section(tmp_path, keys[1])
