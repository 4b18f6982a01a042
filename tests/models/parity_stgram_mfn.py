"""STgram-MFN against its release (PyTorch)."""

from __future__ import annotations

import re

import keras
import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from data.clips import Clip
from data.frames import Frames
from models.stgram_mfn import STgramMFN
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs


def build(fixture: Fixture) -> STgramMFN:
    given, tensors = fixture.settings, fixture.tensors()
    n_mels, _, n_fft = tensors["tgramnet.conv_extrctor.weight"].shape
    bottlenecks = [
        [int(number) for number in part.split(",")]
        for part in re.findall(r"\[([\d,\s]+)\]", given["bottlenecks"])
    ]
    n_samples = fixture.arrays["wav"].shape[1]
    system = keras_model.build_system(
        fixture.run(
            "stgram_mfn",
            ("stgram_mfn.network.seconds", n_samples / 16000),
            ("stgram_mfn.network.bottlenecks", bottlenecks),
            ("stgram_mfn.network.margin", given["arcface"]["m"]),
            ("stgram_mfn.network.scale", given["arcface"]["s"]),
            ("stgram_mfn.network.sub_centers", given["arcface"]["sub"]),
            ("stgram_mfn.feature.n_mels", n_mels),
            ("stgram_mfn.feature.n_fft", n_fft),
            ("stgram_mfn.feature.hop_length", given.get("hop_length", n_fft // 2)),
            *fixture.adam(),
        ),
        [f"machine section_{number:02d}" for number in range(given["num_classes"])],
    )
    assign_variables(system.checkpoint_variables(), tensors)
    return system


def inputs(fixture: Fixture) -> list[tf.Tensor]:
    return [tf.constant(fixture.arrays[name]) for name in ("wav", "mel", "label")]


def check_tgram(fixture: Fixture) -> None:
    system, (wave, _, _) = build(fixture), inputs(fixture)
    whole = keras.Model(system.embed.inputs[0], system.embed.get_layer("tgram").output)(wave)
    expected = fixture.arrays["tgram"]
    # The fixture holds every so manieth frame.
    assert_forward(whole[..., :: -(-whole.shape[-1] // expected.shape[-1])], expected, "tgram")


def check_forward(fixture: Fixture) -> None:
    system, (wave, mel, label) = build(fixture), inputs(fixture)
    assert_forward(system((wave, mel, label)), fixture.arrays["logits"], "logits")
    assert_forward(system.embed([wave, mel]), fixture.arrays["feature"], "feature")


def check_score(fixture: Fixture) -> None:
    system, (wave, mel, label) = build(fixture), inputs(fixture)
    system.log_mel = lambda windows: mel
    assert_forward(system.window_scores(wave, label), fixture.arrays["score"], "score")


def steps(system: STgramMFN, fixture: Fixture) -> list[Compared]:
    wave, mel, label = inputs(fixture)
    # The fixture's log-mel image is its own, not that of its waveform.
    system.log_mel = lambda windows: mel
    samples, expected = fixture.arrays["wav"], fixture.arrays["train_loss"]
    starts = np.arange(len(samples)) * samples.shape[1]
    clips = (Clip("clip.wav", "machine", "section_00", "train"),) * len(samples)
    counts = np.full(len(samples), samples.shape[1])
    system.frames = Frames(samples.reshape(-1, 1), clips, starts, counts)
    log = [one_step(system, starts, fixture.arrays["label"])["loss"] for _ in expected]
    return [
        losses("loss", log, expected),
        outputs("logits", system((wave, mel, label)), fixture.arrays["logits_after"]),
        outputs("feature", system.embed([wave, mel]), fixture.arrays["feature_after"]),
    ]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
