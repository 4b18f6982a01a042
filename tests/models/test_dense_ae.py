"""The dense autoencoder's releases and its second score, beside the parity with the releases."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_model
from core import settings
from core.errors import BadInput
from core.log import logger
from engine.checks import check_trainable
from models import residuals
from models.layers import BatchNorm
from models.saved import SavedModel
from tests.conftest import run_inside
from tests.models.test_pooling import frames_of, small

SELECTIVE = ("ae.score", "selective_mahalanobis")


def build(*assignments: tuple[str, Any]):
    return keras_model.build_system(small("ae", *assignments), ["section_00"])


@pytest.mark.parametrize("release", ["dcase2023", "ae_asd"])
def test_a_release_in_pytorch_follows_its_conventions(release) -> None:
    system = build(("ae.release", release))
    assert system.optimizer.torch
    norms = [layer for layer in system.network.layers if isinstance(layer, BatchNorm)]
    assert norms
    assert all(norm.torch for norm in norms)
    first = system.network.get_layer("dense")
    bound = first.kernel.shape[0] ** -0.5
    for values in (first.kernel.numpy(), first.bias.numpy()):
        assert bound / 2 < np.abs(values).max() <= bound
    keras_like = build()
    assert not keras_like.optimizer.torch
    assert not keras_like.network.get_layer("batch_normalization").torch
    assert not keras_like.network.get_layer("dense").bias.numpy().any()


def test_what_each_release_sets() -> None:
    def run(release: str):
        return settings.read_config(None, [("ae.release", release)]).for_system("ae")

    assert run("dcase2022").model_dump() == settings.read_config().for_system("ae").model_dump()
    of_2023, of_ae_asd = run("dcase2023"), run("ae_asd")
    assert (of_2023.fit.batch_size, of_2023.fit.epochs) == (256, 100)
    assert of_2023.network.momentum == 0.99
    assert of_2023.feature == run("dcase2022").feature
    assert (of_ae_asd.feature.mel_scale, of_ae_asd.fit.train_on) == ("htk", "both")
    assert (of_ae_asd.fit.batch_size, of_ae_asd.network.epsilon) == (39552, 1e-5)


def test_covariances_are_of_the_domains_of_the_clips(tmp_path) -> None:
    frames = frames_of(tmp_path, "ssstt", length=40)
    system = build(SELECTIVE, ("fit.batch_size", 1000), ("fit.validation_split", 0))
    system.fit_statistics(frames)
    starts, owner = system.windows(frames, 1)
    windows = frames.array[starts[:, None] + np.arange(3)]
    residual = system.reconstruct(windows).numpy().astype(np.float64) - windows
    for number, domain in enumerate(residuals.DOMAINS):
        own = np.array([frames.clips[clip].domain == domain for clip in owner])
        rows = residual[own].reshape(-1, 4)
        expected = np.cov(rows.T, bias=True) * len(rows) / (own.sum() - 1)
        np.testing.assert_allclose(system.covariances.matrices[number], expected, rtol=1e-4)
        assert system.covariances.windows[number] == own.sum()


def test_either_score_can_be_chosen_after_the_training(tmp_path) -> None:
    frames = frames_of(tmp_path, length=40)
    run, stem = small("ae"), tmp_path / "model_fan"
    made = keras_model.build_system(run, ["section_00"])
    made.train(frames)
    assert made.extra_scores(frames) == {}
    keras_model.save_system(stem, made, run, frames.clips, made.score(frames), {})
    other = run.with_values({"score": "selective_mahalanobis"})
    again, training = keras_model.load_system(SavedModel(stem), other)
    scores = again.score(frames)
    np.testing.assert_allclose(training.scores, scores, rtol=1e-6)
    every = again.extra_scores(frames)
    assert list(every) == ["mse", "selective_mahalanobis"]
    np.testing.assert_array_equal(every["selective_mahalanobis"], scores)
    np.testing.assert_allclose(every["mse"], made.score(frames), rtol=1e-6)
    assert not np.allclose(scores, every["mse"], rtol=0.1)


def test_the_errors_of_both_scorings_are_the_same_bits(tmp_path) -> None:
    frames, system = frames_of(tmp_path, length=60), build()
    np.testing.assert_array_equal(system.clip_residuals(frames)[0], system.window_errors(frames)[0])


def test_without_target_clips_there_is_one_covariance_and_a_warning(tmp_path, monkeypatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *parts: warnings.append(text % parts))
    frames, run = frames_of(tmp_path, "ssss", length=40), small("ae", SELECTIVE)
    check_trainable(run, "fan", frames)
    (line,) = warnings
    assert line.startswith("fan: no training clips of the target domain")
    system = keras_model.build_system(run, ["section_00"])
    system.fit_statistics(frames)
    np.testing.assert_array_equal(*system.covariances.matrices)
    check_trainable(small("ae"), "fan", frames)
    assert len(warnings) == 1


def test_too_few_clips_for_an_inverse(tmp_path) -> None:
    few = frames_of(tmp_path, "st", length=4)
    with pytest.raises(BadInput, match=r"more than 4 frames .* of source clips .* there are 4"):
        check_trainable(small("ae", SELECTIVE), "fan", few)
    noise = frames_of(tmp_path, "st", length=40)
    flat = dataclasses.replace(noise, array=np.zeros_like(noise.array))
    with pytest.raises(BadInput, match=r"residuals of source clips .* has no inverse; train with"):
        build(SELECTIVE).fit_statistics(flat)
    # Where nobody asks for that score, it is no reason to stop.
    system = build()
    system.fit_statistics(flat)
    assert system.training_distances is None
    system.settings = small("ae", SELECTIVE)
    with pytest.raises(BadInput, match="has no inverse"):
        system.training_scores(np.ones(2))


def test_a_model_without_covariances_says_so(tmp_path) -> None:
    with pytest.raises(BadInput, match="which this model does not have; train it again"):
        build(SELECTIVE).score(frames_of(tmp_path))


@pytest.mark.slow
def test_both_scores_go_through_both_commands(demo: Path, tmp_path: Path) -> None:
    given = ["-d", "--system", "ae", "--machine", "fan", "--jobs", "1"]
    quick = ("fit.epochs=1", "fit.verbose=0", "ae.network.units=[16]", "ae.network.latent=4")
    put = {"data": demo, "out": tmp_path}
    results = tmp_path / "result" / "ae"
    assert run_inside("00_train.py", *given, **put, assigned=quick).returncode == 0
    assert run_inside("01_test.py", *given, **put, assigned=quick).returncode == 0
    by_mse = (results / "anomaly_score_fan_section_00_test.csv").read_text()
    assert not (results / "all_scores.csv").exists()
    selective = (*quick, "ae.score=selective_mahalanobis")
    assert run_inside("01_test.py", *given, **put, assigned=selective).returncode == 0
    assert (results / "anomaly_score_fan_section_00_test.csv").read_text() != by_mse
    header = (results / "all_scores.csv").read_text().splitlines()[0]
    assert header == "machine_type,section,clip,mse,selective_mahalanobis"
