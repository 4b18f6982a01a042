"""One network for all machine types through both commands; and GRLNet's CSV form through them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_inside

JOINT = (
    "stgram_mfn.network.seconds=0.5",
    "stgram_mfn.network.bottlenecks=[[1, 4, 1, 2], [1, 4, 1, 2], [1, 4, 1, 2]]",
    "fit.epochs=1",
    "fit.verbose=0",
)
GRLNET = ("grlnet.feature.n_frames=100", "grlnet.network.channels=[2, 2, 2, 2]", "fit.verbose=0")


@pytest.mark.slow
def test_one_model_serves_every_machine_type(demo: Path, tmp_path: Path) -> None:
    given = ["--system", "stgram_mfn", "--jobs", "1"]
    put = {"data": demo, "out": tmp_path, "assigned": JOINT}
    assert run_inside("00_train.py", "-d", *given, **put).returncode == 0
    models = sorted(path.name for path in (tmp_path / "model" / "stgram_mfn").glob("model_*"))
    assert models == ["model_all.json", "model_all.npz"]
    assert run_inside("01_test.py", "-d", "--machine", "valve", *given, **put).returncode == 0
    results = tmp_path / "result" / "stgram_mfn"
    with (results / "thresholds.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    # Ten training clips of each of the machine type's own sections, of both datasets.
    said = [(row["machine_type"], row["section"], row["n_clips"]) for row in rows]
    assert said == [("valve", f"section_0{number}", "10") for number in range(6)]
    assert not list(results.glob("anomaly_score_fan*"))


def test_a_single_class_stops_before_anything_is_written(demo: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "dev_data" / "fan" / "train"
    data.mkdir(parents=True)
    for path in (demo / "dev_data" / "fan" / "train").glob("section_00*"):
        (data / path.name).symlink_to(path)
    given = ["-d", "--system", "stgram_mfn", "--jobs", "1"]
    run = run_inside("00_train.py", *given, data=tmp_path / "data", out=tmp_path, assigned=JOINT)
    assert run.returncode == 1
    assert "there is only fan section_00; train it on two or more" in run.stderr
    assert not list((tmp_path / "model").rglob("model_*"))


@pytest.mark.slow
def test_csv_signals_go_through_both_commands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("train", "test"):
        home = tmp_path / "dev_data" / "pump" / folder
        home.mkdir(parents=True)
        for index in range(4):
            np.savetxt(home / f"{index}.csv", rng.normal(size=150))
    (tmp_path / "dev_data" / "pump" / "test_label.csv").write_text("label\n0\n1\n0\n1\n")
    given = ["-d", "--system", "grlnet", "--jobs", "1"]
    put = {"data": tmp_path, "out": tmp_path, "assigned": (*GRLNET, "fit.epochs=1")}
    broken = tmp_path / "dev_data" / "pump" / "train" / "2.csv"
    whole = broken.read_text()
    broken.write_text(whole + "loud\n")
    run = run_inside("00_train.py", *given, **put)
    assert run.returncode == 1
    assert "2.csv: line 151 is not one number: 'loud'" in run.stderr
    assert not (tmp_path / "model" / "grlnet" / "model_pump.json").exists()
    broken.write_text(whole)
    for script in ("00_train.py", "01_test.py"):
        assert run_inside(script, *given, **put).returncode == 0
    results = tmp_path / "result" / "grlnet"
    scores = (results / "anomaly_score_pump_section_00_test.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in scores] == ["0.csv", "2.csv", "1.csv", "3.csv"]
    with (results / "equal_error.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert 0 <= float(row["AUC"]) <= 1
    assert "AUC,pAUC" in (results / "result.csv").read_text()
