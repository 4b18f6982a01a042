"""The interpolation DNN, beside its parity with the release."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from core.errors import BadInput
from engine.checks import check_sections


def param(n_frames: int) -> dict[str, Any]:
    held = settings.read_config(
        None,
        [("feature.n_frames", n_frames), ("feature.n_mels", 2), ("idnn.network.units", [3])],
    )
    return held.for_system("idnn")


@pytest.mark.parametrize(
    ("n_frames", "middle", "others"),
    [(5, 2, [0, 1, 3, 4]), (3, 1, [0, 2]), (4, 2, [0, 1, 3]), (2, 1, [0])],
)
def test_the_input_leaves_out_exactly_the_middle_frame(n_frames, middle, others) -> None:
    system = keras_model.build_system(param(n_frames), ["section_00"])
    windows = np.arange(3 * n_frames * 2, dtype=np.float32).reshape(3, n_frames, 2)
    x, y = system.training_pair(tf.constant(windows), tf.zeros(3, tf.int64))
    np.testing.assert_array_equal(x, windows[:, others].reshape(3, -1))
    np.testing.assert_array_equal(y, windows[:, middle])
    scores = system.window_scores(tf.constant(windows), tf.zeros(3, tf.int64))
    expected = np.mean((system(x) - windows[:, middle]) ** 2, axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_one_frame_has_no_neighbours() -> None:
    with pytest.raises(BadInput, match=r"idnn fan: feature.n_frames is 1"):
        check_sections(param(1), "fan", ["section_00"], [])
    check_sections(param(2), "fan", ["section_00"], [])
