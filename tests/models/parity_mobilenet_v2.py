"""The MobileNetV2 classifier against the official baseline (Keras 2.8)."""

from __future__ import annotations

import re

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from models.mobilenet_v2 import MobileNetV2
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs


def build(fixture: Fixture) -> MobileNetV2:
    """The network of the fixture's settings, with its weights."""
    system = keras_model.build_system(
        fixture.run(
            "mobilenet_v2",
            ("feature.n_frames", fixture.settings["n_frames"]),
            ("feature.n_mels", fixture.settings["n_mels"]),
            ("mobilenet_v2.network.alpha", fixture.settings["alpha"]),
            *fixture.adam(),
        ),
        [f"section_{index:02d}" for index in range(fixture.settings["classes"])],
    )
    assign_variables(system.checkpoint_variables(), fixture.tensors())
    return system


def output(system: MobileNetV2, fixture: Fixture) -> tf.Tensor:
    return system(system.images(tf.constant(fixture.arrays["x"][..., 0])))


def check_forward(fixture: Fixture) -> None:
    assert_forward(output(build(fixture), fixture), fixture.arrays["output"], "output")


def check_score(fixture: Fixture) -> None:
    system, windows = build(fixture), fixture.arrays["x"][..., 0]
    wanted = {
        int(name.rpartition("_")[2]): score
        for name, score in fixture.meta.items()
        if name.startswith("clip_score_of_x_section_index_")
    }
    assert wanted, "the fixture holds no clip score"
    for section, score in wanted.items():
        found = system.window_scores(
            tf.constant(windows), tf.fill([len(windows)], tf.constant(section, tf.int64))
        )
        assert_forward([np.mean(found)], [score], f"clip score of section {section}")


def steps(system: MobileNetV2, fixture: Fixture) -> list[Compared]:
    windows = fixture.arrays["x"][..., 0]
    section = np.array(
        re.search(r"labels ([\d, ]*\d)", fixture.meta["train"])[1].split(","), np.int64
    )
    system.frames = tf.constant(windows.reshape(-1, system.n_mels))
    starts = system.n_frames * np.arange(len(windows))
    expected = fixture.arrays["train_loss"]
    log = [one_step(system, starts, section)["loss"] for _ in expected]
    return [
        losses("loss", log, expected),
        outputs("output", output(system, fixture), fixture.arrays["output_after"]),
    ]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
