"""Keras in float64, where rounding decides nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import keras
import tensorflow as tf


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Keras builds and computes in float64."""
    _compute_in("float64")
    try:
        with mock.patch.object(tf.nn, "leaky_relu", _leaky_relu):
            yield
    finally:
        _compute_in("float32")


def _leaky_relu(features: tf.Tensor, alpha: float = 0.2, name: str | None = None) -> tf.Tensor:
    # The slope of TensorFlow's kernel is float32 whatever its input.
    return tf.where(features > 0, features, alpha * features, name=name)


def _compute_in(precision: str) -> None:
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
