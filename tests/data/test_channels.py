"""The frames of one channel, of two, or none."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from core.run_settings import SystemSettings
from data.audio import file_load, log_mel
from data.channels import load_channels
from data.frame_cache import load_frames
from data.frames import Frames, FramesRef
from tests.data.test_audio import RATE, noise, write_clip

PROBLEM = "has 1 channel; feature.channel second and near_minus_far need two microphones"


def both(param: SystemSettings) -> SystemSettings:
    return param.with_values({"feature.channel": "near_minus_far"})


def levels_of(frames: Frames) -> list[np.ndarray]:
    rows = zip(frames.first, frames.count, strict=True)
    return [np.array(frames.array[first : first + count]) for first, count in rows]


def assert_channels(frames: Frames, param: SystemSettings) -> None:
    """Assert that near and far are the levels of the first and second channel of each clip."""
    assert frames.far.clips == frames.clips
    for channel, part in (("first", frames), ("second", frames.far)):
        for clip, levels in zip(part.clips, levels_of(part), strict=True):
            expected = log_mel(file_load(clip.path, channel)[0], param.feature)
            np.testing.assert_array_equal(levels, expected)


def test_near_and_far_stay_beside_each_other(tmp_path: Path, param: SystemSettings) -> None:
    clips = [
        write_clip(tmp_path / f"{number}.wav", noise(RATE // (1 + number), number, 2))
        for number in range(4)
    ]
    frames, bad = load_channels(clips, both(param), 1)
    assert not bad
    assert_channels(frames, param)
    part = frames.select([True, False, True, True]).split(2)[1]
    assert [clip.name for clip in part.clips] == ["3.wav"]
    sent = pickle.loads(pickle.dumps(FramesRef.to(part))).load()
    for each in (part, part.trim(), sent):
        assert_channels(each, param)
    assert len(part.trim().far.array) == part.count.sum()


def test_the_near_channel_is_in_the_cache_for_other_systems_too(
    tmp_path: Path, param: SystemSettings
) -> None:
    clips = [write_clip(tmp_path / "a.wav", noise(RATE, 0, 2))]
    frames, _ = load_channels(clips, both(param), 1)
    alone, _ = load_frames(clips, param, 1)
    assert alone.array.filename == frames.array.filename != frames.far.array.filename
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


@pytest.mark.parametrize("channel", ["second", "near_minus_far"])
def test_clips_with_one_channel_are_named_and_others_go_on(
    tmp_path: Path, param: SystemSettings, channel: str
) -> None:
    clips = [
        write_clip(tmp_path / f"{number}.wav", noise(RATE, number, channels))
        for number, channels in enumerate((2, 1, 2, 1))
    ]
    run = param.with_values({"feature.channel": channel})
    frames, bad = load_channels(clips, run, 1)
    assert bad == [(clips[1].path, PROBLEM), (clips[3].path, PROBLEM)]
    assert frames.clips == (clips[0], clips[2])
    if channel == "near_minus_far":
        assert_channels(frames, param)
    frames, bad = load_channels(clips[1::2], run, 1)
    assert not frames.clips
    assert [problem for _, problem in bad] == [PROBLEM] * 2


def test_samples_come_from_the_channel_asked_for(tmp_path: Path) -> None:
    samples = noise(RATE, 0, 3)
    clip = write_clip(tmp_path / "a.wav", samples)
    written = {"first": 0, "second": 1, "near_minus_far": 0}
    for channel, number in written.items():
        np.testing.assert_allclose(file_load(clip.path, channel)[0], samples[:, number], atol=1e-4)
    np.testing.assert_allclose(file_load(clip.path, "mix")[0], samples.mean(axis=1), atol=1e-4)
    with pytest.raises(ValueError, match="has 1 channel"):
        file_load(write_clip(tmp_path / "b.wav", noise(RATE)).path, "second")
