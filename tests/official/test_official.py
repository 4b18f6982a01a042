"""Models, decisions and scripts of the official baselines; `write_official.py` made the files.

`expected.json` has what TensorFlow 2.8 and the official code say of the test clips.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import joblib
import numpy as np
import pytest
import scipy.stats
import yaml

import keras_model
from checkpoints.keras_hdf5 import read_hdf5
from core.errors import BadInput
from evaluation.thresholds import decision_threshold
from tests import processes
from tests.conftest import ROOT, run_inside
from tests.official.sounds import write_dataset

HERE = Path(__file__).parent
SCORE_TOLERANCE = 1e-5  # of the magnitude: float32 of another Keras on another processor
SETTINGS = {
    "ae": ("feature.n_mels=16", "ae.network.units=[16,16]", "ae.network.latent=4"),
    "mobilenet_v2": (
        *("feature.n_mels=32", "mobilenet_v2.feature.n_frames=32"),
        "mobilenet_v2.network.alpha=0.02",
    ),
}
FEATURE = {
    "ae": {"n_mels": 16, "n_frames": 5},
    "mobilenet_v2": {"n_mels": 32, "n_frames": 32},
}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips that the official models were trained on, and the test clips."""
    home = tmp_path_factory.mktemp("official")
    write_dataset(home / "dev_data")
    return home


def expected(system: str) -> dict[str, tuple[float, int]]:
    return json.loads((HERE / system / "expected.json").read_text())


def scored(system: str, data: Path, out: Path, *assigned: str) -> str:
    """Score with 01_test.py and what lies in model/SYSTEM; return what it printed."""
    assigned = (*SETTINGS[system], *assigned)
    done = run_inside(
        *("01_test.py", "-d", "--jobs", "1", "--system", system),
        data=data,
        out=out,
        assigned=assigned,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def copied(system: str, out: Path, *left_out: str) -> Path:
    folder = out / "model" / system
    ignored = shutil.ignore_patterns("*.json", "*.gz", *left_out)
    shutil.copytree(HERE / system, folder, ignore=ignored)
    model_file(system, folder)
    return folder


def model_file(system: str, folder: Path) -> Path:
    """Write the model that TensorFlow 2.8 saved into a folder; return its file."""
    path = folder / "model_fan.hdf5"
    path.write_bytes(gzip.decompress((HERE / system / "model_fan.hdf5.gz").read_bytes()))
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def assert_scores(system: str, out: Path) -> None:
    paths = sorted((out / "result" / system).glob("anomaly_score_*"))
    scores = {name: float(value) for path in paths for name, value in rows(path)}
    assert scores.keys() == expected(system).keys()
    for name, (score, _) in expected(system).items():
        assert scores[name] == pytest.approx(score, rel=SCORE_TOLERANCE, abs=SCORE_TOLERANCE)


def decisions(system: str, out: Path) -> dict[str, int]:
    paths = sorted((out / "result" / system).glob("decision_result_*"))
    return {name: int(value) for path in paths for name, value in rows(path)}


def thresholds(system: str, out: Path) -> list[dict[str, str]]:
    head, *others = rows(out / "result" / system / "thresholds.csv")
    return [dict(zip(head, row, strict=True)) for row in others]


@pytest.mark.parametrize("system", SETTINGS)
def test_with_its_pickles_an_official_model_decides_as_the_official_code(system, sounds, tmp_path):
    """Without training clips."""
    data = tmp_path / "data"
    shutil.copytree(sounds / "dev_data" / "fan" / "test", data / "dev_data" / "fan" / "test")
    copied(system, tmp_path)
    scored(system, data, tmp_path)
    assert_scores(system, tmp_path)
    official = {name: decision for name, (_, decision) in expected(system).items()}
    assert decisions(system, tmp_path) == official
    (row,) = thresholds(system, tmp_path)
    assert (row["section"], row["method"]) == ("all sections", "imported gamma")
    assert row["n_clips"] == "0"


def test_the_pickle_goes_before_the_training_clips(sounds, tmp_path):
    folder = copied("ae", tmp_path)
    joblib.dump([2.0, 1000.0, 1.5], folder / "score_distr_fan.pkl")
    printed = scored("ae", sounds, tmp_path)
    assert printed.count("the threshold is that of score_distr_fan.pkl") == 1
    assert set(decisions("ae", tmp_path).values()) == {0}
    # Another file beside the same model counts at once, though the scores are in the cache.
    joblib.dump([2.0, -1000.0, 1.5], folder / "score_distr_fan.pkl")
    scored("ae", sounds, tmp_path)
    assert set(decisions("ae", tmp_path).values()) == {1}


def test_the_official_fit_to_training_clips_decides_as_the_official_code(sounds, tmp_path):
    copied("ae", tmp_path, "*.pkl")
    official = ("threshold_fit=official", "threshold_scope=machine_type")
    scored("ae", sounds, tmp_path, *official)
    assert_scores("ae", tmp_path)
    assert decisions("ae", tmp_path) == {n: decision for n, (_, decision) in expected("ae").items()}
    (row,) = thresholds("ae", tmp_path)
    assert (row["method"], row["n_clips"]) == ("official gamma", "24")
    published = joblib.load(HERE / "ae" / "score_distr_fan.pkl")
    # SciPy's search for three parameters stops early: they are loose, their quantile is less so.
    official_threshold = scipy.stats.gamma.ppf(0.9, *published)
    assert float(row["threshold"]) == pytest.approx(official_threshold, rel=1e-3)
    scored("ae", sounds, tmp_path, "threshold_fit=official")
    assert [row["section"] for row in thresholds("ae", tmp_path)] == ["section_00", "section_01"]


def test_without_names_the_sections_are_those_of_the_training_clips(sounds, tmp_path):
    copied("mobilenet_v2", tmp_path, "section_names*")
    scored("mobilenet_v2", sounds, tmp_path)
    assert_scores("mobilenet_v2", tmp_path)


def test_classes_in_another_order_are_matched_by_name(sounds, tmp_path):
    folder = copied("mobilenet_v2", tmp_path)
    joblib.dump(np.array(["section_01", "section_00"]), folder / "section_names_fan.pkl")
    with h5py.File(folder / "model_fan.hdf5", "a") as file:
        for name in ("kernel", "bias"):
            (found,) = (
                value
                for value in datasets(file["model_weights"])
                if value.name.endswith(f"predictions/{name}:0")
            )
            found[...] = found[...][..., ::-1]
    scored("mobilenet_v2", sounds, tmp_path)
    assert_scores("mobilenet_v2", tmp_path)


def datasets(group: h5py.Group) -> list[h5py.Dataset]:
    items: list[h5py.Group | h5py.Dataset] = []
    group.visititems(lambda _, item: items.append(item))
    return [item for item in items if isinstance(item, h5py.Dataset)]


def test_a_pickle_that_is_no_distribution_is_an_error(sounds, tmp_path):
    folder = copied("ae", tmp_path)
    for content in ([1.0, 2.0], [np.nan, 0.0, 1.0], [-1.0, 0.0, 1.0], Path("anything")):
        joblib.dump(content, folder / "score_distr_fan.pkl")
        done = run_inside("01_test.py", "-d", data=sounds, out=tmp_path, assigned=SETTINGS["ae"])
        assert done.returncode == 1
        assert "score_distr_fan.pkl: " in done.stderr


@pytest.mark.parametrize(
    "scores", [[3.0] * 20, [3.0], [0.0] * 3, [1e300] * 4, [-5.0, -5.0, -4.0, 2.0]]
)
def test_degenerate_scores_have_a_threshold_with_the_official_fit(scores):
    fitted = decision_threshold(np.array(scores), 0.9, "official")
    assert np.isfinite(fitted.threshold)
    if len(set(scores)) == 1:
        assert (fitted.method, fitted.threshold) == ("empirical quantile", scores[0])
    else:
        assert fitted.method == "official gamma"


def test_the_official_fit_is_not_checked():
    scores = np.concatenate([np.linspace(1, 2, 40), [40.0, 45.0]])
    assert decision_threshold(scores, 0.9).method == "empirical quantile"
    assert decision_threshold(scores, 0.9, "official").method == "official gamma"


@pytest.mark.parametrize("system", SETTINGS)
def test_names_of_layers_do_not_matter(system, tmp_path):
    """Other versions of Keras count on from earlier models, or name layers otherwise."""
    weights = read_hdf5(model_file(system, tmp_path))
    path = tmp_path / "model.hdf5"
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in weights))
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"all_of_it"]
        inner = group.create_group("all_of_it")
        places = {layer: f"layer_{number + 7}" for number, layer in enumerate(layers)}
        places["predictions"] = "Logits"
        split = [(places[n.rpartition("/")[0]], n.rpartition("/")[2], n) for n in weights]
        names = [f"{place}/{weight}:0" for place, weight, _ in split]
        # A list that is too long for one attribute is written in parts.
        inner.attrs["weight_names0"] = [name.encode() for name in names[:9]]
        inner.attrs["weight_names1"] = [name.encode() for name in names[9:]]
        for (_, _, name), written in zip(split, names, strict=True):
            inner[written] = weights[name]
    again = read_hdf5(path)
    assert list(again) == list(weights)
    for name, value in weights.items():
        assert np.array_equal(again[name], value)


@pytest.mark.parametrize("system", SETTINGS)
@pytest.mark.slow
def test_a_script_for_the_official_baseline_scores_with_its_model(system, sounds, tmp_path):
    scores = run_script(system, model_file(system, tmp_path), sounds, tmp_path)
    assert scores.keys() == expected(system).keys()
    for name, (score, _) in expected(system).items():
        assert scores[name] == pytest.approx(score, rel=SCORE_TOLERANCE, abs=SCORE_TOLERANCE)


@pytest.mark.parametrize("system", SETTINGS)
@pytest.mark.slow
def test_a_script_for_the_official_baseline_trains_and_scores(system, sounds, tmp_path):
    scores = run_script(system, system, sounds, tmp_path)
    assert len(scores) == len(expected(system))
    assert np.isfinite(list(scores.values())).all()
    assert "fan" in (tmp_path / "baseline.log").read_text()
    # What Keras wrote is read by Keras, and by 01_test.py.
    path = tmp_path / "model" / "model_fan.hdf5"
    import keras

    ours, theirs = keras_model.load_model(path), keras.models.load_model(path, compile=False)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        assert np.array_equal(one.numpy(), other.numpy())


def run_script(system: str, model: Path | str, sounds: Path, home: Path) -> dict[str, float]:
    config = {
        "dev_directory": str(sounds / "dev_data"),
        "model_directory": "./model",
        "feature": {**FEATURE[system], "n_fft": 1024, "hop_length": 512, "power": 2.0},
        "fit": {"lr": 0.001, "epochs": 2, "batch_size": 64, "shuffle": True},
    }
    (home / "baseline.yaml").write_text(yaml.safe_dump(config))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MODEL": str(model)}
    command = [sys.executable, "-P", str(HERE / "script.py"), "-d"]
    done = processes.run(command, cwd=home, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads((home / "scores.json").read_text())


def test_the_official_builders_take_the_official_arguments():
    model = keras_model.get_model(input_dim=80, lr=0.25)
    assert (model.input_shape, model.output_shape) == ((None, 80), (None, 80))
    widths = [layer.units for layer in model.layers if hasattr(layer, "units")]
    assert widths == [128] * 4 + [8] + [128] * 4 + [80]
    assert float(model.optimizer.learning_rate) == 0.25
    assert model.loss == "mean_squared_error"
    # The number of weights of the official networks, as TensorFlow 2.8 counts them.
    assert keras_model.get_model(640, 0.001).count_params() == 269992
    images = keras_model.get_model(64, 128, n_conditions=6, lr=0.1)
    assert (images.input_shape, images.output_shape) == ((None, 64, 128, 1), (None, 6))
    assert images.loss == "categorical_crossentropy"
    for wrong in ((), (1, 2, 3), (640, 0.1, 3)):
        with pytest.raises(TypeError, match="get_model takes input_dim and lr, or n_frames"):
            keras_model.get_model(*wrong)


def test_another_network_is_no_official_model(tmp_path):
    import keras

    x = keras.Input((8,))
    network = keras.Model(x, keras.layers.Dense(8, activation="elu")(x))
    network.save(tmp_path / "a.hdf5")
    with pytest.raises(BadInput, match=r"a.hdf5: .*its layers have the activation elu"):
        keras_model.load_model(tmp_path / "a.hdf5")
    with pytest.raises(BadInput, match=r"none.hdf5: not a network of an official baseline"):
        keras_model.load_model(tmp_path / "none.hdf5")
    keras_model.get_model(16, 0.1).save(tmp_path / "b.keras")
    assert keras_model.load_model(tmp_path / "b.keras").output_shape == (None, 16)
