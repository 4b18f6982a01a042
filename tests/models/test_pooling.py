"""How window errors are pooled, and that another pooling needs no training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_model
from core import settings
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.clips import Clip
from data.frames import Frames
from engine.training import in_float32
from models.pooling import POOLINGS, PooledSystem, pool
from models.saved import SavedModel

SYSTEMS = ("ae", "vae", "idnn")


def small(system: str, *assignments: tuple[str, Any]) -> SystemSettings:
    given = [
        ("feature.n_mels", 4),
        ("feature.n_frames", 3),
        (f"{system}.network.units", [6]),
        (f"{system}.network.latent", 2),
        ("fit.epochs", 1),
        ("fit.verbose", 0),
    ]
    return settings.read_config(None, [*given, *assignments]).for_system(system)


def frames_of(folder: Path, domains: str = "sssttt", length: int = 9) -> Frames:
    """Clips of noise in a folder: one per letter, of the source or the target domain."""
    clips = []
    for number, letter in enumerate(domains):
        domain = {"s": "source", "t": "target"}[letter]
        path = folder / f"section_00_{domain}_train_normal_{number:04}.wav"
        path.write_bytes(b"0")
        clips.append(Clip(path, "fan", "section_00", "train", domain, "normal"))
    count = np.full(len(clips), length)
    array = np.random.default_rng(0).normal(size=(count.sum(), 4)).astype(np.float32)
    return Frames(array, tuple(clips), np.cumsum(count) - count, count)


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 1.0])
def test_each_pooling_is_its_definition(kind, decay) -> None:
    rng = np.random.default_rng(1)
    owner = np.repeat([0, 1, 2], [5, 1, 300])
    errors = rng.exponential(size=len(owner))
    pooled = pool(errors, owner, kind, decay)
    for clip, value in enumerate(pooled):
        own = np.sort(errors[owner == clip])[::-1]
        weight = decay ** np.arange(len(own))
        expected = {"mean": own.mean(), "max": own[0], "gwrp": (weight * own).sum() / weight.sum()}
        assert value == pytest.approx(expected[kind], rel=1e-12)


def test_the_ends_of_gwrp_are_the_others() -> None:
    errors, owner = np.array([3.0, 1.0, 2.0, 5.0]), np.array([0, 0, 0, 1])
    np.testing.assert_array_equal(pool(errors, owner, "gwrp", 0.0), pool(errors, owner, "max", 0))
    np.testing.assert_allclose(pool(errors, owner, "gwrp", 1.0), pool(errors, owner, "mean", 0))


@pytest.mark.parametrize("system", SYSTEMS)
def test_another_pooling_needs_no_training(system, tmp_path) -> None:
    frames, run = frames_of(tmp_path), small(system)
    made = keras_model.build_system(run, ["section_00"])
    made.train(frames)
    scores = made.score(frames)
    errors, owner = made.window_errors(frames)
    np.testing.assert_array_equal(scores, pool(errors, owner, "mean", 0))
    keras_model.save_system(tmp_path / "model_fan", made, run, frames.clips, scores, {})
    for kind in POOLINGS:
        other = run.with_values({f"{key}": value for key, value in (("pool_type", kind),)})
        again, training = keras_model.load_system(SavedModel(tmp_path / "model_fan"), other)
        np.testing.assert_allclose(training.scores, again.score(frames), rtol=1e-6)
        np.testing.assert_allclose(training.scores, pool(errors, owner, kind, 0.99), rtol=1e-6)
    slower = run.with_values({"pool_type": "gwrp", "decay": 0.5})
    with pytest.raises(BadInput, match=rf"{system}\.decay is 0\.5, .* saved with 0\.99"):
        keras_model.load_system(SavedModel(tmp_path / "model_fan"), slower)


def test_a_model_without_them_says_so() -> None:
    system = keras_model.build_system(small("ae", ("ae.pool_type", "max")), ["section_00"])
    with pytest.raises(BadInput, match=r"scores for ae\.pool_type: max; train it again"):
        system.training_scores(np.ones(3))
    assert len(system.training_scores(np.empty(0))) == 0
    mean = keras_model.build_system(small("ae"), ["section_00"])
    np.testing.assert_array_equal(mean.training_scores(np.ones(3)), np.ones(3))


@pytest.mark.slow
def test_half_precision_keeps_what_float32_scores(tmp_path) -> None:
    frames = frames_of(tmp_path)
    run = small("idnn", ("fit.precision", "mixed_float16"))
    half = keras_model.build_system(run, ["section_00"], "mixed_float16")
    half.train(frames)
    assert half.training_pools is None
    exact = in_float32(half, frames)
    np.testing.assert_allclose(exact.training_pools[:, 0], exact.score(frames), rtol=1e-6)


def test_errors_that_were_kept_serve_one_scoring_of_the_same_clips(tmp_path) -> None:
    frames = frames_of(tmp_path)
    system: PooledSystem = keras_model.build_system(small("vae"), ["section_00"])
    system.fit_statistics(frames)
    others = dataclasses.replace(frames, array=frames.array + 1)
    fresh = keras_model.build_system(small("vae"), ["section_00"])
    np.testing.assert_array_equal(system.score(others), fresh.score(others))
    system.fit_statistics(frames)
    first = system.score(frames)
    system.set_weights([weight * 2 for weight in system.get_weights()])
    assert not np.array_equal(system.score(frames), first)
