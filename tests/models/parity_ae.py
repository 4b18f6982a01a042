"""The dense autoencoder against the official baseline (Keras 2.8) and AE-ASD (PyTorch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from models.dense_ae import DenseAE
from tests.models.parity_fixture import Fixture, assert_after, assert_forward, assert_losses


def build(fixture: Fixture) -> DenseAE:
    """The network with the fixture's weights, its sizes read from them."""
    tensors = fixture.tensors()
    from_keras = "dense/kernel" in tensors
    shapes = [
        tensor.shape[:: 1 if from_keras else -1] for tensor in tensors.values() if tensor.ndim == 2
    ]
    widths = [shape[1] for shape in shapes[: len(shapes) // 2]]
    norm = fixture.settings["batch_norm"]
    system = keras_model.build_system(
        fixture.run(
            "ae",
            # Stacking is checked elsewhere; here a vector is one frame.
            ("feature.n_frames", 1),
            ("feature.n_mels", shapes[0][0]),
            ("ae.network.units", widths[:-1]),
            ("ae.network.latent", widths[-1]),
            ("ae.network.momentum", norm.get("momentum", norm.get("momentum_keras"))),
            ("ae.network.epsilon", norm["epsilon"]),
            *fixture.adam(),
        ),
        ["section_00"],
    )
    names = system.checkpoint_variables() if from_keras else system.checkpoint_variables_ae_asd()
    assign_variables(names, tensors)
    return system


def check_forward(fixture: Fixture) -> None:
    system, x = build(fixture), fixture.arrays["x"]
    assert_forward(system(x), fixture.arrays["output"], "output")
    if "latent" in fixture.arrays:
        depth = len(system.settings.network.units)
        encoder = type(system.network)(
            system.network.input, system.network.get_layer(f"relu_{depth}").output
        )
        assert_forward(encoder(x), fixture.arrays["latent"], "latent")


def check_score(fixture: Fixture) -> None:
    windows = fixture.arrays["x"][:, None, :]
    scores = build(fixture).window_scores(tf.constant(windows), tf.zeros(len(windows), tf.int64))
    assert_forward([np.mean(scores)], [fixture.meta["clip_score_of_x"]], "clip score")


def check_training(fixture: Fixture) -> None:
    system, batches = build(fixture), fixture.arrays["train_batches"]
    system.frames = tf.constant(batches.reshape(-1, batches.shape[-1]))
    starts = np.arange(batches.shape[0] * batches.shape[1]).reshape(batches.shape[:2])
    # A loss metric is a running mean over the steps since it was reset.
    losses = []
    for chosen in starts:
        system.reset_metrics()
        losses.append(system.train_on_batch(chosen, np.zeros(len(chosen), np.int64)))
    assert_losses(losses, fixture.arrays["train_loss"], "loss")
    assert_after(system(fixture.arrays["x"]), fixture.arrays["output_after"], "output")
