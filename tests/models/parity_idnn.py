"""The interpolation DNN against AE-ASD (PyTorch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from models.idnn import IDNN
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs


def build(fixture: Fixture) -> IDNN:
    """The network with the fixture's weights, its sizes read from them."""
    tensors = fixture.tensors()
    widths = [
        tensor.shape[0]
        for name, tensor in tensors.items()
        if name.startswith("encoder.") and name.endswith(".liner.weight")
    ]
    system = keras_model.build_system(
        fixture.run(
            "idnn",
            ("feature.n_frames", fixture.settings["n_frames"]),
            ("feature.n_mels", fixture.settings["n_mels"]),
            ("idnn.network.units", widths[:-1]),
            ("idnn.network.latent", widths[-1]),
            ("idnn.network.momentum", fixture.settings["batch_norm"]["momentum_keras"]),
            ("idnn.network.epsilon", fixture.settings["batch_norm"]["epsilon"]),
            *fixture.adam(),
        ),
        ["section_00"],
    )
    assign_variables(system.checkpoint_variables(), tensors)
    return system


def windows(system: IDNN, vectors: np.ndarray) -> np.ndarray:
    """(..., n_frames * n_mels) → (n_windows, n_frames, n_mels)."""
    return vectors.reshape(-1, system.n_frames, system.n_mels)


def inputs(system: IDNN, vectors: np.ndarray) -> tf.Tensor:
    """Whole vectors without their middle frames."""
    x = windows(system, vectors)
    return system.training_pair(tf.constant(x), tf.zeros(len(x), tf.int64))[0]


def check_forward(fixture: Fixture) -> None:
    system = build(fixture)
    x = inputs(system, fixture.arrays["x"])
    assert_forward(system(x), fixture.arrays["output"], "output")
    depth = len(system.settings.network.units)
    encoder = type(system.network)(
        system.network.input, system.network.get_layer(f"encoder.{depth}.relu").output
    )
    assert_forward(encoder(x), fixture.arrays["latent"], "latent")


def check_score(fixture: Fixture) -> None:
    system = build(fixture)
    x = windows(system, fixture.arrays["x"])
    scores = system.window_scores(tf.constant(x), tf.zeros(len(x), tf.int64))
    assert_forward([np.mean(scores)], [fixture.meta["clip_score_of_x"]], "clip score")


def steps(system: IDNN, fixture: Fixture) -> list[Compared]:
    batches = fixture.arrays["train_batches"]
    system.frames = tf.constant(windows(system, batches).reshape(-1, system.n_mels))
    starts = system.n_frames * np.arange(batches.shape[0] * batches.shape[1])
    log = [one_step(system, chosen)["loss"] for chosen in starts.reshape(batches.shape[:2])]
    return [
        losses("loss", log, fixture.arrays["train_loss"]),
        outputs(
            "output",
            system(inputs(system, fixture.arrays["x"])),
            fixture.arrays["output_after"],
        ),
    ]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
