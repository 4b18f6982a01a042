"""The MobileNetV2 classifier, beside its parity with the official baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from core import settings
from core.errors import BadInput
from data.clips import Clip
from data.frames import Frames
from engine.checks import check_sections

SECTIONS = ["section_00", "section_01", "section_02"]


def param(*assignments: tuple[str, Any]) -> dict[str, Any]:
    held = settings.read_config(
        None,
        [
            ("feature.n_frames", 32),
            ("feature.n_mels", 32),
            ("mobilenet_v2.network.alpha", 0.1),
            *assignments,
        ],
    )
    return held.for_system("mobilenet_v2")


@pytest.fixture(scope="module")
def system():
    return keras_model.build_system(param(), SECTIONS)


def frames(*sections: str, n_frames: int = 49) -> Frames:
    """A clip of each section."""
    clips = tuple(Clip(Path(f"{name}.wav"), "fan", name, "test") for name in sections)
    array = np.random.default_rng(0).standard_normal((n_frames * len(clips), 32)) - 30
    count = np.full(len(clips), n_frames)
    return Frames(array.astype(np.float32), clips, np.cumsum(count) - count, count)


def test_an_example_is_the_channel_three_times_and_its_section_one_hot(system) -> None:
    windows = np.random.default_rng(0).standard_normal((2, 32, 32)).astype(np.float32)
    x, y = system.training_pair(tf.constant(windows), tf.constant([2, 0], tf.int64))
    np.testing.assert_array_equal(x, np.stack([windows] * 3, axis=-1))
    np.testing.assert_array_equal(y, [[0, 0, 1], [1, 0, 0]])


def test_training_windows_hop_by_the_setting_and_scored_ones_by_one(system, monkeypatch) -> None:
    held, seen = frames(*SECTIONS), {}

    class Fitted:
        history: dict[str, list[float]] = {}  # noqa: RUF012

    def fit(data, **kwargs):
        seen["train"] = np.sort(np.concatenate([starts for starts, _ in data]))
        return Fitted()

    def scores(frames, starts, section):
        seen["score"] = starts
        return np.zeros(len(starts))

    monkeypatch.setattr(system, "fit", fit)
    monkeypatch.setattr(system, "all_window_scores", scores)
    monkeypatch.setattr(
        system, "settings", system.settings.with_values({"fit.validation_split": 0.0})
    )
    system.train(held)
    system.score(held)
    first = np.array([0, 49, 98])[:, None]
    np.testing.assert_array_equal(seen["train"], (first + [0, 8, 16]).ravel())
    np.testing.assert_array_equal(seen["score"], (first + np.arange(18)).ravel())


def test_a_certain_window_has_a_finite_score(system, monkeypatch) -> None:
    certain = tf.constant([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
    monkeypatch.setattr(system, "network", lambda x, training: certain[: len(x)])
    windows = tf.zeros((2, 32, 32))
    floor = np.log(np.finfo(np.float64).eps)
    found = system.window_scores(windows, tf.constant([0, 1], tf.int64))
    np.testing.assert_allclose(found, [floor, 0], atol=1e-6)
    found = system.window_scores(windows, tf.constant([2, 0], tf.int64))
    np.testing.assert_allclose(found, [-floor, np.log(3)], rtol=1e-6)


def test_an_unseen_section_is_refused_or_takes_the_last_class(system, monkeypatch) -> None:
    held = frames("section_00", "section_05")
    with pytest.raises(BadInput, match="section_05 is none of the sections trained on"):
        system.score(held)
    with pytest.raises(BadInput, match="unseen_section: last_class"):
        check_sections(param(), "fan", SECTIONS, ["section_05"])
    official = param(("mobilenet_v2.unseen_section", "last_class"))
    check_sections(official, "fan", SECTIONS, ["section_05"])
    monkeypatch.setattr(system, "settings", official)
    np.testing.assert_array_equal(system.section_index(held), [0, 2])


@pytest.mark.parametrize("trained", [[], ["section_00"]])
def test_one_section_is_nothing_to_classify(trained) -> None:
    with pytest.raises(BadInput, match="mobilenet_v2 fan: it learns to tell sections apart"):
        check_sections(param(), "fan", trained, trained)


def test_windows_are_not_smaller_than_the_network_halves_them() -> None:
    small = param(("feature.n_frames", 31))
    with pytest.raises(BadInput, match=r"feature.n_frames is 31"):
        check_sections(small, "fan", SECTIONS, SECTIONS)


def test_an_official_model_file_holds_the_network_as_a_layer(system, tmp_path) -> None:
    path = tmp_path / "model_fan.hdf5"
    rng = np.random.default_rng(0)
    expected = {
        name: rng.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        for name, (variable, _) in system.checkpoint_variables().items()
    }
    layer = "mobilenetv2_0.10_32"
    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"input_4", b"concatenate_1", layer.encode()]
        for name in ("input_4", "concatenate_1", layer):
            weights.create_group(name).attrs["weight_names"] = np.array([], "S1")
        weights[layer].attrs["weight_names"] = [f"{name}:0".encode() for name in expected]
        for name, value in expected.items():
            weights[layer][f"{name}:0"] = value
    tensors = keras_model.read_hdf5(path)
    assert {"Conv1/kernel", "bn_Conv1/gamma", "block_1_depthwise/depthwise_kernel"} <= set(tensors)
    assign_variables(system.checkpoint_variables(), tensors)
    for name, (variable, _) in system.checkpoint_variables().items():
        np.testing.assert_array_equal(variable, expected[name])


def test_a_score_is_a_float32_number_as_in_the_official_code(system) -> None:
    scores = system.score(frames(*SECTIONS))
    assert scores.dtype == np.float64
    assert np.array_equal(scores, scores.astype(np.float32))
