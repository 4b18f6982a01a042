"""Which models and losses belong to results, and what is reported where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import settings
from reporting import explanations, runs
from reporting.media import ClipMedia
from tests.reporting.report_data import dataset, names, results, write


def settings_for(folder: Path) -> dict[str, Any]:
    return settings.read_config(
        None,
        [
            ("dev_directory", f"{folder}/dev_data"),
            ("model_directory", f"{folder}/model/{{system}}/{{seed}}"),
            ("result_directory", f"{folder}/result/{{system}}/{{seed}}"),
        ],
    )


def read(*given: Path) -> runs.ReportData:
    return runs.read_runs(list(given), "./result/{system}")


@pytest.mark.parametrize(
    ("place", "known"),
    [("result/ae/3", True), ("elsewhere/ae/3", False), ("result/team/3", False)],
)
def test_the_models_of_other_results_are_not_taken_for_theirs(place, known, tmp_path) -> None:
    data = read(results(tmp_path / place))
    assert data.runs[0].seed == "3"
    own = explanations.settings_of(data.runs[0], settings_for(tmp_path))
    assert (own is not None) == known
    write(tmp_path / "model" / "ae" / "3" / "history_fan.csv", [("epoch", "loss"), (1, 2)])
    losses = explanations.histories(data, settings_for(tmp_path))
    path = tmp_path / "model" / "ae" / "3" / "history_fan.csv"
    assert losses == ({"ae": [("ae seed 3", path)]} if known else {})
    if not known:
        explanations.explain(data, settings_for(tmp_path), {}, tmp_path)
        (problem,) = data.not_shown
        assert "these results lie elsewhere than the settings say" in problem


def test_a_missing_model_is_named_for_machine_types_that_have_results(tmp_path) -> None:
    dataset(tmp_path, sections=["00"])
    data = read(results(tmp_path / "result" / "ae" / "0", machines=["fan"], sections=["00"]))
    path = tmp_path / "dev_data" / "fan" / "test" / names()[0]
    clips = {
        (machine_type, path.name): ClipMedia(path, "dev", "x.wav", spectrogram="x.png")
        for machine_type in ("fan", "valve")
    }
    explanations.explain(data, settings_for(tmp_path), clips, tmp_path)
    (problem,) = data.not_shown
    assert problem.startswith("ae seed 0: fan: no maps or scores over time: ")
    assert "there is no model of fan; train it first with 00_train.py --dev" in problem
    assert not clips["fan", path.name].curves


def test_a_long_curve_keeps_its_peaks() -> None:
    curve = np.zeros(1001)
    curve[777] = 1.23456
    short = explanations._shortened(curve)
    assert len(short) == 334
    assert short[259] == 1.235
    assert explanations._shortened(np.arange(3.0)) == [0, 1, 2]
