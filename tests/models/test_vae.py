"""The variational autoencoder, beside its parity with the release."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from data.frames import Frames


@pytest.fixture
def system():
    held = settings.read_config(
        None,
        [
            ("feature.n_mels", 4),
            ("feature.n_frames", 3),
            ("vae.network.units", [6, 5]),
            ("vae.network.latent", 2),
            ("fit.epochs", 2),
            ("fit.batch_size", 4),
            ("fit.verbose", 0),
        ],
    )
    return keras_model.build_system(held.for_system("vae"), ["section_00"])


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 12)).astype(np.float32)


def test_the_loss_is_the_mean_squared_error_plus_the_summed_divergence(system, x) -> None:
    rebuilt, _, mean, log_variance = (np.asarray(value) for value in system(x, training=True))
    found = system.compute_loss(y=x, y_pred=system(x, training=True))
    kl = -0.5 * np.sum(1 + log_variance - np.exp(log_variance) - mean**2)
    assert kl > 0
    assert float(found) == pytest.approx(np.mean((rebuilt - x) ** 2) + kl, rel=1e-5)


def test_the_latent_is_drawn_from_nothing_random(system, x) -> None:
    once, again = system(x, training=True), system(x, training=True)
    for first, second in zip(once, again, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_the_history_holds_the_loss_and_its_parts(system, x) -> None:
    array = x.reshape(-1, 4)
    frames = Frames(array, (Section("section_00"),), np.array([0]), np.array([len(array)]))
    history = system.train(frames)
    assert set(history) == {"loss", "mse", "kl"}
    np.testing.assert_allclose(
        history["loss"], np.add(history["mse"], history["kl"]), rtol=1e-5, atol=0
    )


def test_a_window_scores_its_mean_squared_error(system, x) -> None:
    windows = x.reshape(-1, 3, 4)
    found = system.window_scores(tf.constant(windows), tf.zeros(len(x), tf.int64))
    np.testing.assert_allclose(found, np.mean((system(x)[0] - x) ** 2, axis=1), rtol=1e-5)


class Section:
    """As much of a clip as training looks at."""

    def __init__(self, section: str):
        self.section = section
