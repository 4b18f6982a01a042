"""The dense autoencoder against the official baseline (Keras 2.8) and AE-ASD (PyTorch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from models.dense_ae import DenseAE
from models.layers import BatchNorm
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs


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
    if not from_keras:
        follow_pytorch(system)
    names = system.checkpoint_variables() if from_keras else system.checkpoint_variables_ae_asd()
    assign_variables(names, tensors)
    return system


def follow_pytorch(system: DenseAE) -> None:
    """Train as PyTorch does, from which AE-ASD's checkpoints come; ours trains as Keras."""
    system.optimizer.torch = True
    for layer in system.network.layers:
        if isinstance(layer, BatchNorm):
            layer.torch = True


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


def steps(system: DenseAE, fixture: Fixture) -> list[Compared]:
    batches = fixture.arrays["train_batches"]
    system.frames = tf.constant(batches.reshape(-1, batches.shape[-1]))
    starts = np.arange(batches.shape[0] * batches.shape[1]).reshape(batches.shape[:2])
    log = [one_step(system, chosen)["loss"] for chosen in starts]
    return [
        losses("loss", log, fixture.arrays["train_loss"]),
        outputs("output", system(fixture.arrays["x"]), fixture.arrays["output_after"]),
    ]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
