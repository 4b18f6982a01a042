"""The two commands as a user runs them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from evaluation.csv_files import evaluate_directory
from tests.conftest import call_script, run_inside

QUICK = ("fit.epochs=3", "fit.batch_size=128")
SECTIONS = ("section_00", "section_01", "section_02")
MACHINES = ("fan", "valve")


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}


@pytest.fixture(scope="session")
def trained(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where `-d` was trained and tested."""
    out = tmp_path_factory.mktemp("trained")
    for script in ("00_train.py", "01_test.py"):
        run = call_script(script, "-d", data=demo, out=out, assigned=QUICK)
        assert run.returncode == 0, run.stdout + run.stderr
        (out / f"{script}.txt").write_text(run.stdout + run.stderr)
    return out


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's dev_data that a test may spoil."""
    shutil.copytree(demo / "dev_data", tmp_path / "data" / "dev_data")
    return tmp_path / "data"


def test_training_leaves_model_history_and_log(trained):
    for machine in MACHINES:
        for name in (f"model_{machine}.npz", f"model_{machine}.json", f"history_{machine}.png"):
            assert (trained / "model" / "ae" / name).is_file()
        history = rows(trained / "model" / "ae" / f"history_{machine}.csv")
        assert history[0] == ["epoch", "loss", "val_loss"]
        assert [row[0] for row in history[1:]] == ["1", "2", "3"]
        assert float(history[3][1]) < float(history[1][1])
    log = (trained / "result" / "ae" / "baseline.log").read_text()
    assert "[1/2] fan: 30 clips" in log
    assert "results -> " in log


def test_official_files(trained, demo):
    result = trained / "result" / "ae"
    kinds = ("anomaly_score", "decision_result")
    expected = {
        f"{kind}_{machine}_{section}_test.csv"
        for kind in kinds
        for machine in MACHINES
        for section in SECTIONS
    }
    assert set(files(result)) == expected | {"result.csv", "thresholds.csv"}
    thresholds = {(row[0], row[1]): float(row[2]) for row in rows(result / "thresholds.csv")[1:]}
    for machine in MACHINES:
        for section in SECTIONS:
            names = [
                path.name
                for path in (demo / "dev_data" / machine / "test").glob("*.wav")
                if path.name.startswith(section)
            ]
            official = sorted(name for name in names if "_normal_" in name)
            official += sorted(name for name in names if "_anomaly_" in name)
            scores = rows(result / f"anomaly_score_{machine}_{section}_test.csv")
            decisions = rows(result / f"decision_result_{machine}_{section}_test.csv")
            assert [name for name, _ in scores] == [name for name, _ in decisions] == official
            for (_, score), (_, decision) in zip(scores, decisions, strict=True):
                assert int(decision) == (float(score) > thresholds[machine, section])


def test_result_csv_is_what_evaluation_recomputes(trained, tmp_path):
    result = trained / "result" / "ae"
    shutil.copytree(result, tmp_path / "again")
    (tmp_path / "again" / "result.csv").unlink()
    run = call_script("evaluation", str(tmp_path / "again"))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "again" / "result.csv").read_bytes() == (result / "result.csv").read_bytes()
    assert run.stdout.strip() in (trained / "01_test.py.txt").read_text()


def test_same_seed_same_files_whatever_came_before(trained, demo, tmp_path):
    # Only one of the two machine types, so that nothing was trained before it.
    for script in ("00_train.py", "01_test.py"):
        run = call_script(
            script, "-d", "--machine", "valve", data=demo, out=tmp_path, assigned=QUICK
        )
        assert run.returncode == 0, run.stdout + run.stderr
    first, second = files(trained / "result" / "ae"), files(tmp_path / "result" / "ae")
    scored = [name for name in second if "_valve_" in name]
    assert len(scored) == 6
    for name in scored:
        assert second[name] == first[name]


def test_evaluation_data(trained, demo, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    before = files(out / "result" / "ae")
    for script in ("00_train.py", "01_test.py"):
        run = run_inside(script, "-e", data=demo, out=out, assigned=QUICK)
        assert run.returncode == 0, run.stdout + run.stderr
    assert (out / "model" / "ae" / "model_fan_eval.npz").is_file()
    after = files(out / "result" / "ae")
    assert {name: after[name] for name in before} == before
    new = set(after) - set(before) - {"thresholds_eval.csv"}
    assert len(new) == 12
    assert {name.split("_section_")[1][:2] for name in new} == {"03", "04", "05"}
    results, _ = evaluate_directory(out / "result" / "ae", demo / "ground_truth")
    assert [(result.machine_type, result.section) for result in results] == [
        (machine, section) for machine in MACHINES for section in ("03", "04", "05")
    ]


def test_trained_models_are_kept_or_refused(trained, demo, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    model = out / "model" / "ae" / "model_fan.npz"
    before = model.stat().st_mtime_ns
    run = run_inside("00_train.py", "-d", data=demo, out=out, assigned=QUICK)
    assert run.returncode == 0
    assert "fan: there is a model already" in run.stdout
    other = ("fit.epochs=1", "fit.batch_size=128")
    for script in ("00_train.py", "01_test.py"):
        run = run_inside(script, "-d", data=demo, out=out, assigned=other)
        assert run.returncode == 1
        assert run.stderr.count("fit.epochs: 3 then, 1 now") == 2  # both machine types at once
        assert "--force" in run.stderr
    assert model.stat().st_mtime_ns == before
    run = run_inside("00_train.py", "-d", "--force", data=demo, out=out, assigned=other)
    assert run.returncode == 0
    assert model.stat().st_mtime_ns != before


def fails(run, *words: str) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert run.stderr.count("error:") == 1
    for word in words:
        assert word in run.stderr


def test_missing_and_empty_data(tmp_path):
    for script in ("00_train.py", "01_test.py"):
        run = call_script(script, "-d", data=tmp_path / "nowhere", out=tmp_path)
        fails(run, "dev_directory: there is no directory", "nowhere")
        (tmp_path / "empty" / "dev_data").mkdir(parents=True, exist_ok=True)
        run = call_script(script, "-d", data=tmp_path / "empty", out=tmp_path)
        fails(run, "has no machine type in it")


def test_machine_types_without_train_are_all_named(copy, tmp_path):
    for machine in MACHINES:
        shutil.rmtree(copy / "dev_data" / machine / "train")
    run = run_inside("00_train.py", "-d", data=copy, out=tmp_path)
    fails(run, "fan: this machine type has no folder train/", "valve: this machine type has no")


def test_unknown_key_and_machine(demo, tmp_path):
    run = call_script("00_train.py", "-d", data=demo, out=tmp_path, assigned=("fit.epoch=3",))
    fails(run, "unknown key fit.epoch; did you mean epochs?")
    run = call_script("00_train.py", "-d", "--machine", "fam", data=demo, out=tmp_path)
    fails(run, "--machine fam", "did you mean fan?")


def spoil(copy: Path) -> dict[str, str]:
    """Make bad clips of every kind in both machine types; returns name → a word said of it."""
    fan, valve = (sorted((copy / "dev_data" / name / "train").iterdir()) for name in MACHINES)
    fan[0].write_text("no audio")
    fan[1].write_bytes(b"")
    soundfile.write(fan[2], np.zeros(0), 16000)
    soundfile.write(valve[0], np.full(32000, np.inf), 16000, subtype="FLOAT")
    soundfile.write(valve[1], np.zeros(600), 16000)
    soundfile.write(valve[2], np.zeros(44100), 44100)
    valve[3].rename(valve[3].with_name("pump 1.wav"))
    return {
        fan[0].name: "cannot be read",
        fan[1].name: "cannot be read",
        fan[2].name: "is empty",
        valve[0].name: "not finite",
        valve[1].name: "too short",
        valve[2].name: "44100 Hz",
        "pump 1.wav": "not a clip name",
    }


@pytest.mark.slow
def test_bad_clips_stop_the_run_before_training(copy, tmp_path):
    bad = spoil(copy)
    run = run_inside("00_train.py", "-d", data=copy, out=tmp_path, assigned=QUICK)
    fails(run, "7 clips cannot be used", "--skip-bad", *bad)
    for name, word in bad.items():
        (line,) = [line for line in run.stderr.splitlines() if name in line]
        assert word in line
    assert not list((tmp_path / "model").rglob("model_*"))
    assert "7 clips cannot be used" in (tmp_path / "result" / "ae" / "baseline.log").read_text()
    assert "7 clips" not in run.stdout


@pytest.mark.slow
def test_skip_bad_goes_on_and_lists_them(copy, tmp_path):
    bad = spoil(copy)
    run = run_inside("00_train.py", "-d", "--skip-bad", data=copy, out=tmp_path, assigned=QUICK)
    assert run.returncode == 0, run.stderr
    listed = rows(tmp_path / "model" / "ae" / "bad_clips.csv")
    assert listed[0] == ["clip", "problem"]
    assert {Path(clip).name for clip, _ in listed[1:]} == set(bad)
    assert "[1/2] fan: 27 clips" in run.stdout
    assert "[2/2] valve: 26 clips" in run.stdout


def test_section_without_training_clips(trained, demo, copy, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    test = copy / "dev_data" / "fan" / "test"
    clip = sorted(test.iterdir())[0]
    shutil.copy(clip, test / clip.name.replace("section_00", "section_07"))
    run = run_inside("01_test.py", "-d", data=copy, out=out, assigned=QUICK)
    fails(run, "fan: section_07 has test clips but no training clips", "threshold_scope")
    run = run_inside(
        "01_test.py",
        "-d",
        "--machine",
        "fan",
        data=copy,
        out=out,
        assigned=(*QUICK, "threshold_scope=machine_type"),
    )
    assert run.returncode == 0, run.stderr
    assert (out / "result" / "ae" / "anomaly_score_fan_section_07_test.csv").is_file()


def test_one_sided_section_has_empty_cells(trained, copy, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    for path in (copy / "dev_data" / "fan" / "test").glob("section_01_*_anomaly_*"):
        path.unlink()
    run = run_inside("01_test.py", "-d", "--machine", "fan", data=copy, out=out, assigned=QUICK)
    assert run.returncode == 0, run.stderr
    table = rows(out / "result" / "ae" / "result.csv")
    row, of_valve = [row for row in table if row[:1] == ["01"]]
    assert row[1:] == [""] * 9
    assert of_valve in rows(trained / "result" / "ae" / "result.csv")
    assert "fan section 01: no normal clips, anomalies or decisions for AUC (source)" in run.stdout


@pytest.mark.slow
def test_a_training_that_diverges_leaves_the_others_their_models(demo, tmp_path):
    diverges = ("ae.machines.fan.fit.lr=1e30", "fit.epochs=2", "fit.batch_size=128")
    run = run_inside("00_train.py", "-d", "--seed", "3", data=demo, out=tmp_path, assigned=diverges)
    fails(
        run,
        "1 of 2 failed, the others are done:",
        "ae fan: training diverged, loss is ",
        "in epoch 1; most likely the learning rate is too high: lower fit.lr (now 1e+30)",
    )
    models = tmp_path / "model" / "ae"
    assert sorted(path.name for path in models.glob("model_*")) == [
        "model_valve.json",
        "model_valve.npz",
    ]
    assert "ae fan: training diverged" in run.stdout.partition("[2/2] valve")[0]
    run = run_inside("01_test.py", "-d", "--seed", "3", data=demo, out=tmp_path, assigned=diverges)
    fails(run, "model_fan: there is no model of fan")


def test_scores_that_are_no_numbers_leave_the_others_their_results(trained, demo, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(trained, out, ignore=shutil.ignore_patterns("result", "cache"))
    place = out / "model" / "ae" / "model_fan.npz"
    arrays = dict(np.load(place))
    arrays["weight_0000"][:] = np.nan
    np.savez(place, **arrays)
    run = run_inside("01_test.py", "-d", data=demo, out=out, assigned=QUICK)
    fails(
        run,
        "1 of 2 failed, the others are done:",
        "ae fan: the anomaly scores of 24 of 24 clips are not finite, first section_00",
        "lower fit.lr and train again",
    )
    results = out / "result" / "ae"
    first = files(trained / "result" / "ae")
    scored = {name: content for name, content in files(results).items() if "_valve_" in name}
    assert scored == {name: content for name, content in first.items() if "_valve_" in name}
    assert len(scored) == 6
    assert not list(results.glob("*_fan_*"))
    assert {row[0] for row in rows(results / "thresholds.csv")[1:]} == {"valve"}
    assert "official score" in run.stdout


def test_of_contradictory_settings_the_log_says_which_counts(demo, tmp_path):
    put = {"data": demo, "out": tmp_path, "assigned": ("fit.epochs=9", "fit.epochs=1")}
    run = run_inside("00_train.py", "-d", "--machine", "fan", **put)
    assert run.returncode == 0, run.stderr
    assert "--set fit.epochs: 1, not 9; the last one counts" in run.stdout
    history = (tmp_path / "model" / "ae" / "history_fan.csv").read_text().splitlines()
    assert len(history) == 2


def test_the_settings_of_a_run_are_printed_and_can_be_given_back(demo, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("fit: {epochs: 3}\nvae: {network: {latent: 4}}\n")
    asked = ["-d", "--system", "vae", "ae", "--print-config", "--config"]
    first = run_inside("00_train.py", *asked, str(own), data=demo, out=tmp_path)
    assert first.returncode == 0
    (tmp_path / "printed.yaml").write_text(first.stdout)
    again = run_inside(
        "01_test.py", *asked, str(tmp_path / "printed.yaml"), data=demo, out=tmp_path
    )
    assert again.stdout == first.stdout
    printed = yaml.safe_load(first.stdout)
    assert printed["vae"]["fit"]["epochs"] == printed["ae"]["fit"]["epochs"] == 3
    assert printed["vae"]["network"]["latent"] == 4
    assert not (tmp_path / "model").exists()
