"""Each DCASE year's layout through both commands, dev and eval, to that year's files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from evaluation.csv_files import evaluate_directory
from evaluation.metrics import DOMAIN_COLUMNS, PLAIN_COLUMNS
from evaluation.result_csv import read_result_csv
from tests.conftest import run_inside
from tools import demo_data

WITH_DOMAINS = ["section", *DOMAIN_COLUMNS]
WITHOUT = ["id", *PLAIN_COLUMNS]
OF_2021 = ["section", "domain", "AUC", "pAUC", "precision", "recall", "F1 score"]
FROM_2023 = [*WITH_DOMAINS[:4], "pAUC (source)", "pAUC (target)", *WITH_DOMAINS[4:]]
SECTIONS = {
    "dev": ("section_00", "section_01", "section_02"),
    "eval": ("section_03", "section_04", "section_05"),
}
ONLY = {"dev": ("section_00",), "eval": ("section_00",)}
IDS = {"dev": ("id_00", "id_02", "id_04"), "eval": ("id_01", "id_03", "id_05")}

# year: sections, endings of the result files, columns of result.csv
YEARS = {
    2020: (IDS, ("",), WITHOUT),
    2021: (SECTIONS, ("_source_test", "_target_test"), OF_2021),
    2022: (SECTIONS, ("_test",), WITH_DOMAINS),
    **dict.fromkeys((2023, 2024, 2025, 2026), (ONLY, ("_test",), FROM_2023)),
}

QUICK = ("fit.epochs=1", "fit.verbose=0", "ae.network.units=[16]", "ae.network.latent=4")


def run(script: str, mode: str, folder: Path, *more: str, assigned: tuple[str, ...] = ()) -> int:
    return run_inside(
        script, mode, *more, data=folder, out=folder, assigned=(*QUICK, *assigned)
    ).returncode


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.slow
def test_layout_of_a_year(year: int, tmp_path: Path) -> None:
    sections, endings, columns = YEARS[year]
    # From 2023 on the two parts of the data have machine types of their own.
    machines = ["fan"] if year < 2023 else ["fan", "valve"]
    demo_data.make_dataset(
        tmp_path, year=year, machines=machines, clips=6, test_clips=4, seconds=0.5
    )
    result = tmp_path / "result" / "ae"
    for mode in ("dev", "eval"):
        for script in ("00_train.py", "01_test.py"):
            assert run(script, f"--{mode}", tmp_path) == 0
        machines = sorted(path.name for path in (tmp_path / f"{mode}_data").iterdir())
        expected = {
            f"{kind}_{machine}_{section}{ending}.csv"
            for kind in ("anomaly_score", "decision_result")
            for machine in machines
            for section in sections[mode]
            for ending in endings
        }
        found = {path.name for path in result.glob("*_*_*.csv")}
        assert expected <= found
        scored = [
            name
            for path in expected
            for name, _ in csv.reader((result / path).open())
            if path.startswith("anomaly")
        ]
        tests = [
            path.name
            for machine in machines
            for path in (tmp_path / f"{mode}_data" / machine).glob("*test/*.wav")
        ]
        assert sorted(scored) == sorted(tests)
    truth = ("--ground-truth", str(tmp_path / "ground_truth"))
    assert run("01_test.py", "--eval", tmp_path, *truth) == 0
    evaluated = read_result_csv(result / "result_eval.csv")
    rows = list(csv.reader((result / "result.csv").open()))
    machines = sorted(path.name for path in (tmp_path / "dev_data").iterdir())
    assert [row[0] for row in rows if row in ([name] for name in machines)] == machines
    assert rows[1] == columns
    expected = [section.partition("_")[2] for section in sections["dev"]]
    if year == 2021:
        expected = [f"{name} {domain}" for domain in ("source", "target") for name in expected]
    names = columns.index("AUC") if "AUC" in columns else 1
    assert [" ".join(row[:names]) for row in rows[2 : 2 + len(expected)]] == expected
    for row in rows[2 : 2 + len(expected)]:
        assert all(0 <= float(value) <= 1 for value in row[names:])
    results, _ = evaluate_directory(result, tmp_path / "ground_truth")
    assert [one.metrics for one in evaluated] == [one.metrics for one in results]
    log = (result / "baseline.log").read_text()
    assert f"result.csv: evaluated as DCASE {min(year, 2023)}" in log
    assert {found.section for found in results} == {
        section.partition("_")[2] for section in sections["eval"]
    }


@pytest.mark.slow
def test_ids_of_2020_have_arithmetic_means_alone(tmp_path):
    demo_data.make_dataset(
        tmp_path, year=2020, machines=["fan"], clips=6, test_clips=4, seconds=0.5
    )
    for script in ("00_train.py", "01_test.py"):
        assert run(script, "-d", tmp_path) == 0
    rows = list(csv.reader((tmp_path / "result" / "ae" / "result.csv").open()))
    assert [row[0] for row in rows if row] == ["fan", "id", "00", "02", "04", "Average"]
    for column in (1, 2):
        values = [float(row[column]) for row in rows[2:5]]
        assert float(rows[5][column]) == pytest.approx(sum(values) / 3, abs=1e-12)


@pytest.mark.slow
def test_first_channel_of_2026_decides(tmp_path):
    import soundfile

    demo_data.make_dataset(
        tmp_path, year=2026, machines=["fan", "valve"], clips=4, test_clips=4, seconds=0.5
    )
    (machine,) = (tmp_path / "dev_data").iterdir()
    scores = tmp_path / "result" / "ae" / f"anomaly_score_{machine.name}_section_00_test.csv"
    found = {}
    for what in ("as made", "second channel gone", "mixed"):
        if what == "second channel gone":
            for path in (tmp_path / "dev_data").glob("*/*/*.wav"):
                samples, rate = soundfile.read(path, dtype="int16")
                samples[:, 1] = 0
                soundfile.write(path, samples, rate)
        more = ("feature.channel=mix",) if what == "mixed" else ()
        assert run("00_train.py", "-d", tmp_path, "--force", assigned=more) == 0
        assert run("01_test.py", "-d", tmp_path, assigned=more) == 0
        found[what] = scores.read_bytes()
    assert found["as made"] == found["second channel gone"]
    assert found["mixed"] != found["as made"]
