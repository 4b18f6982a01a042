"""The Anomaly Transformer against its release (PyTorch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from models.anomaly_transformer import AnomalyTransformer
from tests.models.parity_fixture import Fixture, assert_after, assert_forward, assert_losses

LOG_NAMES = {"recon": "loss"}


def build(fixture: Fixture) -> AnomalyTransformer:
    given = fixture.settings
    system = keras_model.build_system(
        fixture.run(
            "anomaly_transformer",
            ("feature.n_frames", given["win_size"]),
            ("feature.n_mels", given["enc_in"]),
            ("anomaly_transformer.network.d_model", given["d_model"]),
            ("anomaly_transformer.network.heads", given["n_heads"]),
            ("anomaly_transformer.network.n_layers", given["e_layers"]),
            ("anomaly_transformer.network.d_ff", given["d_ff"]),
            ("anomaly_transformer.network.k", given["k"]),
            ("anomaly_transformer.network.temperature", given["temperature"]),
            *fixture.adam(),
        ),
        ["section_00"],
    )
    assign_variables(system.checkpoint_variables(), fixture.tensors())
    return system


def check_forward(fixture: Fixture) -> None:
    found = build(fixture)(fixture.arrays["x"])
    for name, array in zip(("output", "series", "prior", "sigma"), found, strict=True):
        assert_forward(array, fixture.arrays[name], name)


def check_energy(fixture: Fixture) -> None:
    system, x = build(fixture), tf.constant(fixture.arrays["x"])
    assert_forward(system.energy(x), fixture.arrays["energy"], "energy")
    scores = system.window_scores(x, tf.zeros(len(x), tf.int64))
    assert_forward(scores, fixture.arrays["energy"].mean(axis=1), "window scores")


def check_training(fixture: Fixture) -> None:
    system, batches = build(fixture), fixture.arrays["train_batches"]
    size = batches.shape[1]
    system.frames = tf.constant(batches.reshape(-1, batches.shape[-1]))
    logs = []
    for number in range(len(batches)):
        system.reset_metrics()
        starts = (number * size + np.arange(size)) * system.n_frames
        logs.append(system.train_on_batch(starts, np.zeros(size, np.int64), return_dict=True))
    for column, name in enumerate(fixture.meta["train_log_columns"]):
        found = [float(log[LOG_NAMES.get(name, name)]) for log in logs]
        assert_losses(found, fixture.arrays["train_log"][:, column], name)
    assert_after(system(fixture.arrays["x"])[0], fixture.arrays["output_after"], "output")
