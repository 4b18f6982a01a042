"""The tables of a system that has several scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from core.settings import read_config
from data.clips import Clip
from data.training_scores import TrainingScores
from engine import results
from engine.scoring import Scores


def clips_of(labels: list[str], domains: list[str]) -> list[Clip]:
    return [
        Clip(Path(f"{index}.wav"), "fan", f"section_0{index % 2}", "test", domain, label)
        for index, (label, domain) in enumerate(zip(labels, domains, strict=True))
    ]


def scores_of(clips: list[Clip], extra: dict[str, np.ndarray]) -> Scores:
    return Scores(clips, np.zeros(len(clips)), extra, TrainingScores(np.empty(0), [], []))


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_every_score_and_the_best_by_labels(tmp_path) -> None:
    labels = ["normal"] * 8 + ["anomaly"] * 8
    clips = clips_of(labels, ["source", "source", "target", "target"] * 4)
    right = np.array([float(label == "anomaly") for label in labels])
    scores = {"wrong": -right, "right": right, "none": np.zeros(16)}
    run = read_config().for_system("aegan_ad").with_values({"result_directory": tmp_path})
    results.save_all_scores(run, [scores_of(clips, scores)])
    rows = read(tmp_path / "all_scores.csv")
    assert rows[0] == ["machine_type", "section", "clip", "wrong", "right", "none"]
    assert rows[9] == ["fan", "section_00", "8.wav", "-1.0", "1.0", "0.0"]
    assert len(rows) == 17
    table = {row[1]: row for row in read(tmp_path / "all_scores_hmean.csv")[1:]}
    assert float(table["right"][2]) == 1
    assert float(table["none"][2]) == 0.5
    assert float(table["wrong"][2]) < 1e-6
    assert {name for name, row in table.items() if row[3]} == {"right"}
    assert table["right"][3] == "chosen on test labels, as published"


def test_only_who_publishes_the_best_score_is_said_to(tmp_path) -> None:
    clips = clips_of(["normal", "normal", "anomaly", "anomaly"], [""] * 4)
    run = read_config().for_system("grlnet").with_values({"result_directory": tmp_path})
    results.save_all_scores(run, [scores_of(clips, {"a": np.array([0.0, 0, 1, 1])})])
    assert read(tmp_path / "all_scores_hmean.csv")[1][3] == "chosen on test labels"


def test_without_domains_the_mean_is_arithmetic(tmp_path) -> None:
    clips = clips_of(["normal", "normal", "anomaly", "anomaly"], [""] * 4)
    scores = {"a": np.array([0.0, 1, 1, 0])}  # AUC 1 and 0 of the two sections, pAUC 1 and 0.47
    run = read_config().for_system("aegan_ad").with_values({"result_directory": tmp_path})
    results.save_all_scores(run, [scores_of(clips, scores)])
    found = float(read(tmp_path / "all_scores_hmean.csv")[1][2])
    assert abs(found - np.mean([1, 1, 0, 9 / 19])) < 1e-9


def test_without_labels_there_is_no_table_and_without_scores_no_file(tmp_path) -> None:
    clips = clips_of(["", ""], ["", ""])
    run = read_config().for_system("aegan_ad").with_values({"result_directory": tmp_path})
    results.save_all_scores(run, [scores_of(clips, {})])
    assert not list(tmp_path.iterdir())
    results.save_all_scores(run, [scores_of(clips, {"a": np.zeros(2)})])
    assert [path.name for path in tmp_path.iterdir()] == ["all_scores.csv"]
