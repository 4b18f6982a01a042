"""The Anomaly Transformer against its release (PyTorch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from models.anomaly_transformer import AnomalyTransformer
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs

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


def steps(system: AnomalyTransformer, fixture: Fixture) -> list[Compared]:
    batches, expected = fixture.arrays["train_batches"], fixture.arrays["train_log"]
    system.frames = tf.constant(batches.reshape(-1, batches.shape[-1]))
    starts = system.n_frames * np.arange(batches.shape[0] * batches.shape[1])
    logs = [one_step(system, chosen) for chosen in starts.reshape(batches.shape[:2])]
    compared = [
        losses(name, [log[LOG_NAMES.get(name, name)] for log in logs], expected[:, column])
        for column, name in enumerate(fixture.meta["train_log_columns"])
    ]
    output = system(fixture.arrays["x"])[0]
    return [*compared, outputs("output", output, fixture.arrays["output_after"])]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
