"""STgram-MFN: its own log-mel, classes, schedule, mixtures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from core.errors import BadInput
from data.audio import log_mel
from data.clips import Clip
from data.frames import Frames
from engine.checks import check_sections
from models import saved


def tiny(*assignments: tuple[str, object]) -> dict:
    given = [
        ("stgram_mfn.network.seconds", 0.5),
        ("stgram_mfn.network.bottlenecks", [[2, 8, 1, 2], [2, 8, 1, 2], [2, 8, 1, 2]]),
        ("stgram_mfn.fit.epochs", 2),
        ("stgram_mfn.fit.batch_size", 4),
        ("fit.verbose", 0),
        *assignments,
    ]
    held = settings.read_config(None, given)
    return held.for_system("stgram_mfn")


def frames_of(*counts: int) -> Frames:
    clips = tuple(
        Clip(Path(f"{index}.wav"), ("fan", "pump")[index % 2], "section_00", "train")
        for index in range(len(counts))
    )
    array = np.random.default_rng(7).normal(0, 0.1, (sum(counts), 1)).astype(np.float32)
    count = np.array(counts)
    return Frames(array, clips, np.cumsum(count) - count, count)


def build(*assignments: tuple[str, object]):
    return keras_model.build_system(tiny(*assignments), ["fan section_00", "pump section_00"])


@pytest.mark.parametrize("changed", [(), (("stgram_mfn.feature.pad_mode", "constant"),)])
def test_the_log_mel_of_the_step_is_that_of_the_cache(changed: tuple) -> None:
    system = build(*changed, ("stgram_mfn.feature.top_db", 60))
    wave = np.random.default_rng(1).normal(0, 0.1, 8000).astype(np.float32)
    wave[:2000] *= 1e-4
    found = system.log_mel(tf.constant(wave[None]))[0].numpy()
    expected = log_mel(wave, system.settings.feature).T
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_one_class_is_bad_input_and_so_is_one_that_was_not_trained_on() -> None:
    clips = [Clip(Path("a.wav"), "fan", "section_00", "train")] * 3
    names = [tiny().class_name(clip) for clip in clips]
    with pytest.raises(BadInput, match="there is only fan section_00; train it on two or more"):
        check_sections(tiny(), "all", names, names)
    with pytest.raises(BadInput, match="pump section_00 was not trained on"):
        check_sections(tiny(), "pump", ["fan a", "fan b"], ["pump section_00"])


def test_clips_are_cut_or_filled_up_and_every_class_is_known() -> None:
    system, frames = build(), frames_of(3000, 8000, 12000)
    assert system.section_index(frames).tolist() == [0, 1, 0]
    starts, _ = system.windows(frames, 1)
    waves = system.gather_windows(frames, tf.constant(starts)).numpy()
    np.testing.assert_array_equal(waves[0, :3000], frames.array[:3000, 0])
    assert not waves[0, 3000:].any()
    np.testing.assert_array_equal(waves[2], frames.array[11000:19000, 0])
    assert np.isfinite(system.score(frames)).all()


def test_the_learning_rate_follows_a_cosine_after_its_start() -> None:
    system = build(("stgram_mfn.fit.epochs", 40))
    (schedule,) = system.callbacks()
    rates = []
    for epoch in (0, 20, 40, 60):
        schedule.on_epoch_begin(epoch)
        rates.append(float(system.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 0.55e-4, 1e-5], rtol=1e-5)


def test_the_margin_only_touches_the_own_class_and_stays_finite_at_a_centre() -> None:
    system = build()
    at_centre = tf.Variable(system.arcface.centres[:1])
    with tf.GradientTape() as tape:
        logits = system.arcface(at_centre, tf.constant([0]))
    assert np.isfinite(tape.gradient(logits, at_centre)).all()
    own, other = logits.numpy()[0]
    centres = system.arcface.centres.numpy()
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    assert own == pytest.approx(30 * np.cos(0.7), rel=1e-3)
    assert other == pytest.approx(30 * centres[0] @ centres[1], abs=1e-3)


@pytest.mark.slow
def test_mixtures_score_as_scikit_learn_and_are_saved(tmp_path: Path) -> None:
    from sklearn.mixture import GaussianMixture

    param, frames = tiny(("stgram_mfn.network.gmm", 2)), frames_of(*[8000] * 10)
    system = keras_model.build_system(param, ["fan section_00", "pump section_00"])
    system.train(frames)
    scores = system.score(frames)
    mixture = GaussianMixture(2, reg_covar=1e-3, random_state=0)
    mixture.fit(system.embeddings(frames)[::2])
    mixture.weights_ = np.ones(2)
    # Of one component alone the likelihood is at most that of both together.
    both = -mixture.score_samples(system.embeddings(frames)[::2])
    assert np.all(scores[::2] >= both - 1e-6)
    assert np.all(scores[::2] <= both + np.log(2) + 1e-6)
    system.save_weights(tmp_path / "w.weights.h5")
    other = keras_model.build_system(param.with_values({"seed": 9}), system.section_names)
    other.load_weights(tmp_path / "w.weights.h5")
    other.set_extra_state(system.get_extra_state())
    np.testing.assert_array_equal(other.score(frames), scores)


PLAIN = ("stgram_mfn.network.use_arcface", False)


def test_without_arcface_a_linear_layer_classifies_and_scores() -> None:
    system, frames = build(PLAIN), frames_of(8000, 8000, 8000)
    assert system.arcface is None
    kernel, bias = (variable.numpy() for variable in system.classifier.weights)
    bound = 128**-0.5
    for values in (kernel, bias):  # as PyTorch's
        assert bound / 4 < np.abs(values).max() <= bound
    starts, _ = system.windows(frames, 1)
    waves = system.gather_windows(frames, tf.constant(starts))
    logits = system.embed([waves, system.log_mel(waves)]).numpy() @ kernel + bias
    shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    own = system.section_index(frames)
    np.testing.assert_allclose(system.score(frames), -shares[np.arange(3), own], rtol=1e-4)
    # The class that is asked about has no part in the logits: there is no margin.
    other = system((waves, system.log_mel(waves), tf.constant(1 - own)))
    np.testing.assert_allclose(other, logits, rtol=1e-4, atol=1e-5)


def test_without_arcface_mixtures_are_of_embeddings_as_they_are() -> None:
    frames = frames_of(*[8000] * 6)
    for given, unit in (((), True), ((PLAIN,), False)):
        system = build(*given, ("stgram_mfn.network.gmm", 1))
        lengths = np.linalg.norm(system.embeddings(frames), axis=1)
        assert np.allclose(lengths, 1, atol=1e-4) == unit
        system.fit_statistics(frames)
        assert np.isfinite(system.score(frames)).all()


def test_checkpoints_with_and_without_arcface_are_told_apart() -> None:
    for given in ((), (PLAIN,)):
        system = build(*given)
        tensors = {
            name: np.asarray(variable if axes is None else np.transpose(variable, np.argsort(axes)))
            for name, (variable, axes) in system.checkpoint_variables().items()
        }
        assert system.recognises(tensors)
        inferred = system.infer_settings(tensors, system.settings)
        assert inferred.values["network.use_arcface"] == (not given)
        assert inferred.classes == 2


def test_more_gaussians_than_clips_are_bad_input() -> None:
    system = build(("stgram_mfn.network.gmm", 3))
    with pytest.raises(BadInput, match=r"network\.gmm is 3, and fan section_00 has fewer"):
        system.train(frames_of(8000, 8000))


def test_models_of_a_joint_system_are_one() -> None:
    units = saved.network_groups(tiny(), ["fan", "pump"])
    assert units == [("all", ["fan", "pump"])]
    names = {saved.model_stem(tiny(), name, "dev").name for name in ("fan", "pump", "all")}
    assert names == {"model_all"}
