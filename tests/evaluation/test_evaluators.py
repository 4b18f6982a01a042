"""What the published evaluators give, against what the one of DCASE2022 gave.

tests/evaluation/evaluator2022_result.csv is its output (Kota-Dohi/dcase2022_evaluator, MIT, with
scikit-learn 1.7) for the submission that `make_submission` makes, truth and all.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation import evaluators
from evaluation.__main__ import main
from evaluation.metrics import DOMAIN_COLUMNS, SectionResult

OFFICIAL = Path(__file__).parents[1] / "golden" / "evaluator2022_result.csv"
TOLERANCE = 1e-9  # the issuers' evaluator adds up in another order
MACHINES, SECTIONS, CLIPS = ("ToyCar", "fan", "valve"), ("03", "04", "05"), 24


def make_submission(folder: Path) -> None:
    """Truth and results of a system with ties, sections without alarms, and missed anomalies."""
    for kind in ("ground_truth_data", "ground_truth_domain", "results"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for machine_number, machine in enumerate(MACHINES):
        for section in SECTIONS:
            rows = {kind: [] for kind in ("label", "domain", "score", "decision")}
            for clip in range(CLIPS):
                label, domain = clip * 5 % 2, int(clip * 7 % CLIPS >= CLIPS // 2)
                drawn = (clip * clip * 31 + int(section) * 17 + machine_number * 5) % 23
                score = drawn / 2 + 3 * label + domain * machine_number
                alarm = score > 7 if machine != "valve" or section != "04" else False
                values = (label, domain, score, int(alarm))
                for kind, value in zip(rows, values, strict=True):
                    rows[kind].append((f"section_{section}_{clip:04}.wav", value))
            tail = f"{machine}_section_{section}_test.csv"
            for name, kind in (
                (f"ground_truth_data/ground_truth_{tail}", "label"),
                (f"ground_truth_domain/ground_truth_{tail}", "domain"),
                (f"results/anomaly_score_{tail}", "score"),
                (f"results/decision_result_{tail}", "decision"),
            ):
                listed = rows[kind][::-1] if kind in ("score", "domain") else rows[kind]
                with open(folder / name, "w", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows(listed)


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> list[list[str]]:
    folder = tmp_path_factory.mktemp("submission")
    make_submission(folder)
    arguments = [str(folder / "results"), "--ground-truth", str(folder)]
    assert main(arguments) == 0
    return read(folder / "results" / "result.csv")


def sections(rows: list[list[str]]) -> dict[tuple[str, str], dict[str, float]]:
    found, machine, columns = {}, "", []
    for row in rows:
        if len(row) == 1:
            (machine,) = row
        elif row[:1] == ["section"]:
            columns = row[1:]
        elif row and row[0].isdigit():
            found[machine, row[0]] = dict(zip(columns, map(float, row[1:]), strict=True))
    return found


def test_every_figure_of_every_section(ours):
    found, official = sections(ours), sections(read(OFFICIAL))
    for row in ours:
        if row[1:2] and row[1] in SECTIONS:
            found[row[0], row[1]]["AUC (all)"] = float(row[2])
    assert set(found) == set(official) == {(m, s) for m in MACHINES for s in SECTIONS}
    for key, figures in official.items():
        assert found[key] == pytest.approx(figures, abs=TOLERANCE)


def pooled(rows: list[list[str]]) -> dict[tuple[str, str], list[float]]:
    return {
        (row[0], row[1]): [*map(float, row[2:])]
        for row in rows
        if len(row) == 7 and row[2:] and row[0] in (*MACHINES, evaluators.ALL_MACHINE_TYPES)
    }


def test_the_means_of_both_domains(ours):
    found, compared = pooled(ours), 0
    machine = ""
    for row in read(OFFICIAL):
        machine = row[0] if len(row) == 1 else machine
        name, _, over_all = (row or [""])[0].partition(" over all")
        if name.endswith("mean") and (over_all or name in ("arithmetic mean", "harmonic mean")):
            key = (evaluators.ALL_MACHINE_TYPES if over_all else machine, name)
            assert found[key] == pytest.approx([*map(float, row[2:])], abs=TOLERANCE)
            compared += 1
    assert compared == 2 * len(MACHINES) + 4


def test_the_means_of_one_domain_cover_it(ours):
    """The published evaluator's row of a machine type covers the first of three sections."""
    found, by_section = pooled(ours), sections(ours)
    for machine in MACHINES:
        for domain in ("source", "target"):
            values = [
                [of[column] for (name, _), of in by_section.items() if name == machine]
                for column in (
                    f"AUC ({domain})",
                    "pAUC",
                    *(f"{kind} ({domain})" for kind in ("precision", "recall", "F1 score")),
                )
            ]
            floored = np.maximum(values, sys.float_info.epsilon)
            expected = len(SECTIONS) / np.sum(1 / floored, axis=1)
            assert found[machine, f"{domain} harmonic mean"] == pytest.approx(
                expected, abs=TOLERANCE
            )
    (row,) = [row for row in read(OFFICIAL) if row[:1] == ["source harmonic mean"]][:1]
    first = by_section[MACHINES[0], SECTIONS[0]]
    assert float(row[2]) == pytest.approx(first["AUC (source)"], abs=TOLERANCE)


def test_the_official_score(ours):
    (official,) = [row[2] for row in read(OFFICIAL) if row[:1] == ["official score"]]
    (found,) = [row[1] for row in ours if row[:1] == ["official score"]]
    assert float(found) == pytest.approx(float(official), abs=TOLERANCE)


def test_the_intervals(ours):
    (official,) = [row[2] for row in read(OFFICIAL) if row[:1] == ["official score ci95"]]
    rows = {row[0]: [*map(float, row[1:])] for row in ours if row and row[0].startswith("official")}
    assert rows["official score ci95"] == pytest.approx([float(official)], abs=TOLERANCE)
    (score,), (low, high) = (
        rows["official score"],
        rows["official score, 95 % interval (jackknife)"],
    )
    assert low < score < high
    assert high - low > 10 * float(official)


def test_undefined_values_are_empty_and_years_without_domains_have_no_such_table():
    nan = float("nan")
    values = dict(zip(DOMAIN_COLUMNS, [0.5, nan, *[0.5] * 7], strict=True))
    rows = evaluators.rows([SectionResult("fan", "03", values)])
    assert rows[1] == ["fan", "03", ""]
    assert ["fan", "target harmonic mean", "", "0.5", "0.5", "0.5", "0.5"] in rows
    plain = SectionResult("fan", "01", {"AUC": 0.5, "pAUC": 0.5}, 0.5)
    assert (evaluators.rows([plain]), evaluators.text([plain])) == ([], "")
