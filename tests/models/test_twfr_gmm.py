"""TWFR-GMM: its features, its mixtures per section, and what it chooses without labels."""

from __future__ import annotations

import numpy as np
import pytest

import keras_model
from backends.gaussian_mixture import Mixture
from core.errors import BadInput
from models.twfr_gmm import time_weighted
from tests.models.test_embedding_system import N_MELS, build, clip_frames, run_of

TWO = ("section_00", "section_01")


def test_decay_1_is_the_mean_0_the_maximum_and_between_the_louder_frames_weigh_more() -> None:
    levels = np.array([[1.0, 8], [4, 2], [2, 5]], np.float32)
    expected = [[7 / 3, 5], [4, 8], [(4 + 2 / 2 + 1 / 4) / 1.75, (8 + 5 / 2 + 2 / 4) / 1.75]]
    np.testing.assert_allclose(time_weighted(levels, [1.0, 0.0, 0.5]), expected)


def test_frames_beyond_the_length_are_left_out() -> None:
    frames = clip_frames("fan", n=1, n_target=0)
    seconds = 2 * 512 / 16000  # three of five frames
    system = build(run_of("twfr_gmm", ("twfr_gmm.network.seconds", seconds)))
    kept = frames.array[:3]
    expected = time_weighted(kept, list(system.settings.network.decays)).ravel()
    np.testing.assert_array_equal(system.embeddings(frames)[0], expected)
    assert system.embeddings(frames).shape == (1, 5 * N_MELS)


def test_one_decay_is_scored_by_one_mixture_per_section() -> None:
    training, test = (clip_frames("fan", n=30, sections=TWO, seed=seed) for seed in (0, 1))
    one = [("twfr_gmm.network.decays", [0.5]), ("twfr_gmm.network.components", [1])]
    system = build(run_of("twfr_gmm", *one))
    system.train(training)
    scores = system.score(test)
    for section in TWO:
        chosen = [clip.section == section for clip in training.clips]
        of_training, of_test = (system.embeddings(each.select(chosen)) for each in (training, test))
        mixture = Mixture([1], 1e-6).fit(of_training, [""] * len(of_training))
        np.testing.assert_allclose(scores[chosen], mixture.anomaly_score(of_test))
        mean, deviation = of_training.mean(axis=0), np.cov(of_training, rowvar=False, bias=True)
        apart = of_test - mean
        inverse = np.linalg.inv(deviation + 1e-6 * np.eye(N_MELS))
        log_det = np.linalg.slogdet(deviation + 1e-6 * np.eye(N_MELS))[1]
        square = np.einsum("nd,de,ne->n", apart, inverse, apart)
        expected = (square + log_det + N_MELS * np.log(2 * np.pi)) / 2
        np.testing.assert_allclose(scores[chosen], expected, rtol=1e-6)


def test_several_decays_give_the_minimum_of_normalised_scores() -> None:
    training, test = clip_frames("fan", n=40), clip_frames("fan", n=40, seed=1)
    decays = ("twfr_gmm.network.decays", [0.0, 1.0])
    system = build(run_of("twfr_gmm", decays, ("twfr_gmm.network.components", [1])))
    system.train(training)
    expected = []
    for part in (slice(0, N_MELS), slice(N_MELS, 2 * N_MELS)):
        mixture = Mixture([1], 1e-6).fit(system.embeddings(training)[:, part], [""] * 40)
        own = mixture.training_scores()
        scores = mixture.anomaly_score(system.embeddings(test)[:, part])
        expected.append((scores - own.mean()) / own.std())
    np.testing.assert_allclose(system.score(test), np.min(expected, axis=0))


def test_the_release_has_decay_and_components_of_each_machine_type() -> None:
    released = run_of("twfr_gmm", ("twfr_gmm.release", "dcase2022"))
    for machine_type, decays, components in (("valve", [0.46], [2]), ("slider", [0.88], [1])):
        network = released.for_machine(machine_type).network
        assert (network.decays, network.components) == (decays, components)
    assert len(released.for_machine("pump").network.decays) == 5
    assert len(run_of("twfr_gmm").for_machine("valve").network.decays) == 5


def test_a_section_of_too_few_clips_is_named() -> None:
    kind = keras_model.system_class("twfr_gmm")
    with pytest.raises(BadInput, match=r"fan section_01: back_end: components is \[1, 2, 4\], and"):
        kind.check(run_of("twfr_gmm"), "fan", clip_frames("fan", n=3, n_target=0, sections=TWO))


def test_the_back_end_block_does_not_count() -> None:
    training, test = clip_frames("fan"), clip_frames("fan", seed=1)
    scores = []
    for name in ("none", "local_density"):
        system = build(run_of("twfr_gmm", ("back_end.name", name)))
        system.train(training)
        scores.append(system.score(test))
    assert np.array_equal(*scores)
