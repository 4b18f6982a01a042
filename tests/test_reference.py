"""Real clips and official weights, through the scripts; needs REFERENCE_DIR."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from tests.conftest import call_script

SCORE = 1e-5  # float32 sums in another order, at scores of about 10


def lay_out(reference: Path, out: Path) -> dict[tuple[str, str], tuple[float, int]]:
    """The real clips as a dataset, the official models in the model directory."""
    expected = {}
    with (reference / "real_clips" / "expected.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            key = row["machine_type"], row["file"]
            expected[key] = float(row["anomaly_score"]), int(row["decision"])
            place = out / "data" / "dev_data" / key[0] / "test"
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(reference / "real_clips" / "__".join(key), place / key[1])
    (out / "model" / "ae").mkdir(parents=True)
    for model in (reference / "real_clips").glob("model_*.hdf5"):
        shutil.copy(model, out / "model" / "ae")
    return expected


def scores(out: Path) -> dict[tuple[str, str], float]:
    found = {}
    for path in (out / "result" / "ae").glob("anomaly_score_*.csv"):
        with path.open(newline="") as stream:
            for name, score in csv.reader(stream):
                found[path.name.split("_")[2], name] = float(score)
    return found


@pytest.mark.slow
def test_real_clips_with_official_weights(reference, tmp_path):
    expected = lay_out(reference, tmp_path)
    run = call_script("01_test.py", "-d", data=tmp_path / "data", out=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "its decisions are left out" in run.stdout
    assert not list((tmp_path / "result" / "ae").glob("decision_result_*"))
    found = scores(tmp_path)
    assert len(found) == len(expected) == 4
    for key, (score, _) in expected.items():
        assert abs(found[key] - score) <= SCORE


@pytest.mark.slow
def test_official_threshold_comes_from_training_clips(reference, tmp_path):
    lay_out(reference, tmp_path)
    for machine in ("fan", "gearbox"):
        home = tmp_path / "data" / "dev_data" / machine
        (home / "train").mkdir()
        for number, clip in enumerate(sorted((home / "test").iterdir())):
            name = f"{clip.name[:10]}_source_train_normal_{number:04}.wav"
            shutil.copy(clip, home / "train" / name)
    run = call_script("01_test.py", "-d", data=tmp_path / "data", out=tmp_path)
    assert run.returncode == 0, run.stderr
    found = scores(tmp_path)
    decisions = {}
    for path in (tmp_path / "result" / "ae").glob("decision_result_*.csv"):
        with path.open(newline="") as stream:
            for name, decision in csv.reader(stream):
                decisions[path.name.split("_")[2], name] = int(decision)
    # The training clips are the test clips, so of each two the higher lies above the 0.9 quantile.
    for machine in ("fan", "gearbox"):
        ranked = sorted((score, key) for key, score in found.items() if key[0] == machine)
        assert [decisions[key] for _, key in ranked] == [0, 1]
