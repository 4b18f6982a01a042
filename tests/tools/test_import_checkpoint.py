"""Published checkpoints, made here of a fixture's weights, through the import and both commands.

Small ones in PyTorch's formats were written by PyTorch beforehand; where it is not installed,
others are written, and all of them read, by what stands in for it.
"""

from __future__ import annotations

import csv
import functools
import importlib
import pickle
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import tensorflow as tf

import keras_model
from checkpoints import files
from checkpoints.inferred_settings import InferredSettings
from checkpoints.tensors import gather, in_order
from core import settings
from core.errors import BadInput
from core.run_settings import SystemSettings
from core.system_settings import system_classes
from data.dataset import read_clips
from models import saved
from tests.checkpoints.published_files import (
    PYTORCH_FILES,
    SECTIONS,
    TORCH,
    UNREAD,
    assign,
    published_by,
    small,
    write,
)
from tests.conftest import run_inside
from tests.models.parity_fixture import Fixture, checkpoint_folders
from tests.test_reference import SCORE, lay_out, scores
from tools import demo_data, import_checkpoint

TOOL = "tools/import_checkpoint.py"
CSV = 1e-5  # relative: the same network, its windows in other batches

pytestmark = pytest.mark.usefixtures("pytorch")


def import_(
    system: str,
    files: list[Path],
    out: Path,
    *more: str,
    data: Path | None = None,
    assigned: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the tool as a user does, but in this process."""
    given = ["--system", system, "--machine", "fan", *map(str, files), *more]
    return run_inside(TOOL, *given, data=data or out / "none", out=out, assigned=assigned)


def param_of(system: str, out: Path, *assigned: tuple[str, Any]) -> SystemSettings:
    """The settings that 01_test.py scores an imported model with."""
    places = [("model_directory", str(out / "model" / "{system}"))]
    config = settings.read_config(None, [*assigned, *places])
    param = config.for_system(system).for_machine("fan")
    return saved.SavedModel(saved.model_stem(param, "fan", "dev")).with_imported_settings(param)


def loaded(system: str, out: Path, *assigned: tuple[str, Any]) -> Any:
    param = param_of(system, out, *assigned)
    return keras_model.load_system(saved.SavedModel(saved.model_stem(param, "fan", "dev")), param)[
        0
    ]


def unreadable(fixture: Fixture) -> list[tuple[str, Any]]:
    """What of a fixture's settings no tensor shows."""
    published, system = fixture.settings, fixture.meta["system"]
    if system == "anomaly_transformer":
        values = {"k": published["k"], "temperature": published["temperature"]}
        windows = [("feature.n_frames", published["win_size"])]
    elif system == "stgram_mfn":
        parts = re.findall(r"\[([\d,\s]+)\]", published["bottlenecks"])
        values = {
            "bottlenecks": [[int(number) for number in part.split(",")] for part in parts],
            "margin": published["arcface"]["m"],
            "scale": published["arcface"]["s"],
            "seconds": fixture.arrays["wav"].shape[1] / 16000,
        }
        windows = [("feature.hop_length", published.get("hop_length", 512))]
    elif system in ("dis_spec", "dis_multispec"):
        values, windows = {"seconds": published["sec"]}, []
    else:
        values = {}
        windows = [
            (f"feature.{key}", published[key]) for key in ("n_frames", "n_mels") if key in published
        ]
    return [*windows, *((f"{system}.network.{key}", value) for key, value in values.items())]


def written(assigned: list[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in assigned)


def nothing_written(out: Path) -> bool:
    return not any((out / name).exists() for name in ("model", "result", "cache"))


@pytest.mark.parametrize("folder", checkpoint_folders(), ids=lambda folder: folder.name)
@pytest.mark.slow
def test_a_fixture_scores_as_the_original_when_imported(folder, tmp_path, monkeypatch) -> None:
    fixture = Fixture(folder)
    system, assigned = fixture.meta["system"], unreadable(fixture)
    files = write(system, fixture.tensors(), tmp_path)
    run = import_(system, files, tmp_path, assigned=written(assigned))
    assert run.returncode == 0, run.stderr
    assert f"{len(fixture.tensors())} tensors of" in run.stdout
    checks = importlib.import_module(f"tests.models.parity_{system}")
    made = loaded(system, tmp_path, *assigned)
    monkeypatch.setattr(checks, "build", lambda fixture: made)
    names = [name for name in dir(checks) if name.startswith(("check_", "check_energy"))]
    scoring = [name for name in names if not any(w in name for w in ("train", "step", "later"))]
    # Of embeddings a back end makes the scores, whatever a checkpoint holds.
    of_scores = ("check_score", "check_energy", "check_embeddings")
    assert any(name.startswith(of_scores) for name in scoring)
    for name in scoring:
        getattr(checks, name)(fixture)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one machine type, three sections of five training and four test clips."""
    home = tmp_path_factory.mktemp("few")
    demo_data.make_dataset(home, machines=["fan"], clips=5, test_clips=4, seconds=1.1)
    return home


@functools.cache
def made_here(system: str) -> tuple[dict[str, np.ndarray], Any]:
    """Return the weights of a small network, as published, and the network.

    They are those of the file that PyTorch wrote, where the release is one of PyTorch.
    """
    network = small(system)
    if system in TORCH:
        trees = [(path, files.read(path)) for path in torch_files(system)]
        names = system_classes()
        assign(network, gather(system, trees, names, keras_model.system_class))
    return published_by(network), network


def torch_files(system: str) -> list[Path]:
    """Return the files that PyTorch wrote for a small network of a system."""
    return sorted(path for path in (PYTORCH_FILES / system).iterdir())


def published(system: str, folder: Path) -> list[Path]:
    """Return the files of a small network: as PyTorch wrote them, or written into a folder."""
    return torch_files(system) if system in TORCH else write(system, made_here(system)[0], folder)


@pytest.mark.parametrize("system", import_checkpoint.networks())
@pytest.mark.slow
def test_from_wavs_to_csv_with_an_imported_model(system, few, tmp_path) -> None:
    tensors, made = made_here(system)
    if system == "mobilenet_v2":
        # The official names say in which order the classes are.
        order, tensors = [2, 0, 1], dict(tensors)
        for name in ("predictions/kernel", "predictions/bias"):
            tensors[name] = tensors[name][..., order]
        joblib.dump(np.array(SECTIONS)[order], tmp_path / "section_names_fan.pkl")
    paths = torch_files(system) if system in TORCH else write(system, tensors, tmp_path)
    paths += tmp_path.glob("section_names_*.pkl")
    put = {"data": few, "assigned": UNREAD[system]}
    run = import_(system, paths, tmp_path, "--jobs", "1", **put)
    assert run.returncode == 0, run.stderr
    run = run_inside("01_test.py", "-d", "--system", system, "--jobs", "1", out=tmp_path, **put)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "result" / system
    with (results / "thresholds.csv").open(newline="") as stream:
        rows = [(row["section"], row["n_clips"]) for row in csv.DictReader(stream)]
    # These releases train on the clips of the evaluation set too; the joint checkpoint has three.
    n_sections = 6 if system in ("aegan_ad", "vae", "idnn") else 3
    assert rows == [(f"section_0{number}", "5") for number in range(n_sections)]
    actual = {}
    for section in SECTIONS:
        with (results / f"anomaly_score_fan_{section}_test.csv").open(newline="") as stream:
            actual |= {name: float(score) for name, score in csv.reader(stream)}
        decided = (results / f"decision_result_fan_{section}_test.csv").read_text()
        assert len(decided.splitlines()) == 4
    expected = scores_of(made, system, few, tmp_path)
    assert set(actual) == set(expected)
    np.testing.assert_allclose(
        [actual[name] for name in expected], list(expected.values()), rtol=CSV, atol=1e-7
    )


def scores_of(made: Any, system: str, data: Path, out: Path) -> dict[str, float]:
    param = made.settings.with_values(
        {
            "dev_directory": data / "dev_data",
            "eval_directory": data / "eval_data",
            "cache_directory": out / "cache",
        }
    )
    clips = {}
    for folder in ("train", "test"):
        read, bad = read_clips(param, "dev", "fan", (folder,), jobs=1)
        assert not bad
        known = [not param.joint or param.class_name(c) in made.section_names for c in read.clips]
        clips[folder] = read.select(known)

    def eager(frames, starts, section, of=made.window_scores) -> np.ndarray:
        """As `System.all_window_scores`, which takes longer to compile than these clips do."""
        windows = made.gather_windows(made.to_device(frames), tf.constant(starts))
        return of(windows, tf.constant(section)).numpy()

    made.all_window_scores = eager
    made.fit_statistics(clips["train"])
    scores = made.score(clips["test"])
    return {clip.name: score for clip, score in zip(clips["test"].clips, scores, strict=True)}


def damaged(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """One tensor missing, one renamed, one of another shape; and the message on each."""
    tensors = dict(tensors)
    names = [name for name in tensors if tensors[name].ndim == 1]
    missing, renamed, cut = names[1], names[-1], names[len(names) // 2]
    del tensors[missing]
    tensors[f"{renamed}_old"] = tensors.pop(renamed)
    tensors[cut] = np.concatenate([tensors[cut], tensors[cut]])
    n = len(tensors[cut])
    return tensors, [
        f"{missing} is missing",
        f"{renamed} is missing",
        f"{renamed}_old is left over",
        f"{cut} has the shape ({n},), not ({n // 2},)",
    ]


@pytest.mark.parametrize("system", import_checkpoint.networks())
def test_every_tensor_that_does_not_fit_is_named(system, few, tmp_path) -> None:
    tensors, expected = damaged(made_here(system)[0])
    files = write(system, tensors, tmp_path)
    run = import_(system, files, tmp_path, data=few, assigned=UNREAD[system])
    assert run.returncode == 1
    for words in expected:
        assert words in run.stderr
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("system", import_checkpoint.networks())
def test_a_checkpoint_of_another_system_is_called_so(system, tmp_path) -> None:
    names = import_checkpoint.networks()
    other = names[names.index(system) - 1]
    files = published(other, tmp_path)
    run = import_(system, files, tmp_path)
    assert run.returncode == 1
    assert f"looks like a checkpoint of {other}, not of {system}" in run.stderr
    assert nothing_written(tmp_path)


def test_what_the_tensors_say_wins_over_the_defaults_but_not_over_the_person(few, tmp_path) -> None:
    files = published("aegan_ad", tmp_path)
    run = import_("aegan_ad", files, tmp_path, data=few, assigned=("aegan_ad.network.ndf=8",))
    assert run.returncode == 1
    assert "network.ndf is 8 in the settings, but the checkpoint's tensors say 4" in run.stderr
    config = tmp_path / "own.yaml"
    config.write_text("aegan_ad: {network: {nz: 256}, feature: {n_mels: 128}}\n")
    run = import_("aegan_ad", files, tmp_path, "--config", str(config), data=few)
    assert run.returncode == 1
    assert "network.nz is 256 in the settings, but the checkpoint's tensors say 5" in run.stderr
    assert "feature.n_mels is 128 in the settings, but" in run.stderr
    assert nothing_written(tmp_path)
    assert import_("aegan_ad", files, tmp_path, data=few).returncode == 0
    given = ["-d", "--system", "aegan_ad", "--jobs", "1"]
    other = {"data": few, "out": tmp_path, "assigned": ("aegan_ad.network.ndf=8",)}
    run = run_inside("01_test.py", *given, **other)
    assert run.returncode == 1
    assert "network.ndf: 4 then, 8 now); use its settings, or import it again" in run.stderr


@pytest.mark.slow
def test_without_training_clips_it_says_what_cannot_be_given(few, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few / "dev_data" / "fan" / "test", data / "dev_data" / "fan" / "test")
    for system in ("aegan_ad", "idnn"):
        files = published(system, tmp_path)
        run = import_(system, files, tmp_path, data=data, assigned=UNREAD[system])
        assert run.returncode == 0, run.stderr
        assert f"no training clips in {data}" in run.stdout
        given = ["-d", "--system", system, "--jobs", "1"]
        test = run_inside(
            "01_test.py",
            *given,
            data=data,
            out=tmp_path,
            # A network that was not trained here does not depend on how one would be.
            assigned=(*UNREAD[system], "fit.epochs=7", "seed=3"),
        )
        if system == "idnn":
            assert "no threshold, so 01_test.py leaves its decisions out" in run.stdout
            assert test.returncode == 0, test.stderr
            assert "so no threshold: its decisions are left out" in test.stdout
            results = tmp_path / "result" / system
            assert len(list(results.glob("anomaly_score_*"))) == 3
            assert not list(results.glob("decision_result_*"))
        else:
            assert "none of D_maha, D_knn," in run.stdout
            assert test.returncode == 1
            assert "imported without training clips, so it lacks the range of" in test.stderr


@pytest.mark.slow
def test_an_official_distribution_decides_without_training_clips(few, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few / "dev_data" / "fan" / "test", data / "dev_data" / "fan" / "test")
    files = published("ae", tmp_path)
    joblib.dump([2.0, 800.0, np.float64(1.5)], tmp_path / "score_distr_fan.pkl")
    run = import_("ae", [*files, tmp_path / "score_distr_fan.pkl"], tmp_path, data=data)
    assert run.returncode == 0, run.stderr
    assert "leaves its decisions out" not in run.stdout
    run = run_inside("01_test.py", "-d", "--jobs", "1", data=data, out=tmp_path)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "result" / "ae"
    with (results / "thresholds.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["section"], row["method"]) == ("all sections", "imported gamma")
    # The 0.9 quantile of a gamma distribution of shape 2 is 3.88972 scales.
    assert float(row["threshold"]) == pytest.approx(800 + 3.88972 * 1.5, abs=1e-3)
    with (results / "anomaly_score_fan_section_00_test.csv").open(newline="") as stream:
        expected = [int(float(score) > float(row["threshold"])) for _, score in csv.reader(stream)]
    with (results / "decision_result_fan_section_00_test.csv").open(newline="") as stream:
        assert [int(decision) for _, decision in csv.reader(stream)] == expected


def test_class_names_that_do_not_fit_are_named(few, tmp_path) -> None:
    files = published("mobilenet_v2", tmp_path)
    files.append(tmp_path / "section_names_fan.pkl")
    joblib.dump(np.array(["section_00", "section_01"]), files[1])
    put = {"data": few, "assigned": UNREAD["mobilenet_v2"]}
    run = import_("mobilenet_v2", files, tmp_path, **put)
    assert run.returncode == 1
    assert "has 3 sections, but 2 are named: section_00, section_01" in run.stderr
    shutil.copytree(few / "dev_data", tmp_path / "data" / "dev_data")
    for path in (tmp_path / "data" / "dev_data" / "fan" / "train").glob("section_02*"):
        path.unlink()
    put["data"] = tmp_path / "data"
    run = import_("mobilenet_v2", files[:1], tmp_path, **put)
    assert run.returncode == 1
    assert "has 3 sections, but the training clips have 2: section_00," in run.stderr
    assert nothing_written(tmp_path)


def test_classes_of_stgram_mfn_are_in_the_order_of_its_release(tmp_path) -> None:
    # Machine types sorted whatever their case, the evaluation set's ids after all of these.
    for place in (
        "dev_data/ToyCar/normal_id_01",
        "dev_data/fan/normal_id_00",
        "eval_data/fan/normal_id_01",
    ):
        folder, machine, name = place.split("/")
        train = tmp_path / folder / machine / "train"
        train.mkdir(parents=True)
        (train / f"{name}_00000000.wav").touch()
    param = settings.read_config().for_system("stgram_mfn")
    param = param.with_values(
        {"dev_directory": tmp_path / "dev_data", "eval_directory": tmp_path / "eval_data"}
    )
    args = import_checkpoint.command_line(["--system", "stgram_mfn", "a.pth.tar"])
    names = import_checkpoint.class_names(args, param, 3, None)
    assert names == ["fan id_00", "ToyCar id_01", "fan id_01"]
    assert import_checkpoint.class_names(args, param, 2, None) == names[:2]
    with pytest.raises(BadInput, match=r"has 4 sections, but .* have 3: fan"):
        import_checkpoint.class_names(args, param, 4, None)
    # Where no score depends on the classes, those of test clips may be in a checkpoint, too.
    other = (
        settings.read_config()
        .for_system("dis_spec")
        .with_values(
            {"dev_directory": tmp_path / "dev_data", "eval_directory": tmp_path / "eval_data"}
        )
    )
    more = import_checkpoint.class_names(args, other, 5, None)
    assert more == [*names, "class_00003", "class_00004"]
    tensors = {
        "arcface.weight": np.arange(6.0)[:, None],  # two centres a class
        "mobilefacenet.fc_out.bias": np.arange(3.0),
        "other": np.arange(3.0),
    }
    class_axes = keras_model.system_class("stgram_mfn").class_axes
    ordered = in_order(tensors, class_axes, names)
    assert ordered["arcface.weight"][:, 0].tolist() == [2, 3, 0, 1, 4, 5]  # ToyCar, fan, fan
    assert ordered["mobilefacenet.fc_out.bias"].tolist() == [1, 0, 2]
    assert ordered["other"].tolist() == [0, 1, 2]


def test_a_wrong_order_of_classes_is_suspected() -> None:
    scores, sections = np.array([0.1, 0.2, 9.0, 3.0, 0.1, 4.0]), ["a"] * 3 + ["b"] * 3
    contents = import_checkpoint.CheckpointContents({}, None, None)
    default = settings.read_config().for_system("stgram_mfn")
    for classes, gmm, suspected in ((8, 0, True), (40, 0, False), (8, 1, False)):  # log 8 is 2.08
        param = default.with_values({"network.gmm": gmm})
        inferred = InferredSettings({}, {}, classes=classes)
        given = (param, inferred, contents, scores, sections, ["b", "a"])
        expected = ["the network takes training clips of b for others; are its classes b, a?"]
        assert import_checkpoint.remarks(*given) == (expected if suspected else [])


def test_models_in_the_way_are_kept(few, tmp_path) -> None:
    files = published("ae", tmp_path)
    assert import_("ae", files, tmp_path).returncode == 0
    kept = (tmp_path / "model" / "ae" / "model_fan.npz").read_bytes()
    # 00_train.py takes it for what it is, though it was not trained on these clips.
    run = run_inside("00_train.py", "-d", "--jobs", "1", data=few, out=tmp_path)
    assert (run.returncode, "there is a model already" in run.stdout) == (0, True)
    run = import_("ae", files, tmp_path)
    assert run.returncode == 1
    assert "there is a model already; --force" in run.stderr
    assert (tmp_path / "model" / "ae" / "model_fan.npz").read_bytes() == kept
    assert import_("ae", files, tmp_path, "--force").returncode == 0
    shutil.copy(files[0], tmp_path / "model" / "ae" / "model_fan.hdf5")
    run = import_("ae", files, tmp_path, "--force")
    assert run.returncode == 1
    assert "01_test.py takes this official model as it is" in run.stderr


def test_all_bad_files_are_named_at_once_and_nothing_is_written(tmp_path) -> None:
    (tmp_path / "a.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n cut short")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(Path("anything")))
    run = import_("ae", [tmp_path / "a.hdf5", tmp_path / "b.pkl", tmp_path / "c.hdf5"], tmp_path)
    assert run.returncode == 1
    assert "a.hdf5: not a model of an official baseline" in run.stderr
    assert "b.pkl: refused (it asks for pathlib" in run.stderr
    assert "c.hdf5: cannot be read (No such file or directory)" in run.stderr
    assert nothing_written(tmp_path)


def test_misuse_shows_the_usage(capsys) -> None:
    for given, words in (
        (["--system", "ae", "a.hdf5"], "--machine is needed once"),
        (["--system", "ae", "--machine", "../x", "a.hdf5"], "'../x' is no machine type"),
        (["--system", "ea", "--machine", "fan", "a.hdf5"], "invalid choice: 'ea'"),
        (["--system", "ae", "--machine", "fan"], "CHECKPOINT"),
    ):
        with pytest.raises(SystemExit) as ended:
            import_checkpoint.command_line(given)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_real_clips_through_the_import(reference, tmp_path) -> None:
    expected = lay_out(reference, tmp_path)
    for machine in ("fan", "gearbox"):
        file = tmp_path / "model" / "ae" / f"model_{machine}.hdf5"
        moved = file.rename(tmp_path / file.name)
        run = run_inside(
            *(TOOL, "--system", "ae", "--machine", machine, str(moved)),
            data=tmp_path / "data",
            out=tmp_path,
        )
        assert run.returncode == 0, run.stderr
    run = run_inside("01_test.py", "-d", "--jobs", "1", data=tmp_path / "data", out=tmp_path)
    assert run.returncode == 0, run.stderr
    actual = scores(tmp_path)
    assert len(actual) == len(expected) == 4
    for key, (score, _) in expected.items():
        assert abs(actual[key] - score) <= SCORE
