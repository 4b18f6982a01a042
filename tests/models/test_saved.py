from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import keras_model
from core.errors import BadInput
from core.settings import read_config
from data.training_scores import TrainingScores
from engine.scoring import model_thresholds
from evaluation.thresholds import Threshold
from models import saved
from tests.models.test_base import small
from tests.test_keras_model import saved_model

GOLDEN = Path(__file__).parents[1] / "golden"


def test_dev_and_eval_models_have_names_of_their_own(tmp_path):
    param = small(("model_directory", str(tmp_path)))
    assert saved.model_stem(param, "fan", "dev") == tmp_path / "model_fan"
    assert saved.model_stem(param, "fan", "eval") == tmp_path / "model_fan_eval"


@pytest.mark.slow
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


@pytest.mark.slow
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
            keras_model.load_system(saved.SavedModel(stem), param)
    stem.with_name("model_fan.json").write_text("[]")
    with pytest.raises(BadInput, match="not the description of a model made here"):
        keras_model.load_system(saved.SavedModel(stem), param)


@pytest.mark.slow
def test_two_models_of_one_machine_type(tmp_path, two_clips):
    stem, param, _ = saved_model(tmp_path, two_clips)
    stem.with_name("model_fan.hdf5").touch()
    with pytest.raises(BadInput, match="remove one of them"):
        saved.find_model(param, "fan", "dev")


def test_a_model_of_version_0_1_is_read(tmp_path):
    """It was trained by version 0.1: 8 mel bands, layers of 4 and 2, one epoch."""
    shutil.copytree(GOLDEN / "model_0_1", tmp_path / "model")
    small_network = [("ae.network.units", [4]), ("ae.network.latent", 2), ("feature.n_mels", 8)]
    places = ("model_directory", str(tmp_path / "model"))
    run = read_config(None, [*small_network, ("fit.epochs", 1), places]).for_system("ae")
    model, run = saved.usable_model(run, "fan", "dev")
    assert model.has_thresholds
    assert model.thresholds(run, "fan") is None  # they are fitted again
    _, training = keras_model.load_system(model, run, "fan")
    assert len(training.scores) == 30
    fitted = model_thresholds(model, run, "fan", training)
    about = json.loads((tmp_path / "model" / "model_fan.json").read_text())
    assert about["versions"]["this"] == "0.1.0"
    for section, values in about["thresholds"].items():
        assert fitted[section]._asdict() == values
    with pytest.raises(BadInput, match=r"feature.n_mels: 8 then, 128 now"):
        saved.usable_model(
            read_config(None, [*small_network[:2], places]).for_system("ae"), "fan", "dev"
        )


def test_settings_that_came_later_are_what_they_were_before(tmp_path, two_clips):
    """Of a model that was saved before there was `fit.train_on`, whose forerunner was `deval`."""
    stem, run, _ = saved_model(tmp_path, two_clips)
    place = stem.with_name("model_fan.json")
    about = json.loads(place.read_text())
    del about["settings"]["fit"]["train_on"]
    place.write_text(json.dumps(about))
    saved.SavedModel(stem).check_settings(run)
    both = run.with_values({"fit.train_on": "both"})
    with pytest.raises(BadInput, match=r"fit\.train_on: same then, both now"):
        saved.SavedModel(stem).check_settings(both)
    about["settings"]["fit"]["deval"] = True
    place.write_text(json.dumps(about))
    saved.SavedModel(stem).check_settings(both)


def test_thresholds_are_taken_from_the_model_while_its_settings_are_asked_for(tmp_path, two_clips):
    stem, run, scores = saved_model(tmp_path, two_clips)
    system = keras_model.build_system(run, ["section_00"])
    kept = {"fan": {"section_00": Threshold(5.0, "gamma", 1.0, 0.0, 1.0, 0.1, 20)}}
    keras_model.save_system(stem, system, run, two_clips, scores, kept)
    model = saved.SavedModel(stem)
    training = TrainingScores(np.arange(20.0), ["section_00"] * 20, [])
    assert model_thresholds(model, run, "fan", training) == kept["fan"]
    for other in (
        {"decision_threshold": 0.5},
        {"threshold_scope": "machine_type"},
        {"threshold_fit": "official"},
    ):
        fitted = model_thresholds(model, run.with_values(other), "fan", training)
        assert fitted != kept["fan"]
    assert model_thresholds(model, run, "valve", training)["section_00"].threshold != 5.0


def test_an_earlier_aegan_ad_had_one_learning_rate_and_the_usual_windows(tmp_path, two_clips):
    stem, _, _ = saved_model(tmp_path, two_clips)
    place = stem.with_name("model_fan.json")
    about = json.loads(place.read_text())
    run = read_config(
        None, [("aegan_ad.fit.lr", 0.001), ("aegan_ad.fit.lr_discriminator", 0.001)]
    ).for_system("aegan_ad")
    about["settings"] = saved.training_settings(run)
    del about["settings"]["fit"]["lr_discriminator"], about["settings"]["feature"]["released_hop"]
    place.write_text(json.dumps(about))
    saved.SavedModel(stem).check_settings(run)
    with pytest.raises(BadInput, match=r"fit\.lr_discriminator: 0\.001 then, 0\.0005 now"):
        saved.SavedModel(stem).check_settings(run.with_values({"fit.lr_discriminator": 0.0005}))
