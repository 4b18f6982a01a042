"""From the evaluation clips to the package: truth, ensembles, 03_submit.py, as a user runs them."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from core import settings
from core.errors import BadInput
from data.clip_names import ClipName
from data.clips import Clip
from engine import results
from evaluation.__main__ import main
from evaluation.csv_files import evaluate_directory, read_decisions, read_scores
from evaluation.metrics import SectionKey
from evaluation.result_csv import read_result_csv
from models.saved import OfficialModel
from reporting import submission
from tests.conftest import imports_of, places, run_inside
from tools import demo_data

QUICK = (
    "fit.epochs=2",
    "fit.verbose=0",
    "fit.batch_size=128",
    *(f"{system}.network.{key}" for system in ("ae", "idnn") for key in ("units=[16]", "latent=4")),
)
MIX = ("--ensemble", "mix=ae:1,idnn:3", "--norm", "z")
AUTHOR = {
    "firstname": "Jane",
    "lastname": "Doe",
    "email": "jane@institute.org",
    "corresponding": True,
    "affiliation": {"institution": "The Institute", "location": "Town"},
}
ME = (
    "submission.author=Doe",
    "submission.institute=INST",
    f"submission.authors={json.dumps([AUTHOR])}",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one machine type, three sections in either part; read only."""
    folder = tmp_path_factory.mktemp("demo")
    demo_data.make_dataset(folder, machines=["fan"], clips=10, test_clips=8, seconds=2.0)
    return folder


@pytest.fixture(scope="module")
def handed(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where ae, idnn and their ensemble were trained and tested, -d and -e."""
    out = tmp_path_factory.mktemp("handed")
    for mode in ("-d", "-e"):
        for script, more in (("00_train.py", ("--system", "ae", "idnn")), ("01_test.py", MIX)):
            run = run_inside(script, mode, *more, data=demo, out=out, assigned=QUICK)
            assert run.returncode == 0, run.stdout + run.stderr
        (out / f"{mode}.txt").write_text(run.stdout)
    return out


@pytest.fixture
def out(handed: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return shutil.copytree(handed, tmp_path / "out")


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def submit(demo: Path, out: Path, *arguments: str, assigned: tuple[str, ...] = ME):
    more = ("--to", str(out), *arguments)
    return run_inside("03_submit.py", *more, data=demo, out=out, assigned=(*QUICK, *assigned))


def refused(run, *words: str) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    for word in words:
        assert word in run.stderr


def test_an_ensemble_is_a_system_everywhere(handed, demo):
    names = {path.name for path in (handed / "result" / "ae").glob("*.csv")}
    found = {path.name for path in (handed / "result" / "mix").glob("*.csv")}
    assert found == names
    table = (handed / "-d.txt").read_text().splitlines()[-5:]
    assert [line.split("  ")[0] for line in table if " seed " in line] == [
        f"{name} seed 0" for name in ("ae", "idnn", "mix")
    ]
    scores = {
        name: read_scores(handed / "result" / name / "anomaly_score_fan_section_03_test.csv")
        for name in ("ae", "idnn", "mix")
    }
    thresholds = {
        (row[0], row[1]): row for row in rows(handed / "result" / "mix" / "thresholds_eval.csv")
    }
    assert int(thresholds["fan", "section_03"][-1]) == 10
    decided = read_decisions(handed / "result" / "mix" / "decision_result_fan_section_03_test.csv")
    expected = np.zeros(len(scores["mix"]))
    for name, weight in (("ae", 0.25), ("idnn", 0.75)):
        with np.load(handed / "model" / name / "model_fan_eval.npz") as held:
            training = held["train_scores"][held["train_sections"] == "section_03"]
        values = np.array(list(scores[name].values()))
        expected += weight * (values - training.mean()) / training.std()
    np.testing.assert_allclose(list(scores["mix"].values()), expected, atol=1e-9)
    above = expected > float(thresholds["fan", "section_03"][2])
    assert list(decided.values()) == above.astype(int).tolist()


def test_members_are_scored_as_they_are_alone(handed, demo, tmp_path):
    out = shutil.copytree(handed, tmp_path / "alone")
    shutil.rmtree(out / "result")
    run = run_inside("01_test.py", "-d", data=demo, out=out, assigned=QUICK)
    assert run.returncode == 0, run.stderr
    assert [path.name for path in (out / "result").iterdir()] == ["ae"]
    name = "anomaly_score_fan_section_00_test.csv"
    assert (out / "result/ae" / name).read_bytes() == (handed / "result/ae" / name).read_bytes()


def test_a_model_of_before_names_were_kept(out, demo):
    path = out / "model" / "idnn" / "model_fan.npz"
    with np.load(path) as held:
        arrays = {key: held[key] for key in held.files if key != "train_clips"}
    np.savez(path, **arrays)
    run = run_inside("01_test.py", "-d", *MIX, data=demo, out=out, assigned=QUICK)
    refused(run, "model_fan: an ensemble needs the names of the training clips", "--force")
    run = run_inside("01_test.py", "-d", "--system", "idnn", data=demo, out=out, assigned=QUICK)
    assert run.returncode == 0, run.stderr


def test_truth_gives_the_table_of_evaluation_py(out, demo):
    truth = ("--ground-truth", str(demo / "ground_truth"))
    run = run_inside("01_test.py", "-e", *MIX, *truth, data=demo, out=out, assigned=QUICK)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("target harmonic mean") == 3 * 2
    for name in ("ae", "mix"):
        result = out / "result" / name / "result.csv"
        made = result.with_name("result_eval.csv").read_bytes()
        assert main([str(result.parent), *truth]) == 0
        assert result.read_bytes() == made
        held = rows(result)
        assert [row[0] for row in held if row and row[0].isdigit()] == ["03", "04", "05"]
        assert ["official score"] in [row[:1] for row in held]


def test_truth_of_other_clips_and_of_another_place(out, demo, tmp_path):
    truth = shutil.copytree(demo / "ground_truth", tmp_path / "truth")
    for folder in ("ground_truth_data", "ground_truth_domain"):
        path = truth / folder / "ground_truth_fan_section_03_test.csv"
        path.write_text(path.read_text().replace("_0000.wav", "_9999.wav", 1))
        (truth / folder / "ground_truth_fan_section_04_test.csv").unlink()
    arguments = ("-e", "--ground-truth", str(truth))
    run = run_inside("01_test.py", *arguments, data=demo, out=out, assigned=QUICK)
    refused(run, "fan section 03: 1 of the test clips missing from the ground truth", "_9999.wav")
    assert "fan section 04: not in the ground truth" in run.stdout
    run = run_inside("01_test.py", "-d", *arguments[1:], data=demo, out=out, assigned=QUICK)
    refused(run, "--ground-truth is for -e")
    nowhere = ("-e", "--ground-truth", str(tmp_path / "nowhere"))
    run = run_inside("01_test.py", *nowhere, data=demo, out=out, assigned=QUICK)
    refused(run, "--ground-truth: ", "nowhere")


def test_unusable_clips_may_be_in_the_truth():
    clip = Clip(Path("section_03_test_0000.wav"), "fan", "section_03", "test")
    key = SectionKey("fan", "section_03")
    said = {"section_03_0000.wav": (1, "target"), "section_03_0001.wav": (0, "source")}
    truth = {
        key: {name: ClipName("section_03", domain, label) for name, (label, domain) in said.items()}
    }
    with pytest.raises(
        BadInput, match=r"1 of the ground truth missing from the test clips: .*_0001\.wav"
    ):
        results.with_truth([clip], "fan", truth)
    unusable = [(Path("elsewhere/section_03_test_0001.wav"), "is empty")]
    (found,) = results.with_truth([clip], "fan", truth, unusable)
    assert (found.label, found.domain, found.name) == ("anomaly", "target", clip.name)


def test_misuse_exits_2(tmp_path):
    for script, arguments in (
        ("01_test.py", ["-d", "--ensemble", "mix=ae:1"]),
        ("01_test.py", ["-d", "--ensemble", "ae=ae:1,vae:1"]),
        ("03_submit.py", ["--system", *"abcde"]),
        ("03_submit.py", ["--system", "ae", "ae"]),
    ):
        with pytest.raises(SystemExit) as stopped:
            run_inside(script, *arguments, data=tmp_path, out=tmp_path)
        assert stopped.value.code == 2


def test_a_package_round_trips_through_evaluation(out, demo, tmp_path):
    run = submit(demo, out, "--system", "ae", "mix")
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(out / "Doe_INST_task2.zip") as package:
        package.extractall(tmp_path / "package")
    labels = ["Doe_INST_task2_1", "Doe_INST_task2_2"]
    home = tmp_path / "package" / "task2"
    assert sorted(path.name for path in home.iterdir()) == labels
    for label, name in zip(labels, ("ae", "mix"), strict=True):
        packed, _ = evaluate_directory(home / label, demo / "ground_truth")
        here, _ = evaluate_directory(out / "result" / name, demo / "ground_truth")
        assert packed == here
        assert len(packed) == 3
        assert len(list((home / label).iterdir())) == 2 * 3 + 1
    meta = yaml.safe_load((home / labels[1] / f"{labels[1]}.meta.yaml").read_text())
    assert meta["submission"] == {
        "label": "Doe_INST_task2_2",
        "name": "Ensemble of Dense autoencoder, Interpolation DNN",
        "abbreviation": "mix",
        "authors": [AUTHOR],
    }
    described = meta["system"]["description"]
    assert list(described) == list(submission.DESCRIPTION)
    assert described["input_sampling_rate"] == "16kHz"
    assert described["ensemble_method_subsystem_count"] == 2
    assert described["machine_learning_method"] == "AE, IDNN"
    held = {
        (row.machine_type, row.section): row.metrics
        for row in read_result_csv(out / "result" / "mix" / "result.csv")
    }
    sources = [held["fan", number]["AUC (source)"] for number in ("00", "01", "02")]
    found = meta["results"]["development_dataset"]
    assert set(found) == {"fan"}
    assert found["fan"]["auc_source"] == pytest.approx(300 / sum(1 / np.array(sources)))


def test_parameters_are_counted_as_keras_counts_them(handed, demo, out):
    run = submit(demo, out, "--system", "ae", "idnn", "mix")
    assert run.returncode == 0, run.stderr
    counted = []
    with zipfile.ZipFile(out / "Doe_INST_task2.zip") as package:
        for number in (1, 2, 3):
            label = f"Doe_INST_task2_{number}"
            meta = yaml.safe_load(package.read(f"task2/{label}/{label}.meta.yaml"))
            counted.append(meta["system"]["complexity"]["total_parameters"])
    # 640 -> 16 -> 4 -> 16 -> 640 with four numbers a unit of batch normalisation; IDNN 512 -> 128.
    sizes = (
        (n_in * 16 + 16) + (16 * 4 + 4) + (4 * 16 + 16) + (16 * n_out + n_out) + 4 * (16 + 4 + 16)
        for n_in, n_out in ((640, 640), (512, 128))
    )
    assert counted == [*(expected := list(sizes)), sum(expected)]


def test_the_official_network_has_the_published_number_of_parameters(reference):
    assert OfficialModel(reference / "real_clips" / "model_fan.hdf5").count_parameters() == 269992


def test_development_results_survive_a_test_with_truth(out, demo):
    assert submit(demo, out).returncode == 0
    before = (out / "Doe_INST_task2.zip").read_bytes()
    truth = ("--ground-truth", str(demo / "ground_truth"))
    assert main([str(out / "result" / "ae"), *truth]) == 0
    assert submit(demo, out).returncode == 0
    assert (out / "Doe_INST_task2.zip").read_bytes() == before
    for path in (out / "result" / "ae").glob("*_section_0[012]_test.csv"):
        path.unlink()
    refused(submit(demo, out), "result.csv: is of the evaluation data, and there is no other")


def spoil(out: Path) -> tuple[str, ...]:
    """Break a file in every way; returns a word said of each."""
    result = out / "result" / "ae"
    lines = {}
    for section in ("03", "04", "05"):
        path = result / f"anomaly_score_fan_section_{section}_test.csv"
        lines[section] = path, path.read_text().splitlines(keepends=True)
    for section, change in (
        ("03", lambda rest: rest[1:]),
        ("04", lambda rest: [*rest, rest[0]]),
        ("05", lambda rest: [rest[0].split(",")[0] + ",nan\n", *rest[1:]]),
    ):
        path, rest = lines[section]
        path.write_text("".join(change(rest)))
    decisions = result / "decision_result_fan_section_03_test.csv"
    decisions.write_text(decisions.read_text().replace(",0\n", ",2\n").replace(",1\n", ",2\n"))
    extra = result / "decision_result_fan_section_04_test.csv"
    extra.write_text(extra.read_text() + "section_04_9999.wav,1\n")
    (result / "decision_result_fan_section_05_test.csv").unlink()
    (out / "model" / "ae" / "model_fan_eval.json").unlink()
    (result / "result.csv").write_text("not,a,table\n")
    return (
        "1 of the clips missing from",
        "a second time",
        "'nan' is not a finite number",
        "'2' is neither 0 nor 1",
        "section_04_9999.wav",
        "decision_result_fan_section_05_test.csv: missing; make it with 01_test.py -e",
        "there is no model of fan",
        "result.csv: not a table of results",
    )


def test_every_problem_is_told_and_nothing_is_written(out, demo):
    words = spoil(out)
    block = dict(AUTHOR, corresponding=False, mail="x")
    del block["email"]
    assigned = (
        "submission.author=Döe",
        f"submission.authors={json.dumps([block])}",
        "submission.systems.ae.abbreviation=Autoencoder",
        "submission.systems.mix.name=The mix",
        "submission.systems.mix.aggregation_method=",
    )
    run = submit(demo, out, "--system", "ae", "mxi", assigned=assigned)
    refused(
        run,
        *words,
        "submission.author is 'Döe'; a label takes letters",
        "submission.institute: missing",
        "submission.authors, 1: email is missing",
        "unknown key mail; did you mean email?",
        "0 are corresponding; expected one",
        "abbreviation is 'Autoencoder'; at most 10 characters",
        "--system mxi: neither a system nor an ensemble",
        "did you mean mix?",
    )
    assert not list(out.glob("*.zip"))


def test_an_ensemble_that_was_another_in_development(out, demo):
    record = out / "result" / "mix" / "ensemble.json"
    made = json.loads(record.read_text())
    made["dev"]["norm"] = "rank"
    record.write_text(json.dumps(made))
    refused(
        submit(demo, out, "--system", "mix"), "mix: was made of other systems, weights or norms"
    )


def test_without_evaluation_data(out, demo, tmp_path):
    refused(submit(tmp_path, out), "eval_directory: there is no directory")


def test_years_without_domains_have_averages(tmp_path):
    (tmp_path / "result.csv").write_text("fan\nid,AUC,pAUC\n01,0.5,0.6\n03,0.75,0.8\nAverage,0,0\n")
    unit = settings.read_config().for_system("ae").with_values({"result_directory": tmp_path})
    assert submission.development_results(unit, []) == {
        "fan": {"averaged_auc": 62.5, "averaged_pauc": pytest.approx(70.0)}
    }


def test_the_package_is_made_without_tensorflow(out, demo):
    arguments = ["03_submit.py", "--to", str(out), "--set", *QUICK, *ME, *places(demo, out)]
    imported, output = imports_of(arguments, ("tensorflow",), timeout=60)
    assert "Doe_INST_task2_1: ae, 6 CSV files" in output
    assert imported == []


@pytest.mark.slow
def test_csv_signals_are_packaged_too(tmp_path):
    """The evaluation signals have no labels, so result.csv is of the development signals."""
    generator = np.random.default_rng(0)
    for part, labels in (("dev_data", [0] * 4 + [1] * 4), ("eval_data", None)):
        home = tmp_path / part / "pump"
        for folder, count in (("train", 12), ("test", 8)):
            (home / folder).mkdir(parents=True)
            for index in range(count):
                signal = generator.normal(size=400) * (1 + (index > 3))
                (home / folder / f"{index}.csv").write_text("\n".join(map(str, signal)) + "\n")
        if labels:
            lines = "".join(f"{index},{label}\n" for index, label in enumerate(labels))
            (home / "test_label.csv").write_text(f"index,label\n{lines}")
    quick = ("fit.epochs=1", "feature.n_fft=64", "feature.hop_length=32", "feature.n_mels=8")
    put = {"data": tmp_path, "out": tmp_path / "out"}
    for mode in ("-d", "-e"):
        for script in ("00_train.py", "01_test.py"):
            run = run_inside(script, mode, **put, assigned=quick)
            assert run.returncode == 0, run.stdout + run.stderr
    run = run_inside("03_submit.py", "--to", str(tmp_path), **put, assigned=(*quick, *ME))
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / "Doe_INST_task2.zip") as package:
        names = {Path(name).name for name in package.namelist()}
        assert names >= {"anomaly_score_pump_section_00_test.csv", "Doe_INST_task2_1.meta.yaml"}
        (meta,) = [package.read(name) for name in package.namelist() if name.endswith(".yaml")]
    results = yaml.safe_load(meta)["results"]["development_dataset"]["pump"]
    table = read_result_csv(tmp_path / "out" / "result" / "ae" / "result.csv")
    assert results["averaged_auc"] == pytest.approx(100 * table[0].metrics["AUC"])
