from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_model
from core import settings
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.clips import Clip
from data.frames import Frames
from engine import training
from engine.checks import check_trainable
from models.base import System


def frames_of(*counts: int, seed: int = 0, n_mels: int = 8) -> Frames:
    """Clips of section 00 and 01 in turn, with so many random frames each."""
    count = np.array(counts)
    array = np.random.default_rng(seed).normal(-30, 10, (count.sum(), n_mels)).astype(np.float32)
    clips = tuple(
        Clip(Path(f"{index}.wav"), "fan", f"section_{index % 2:02}", "train")
        for index in range(len(counts))
    )
    return Frames(array, clips, np.cumsum(count) - count, count)


def small(*assignments, system: str = "ae") -> SystemSettings:
    held = settings.read_config(
        None,
        [
            ("feature.n_mels", 8),
            (f"{system}.network.units", [16]),
            (f"{system}.network.latent", 4),
            ("fit.epochs", 2),
            ("fit.batch_size", 32),
            ("fit.verbose", 0),
            *assignments,
        ],
    )
    return held.for_system(system)


def test_clip_score_is_a_plain_computation():
    frames = frames_of(7, 40, 5, 300)
    system = keras_model.build_system(small(), ["section_00"])
    expected = []
    for first, count in zip(frames.first, frames.count, strict=True):
        clip = frames.array[first : first + count]
        vectors = np.array([clip[at : at + 5].ravel() for at in range(count - 4)])
        expected.append(np.mean(np.square(vectors - system.network.predict(vectors, verbose=0))))
    # float32 sums of a few hundred squares in another order
    np.testing.assert_allclose(system.score(frames), expected, rtol=1e-5)


def test_a_frame_scores_the_mean_of_the_windows_that_cover_it():
    frames = frames_of(7, 5, 40)
    system = keras_model.build_system(small(), ["section_00"])
    found = system.frame_scores(frames)
    for first, count, curve in zip(frames.first, frames.count, found, strict=True):
        clip = frames.array[first : first + count]
        vectors = np.array([clip[at : at + 5].ravel() for at in range(count - 4)])
        errors = np.mean(np.square(vectors - system.network.predict(vectors, verbose=0)), axis=1)
        covering = [errors[max(0, frame - 4) : frame + 1] for frame in range(count)]
        np.testing.assert_allclose(curve, [np.mean(held) for held in covering], rtol=1e-5)


def test_score_does_not_depend_on_the_other_clips(monkeypatch):

    frames = frames_of(7, 40, 5, 300)
    system = keras_model.build_system(small(), ["section_00"])
    together = system.score(frames)
    monkeypatch.setattr(system, "values_per_scoring_batch", 5 * 8 * 16)
    np.testing.assert_allclose(system.score(frames), together, rtol=1e-6)
    some = frames.select([False, True, False, True])
    np.testing.assert_allclose(system.score(some), together[[1, 3]], rtol=1e-6)


def test_held_out_windows_are_the_last(monkeypatch):
    frames = frames_of(54, 54)
    system = keras_model.build_system(small(("fit.validation_split", 0.25)), ["section_00"])
    given = {}

    def fit(data, validation_data, **more):
        given.update(more, train=data, held_out=validation_data)

        return SimpleNamespace(history={})

    monkeypatch.setattr(system, "fit", fit)
    system.train(frames)
    windows, _ = frames.windows(5)
    rows = {
        name: np.concatenate([starts.numpy() for starts, _ in given[name]])
        for name in ("train", "held_out")
    }
    assert sorted(rows["train"]) == windows[:75].tolist()
    assert rows["held_out"].tolist() == windows[75:].tolist()
    assert [int(given[name].cardinality()) for name in rows] == [3, 1]  # batches of 32


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at_once"), [("ae", 3), ("ae", 64), ("vae", 64), ("idnn", 64)])
def test_many_steps_in_a_call_are_the_steps_one_by_one(name, at_once):
    """Also where a call has fewer steps left than it may take: 8 steps of 32 windows and a rest."""
    trained = []
    for steps in (at_once, 1):
        system = keras_model.build_system(small(system=name), ["section_00"])
        assert system.steps_per_execution == 64
        system.steps_per_execution = steps
        trained.append((system, system.train(frames_of(200, 61))))
    (together, expected), (singly, found) = trained
    assert int(together.optimizer.iterations) == 2 * 8
    assert int(singly.optimizer.iterations) == 2 * 8
    for name, losses in expected.items():
        np.testing.assert_allclose(found[name], losses, rtol=1e-6)
    for weight, other in zip(singly.get_weights(), together.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-5, atol=1e-6)


def test_no_name_of_ours_is_one_that_keras_uses():
    """Such a name once was overwritten by Keras, and so had no effect."""
    keras_names = set(dir(keras.Model())) - set(dir(object))
    systems = [keras_model.system_class(name) for name in keras_model.SYSTEMS]
    # What Keras asks a subclass to write.
    meant = {"call", "train_step", "test_step", "compute_loss"}
    for kind in {base for system in systems for base in system.__mro__}:
        if issubclass(kind, System):
            ours = {name for name in vars(kind) if not name.startswith("_")}
            assert not (ours & keras_names) - meant, kind


@pytest.mark.slow
def test_history_has_losses_of_every_epoch():
    history = keras_model.build_system(small(), ["section_00"]).train(frames_of(200))
    assert list(history) == ["loss", "val_loss"]
    assert len(history["loss"]) == len(history["val_loss"]) == 2
    without = small(("fit.validation_split", 0))
    assert list(keras_model.build_system(without, ["section_00"]).train(frames_of(200))) == ["loss"]


@pytest.mark.slow
def test_a_seed_decides_whatever_was_trained_before():
    def scores(seed: int) -> np.ndarray:
        system = keras_model.build_system(small(("seed", seed)), ["section_00"])
        system.train(frames_of(200))
        return system.score(frames_of(50, seed=1))

    first = scores(1)
    other = scores(2)
    assert np.array_equal(scores(1), first)
    assert not np.array_equal(other, first)


def test_section_index_is_the_place_among_those_trained_on():
    system = keras_model.build_system(small(), ["section_01", "section_03"])
    assert system.section_names == ["section_01", "section_03"]
    assert system.section_index(frames_of(9, 9)).tolist() == [-1, 0]


@pytest.mark.slow
def test_a_step_compiled_by_xla_is_the_same_but_for_rounding(monkeypatch):
    plain = keras_model.build_system(small(), ["section_00"])
    expected = plain.train(frames_of(200))
    assert not plain.jit_compile
    monkeypatch.setattr("models.base.FEWEST_STEPS_FOR_XLA", 0)
    compiled = keras_model.build_system(small(), ["section_00"])
    found = compiled.train(frames_of(200))
    assert compiled.jit_compile
    # float32 sums in another order, and Adam's first full steps
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.slow
def test_a_system_trained_in_half_precision_scores_in_float32(precision):
    frames = frames_of(200, 80)
    system = keras_model.build_system(small(), ["section_00"], precision)
    assert system.network.layers[1].compute_dtype == precision.removeprefix("mixed_")
    losses = system.train(frames)["loss"]
    exact = training.in_float32(system, frames)
    assert exact.network.layers[1].compute_dtype == "float32"
    for weight, kept in zip(exact.get_weights(), system.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, kept)
    float32 = keras_model.build_system(small(), ["section_00"])
    # bfloat16 has 8 bits: 30 dB are kept to 0.1 dB, which means over many values even out
    np.testing.assert_allclose(losses, float32.train(frames)["loss"], rtol=1e-3)
    np.testing.assert_allclose(exact.score(frames), float32.score(frames), rtol=1e-3)


def test_half_precision_is_refused_where_it_does_not_work():
    with pytest.raises(BadInput, match=r"fit\.precision is mixed_float16"):
        param = settings.read_config(None, [("fit.precision", "mixed_float16")]).for_system("vae")
        check_trainable(param, "fan", frames_of(200))


@pytest.mark.parametrize(("offset", "shared"), [(0, True), (4, False)])
def test_the_frames_are_held_once(tmp_path, offset, shared):
    frames = frames_of(50)
    np.save(tmp_path / "frames.npy", np.append(frames.array.ravel(), 0))
    rows = np.lib.format.open_memmap(tmp_path / "frames.npy", "r")[offset // 4 :]
    array = rows[: frames.array.size - 1 - offset // 4]
    array = array[: len(array) // 4 * 4].reshape(-1, 4)
    system = keras_model.build_system(small(), ["section_00"])
    held = system.to_device(replace(frames, array=array))
    assert np.array_equal(held, array)
    assert np.shares_memory(np.asarray(memoryview(held)), array) is shared
    assert system.to_device(replace(frames, array=array)) is held
