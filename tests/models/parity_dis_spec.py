"""The discriminative embeddings against their release (PyTorch)."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from data.clips import Clip
from data.frames import Frames
from models.dis_networks import SubClusterAdaCos
from models.dis_spec import DisSpec, cross_entropy
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Build, Compared, assert_training, losses, one_step, outputs

# Fixture's name of a statistic of a place, without "stat_" → the layer's name after the branch's.
SPECTRUM = {
    f"fft_{kind}{number}": f"fft_layer.layer.conv1d_layer.{3 * number - 3 + index}"
    for number in (1, 2, 3)
    for kind, index in (("conv", 0), ("se", 2))
}
SPECTROGRAM = {
    "conv1": "layers.0.layer.0",
    "block1": "layers.0",
    "block2a_se": "layers.1.0.additional_layer",
    "block3a_skip_pool": "layers.2.0.skip_connect.0",
    **{
        f"block{stage}{letter}": f"layers.{stage - 1}.{number}"
        for stage in (2, 3, 4, 5)
        for number, letter in enumerate("ab")
    },
}


def build(fixture: Fixture) -> DisSpec:
    given = fixture.settings
    name = fixture.meta["system"]
    system = keras_model.build_system(
        fixture.run(
            name,
            (f"{name}.network.seconds", given["sec"]),
            (f"{name}.network.width", given["emb_base_size"]),
            (f"{name}.network.squeeze", given["se_ratio"]),
            (
                f"{name}.network.convolutions",
                pairs(given["fft_branch"]["conv"], "kernel", "stride"),
            ),
            (f"{name}.network.spectrograms", pairs(given["stft_branches"], "n_fft", "hop_length")),
            (f"{name}.network.lowest", given["stft_branches"][0]["f_min"]),
            (f"{name}.network.highest", given["stft_branches"][0]["f_max"]),
            (f"{name}.network.sub_clusters", given["loss"]["n_subclusters"]),
            (f"{name}.network.train_centres", given["loss"]["trainable"]),
            (f"{name}.fit.weight_decay", given.get("optimizer", {}).get("weight_decay", 0.01)),
            *fixture.adam(),
        ),
        [f"machine section_{number:02d}" for number in range(given["loss"]["n_classes"])],
    )
    tensors = fixture.tensors()
    expected = {entry["name"]: tuple(entry["shape"]) for entry in fixture.meta["tensors"]}
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected
    assign_variables(system.checkpoint_variables(), tensors)
    return system


def pairs(entries: list[dict[str, int]], *keys: str) -> list[list[int]]:
    return [[entry[key] for key in keys] for entry in entries]


def wave_of(fixture: Fixture) -> tf.Tensor:
    return tf.constant(fixture.arrays["wave"])


def outputs_at(system: DisSpec, wave: tf.Tensor, *names: str) -> list[np.ndarray]:
    """What the layers of some names give, channels first as in PyTorch."""
    found = [system.extractor.get_layer(name).output for name in names]
    made = keras.Model(system.extractor.input, {str(n): one for n, one in enumerate(found)})(wave)
    return [np.moveaxis(np.asarray(made[str(n)]), -1, 1) for n in range(len(names))]


def check_magnitudes(fixture: Fixture, make: Build | None = None) -> None:
    system, wave, arrays = (make or build)(fixture), wave_of(fixture), fixture.arrays
    (spectrum,) = outputs_at(system, wave, "spectrum")
    expected = arrays["fft_abs"]
    assert_forward(spectrum[: len(expected), 0, ::16], expected, "fft_abs")
    for number in range(len(fixture.settings["stft_branches"])):
        (levels,) = outputs_at(system, wave, f"spectrogram_{number}")
        assert levels.shape == tuple(arrays[f"stft{number}_shape"])
        expected = arrays[f"stft{number}_magnitude"]
        bins, frames = arrays.get(f"stft{number}_step", (9, 7))
        levels = levels[: len(expected), ::bins, ::frames]
        assert_forward(levels, expected, f"stft{number}_magnitude")


def check_layers(fixture: Fixture, make: Build | None = None) -> None:
    system, wave, arrays = (make or build)(fixture), wave_of(fixture), fixture.arrays
    places = dict(SPECTRUM)
    for number in range(len(fixture.settings["stft_branches"])):
        start = f"stft_layer_list.{number}.layer"
        places |= {f"stft{number}_{name}": f"{start}.{at}" for name, at in SPECTROGRAM.items()}
    assert len(places) >= len([name for name in arrays if name.startswith("stat_")]) - 1
    for (name, place), made in zip(
        places.items(), outputs_at(system, wave, *places.values()), strict=True
    ):
        if f"stat_{name}" in arrays:
            axes = (0, *range(2, made.ndim))
            statistics = np.stack([made.mean(axes), made.std(axes)])
            assert_forward(statistics, arrays[f"stat_{name}"], f"{name} ({place})")
        if name in arrays:
            expected = arrays[name]
            assert_forward(made[: len(expected)], expected, name)
    if "stft0_max" in arrays:
        (largest,) = outputs_at(system, wave, "stft_layer_list.0.layer.max")
        assert_forward(np.moveaxis(largest, 1, -1), arrays["stft0_max"], "stft0_max")


def check_embeddings(fixture: Fixture, make: Build | None = None) -> None:
    system, arrays = (make or build)(fixture), fixture.arrays
    found = system.extractor(wave_of(fixture)).numpy()
    assert_forward(found, arrays["embedding"], "embedding")
    parts = ["fft", *(f"stft{n}" for n in range(len(fixture.settings["stft_branches"])))]
    for part, name in zip(np.split(found, len(parts), axis=1), parts, strict=True):
        assert_forward(part, arrays[f"{name}_embedding"], f"{name}_embedding")


def check_loss(fixture: Fixture, make: Build | None = None) -> None:
    system, arrays = (make or build)(fixture), fixture.arrays
    assert system.head.scale == fixture.settings["loss"]["scale"]
    logits = system(wave_of(fixture))
    assert_forward(logits, arrays["logits"], "logits")
    classes = tf.one_hot(arrays["label"], logits.shape[1])
    assert_forward(cross_entropy(classes, logits), arrays["loss_each"], "loss_each")
    for label, loss in (
        ("soft_label", "soft_loss_each"),
        ("mixed_label", "relabelled_loss_each"),
    ):
        if label in arrays:
            found = cross_entropy(tf.constant(arrays[label]), logits)
            assert_forward(found, arrays[loss], loss)


def check_mixup(fixture: Fixture, make: Build | None = None) -> None:
    arrays = fixture.arrays
    if "mixed_label" not in arrays:
        return
    system = (make or build)(fixture)
    mix(system, arrays["mix_lambda"], arrays["mix_dec"], arrays["mix_perm"])
    wave, classes = system.training_pair(wave_of(fixture), tf.constant(arrays["label"]))
    assert_forward(classes, arrays["mixed_label"], "mixed_label")
    assert_forward(system.extractor(wave), arrays["mixed_embedding"], "mixed_embedding")
    found = cross_entropy(classes, system(wave))
    assert_forward(found, arrays["mixed_loss_each"], "mixed_loss_each")
    compare_adacos(fixture, system, wave, classes)


def compare_adacos(fixture: Fixture, system: DisSpec, wave: tf.Tensor, mixed: tf.Tensor) -> None:
    """The recipes without sub-clusters: one centre per class, and the scale of so many."""
    given, arrays = fixture.settings["adacos"], fixture.arrays
    entry = {"index": 100000, "kind": "matrix", "name": "adacos"}
    shape = [system.extractor.output.shape[-1], fixture.settings["loss"]["n_classes"]]
    centres = fixture._tensor({**entry, "shape": shape})
    head = SubClusterAdaCos(shape[1], 1, trained=False)
    head.build((None, shape[0]))
    head.centres.assign(centres)
    assert head.scale == given["scale"]
    classes = tf.one_hot(arrays["label"], shape[1])
    for samples, labels, name in (
        (wave_of(fixture), classes, "adacos_loss"),
        (wave, mixed, "adacos_mixed_loss"),
    ):
        found = np.mean(cross_entropy(labels, head(system.extractor(samples))))
        np.testing.assert_allclose(found, arrays[name], rtol=1e-4)


def mix(system: DisSpec, share: Any, decision: Any, partner: Any) -> None:
    """Let a system mix the next batch as a fixture says."""
    own = tf.constant(np.where(decision == 1, share, 1))
    system.mixing = lambda batch: (own, tf.constant(partner))


def steps_at(lr: str) -> Any:
    """The training steps at a learning rate: "" or "small_lr_", as the fixture's arrays begin."""

    def steps(system: DisSpec, fixture: Fixture) -> list[Compared]:
        arrays = fixture.arrays
        expected = arrays[f"{lr}train_loss"][: len(arrays["train_batches"])]
        wave = arrays["wave"]
        starts = np.arange(len(wave)) * wave.shape[1]
        clips = (Clip("clip.wav", "machine", "section_00", "train"),) * len(wave)
        counts = np.full(len(wave), wave.shape[1])
        system.frames = Frames(wave.reshape(-1, 1), clips, starts, counts)
        log = []
        for number in range(len(expected)):
            chosen = arrays["train_batches"][number]
            drawn = (arrays[f"train_{name}"][number] for name in ("lambda", "dec", "perm"))
            mix(system, *drawn)
            log.append(one_step(system, starts[chosen], arrays["label"][chosen])["loss"])
        compared = [losses("loss", log, expected)]
        after = arrays[f"{lr}embedding_after"]
        compared.append(outputs("embedding", system.extractor(wave_of(fixture)), after))
        return compared + ([] if lr else weights(system, fixture))

    return steps


def weights(system: DisSpec, fixture: Fixture) -> list[Compared]:
    """The trained weights that the fixture has."""
    variables = system.checkpoint_variables()

    def tensor(name: str) -> np.ndarray:
        variable, axes = variables[name]
        return np.asarray(variable if axes is None else np.transpose(variable, np.argsort(axes)))

    place = "extractor.stft_layer_list.0.layer.bn_freq"
    found = {
        "fft_conv2_weight": tensor("extractor.fft_layer.layer.conv1d_layer.3.weight")[:8, :8],
        "head_weight": tensor("head_dict.main.W")[:16],
        "bn_freq_running_mean": tensor(f"{place}.running_mean"),
        "bn_freq_running_var": tensor(f"{place}.running_var"),
    }
    return [
        outputs(name, value, fixture.arrays[f"{name}_after"])
        for name, value in found.items()
        if f"{name}_after" in fixture.arrays
    ]


def check_training(fixture: Fixture, make: Build | None = None) -> None:
    if "train_loss" not in fixture.arrays:
        return
    assert_training(fixture, make or build, steps_at(""))
    slow = copy.copy(fixture)
    slow.settings = {**fixture.settings, "adam": dict(fixture.settings["adam"])}
    slow.settings["adam"]["lr"] = fixture.settings["small_lr"]
    assert_training(slow, make or build, steps_at("small_lr_"))
