"""Parity in float64, where rounding decides nothing: a fixture's arrays and weights as such."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from tests.models.parity_fixture import Fixture

AGREEMENT = 1e-6  # relative; the metric that a loss is read from and Adam's settings are float32


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Keras builds and computes in float64."""
    _compute_in("float64")
    try:
        yield
    finally:
        _compute_in("float32")


def _compute_in(precision: str) -> None:
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)


def own_fixture(name: str) -> Fixture:
    """The fixture beside the tests, wherever PARITY_DIR points, its arrays in float64."""
    fixture = Fixture(Path(__file__).parents[1] / "parity" / name)
    for key, array in fixture.arrays.items():
        if array.dtype == np.float32:
            fixture.arrays[key] = array.astype(np.float64)
    return fixture
