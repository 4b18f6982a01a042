"""dis_spec and dis_multispec: classes, crops, repeats, mixup, messages, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from core.errors import BadInput
from core.log import logger
from core.run_settings import SystemSettings
from data.clips import Clip, parse_clip
from data.frames import Frames
from engine.checks import check_sections
from models.dis_networks import MaxPool, SubClusterAdaCos
from models.dis_spec import cross_entropy

LENGTH = 8000  # samples of 0.5 s
CLASSES = ["fan section_00: a_source", "pump section_00: b_target"]


def tiny(*assignments: tuple[str, Any], system: str = "dis_spec") -> SystemSettings:
    network = {
        "seconds": 0.5,
        "width": 16,
        "squeeze": 2,
        "convolutions": [[64, 16], [16, 4], [4, 2]],
        "spectrograms": [[256, 128]],
    }
    given = [
        *((f"{system}.network.{key}", value) for key, value in network.items()),
        (f"{system}.fit.epochs", 2),
        (f"{system}.fit.batch_size", 4),
        ("fit.verbose", 0),
        *assignments,
    ]
    return settings.read_config(None, given).for_system(system)


def frames_of(*counts: int) -> Frames:
    clips = tuple(
        Clip(
            Path(f"{index}.wav"),
            ("fan", "pump")[index % 2],
            "section_00",
            "train",
            ("source", "target")[index % 2],
            "normal",
            (("ab"[index % 2], ""),),
        )
        for index in range(len(counts))
    )
    array = np.random.default_rng(7).normal(0, 0.1, (sum(counts), 1)).astype(np.float32)
    count = np.array(counts)
    return Frames(array, clips, np.cumsum(count) - count, count)


def build(*assignments: tuple[str, Any], seed: int = 0):
    return keras_model.build_system(tiny(("seed", seed), *assignments), CLASSES)


def clip_of(name: str, machine: str = "fan") -> Clip:
    return parse_clip(Path("data") / machine / "train" / name, machine, "train")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("section_00_source_train_normal_0000_vel_6.wav", "fan section_00: vel_6_source"),
        ("section_00_target_train_normal_0000_vel_6.wav", "fan section_00: vel_6_target"),
        (
            "section_00_source_train_normal_0000_noAttribute.wav",
            "fan section_00: noAttribute_source",
        ),
        ("normal_id_02_00000000.wav", "fan id_02"),
    ],
)
def test_a_class_is_machine_type_section_attributes_and_domain(name, expected) -> None:
    assert tiny().class_name(clip_of(name)) == expected


def test_lengths_are_those_of_the_years() -> None:
    for release, seconds in (("dcase2020", 11), ("dcase2022", 10), ("dcase2023", 18)):
        for system in ("dis_spec", "dis_multispec"):
            run = settings.read_config(None, [(f"{system}.release", release)]).for_system(system)
            assert run.network.seconds == seconds
    assert (
        settings.read_config(None, [("dis_spec.release", "dcase2024")])
        .for_system("dis_spec")
        .network.seconds
        == 12
    )


def test_short_clips_are_repeated_and_scoring_takes_the_beginning_of_long_ones() -> None:
    system, frames = build(), frames_of(3000, LENGTH, 12000)
    starts, owner = system.windows(frames, 1)
    assert owner.tolist() == [0, 1, 2]
    waves = system.gather_windows(frames, tf.constant(starts)).numpy()
    clip = frames.array[:3000, 0]
    np.testing.assert_array_equal(waves[0], np.concatenate([clip, clip, clip[:2000]]))
    np.testing.assert_array_equal(waves[1], frames.array[3000:11000, 0])
    np.testing.assert_array_equal(waves[2], frames.array[11000:19000, 0])


def test_training_takes_a_random_part_that_the_seed_and_the_step_decide() -> None:
    system, frames = build(), frames_of(3000, LENGTH, 12000)
    system.frames = frames
    starts = tf.constant(frames.first)
    seen = []
    for step in range(40):
        system.optimizer.iterations.assign(step)
        offsets = system.crop_offsets(starts).numpy()
        assert offsets[:2].tolist() == [0, 0]
        seen.append(offsets[2])
    assert min(seen) >= 0
    assert max(seen) <= 4000
    assert len(set(seen)) > 30
    assert max(seen) - min(seen) > 2000
    other = build(seed=1)
    other.frames = frames
    system.optimizer.iterations.assign(0)
    assert system.crop_offsets(starts).numpy()[2] == seen[0]
    assert other.crop_offsets(starts).numpy()[2] != seen[0]


def test_about_half_of_the_clips_are_mixed_by_uniform_shares() -> None:
    system = build()
    shares, partners = [], []
    for step in range(50):
        system.optimizer.iterations.assign(step)
        share, partner = (drawn.numpy() for drawn in system.mixing(tf.constant(64)))
        shares.append(share)
        partners.append(partner)
        assert sorted(partner) == list(range(64))
    shares = np.concatenate(shares)
    mixed = shares[shares < 1]
    assert 0.45 < len(mixed) / len(shares) < 0.55
    assert abs(mixed.mean() - 0.5) < 0.03
    assert abs(mixed.std() - 12**-0.5) < 0.02
    assert not np.array_equal(partners[0], partners[1])
    plain = build(("dis_spec.fit.mixup", 0))
    assert (plain.mixing(tf.constant(64))[0].numpy() == 1).all()


def test_waveforms_and_classes_are_mixed_alike() -> None:
    system = build()
    system.mixing = lambda batch: (tf.constant([0.25, 1.0]), tf.constant([1, 0]))
    windows = tf.constant(np.random.default_rng(0).normal(size=(2, LENGTH)).astype(np.float32))
    mixed, classes = system.training_pair(windows, tf.constant([0, 1]))
    np.testing.assert_allclose(classes, [[0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(mixed[0], 0.25 * windows[0] + 0.75 * windows[1], rtol=1e-5)
    np.testing.assert_array_equal(mixed[1], windows[1])


def test_every_weight_and_centre_decays_apart_from_the_gradients() -> None:
    system = build()
    before = [variable.numpy() for variable in system.trainable_variables]
    system.optimizer.build(system.trainable_variables)
    system.optimizer.apply([tf.zeros(variable.shape) for variable in system.trainable_variables])
    assert any(variable is system.head.centres for variable in system.trainable_variables)
    for variable, old in zip(system.trainable_variables, before, strict=True):
        np.testing.assert_allclose(variable.numpy(), old * (1 - 1e-3 * 1e-2), rtol=1e-6)
    fixed = build(("dis_spec.network.train_centres", False))
    assert all(variable is not fixed.head.centres for variable in fixed.trainable_variables)


def test_the_loss_is_finite_however_sure_the_network_is() -> None:
    head = SubClusterAdaCos(3, 2, trained=True)
    head.build((None, 4))
    far = head(tf.constant([[1e-30, 0, 0, 0], [1e30, 0, 0, 0]]))
    assert np.isfinite(far).all()
    np.testing.assert_allclose(np.exp(far).sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(cross_entropy(tf.one_hot([0, 1], 3), far)).all()


def test_the_pool_pads_on_both_sides_with_what_is_never_the_largest() -> None:
    x = -np.arange(1, 17, dtype=np.float32).reshape(1, 4, 4, 1)
    found = MaxPool()(tf.constant(x)).numpy()[0, ..., 0]
    np.testing.assert_array_equal(found, [[-1, -2], [-5, -6]])


def test_what_cannot_be_learnt_is_bad_input() -> None:
    run = tiny()
    with pytest.raises(BadInput, match="there is only fan section_00: a_source"):
        check_sections(run, "all", CLASSES[:1], CLASSES[:1])
    with pytest.raises(BadInput, match="valve was not trained on"):
        check_sections(run, "all", CLASSES, ["valve section_00: a_source"])
    # A section, attributes or a domain that are new are scored by those of the machine type.
    check_sections(run, "all", CLASSES, ["fan section_03", "pump section_00: c_source"])
    single = tiny(("dis_spec.network.sub_clusters", 1))
    with pytest.raises(BadInput, match=r"set network\.sub_clusters to 2 or more"):
        check_sections(single, "all", CLASSES, CLASSES)
    for key, value, words in (
        ("width", 20, "a multiple of 8 that is 16 or more"),
        ("seconds", 0.1, r"seconds is 0\.1, too short .* expected 0\.28 or more"),
        ("spectrograms", [[64, 32]], "leaves 32 bins"),
    ):
        with pytest.raises(BadInput, match=words):
            check_sections(tiny((f"dis_spec.network.{key}", value)), "all", CLASSES, CLASSES)


def test_a_class_of_one_clip_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    frames = frames_of(*[LENGTH] * 5)
    caplog.set_level("WARNING", "baseline")  # whatever a script of an earlier test has set
    system = keras_model.system_class("dis_spec")
    run = tiny(("back_end.smote_ratio", 0))
    system.check(run, "all", frames)
    assert not caplog.messages
    other = replace(frames.clips[4], attributes=(("c", ""),))
    system.check(run, "all", replace(frames, clips=(*frames.clips[:4], other)))
    assert (
        "1 of 3 classes have one training clip, such as fan section_00: c;" in (caplog.messages[-1])
    )


def test_scores_do_not_depend_on_other_clips_or_their_order() -> None:
    system, frames = build(("back_end.smote_ratio", 0)), frames_of(*[LENGTH] * 8)
    system.train(frames)
    scores = system.score(frames)
    chosen = np.arange(8) % 3 == 0
    np.testing.assert_allclose(system.score(frames.select(chosen)), scores[chosen], atol=1e-6)
    assert scores == pytest.approx(0, abs=1e-3)  # each is its own nearest
    assert (system.training_scores(scores) > 0.001).all()


def test_checkpoints_of_one_and_of_several_spectrograms_are_told_apart() -> None:
    several = ("dis_multispec.network.spectrograms", [[128, 64], [256, 128]])
    kinds = {name: keras_model.system_class(name) for name in ("dis_spec", "dis_multispec")}
    for name, given in (("dis_spec", ()), ("dis_multispec", (several,))):
        run = tiny(*given, system=name)
        system = keras_model.build_system(run, CLASSES)
        tensors = {
            key: np.asarray(variable if axes is None else np.transpose(variable, np.argsort(axes)))
            for key, (variable, axes) in system.checkpoint_variables().items()
        }
        assert [kind.recognises(tensors) for kind in kinds.values()] == [
            name == other for other in kinds
        ]
        beside = {
            "head_dict.main.s": np.array(4.7),
            "extractor.stft_layer_list.0.stft.stft.window": np.ones(256),
        }
        inferred = kinds[name].infer_settings({**tensors, **beside}, run)
        assert inferred.tensors.keys() == tensors.keys()
        assert inferred.classes == 2
        assert inferred.values["network.spectrograms"] == run.network.spectrograms


def test_the_length_of_clips_is_read_from_a_checkpoint() -> None:
    kind = keras_model.system_class("dis_spec")
    run = settings.read_config(None, []).for_system("dis_spec")
    for seconds, positions in ((10.0, 6), (11.0, 7), (12.0, 8), (18.0, 14)):
        place = "extractor.fft_layer.layer.aggregate_layer.1.weight"
        tensors = {place: np.zeros((128, 128 * positions), np.float32)}
        assert kind.infer_settings(tensors, run).values["network.seconds"] == seconds


def test_two_microphones_the_network_learns_from_the_near_one() -> None:
    frames = frames_of(*[LENGTH] * 16)
    far = replace(frames, array=frames.array[::-1].copy())
    run = tiny(("feature.channel", "near_minus_far"), ("back_end.name", "local_density"))
    two = keras_model.build_system(run, CLASSES)
    two.train(replace(frames, far=far))
    one = build(("back_end.name", "local_density"))
    one.train(frames)
    for ours, theirs in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    near = one.embeddings(frames)
    both = two.back_ends.embeddings
    np.testing.assert_allclose(both, np.concatenate([near, one.embeddings(far)], 1), rtol=1e-5)
    assert not np.allclose(both[:, : near.shape[1]], both[:, near.shape[1] :])
