"""GRLNet against its release (PyTorch)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from data.clips import Clip
from data.frames import Frames
from models.grlnet import GRLNet
from tests.models.parity_fixture import (
    Fixture,
    assert_after,
    assert_forward,
    assert_losses,
    assert_one_of,
)

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


def train(fixture: Fixture) -> tuple[np.ndarray, np.ndarray]:
    """`train_log` and the scores after the given steps, as `runs` gives them first."""
    return next(runs(fixture))


def runs(fixture: Fixture) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`train_log` (steps, columns) and the scores (segments,) after it, for weights rounded anew.

    The first run has the weights as they are.
    """
    system = build(fixture)
    batches, noise = fixture.arrays["train_batches"], fixture.arrays["train_noise"]
    samples = batches.reshape(-1, 1)
    clip = Clip("signal.wav", "machine", "section_00", "train")
    system.frames = Frames(samples, (clip,), np.array([0]), np.array([len(samples)]))
    drawn = tf.Variable(segments(noise[0]))
    system.noise = lambda shape: drawn
    system.build_optimizers()
    adams = (system.optimizer, system.local_optimizer, system.discriminator_optimizer)
    fresh = [(held, held.numpy()) for adam in adams for held in adam.variables]
    x = segments(fixture.arrays["x"])
    columns = [LOG_NAMES.get(name, name) for name in fixture.meta["train_log_columns"]]
    for tensors in fixture.rounded_tensors():
        assign_variables(system.checkpoint_variables(), tensors)
        for held, value in fresh:
            held.assign(value)
        log = []
        for number, given in enumerate(noise):
            system.reset_metrics()
            drawn.assign(segments(given))
            starts = (number * len(given) + np.arange(len(given))) * system.n_frames
            means = system.train_on_batch(starts, np.zeros(len(given), np.int64), return_dict=True)
            log.append([float(means[name]) for name in columns])
        scores = system.window_scores(x, tf.zeros(len(x), tf.int64))
        yield np.array(log), np.asarray(scores)


def check_training(fixture: Fixture) -> None:
    """The later steps to the usual tolerance, or else among runs that differ by rounding only.

    In double precision the release misses its own single precision log by as much; there
    tests/test_grlnet.py finds this system equal to it.
    """
    expected, after = fixture.arrays["train_log"], fixture.arrays["score_after"]
    columns = fixture.meta["train_log_columns"]
    of_all = runs(fixture)
    log, scores = next(of_all)
    assert log.shape == expected.shape
    for column, name in enumerate(columns):
        assert_losses(log[:1, column], expected[:1, column], name)
    try:
        for column, name in enumerate(columns):
            assert_losses(log[:, column], expected[:, column], name)
        assert_after(scores, after, "score")
    except AssertionError as off:
        logs, others = zip((log, scores), *of_all, strict=True)
        assert_one_of(logs, expected, "train_log")
        assert_one_of(others, after, "score_after")
        pytest.xfail(f"within what rounding does, but {off}")
