"""GRLNet against its release (PyTorch)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from data.clips import Clip
from data.frames import Frames
from models.grlnet import GRLNet
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs

LOG_NAMES = {"d_sum": "loss"}


def build(fixture: Fixture) -> GRLNet:
    given, tensors = fixture.settings, fixture.tensors()
    channels = [tensors[f"regional.encoder.{place}.weight"].shape[0] for place in (0, 3, 6, 9)]
    adam = {"lr": given["adam"]["lr_generators"], **given["adam"]}
    keys = ("alpha", "adversarial_training_factor", "comprehensive_output_factor")
    system = keras_model.build_system(
        fixture.run(
            "grlnet",
            ("grlnet.feature.n_frames", given["segment_length"]),
            ("grlnet.network.channels", channels),
            *((f"grlnet.network.kernel_{name}", size) for name, size in given["kernel"].items()),
            *((f"grlnet.network.{key}", given[key]) for key in keys),
            *((f"grlnet.fit.{key}", adam[key]) for key in ("lr", "lr_discriminator")),
            *((f"grlnet.fit.{key}", adam[key]) for key in ("beta_1", "beta_2", "epsilon")),
        ),
        ["section_00"],
    )
    assign_variables(system.checkpoint_variables(), tensors)
    return system


def segments(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array[..., 0, :])


def check_forward(fixture: Fixture) -> None:
    system, x = build(fixture), segments(fixture.arrays["x"])
    regional, local, *judged = system(x)
    gfl = system.discriminator.get_layer("gfl")(x)
    assert_forward(gfl, segments(fixture.arrays["gfl"]), "gfl")
    assert_forward(regional, segments(fixture.arrays["regional"]), "regional")
    assert_forward(local, segments(fixture.arrays["local"]), "local")
    for name, logits in zip(("d_regional", "d_local", "d"), judged, strict=True):
        assert_forward(tf.sigmoid(logits), fixture.arrays[name], name)


def check_score(fixture: Fixture) -> None:
    x = segments(fixture.arrays["x"])
    scores = build(fixture).window_scores(x, tf.zeros(len(x), tf.int64))
    assert_forward(scores, fixture.arrays["score"], "score")


def steps(system: GRLNet, fixture: Fixture) -> list[Compared]:
    batches, noise = fixture.arrays["train_batches"], fixture.arrays["train_noise"]
    samples = batches.reshape(-1, 1)
    clip = Clip("signal.wav", "machine", "section_00", "train")
    system.frames = Frames(samples, (clip,), np.array([0]), np.array([len(samples)]))
    system.build_optimizers()
    starts = system.n_frames * np.arange(batches.shape[0] * batches.shape[1])
    log = []
    for given, chosen in zip(noise, starts.reshape(batches.shape[:2]), strict=True):
        drawn = segments(given)
        system.noise = lambda shape, drawn=drawn: drawn
        log.append(one_step(system, chosen))
    x, expected = segments(fixture.arrays["x"]), fixture.arrays["train_log"]
    compared = [
        losses(name, [step[LOG_NAMES.get(name, name)] for step in log], expected[:, column])
        for column, name in enumerate(fixture.meta["train_log_columns"])
    ]
    scores = system.window_scores(x, tf.zeros(len(x), tf.int64))
    return [*compared, outputs("score", scores, fixture.arrays["score_after"])]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
