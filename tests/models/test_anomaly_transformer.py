"""The Anomaly Transformer on frames: windows over clips, standardisation, schedule."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from data.clips import Clip
from data.frames import Frames
from models.anomaly_transformer import moments


def tiny() -> dict:
    network = {"d_model": 8, "heads": 2, "n_layers": 2, "d_ff": 8}
    given = [
        ("anomaly_transformer.feature.n_frames", 10),
        ("anomaly_transformer.feature.n_hop_frames", 5),
        ("feature.n_mels", 4),
        ("anomaly_transformer.fit.epochs", 4),
        ("anomaly_transformer.fit.batch_size", 8),
        ("fit.verbose", 0),
        *((f"anomaly_transformer.network.{key}", value) for key, value in network.items()),
    ]
    held = settings.read_config(None, given)
    return held.for_system("anomaly_transformer")


def frames_of(*counts: int) -> Frames:
    clips = tuple(
        Clip(Path(f"{index}.wav"), "fan", "section_00", "train") for index in range(len(counts))
    )
    array = np.random.default_rng(3).normal(-40, 12, (sum(counts), 4)).astype(np.float32)
    count = np.array(counts)
    return Frames(array, clips, np.cumsum(count) - count, count)


@pytest.mark.slow
def test_every_frame_is_scored_by_windows_that_end_with_the_clip() -> None:
    system, frames = keras_model.build_system(tiny(), ["section_00"]), frames_of(10, 23, 20)
    scores = system.frame_scores(frames)
    assert [len(clip) for clip in scores] == [10, 23, 20]
    windows = np.stack([frames.array[10 + at : 20 + at] for at in (0, 10, 13)])
    first, second, last = system.energy(system.standard(windows)).numpy()
    np.testing.assert_allclose(scores[1][:10], first, rtol=1e-4)
    np.testing.assert_allclose(scores[1][10:13], second[:3], rtol=1e-4)
    np.testing.assert_allclose(scores[1][13:20], (second[3:] + last[:7]) / 2, rtol=1e-4)
    np.testing.assert_allclose(scores[1][20:], last[7:], rtol=1e-4)
    np.testing.assert_allclose(system.score(frames), [clip.mean() for clip in scores])


@pytest.mark.slow
def test_training_standardises_halves_the_rate_and_is_saved(tmp_path: Path) -> None:
    param, frames = tiny(), frames_of(40, 30)
    system = keras_model.build_system(param, ["section_00"])
    rates = []
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(float(system.optimizer.learning_rate))
    )
    system.callbacks = lambda given=system.callbacks: [*given(), told]
    history = system.train(frames)
    assert np.isfinite([history[name] for name in history]).all()
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 5e-5, 2.5e-5], rtol=1e-6)
    standard = system.standard(tf.constant(frames.array)).numpy()
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-5)
    system.save_weights(tmp_path / "w.weights.h5")
    other = keras_model.build_system(param.with_values({"seed": 5}), ["section_00"])
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.score(frames), system.score(frames))


def test_a_bin_that_never_changes_becomes_zero() -> None:
    frames = frames_of(30)
    frames.array[:, 2] = -80
    mean, deviation = moments(frames)
    assert (mean[2], deviation[2]) == (-80, 1)
    assert deviation[[0, 1, 3]] == pytest.approx(frames.array.std(axis=0)[[0, 1, 3]], rel=1e-5)
