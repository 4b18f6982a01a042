"""Adam and batch normalisation against their formulas, of Keras and of PyTorch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from core.run_settings import Fit
from core.system_settings import system_classes
from models.layers import Adam, BatchNorm
from tests.models.double_precision import double_precision

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # relative: a few operations
# Which follow PyTorch, or Keras: (Adam's epsilon, running variance). Keras 2 keeps the unbiased
# variance of images, as measured in TensorFlow 2.8; AEGAN-AD normalises by layers of its own.
FOLLOWED = {
    "ae": ("keras", "keras"),
    "vae": ("torch", "torch"),
    "idnn": ("torch", "torch"),
    "mobilenet_v2": ("keras", "torch"),
    "aegan_ad": ("torch", None),
    "grlnet": ("torch", "torch"),
    "stgram_mfn": ("torch", "torch"),
    "anomaly_transformer": ("torch", None),
    "dis_spec": ("torch", "torch"),
    "dis_multispec": ("torch", "torch"),
}


def in_precision(precision: str):
    """A context in which Keras computes in a precision."""
    return double_precision() if precision == "float64" else tf.name_scope("single")


def adam_in_numpy(
    start: np.ndarray, gradients: np.ndarray, fit: Fit, torch: bool
) -> list[np.ndarray]:
    """The values after every step: PyTorch's formula, or that of Keras 2 and 3."""
    values, first, second, after = start, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, start=1):
        first = fit.beta_1 * first + (1 - fit.beta_1) * gradient
        second = fit.beta_2 * second + (1 - fit.beta_2) * gradient**2
        correct_1, correct_2 = 1 - fit.beta_1**step, 1 - fit.beta_2**step
        if torch:
            moved = (first / correct_1) / (np.sqrt(second / correct_2) + fit.epsilon)
        else:
            moved = np.sqrt(correct_2) / correct_1 * first / (np.sqrt(second) + fit.epsilon)
        values = values - fit.lr * moved
        after.append(values)
    return after


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("torch", [False, True])
def test_adam_is_its_formula(torch: bool, precision: str) -> None:
    draw, fit = np.random.default_rng(0), Fit(lr=0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-4)
    # Gradients from far below epsilon to far above it.
    gradients = draw.normal(size=(6, 40)) * 10.0 ** np.linspace(-8, 2, 40)
    start = np.zeros(40)
    with in_precision(precision):
        variable = keras.Variable(start, dtype=precision)
        optimizer = Adam(fit, torch=torch)
        optimizer.build([variable])
        found = []
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, precision)], [variable])
            found.append(variable.numpy())
    expected = adam_in_numpy(start, gradients, fit, torch)
    atol = 1e-8 if precision == "float32" else 0  # of what has moved to and fro
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[precision], atol=atol)
    other = adam_in_numpy(start, gradients, fit, not torch)
    assert np.abs(np.array(other) / expected - 1).max() > 0.5, "the two formulas are the same here"


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("torch", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 1, 3), (1, 3)])
def test_batch_norm_is_its_formula(shape: tuple[int, ...], torch: bool, precision: str) -> None:
    draw, count = np.random.default_rng(1), int(np.prod(shape[:-1]))
    batches = draw.normal(3, 2, (4, *shape))
    mean, variance = np.zeros(3), np.ones(3)
    with in_precision(precision):
        layer = BatchNorm(torch=torch, momentum=0.7, epsilon=1e-3)
        layer.build(shape)
        layer.gamma.assign(draw.normal(1, 0.1, 3))
        layer.beta.assign(draw.normal(0, 0.1, 3))
        gamma, beta = (np.asarray(array, np.float64) for array in (layer.gamma, layer.beta))
        for batch in batches:
            found = np.asarray(layer(tf.constant(batch, precision), training=True))
            flat = batch.reshape(-1, 3)
            expected = (batch - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3) * gamma + beta
            # A variance of nothing is rounding.
            atol = 1e-4 if precision == "float32" else 1e-10
            np.testing.assert_allclose(found, expected, rtol=TOLERANCE[precision], atol=atol)
            of_batch = flat.var(0, ddof=1) if torch and count > 1 else flat.var(0)
            mean = 0.7 * mean + 0.3 * flat.mean(0)
            variance = 0.7 * variance + 0.3 * of_batch
        running = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    np.testing.assert_allclose(running, (mean, variance), rtol=TOLERANCE[precision])


def test_batch_norm_without_gain_and_bias_is_that_with_ones_and_zeros() -> None:
    batch = tf.constant(np.random.default_rng(1).normal(3, 2, (2, 4, 1, 3)), "float32")
    found = []
    for affine in (True, False):
        layer = BatchNorm(torch=True, momentum=0.7, epsilon=1e-3, scale=affine, center=affine)
        layer.build(batch.shape)
        assert len(layer.trainable_weights) == (2 if affine else 0)
        trained = layer(batch, training=True)
        found.append([trained, layer.moving_mean, layer.moving_variance, layer(batch)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_weights_decay_apart_from_the_gradients() -> None:
    fit, gradient = Fit(lr=0.01), tf.constant([3.0, -1.0])
    moved = []
    for weight_decay in (None, 0.1):
        variable = keras.Variable([2.0, 5.0])
        optimizer = Adam(fit, torch=True, weight_decay=weight_decay)
        optimizer.build([variable])
        optimizer.apply([gradient], [variable])
        moved.append(variable.numpy())
    np.testing.assert_allclose(moved[0] - moved[1], 0.01 * 0.1 * np.array([2.0, 5.0]), rtol=1e-3)


@pytest.mark.parametrize("torch", [False, True])
def test_batch_norm_has_the_gradient_of_its_formula(torch: bool) -> None:
    draw = np.random.default_rng(2)
    x, weight = (draw.normal(1, 2, (6, 2, 1, 3)).astype(np.float32) for _ in range(2))
    gradients = []
    for precision in ("float32", "float64"):
        with in_precision(precision):
            layer = BatchNorm(torch=torch, momentum=0.7, epsilon=1e-3)
            layer.build(x.shape)
            inputs = tf.constant(x, precision)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                total = tf.reduce_sum(layer(inputs, training=True) ** 2 * weight)
            gradients.append(tape.gradient(total, [inputs, *layer.trainable_weights]))
    for single, double in zip(*gradients, strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4)


def test_every_system_is_known() -> None:
    assert set(FOLLOWED) == {name for name, kind in system_classes().items() if kind.has_network}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_system_trains_by_the_formulas_of_its_original(name: str) -> None:
    given = [("feature.n_mels", 32), ("grlnet.feature.n_frames", 128), ("aegan_ad.network.ndf", 2)]
    if name in ("aegan_ad", "mobilenet_v2"):
        given.append(("feature.n_frames", 32))
    run = settings.read_config(None, given).for_system(name)
    system = keras_model.build_system(run, ["a section_00", "a section_01"])
    epsilon, variance = FOLLOWED[name]
    adams = [part for part in vars(system).values() if isinstance(part, keras.Optimizer)]
    assert adams and {adam.torch for adam in adams} == {epsilon == "torch"}
    kind = keras.layers.BatchNormalization
    norms = [layer for layer in system._flatten_layers() if isinstance(layer, kind)]
    assert {layer.torch for layer in norms} == ({variance == "torch"} if variance else set())
