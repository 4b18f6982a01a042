"""GRLNet's noise and segments."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
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


@pytest.mark.slow
def test_all_scores_of_a_clip_are_the_score_and_its_three_parts() -> None:
    run = tiny(("grlnet.network.comprehensive_output_factor", 0.3))
    system, frames = keras_model.build_system(run, ["section_00"]), frames_of(50, 250)
    starts, owner = system.windows(frames, 1)
    windows = system.gather_windows(frames, tf.constant(starts))
    judged = [tf.sigmoid(logits).numpy() for logits in system(windows)[2:]]
    parts = np.stack([judged[0], judged[1], judged[2]])  # of D(R(x)), D(L(x)), D(x)
    regional, local, real = (
        np.array([part[owner == clip].mean() for clip in range(2)]) for part in parts
    )
    found = system.extra_scores(frames)
    assert list(found) == ["comprehensive", "regional", "local", "real"]
    expected = [0.3 * (regional + local) + 0.7 * real, regional, local, real]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5)
    np.testing.assert_array_equal(system.score(frames), found["comprehensive"])


@pytest.mark.slow
def test_scores_are_those_of_the_weights_after_a_training() -> None:
    run = tiny(("fit.verbose", 0))
    system, frames = keras_model.build_system(run, ["section_00"]), frames_of(100, 250)
    before = system.score(frames)
    system.train(frames)
    after = system.score(frames)
    assert not np.isclose(before, after, rtol=1e-6).any()


@pytest.mark.parametrize("length", [233472, 80000, 16000])
def test_a_release_is_a_length_and_a_given_length_wins_over_it(length) -> None:
    named = ("grlnet.release", f"length_{length}")
    feature = settings.read_config(None, [named]).for_system("grlnet").feature
    assert (feature.n_frames, feature.n_hop_frames) == (length, length)
    given = ("grlnet.feature.n_frames", 512)
    feature = settings.read_config(None, [named, given]).for_system("grlnet").feature
    assert (feature.n_frames, feature.n_hop_frames) == (512, length)


def test_a_segment_too_short_for_the_network_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"feature\.n_frames is 60"):
        check_sections(tiny(("grlnet.feature.n_frames", 60)), "fan", ["a"], ["a"])
