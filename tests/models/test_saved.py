from __future__ import annotations

import pytest

import keras_model
from core.errors import BadInput
from models import saved
from tests.models.test_base import small
from tests.test_keras_model import saved_model


def test_dev_and_eval_models_have_names_of_their_own(tmp_path):
    param = small(("model_directory", str(tmp_path)))
    assert saved.model_stem(param, "fan", "dev") == tmp_path / "model_fan"
    assert saved.model_stem(param, "fan", "eval") == tmp_path / "model_fan_eval"


def test_a_model_made_otherwise_is_not_reused(tmp_path, two_clips):
    stem, param, _ = saved_model(tmp_path, two_clips)
    saved.SavedModel(stem).check_trained(param, two_clips)
    other = small(("fit.lr", 0.5), ("seed", 3), ("max_fpr", 0.5), ("fit.verbose", 0))
    with pytest.raises(BadInput) as caught:
        saved.SavedModel(stem).check_trained(other, two_clips)
    said = str(caught.value)
    assert "fit.lr: 0.001 then, 0.5 now" in said
    assert "seed: 0 then, 3 now" in said
    assert "--force trains it again" in said
    assert "max_fpr" not in said
    with pytest.raises(BadInput, match=r"fit.lr: 0.001 then, 0.5 now"):
        saved.SavedModel(stem).check_settings(other)
    with pytest.raises(BadInput, match=r"training clips: 2 then, 1 now"):
        saved.SavedModel(stem).check_trained(param, two_clips[:1])
    two_clips[0].path.write_bytes(b"0" * 11)
    with pytest.raises(BadInput, match=r"training clips: 2 then, 2 now \(others\)"):
        saved.SavedModel(stem).check_trained(param, two_clips)


def test_what_is_missing_or_damaged_is_told(tmp_path, two_clips):
    with pytest.raises(BadInput, match="there is no model of fan; train it first with 00_train"):
        saved.usable_model(small(("model_directory", str(tmp_path))), "fan", "dev")
    stem, param, _ = saved_model(tmp_path, two_clips)
    arrays = stem.with_name("model_fan.npz")
    whole = arrays.read_bytes()
    middle = whole.index(b"weight_0000.npy") + 400  # among the values
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for damage in (b"", whole[:1000], b"0" * 1000, flipped):
        arrays.write_bytes(damage)
        with pytest.raises(BadInput, match="the model's files are damaged"):
            keras_model.load_model(saved.SavedModel(stem), param)
    stem.with_name("model_fan.json").write_text("[]")
    with pytest.raises(BadInput, match="not the description of a model made here"):
        keras_model.load_model(saved.SavedModel(stem), param)


def test_two_models_of_one_machine_type(tmp_path, two_clips):
    stem, param, _ = saved_model(tmp_path, two_clips)
    stem.with_name("model_fan.hdf5").touch()
    with pytest.raises(BadInput, match="remove one of them"):
        saved.find_model(param, "fan", "dev")
