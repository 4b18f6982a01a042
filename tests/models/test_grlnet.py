"""GRLNet's training step in double precision, its noise, its segments."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core.errors import BadInput
from engine.checks import check_sections
from tests.models import parity_grlnet
from tests.models.double_precision import AGREEMENT, double_precision, own_fixture
from tests.models.test_waveform import frames_of, tiny

# The columns of train_log when the release runs in float64 on the fixture's weights and inputs.
LOG_IN_FLOAT64 = [
    [
        *(1.2746135135392418, 1.4929036578258401, 0.9886316247170188),
        *(0.9253595631204267, 0.49219293542558973, 0.579623192388645),
    ],
    [
        *(1.3536054406311882, 1.3640432382569059, 0.968033480262521),
        *(0.979155212707643, 0.42153219115202084, 0.3593655923916271),
    ],
    [
        *(0.9511271673137605, 1.727216309714254, 0.9905431684540442),
        *(0.9885911705687571, 0.6388312828249183, 0.8364669975807888),
    ],
]


@pytest.mark.slow
def test_the_training_steps_are_those_of_the_release_but_for_rounding() -> None:
    fixture = own_fixture("grlnet")
    with double_precision():
        log, _ = parity_grlnet.train(fixture)
    np.testing.assert_allclose(log, LOG_IN_FLOAT64, rtol=AGREEMENT)


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
