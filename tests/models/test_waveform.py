"""Samples as frames: from the cache into windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

import keras_model
from core import settings
from data import frame_cache
from data.clips import Clip
from data.frames import Frames


def tiny(*assignments: tuple[str, object]) -> dict:
    given = [
        ("grlnet.feature.n_frames", 96),
        ("grlnet.feature.n_hop_frames", 96),
        ("grlnet.network.channels", [2, 3, 4, 5]),
        *assignments,
    ]
    held = settings.read_config(None, given)
    return held.for_system("grlnet")


def frames_of(*counts: int) -> Frames:
    clips = tuple(
        Clip(Path(f"{index}.wav"), "fan", "section_00", "train") for index in range(len(counts))
    )
    array = np.arange(1, sum(counts) + 1, dtype=np.float32)[:, None]
    count = np.array(counts)
    return Frames(array, clips, np.cumsum(count) - count, count)


def test_a_window_ends_with_its_clip() -> None:
    system, frames = keras_model.build_system(tiny(), ["section_00"]), frames_of(50, 200, 96)
    starts, owner = system.windows(frames, 96)
    assert owner.tolist() == [0, 1, 1, 2]
    windows = system.gather_windows(frames, tf.constant(starts)).numpy()
    np.testing.assert_array_equal(windows[0, :50], np.arange(1, 51))
    assert not windows[0, 50:].any()
    np.testing.assert_array_equal(windows[1:3].ravel(), np.arange(51, 51 + 192))
    np.testing.assert_array_equal(windows[3], np.arange(251, 347))


def test_nothing_goes_to_the_device_at_once() -> None:
    system, frames = keras_model.build_system(tiny(), ["section_00"]), frames_of(200)
    assert system.to_device(frames) is frames


def test_samples_come_from_the_cache_as_the_file_holds_them(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-2000, 2000, 300) / 32768
    clips = []
    for name, part in (("a", samples), ("b", samples[:40])):
        soundfile.write(tmp_path / f"{name}.wav", part, 16000, "PCM_16")
        clips.append(Clip(tmp_path / f"{name}.wav", "fan", "section_00", "train"))
    param = tiny(("cache_directory", str(tmp_path / "cache")))
    frames, bad = frame_cache.load_frames(clips, param, 1)
    assert not bad
    assert frames.count.tolist() == [300, 40]
    assert isinstance(frames.array, np.memmap)
    np.testing.assert_allclose(frames.array[:, 0], np.append(samples, samples[:40]), atol=1e-7)


@pytest.mark.parametrize("system", ["ae", "anomaly_transformer"])
def test_a_clip_shorter_than_a_window_is_named(tmp_path: Path, system: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(600), 16000, "PCM_16")
    clip = Clip(tmp_path / "a.wav", "fan", "section_00", "train")
    held = settings.read_config(None, [("cache_directory", str(tmp_path / "cache"))])
    frames, bad = frame_cache.load_frames([clip], held.for_system(system), 1)
    assert not frames.clips
    assert bad[0][0] == clip.path
    assert "too short: 2 frames" in bad[0][1]
