from __future__ import annotations

import errno
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import keras_model
from checkpoints.assign import assign_variables
from core.errors import BadInput
from data.clips import Clip
from models.saved import OfficialModel, SavedModel, find_model, model_stem, usable_model
from tests.models.test_base import frames_of, small


def saved_model(tmp_path: Path, clips: list[Clip]) -> tuple[Path, dict, np.ndarray]:
    param = small(("model_directory", str(tmp_path / "model")))
    stem = model_stem(param, "fan", "dev")
    frames = frames_of(60, 60)
    system = keras_model.build_system(param, [clip.section for clip in clips])
    system.train(frames)
    keras_model.save_system(stem, system, param, clips, system.score(frames), {})
    return stem, param, system.score(frames)


@pytest.mark.slow
def test_saved_and_loaded_scores_the_same(tmp_path, two_clips):
    stem, param, scores = saved_model(tmp_path, two_clips)
    system, training = keras_model.load_system(*usable_model(param, "fan", "dev"))
    assert np.array_equal(system.score(frames_of(60, 60)), scores)
    assert np.array_equal(training.scores, scores)
    assert training.sections == system.section_names == ["section_00", "section_01"]
    assert sorted(path.name for path in stem.parent.iterdir()) == [
        "model_fan.json",
        "model_fan.npz",
    ]


def full(*_, **__):
    raise OSError(errno.ENOSPC, "disk full")


@pytest.mark.slow
def test_an_earlier_model_outlives_a_full_disk(tmp_path, two_clips, monkeypatch):
    stem, param, scores = saved_model(tmp_path, two_clips)
    before = {path.name: path.read_bytes() for path in stem.parent.iterdir()}
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="disk full"):
        keras_model.save_system(
            stem, keras_model.build_system(param, []), param, two_clips, scores, {}
        )
    assert {path.name: path.read_bytes() for path in stem.parent.iterdir()} == before


@pytest.mark.slow
def test_no_description_without_the_rest(tmp_path, two_clips, monkeypatch):
    stem, param, scores = saved_model(tmp_path, two_clips)
    monkeypatch.setattr(keras_model, "save_json", full)
    with pytest.raises(OSError, match="disk full"):
        keras_model.save_system(
            stem, keras_model.build_system(param, []), param, two_clips, scores, {}
        )
    assert find_model(param, "fan", "dev") is None


@pytest.mark.slow
def test_a_model_from_a_stranger_is_read_as_numbers_or_refused(tmp_path, two_clips, monkeypatch):
    stem, param, _ = saved_model(tmp_path, two_clips)
    arrays, about = stem.with_name("model_fan.npz"), stem.with_name("model_fan.json")
    held, text = dict(np.load(arrays)), about.read_text()
    wide = {name: value for name, value in held.items() if name != "weight_0000"}
    wide["weight_0000"] = np.zeros((40, 5000), np.float32)
    nameless = {name: value for name, value in held.items() if name != "train_sections"}
    monkeypatch.setattr(
        np.lib.format, "read_array", lambda *_, **__: pytest.fail("read before it was checked")
    )
    for save, changed in (
        (np.savez_compressed, held),
        (np.savez, {**held, "train_sections": np.array([{}, {}])}),
        (np.savez, wide),
        (np.savez, {**held, "weight_9999": np.zeros(3)}),
    ):
        save(arrays, **changed)
        with pytest.raises(BadInput, match="the model's files are damaged"):
            keras_model.load_system(SavedModel(stem), param)
    monkeypatch.undo()
    for changed in (
        nameless,
        {**held, "train_scores": np.array([np.nan, 1.0])},
        {**held, "train_machine_types": np.array(["fan"] * 9)},
        {**held, "weight_0000": np.full(held["weight_0000"].shape, "text")},
    ):
        np.savez(arrays, **changed)
        with pytest.raises(BadInput, match="the model's files are damaged"):
            keras_model.load_system(SavedModel(stem), param, machine_type="fan")
    tree = json.loads(text)
    for odd in ("[" * 10**5, "{}", json.dumps({**tree, "sections": 3}), json.dumps([tree])):
        about.write_text(odd)
        with pytest.raises(BadInput, match="not the description of a model made here"):
            SavedModel(stem)
    brought = {"settings": {**tree["settings"], "result_directory": "/etc"}, "imported": {}}
    for keys in (["result_directory"], ["feature.n_melz"], ["network.units"], [3], 3):
        brought["settings"]["network"] = {**tree["settings"]["network"], "units": [10**99]}
        brought["imported"] = {"keys": keys}
        about.write_text(json.dumps({**tree, **brought}))
        with pytest.raises(
            BadInput, match=r"model_fan\.json: (unknown key|ae.network.units|not the)"
        ):
            usable_model(param, "fan", "dev")


def official_file(path: Path, system, first: int = 0) -> None:
    """An `.hdf5` in the layout of Keras 2.8; `first` is what a layer number starts at."""

    def name(layer: str) -> str:
        kind = layer.rstrip("0123456789").rstrip("_")
        number = int(layer[len(kind) + 1 :] or 0) + first
        return f"{kind}_{number}" if number else kind

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights")
        layers = [name(layer.name) for layer in system.network.layers]
        weights.attrs["layer_names"] = [layer.encode() for layer in layers]
        for place, layer in zip(layers, system.network.layers, strict=True):
            group = weights.create_group(place)
            names = [f"{place}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [each.encode() for each in names]
            for each, variable in zip(names, layer.weights, strict=True):
                group[each] = variable.numpy()


@pytest.mark.parametrize("first", [0, 10])
@pytest.mark.slow
def test_official_model_is_scored_as_it_is(tmp_path, first):
    param = small(("model_directory", str(tmp_path)))
    system = keras_model.build_system(param, [])
    system.train(frames_of(60))
    official_file(tmp_path / "model_fan.hdf5", system, first)
    model, _ = usable_model(param, "fan", "dev")
    assert isinstance(model, OfficialModel)
    assert not model.has_thresholds
    trained = OfficialModel(model.path, param, frames_of(40, 40))
    _, training = keras_model.load_system(trained, param.with_values({"seed": 9}))
    assert np.array_equal(training.scores, system.score(frames_of(40, 40)))
    assert training.sections == trained.sections == ["section_00", "section_01"]
    _, without = keras_model.load_system(model, param)
    assert (len(without.scores), without.sections) == (0, [])


def test_foreign_hdf5_is_refused(tmp_path):
    wide = small(("model_directory", str(tmp_path)), ("ae.network.latent", 5))
    official_file(tmp_path / "model_fan.hdf5", keras_model.build_system(wide, []))
    param = small(("model_directory", str(tmp_path)))
    with pytest.raises(BadInput, match=r"dense_1/kernel has the shape \(16, 5\), not \(16, 4\)"):
        keras_model.load_system(OfficialModel(tmp_path / "model_fan.hdf5"), param)
    with h5py.File(tmp_path / "model_fan.hdf5", "a") as file:
        inner = {"class_name": "Sequential", "config": [{"class_name": "Lambda", "config": {}}]}
        file.attrs["model_config"] = json.dumps(inner)
    with pytest.raises(BadInput, match="refused, for it holds a Lambda layer, which is code"):
        keras_model.load_system(OfficialModel(tmp_path / "model_fan.hdf5"), param)
    (tmp_path / "model_fan.hdf5").write_text("text")
    with pytest.raises(BadInput, match="not a model of the official baseline"):
        keras_model.load_system(OfficialModel(tmp_path / "model_fan.hdf5"), param)


def test_published_tensors_are_all_used_and_all_there():
    system = keras_model.build_system(small(), [])
    wanted = system.checkpoint_variables()
    tensors = {name: variable.numpy() for name, (variable, _) in wanted.items()}
    before = system.get_weights()
    del tensors["dense/bias"]
    tensors["dense_9/bias"] = np.zeros(3)
    tensors["dense/kernel"] = np.zeros((2, 2))
    with pytest.raises(
        ValueError,
        match="dense/bias is missing; dense_9/bias is left over; "
        r"dense/kernel has the shape \(2, 2\)",
    ):
        assign_variables(wanted, tensors)
    for value, then in zip(system.get_weights(), before, strict=True):
        assert np.array_equal(value, then)


def test_description_is_plain_json(tmp_path, two_clips):
    stem, _, _ = saved_model(tmp_path, two_clips)
    about = json.loads(stem.with_name("model_fan.json").read_text())
    assert about["sections"] == ["section_00", "section_01"]
    assert about["settings"]["feature"]["n_mels"] == 8
    assert about["training_clips"]["count"] == 2
    assert about["given"]["network.latent"] == about["given"]["feature.n_mels"] == "--set"
    assert "fit.beta_1" not in about["given"]
    assert set(about["versions"]) == {"this", "tensorflow", "keras", "numpy"}
