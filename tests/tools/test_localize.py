"""The anomaly map: overlap-add against a plain loop, and a burst found where it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from core.errors import BadInput
from core.run_settings import Feature
from data.clips import Clip
from data.frames import Frames
from reporting import anomaly_map
from tools import localize

N_MELS = 8


def frames_of(arrays: list[np.ndarray], folder: str = "train") -> Frames:
    """Frames of clips, each (n_frames, n_mels)."""
    count = np.array([len(array) for array in arrays])
    clips = tuple(
        Clip(Path(f"section_00_{index:04d}.wav"), "fan", "section_00", folder)
        for index in range(len(arrays))
    )
    array = np.concatenate(arrays).astype(np.float32)
    return Frames(array, clips, np.cumsum(count) - count, count)


def param_of(tmp_path: Path, system: str = "ae", **feature: int) -> dict:
    assignments = [(f"feature.{key}", value) for key, value in feature.items()]
    assignments.append(("result_directory", str(tmp_path)))
    return settings.read_config(None, assignments).for_system(system)


class Tilting:
    """Rebuilds a window with an error that depends on the place in it."""

    n_frames = 5

    def reconstruct(self, windows: np.ndarray) -> tf.Tensor:
        tilt = np.arange(self.n_frames, dtype=np.float32)[:, None]
        return tf.constant(windows * (1 + 0.1 * tilt) + tilt)


def plain_overlap_add(system: Tilting, frames: np.ndarray) -> np.ndarray:
    n_frames, n_mels = frames.shape
    rebuilt = np.zeros((n_frames, n_mels))
    for column in range(n_frames):
        covering = []
        for start in range(n_frames - system.n_frames + 1):
            if start <= column < start + system.n_frames:
                window = frames[start : start + system.n_frames][None]
                covering.append(system.reconstruct(window).numpy()[0, column - start])
        rebuilt[column] = np.mean(covering, axis=0)
    return rebuilt


@pytest.mark.parametrize("n_frames", [5, 6, 23])
def test_overlap_add_equals_a_plain_loop(n_frames, monkeypatch) -> None:
    monkeypatch.setattr(anomaly_map, "WINDOW_VALUES_PER_BATCH", 4 * 5 * N_MELS)
    frames = np.random.default_rng(0).normal(-50, 20, (n_frames, N_MELS)).astype(np.float32)
    expected = plain_overlap_add(Tilting(), frames)
    found = anomaly_map.rebuild(Tilting(), frames)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_training_mean_of_clips_of_other_lengths() -> None:
    short, long = np.full((2, N_MELS), -40.0), np.full((4, N_MELS), -20.0)
    low, high, mean = anomaly_map.training_mean(frames_of([short, long]), 6)
    assert (low, high) == (-40.0, -20.0)
    over_time = (2 * -40 + 4 * -20) / 6
    assert np.allclose(mean[:, 0], [-30, -30, -20, -20, over_time, over_time])
    assert anomaly_map.scaled(np.array([-40.0, -30, -20]), low, high).tolist() == [0, 0.5, 1]


def test_a_map_is_the_difference_to_the_mean_clip_in_the_training_range() -> None:
    rng = np.random.default_rng(0)
    training = frames_of([rng.normal(-50, 20, (9, N_MELS)) for _ in range(3)])
    clip = rng.normal(-50, 20, (7, N_MELS)).astype(np.float32)
    low, high, mean = normal = anomaly_map.training_mean(training, 9)
    made = anomaly_map.compute(Tilting(), clip, normal)
    rebuilt = (anomaly_map.rebuild(Tilting(), clip) - low) / (high - low)
    expected = (mean[:7] - low) / (high - low)
    np.testing.assert_allclose(made.reconstruction, rebuilt)
    np.testing.assert_allclose(made.mean, expected)
    np.testing.assert_allclose(made.difference, np.abs(rebuilt - expected))


def largest_region(found: np.ndarray) -> np.ndarray:
    """The largest connected region of a map above half its height: bool, of its shape."""
    from scipy.ndimage import label

    labels, _ = label(found > found.max() / 2)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


@pytest.mark.slow
def test_the_largest_region_of_the_map_is_the_burst(tmp_path) -> None:
    """With a trained autoencoder, from the levels to the saved map."""
    rng = np.random.default_rng(1)
    tones = -60 + 15 * np.isin(np.arange(N_MELS), (1, 5))
    # Levels vary in training everywhere, so that the autoencoder can follow them.
    training = [
        tones + rng.normal(0, 1, (40, N_MELS)) + 40 * (rng.random((40, N_MELS)) < 0.1)
        for _ in range(60)
    ]
    clip = tones + rng.normal(0, 1, (40, N_MELS))
    clip[18:26, 2:5] += 40
    param = param_of(tmp_path, n_mels=N_MELS)
    fit = {"fit.epochs": 24, "fit.batch_size": 64, "fit.verbose": 0, "fit.lr": 0.003}
    param = param.with_values({**fit, "network.units": [128], "network.latent": 64})
    system = keras_model.build_system(param, ["section_00"])
    system.train(frames_of(training))
    localize.draw_clips(system, "fan", frames_of(training), frames_of([clip], "test"))
    with np.load(tmp_path / "anomaly_map_fan_section_00_0000.npz") as held:
        assert set(held) == {"map", "reconstruction", "mean", "seconds", "hertz"}
        assert held["map"].shape == (N_MELS, 40) == (len(held["hertz"]), len(held["seconds"]))
        assert held["seconds"][1] == 512 / 16000
        region = largest_region(held["map"])
    burst = np.zeros((N_MELS, 40), bool)
    burst[2:5, 18:26] = True
    assert (region & burst).sum() >= 0.8 * burst.sum()
    mel, time = (where.mean() for where in np.nonzero(region))
    assert 2 <= mel <= 4
    assert 18 <= time <= 25
    assert (tmp_path / "anomaly_map_fan_section_00_0000.png").stat().st_size > 10_000


def test_a_system_that_does_not_rebuild_is_refused(tmp_path) -> None:
    def reconstruct(windows: np.ndarray) -> None:
        raise NotImplementedError

    param = param_of(tmp_path, n_mels=N_MELS)
    system = SimpleNamespace(settings=param, n_frames=5, reconstruct=reconstruct)
    frames = frames_of([np.zeros((6, N_MELS))])
    with pytest.raises(BadInput, match="--system ae: it does not rebuild"):
        localize.draw_clips(system, "fan", frames, frames)


def test_axes_are_seconds_and_hertz() -> None:
    feature = Feature(n_mels=128, sample_rate=16000, hop_length=512, mel_scale="slaney")
    seconds, hertz = anomaly_map.axes_of(feature, 313)
    assert seconds[-1] == pytest.approx(312 * 0.032)
    assert hertz[0] > 0
    assert hertz[-1] < 8000
    held = {name: np.zeros((128, 313)) for name in ("reconstruction", "mean", "map")}
    drawn = localize.figure({**held, "seconds": seconds, "hertz": hertz}, "clip")
    panels = [axes for axes in drawn.axes if axes.get_title()]
    assert [axes.get_ylabel() for axes in panels] == ["frequency (Hz)"] * 3
    assert panels[-1].get_xlabel() == "time (s)"
    kilohertz = next(t for t in panels[0].get_yticklabels() if t.get_text() == "1000")
    assert hertz[int(np.floor(kilohertz.get_position()[1]))] <= 1000
    assert hertz[int(np.ceil(kilohertz.get_position()[1]))] >= 1000


def test_the_tool_takes_clips(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        localize.main(["-d", "--clip"])
    assert exit_.value.code == 2
    assert "--clip" in capsys.readouterr().err
