"""GRLNet's noise and segments."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core.errors import BadInput
from engine.checks import check_sections
from tests.models.test_waveform import frames_of, tiny


@pytest.mark.slow
def test_noise_is_new_every_step_and_follows_the_seed() -> None:
    drawn = []
    for seed in (4, 4, 5):
        system = keras_model.build_system(tiny().with_values({"seed": seed}), ["section_00"])
        drawn.append([system.noise((3, 96)).numpy() for _ in range(2)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0][0], drawn[0][1])
    assert not np.allclose(drawn[0][0], drawn[2][0])


@pytest.mark.slow
def test_a_clip_scores_the_mean_of_its_segments() -> None:
    system, frames = keras_model.build_system(tiny(), ["section_00"]), frames_of(50, 250)
    starts, _ = system.windows(frames, 1)
    assert starts.tolist() == [0, 50, 146]
    segments = system.window_scores(
        system.gather_windows(frames, tf.constant(starts)), None
    ).numpy()
    expected = [segments[0], segments[1:].mean()]
    np.testing.assert_allclose(system.score(frames), expected, rtol=1e-5)


def test_a_segment_too_short_for_the_network_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"feature\.n_frames is 60"):
        check_sections(tiny(("grlnet.feature.n_frames", 60)), "fan", ["a"], ["a"])
