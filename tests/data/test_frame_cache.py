"""The frames of clips and their cache: what is kept, rebuilt, refused, and said of each clip."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.errors import BadInput
from core.script import run_script
from data import frame_cache
from data.audio import file_load
from data.clips import Clip
from data.dataset import report_bad_clips
from tests import processes
from tests.data.test_audio import DECIBELS, RATE, noise, official_log_mel, write_clip


def test_clips_of_any_length_in_one_array(tmp_path, param):
    clips = [
        write_clip(tmp_path / f"{i}.wav", noise(n, i))
        for i, n in enumerate((RATE, 2 * RATE, RATE // 2))
    ]
    frames, bad = frame_cache.load_frames(clips, param)
    assert not bad
    assert isinstance(frames.array, np.memmap)
    assert frames.count.tolist() == [32, 63, 16]
    for index, clip in enumerate(clips):
        held = frames.array[frames.first[index] :][: frames.count[index]]
        assert np.abs(held.T - official_log_mel(clip.path)).max() <= DECIBELS
    some = frames.select([False, True, False])
    assert [clip.name for clip in some.clips] == ["1.wav"]
    assert (some.first.tolist(), some.count.tolist()) == ([32], [63])


def test_cache_is_used_until_clip_or_settings_change(tmp_path, param, monkeypatch):
    clips = [write_clip(tmp_path / "a.wav", noise(RATE))]
    read = []
    load = file_load
    monkeypatch.setattr(frame_cache, "file_load", lambda *given: read.append(given) or load(*given))
    before = np.array(frame_cache.load_frames(clips, param, jobs=1)[0].array)
    frame_cache.load_frames(clips, param, jobs=1)
    param = param.with_values({"feature.n_frames": 10})  # windows are cut later: the frames stay
    frame_cache.load_frames(clips, param, jobs=1)
    assert len(read) == 1
    param = param.with_values({"feature.hop_length": 256})
    frame_cache.load_frames(clips, param, jobs=1)
    assert len(read) == 2
    param = param.with_values({"feature.hop_length": 512})
    write_clip(clips[0].path, noise(RATE, seed=1))
    os.utime(clips[0].path, ns=(1, 1))
    after = np.array(frame_cache.load_frames(clips, param, jobs=1)[0].array)
    assert len(read) == 3
    assert np.abs(after - before).max() > 1


def cut_array(array: Path, about: Path) -> None:
    array.write_bytes(array.read_bytes()[:5000])


def cut_header(array: Path, about: Path) -> None:
    array.write_bytes(array.read_bytes().replace(b"(32, 128)", b"(32, '''12"))


def another_kind(array: Path, about: Path) -> None:
    np.savez(array.with_suffix(".npz"), frames=np.zeros((32, 128), np.float32))
    array.with_suffix(".npz").replace(array)


def another_precision(array: Path, about: Path) -> None:
    np.save(array, np.zeros((32, 128)))


def cut_description(array: Path, about: Path) -> None:
    about.write_bytes(about.read_bytes()[:5])


def no_description(array: Path, about: Path) -> None:
    about.unlink()


def nested_description(array: Path, about: Path) -> None:
    about.write_text("[" * 100_000)


def another_description(array: Path, about: Path) -> None:
    about.write_text('{"count": [40, -8], "problems": []}')


@pytest.mark.parametrize(
    "damage",
    [
        *(cut_array, cut_header, another_kind, another_precision),
        *(cut_description, no_description, nested_description, another_description),
    ],
)
def test_damaged_cache_is_rebuilt(tmp_path, param, damage):
    clips = [write_clip(tmp_path / "a.wav", noise(RATE))]
    before = np.array(frame_cache.load_frames(clips, param)[0].array)
    (array,) = (tmp_path / "cache").glob("*.npy")
    whole = array.read_bytes()
    damage(array, array.with_suffix(".json"))
    assert np.array_equal(frame_cache.load_frames(clips, param)[0].array, before)
    assert array.read_bytes() == whole


def test_what_was_begun_and_damaged_is_begun_anew(tmp_path, param):
    clips = [write_clip(tmp_path / f"{i}.wav", noise(RATE, i)) for i in range(2)]
    before = np.array(frame_cache.load_frames(clips, param)[0].array)
    (array,) = (tmp_path / "cache").glob("*.npy")
    array.with_suffix(".json").unlink()
    np.save(array.with_suffix(".done.npy"), np.ones(2, np.uint8))
    array.replace(array.with_suffix(".unfinished.npy"))
    cut_array(array.with_suffix(".unfinished.npy"), array)
    assert np.array_equal(frame_cache.load_frames(clips, param)[0].array, before)


def test_a_cache_of_another_version_is_left_alone(tmp_path, param, monkeypatch):
    clips = [write_clip(tmp_path / "a.wav", noise(RATE))]
    before = np.array(frame_cache.load_frames(clips, param)[0].array)
    (array,) = (tmp_path / "cache").glob("*.npy")
    np.save(array, np.zeros_like(before))
    monkeypatch.setattr(frame_cache, "CACHE_VERSION", frame_cache.CACHE_VERSION + 1)
    assert np.array_equal(frame_cache.load_frames(clips, param)[0].array, before)


def test_bad_clips_are_all_named(tmp_path, param):
    good = write_clip(tmp_path / "good.wav", noise(RATE))
    hole = noise(RATE)
    hole[100] = np.nan
    clips = [
        write_clip(tmp_path / "nan.wav", hole, subtype="FLOAT"),
        write_clip(tmp_path / "empty.wav", noise(0)),
        good,
        write_clip(tmp_path / "rate.wav", noise(RATE), rate=8000),
        write_clip(tmp_path / "short.wav", noise(512 * 4 - 1)),
        write_clip(tmp_path / "text.wav", noise(RATE)),
    ]
    clips[-1].path.write_text("not a wav")
    frames, bad = frame_cache.load_frames(clips, param)
    assert frames.clips == (good,)
    said = {path.name: problem for path, problem in bad}
    assert "not finite" in said.pop("nan.wav")
    assert "is empty" in said.pop("empty.wav")
    assert "is sampled at 8000 Hz, not at the 16000 Hz" in said.pop("rate.wav")
    assert "is too short: 4 frames, and one window takes 5" in said.pop("short.wav")
    assert "cannot be read as audio" in said.pop("text.wav")
    assert not said


def test_mono_among_stereo_is_named(tmp_path, param):
    clips = [write_clip(tmp_path / f"{i}.wav", noise(RATE, i, 2)) for i in range(3)]
    clips.append(write_clip(tmp_path / "mono.wav", noise(RATE)))
    frames, bad = frame_cache.load_frames(clips, param)
    assert [clip.name for clip in frames.clips] == ["0.wav", "1.wav", "2.wav"]
    assert bad == [(clips[-1].path, "has 1 channels, where most clips have 2")]


def test_truncated_clip_is_named(tmp_path, param):
    clip = write_clip(tmp_path / "cut.flac", noise(RATE))
    clip.path.write_bytes(clip.path.read_bytes()[: clip.path.stat().st_size // 2])
    _, bad = frame_cache.load_frames([clip], param)
    assert [path.name for path, _ in bad] == ["cut.flac"]


def test_bad_clips_stop_or_are_listed(tmp_path):
    bad = [(tmp_path / "a.wav", "is empty"), (tmp_path / "b, c.wav", "is odd")] * 2
    with pytest.raises(BadInput) as caught:
        report_bad_clips(bad, tmp_path, skip=False)
    assert str(caught.value).startswith("2 clips cannot be used")
    assert str(caught.value).count("a.wav: is empty") == 1
    assert "b, c.wav: is odd" in str(caught.value)
    assert not (tmp_path / "bad_clips.csv").exists()
    report_bad_clips(bad, tmp_path, skip=True)
    listed = (tmp_path / "bad_clips.csv").read_text()
    assert listed == f'clip,problem\n{bad[0][0]},is empty\n"{bad[1][0]}",is odd\n'
    report_bad_clips([], tmp_path, skip=True)
    assert not (tmp_path / "bad_clips.csv").exists()


def clip_at(path: Path) -> Clip:
    return Clip(path, "fan", "section_00", "train", "source", "normal")


def test_what_is_no_file_is_named(tmp_path, param):
    good = write_clip(tmp_path / "good.wav", noise(RATE))
    (tmp_path / "nowhere.wav").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    os.mkfifo(tmp_path / "0.csv")
    names = ("nowhere.wav", "loop.wav", "folder.wav", "pipe.wav", "0.csv")
    clips = [good, *(clip_at(tmp_path / name) for name in names)]
    frames, bad = frame_cache.load_frames(clips, param, jobs=1)
    assert frames.clips == (good,)
    assert {path.name for path, problem in bad if "is no file" in problem} == set(names)
    with pytest.raises(ValueError, match="is no file"):
        file_load(tmp_path / "0.csv")


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path, param):
    flac = tmp_path / "flac.flac"
    soundfile.write(flac, noise(RATE), RATE)
    lying = bytearray(flac.read_bytes())
    lying[21] |= 0x0F
    lying[22:26] = b"\xff" * 4  # 2**36 - 1 samples
    flac.write_bytes(lying)
    wav = write_clip(tmp_path / "wav.wav", noise(RATE))
    riff = bytearray(wav.path.read_bytes())
    riff[4:8] = riff[40:44] = b"\xf0\xff\xff\xff"
    wav.path.write_bytes(riff)
    frames, bad = frame_cache.load_frames([clip_at(flac), wav], param, jobs=1)
    assert frames.clips == (wav,)
    assert frames.array.shape == (32, 128)
    ((path, problem),) = bad
    assert path == flac
    assert "no file of its size holds the 68719476735 samples" in problem


def test_another_kind_of_recording_named_wav_is_named(tmp_path, param):
    soundfile.write(tmp_path / "a.wav", noise(RATE), RATE, format="FLAC")
    _, bad = frame_cache.load_frames([clip_at(tmp_path / "a.wav")], param, jobs=1)
    assert [problem for _, problem in bad] == [
        "cannot be read as audio (no WAV file, though its name says so)"
    ]


def test_samples_beyond_any_audio_are_named(tmp_path, param):
    good = write_clip(tmp_path / "good.wav", noise(RATE))
    loud = write_clip(tmp_path / "loud.wav", 1e20 * noise(RATE), subtype="FLOAT")
    frames, bad = frame_cache.load_frames([good, loud], param, jobs=1)
    assert frames.clips == (good,)
    assert np.isfinite(frames.array).all()
    assert [path.name for path, problem in bad if "energies overflow" in problem] == ["loud.wav"]


def test_each_bad_clip_has_one_line_whatever_its_name(tmp_path):
    path = tmp_path / "a\nerror: b\x1b[31m\udcff.wav"
    with pytest.raises(BadInput) as caught:
        report_bad_clips([(path, "is empty")], tmp_path, skip=False)
    (line,) = [line for line in str(caught.value).splitlines() if "is empty" in line]
    assert line == f"{tmp_path}/a\\nerror: b\\x1b[31m\\udcff.wav: is empty"
    report_bad_clips([(path, "is empty")], tmp_path, skip=True)
    assert "a\\nerror: b" in (tmp_path / "bad_clips.csv").read_text()


# Takes the place of what the other processes do: the first task, then an end.
def killed(task, makes, place, done):
    if task[0][0]:
        until = time.monotonic() + 20
        while not np.load(done)[0] and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
    return frame_cache._write_frames(task, makes, place, done)


@pytest.mark.slow
def test_a_worker_killed_for_memory_is_told_and_what_is_done_is_kept(tmp_path, param, monkeypatch):
    clips = [write_clip(tmp_path / f"{i}.wav", noise(RATE, i)) for i in range(3)]
    expected = np.concatenate([official_log_mel(clip.path).T for clip in clips])
    monkeypatch.setattr(frame_cache, "CLIPS_PER_PROCESS", 1)
    monkeypatch.setattr(frame_cache, "CLIPS_PER_TASK", 1)
    with monkeypatch.context() as patch:
        patch.setattr(frame_cache, "_write_frames", killed)
        with pytest.raises(BadInput, match=r"fan: .*was killed.*want of memory.*--jobs"):
            frame_cache.load_frames(clips, param, jobs=2, title="fan")
    read = []
    write = frame_cache._write_frames
    monkeypatch.setattr(
        frame_cache, "_write_frames", lambda task, *given: read.extend(task) or write(task, *given)
    )
    frames, _ = frame_cache.load_frames(clips, param, jobs=1)
    assert np.abs(frames.array - expected).max() <= DECIBELS
    assert len(read) < 3


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_before_any_work_and_nothing_is_left(
    tmp_path, param, monkeypatch, capsys
):
    clips = [write_clip(tmp_path / "a.wav", noise(RATE))]
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert run_script(lambda: frame_cache.load_frames(clips, param, jobs=1)) == 1
    said = capsys.readouterr().err
    assert ".unfinished.npy: No space left on device; free some space" in said
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_cache_that_vanishes_is_told(tmp_path, param, monkeypatch, capsys):
    clips = [write_clip(tmp_path / f"{i}.wav", noise(RATE, i)) for i in range(2)]
    write = frame_cache._write_frames

    def vanishing(*given):
        shutil.rmtree(tmp_path / "cache")
        return write(*given)

    monkeypatch.setattr(frame_cache, "_write_frames", vanishing)
    assert run_script(lambda: frame_cache.load_frames(clips, param, jobs=1)) == 1
    assert "No such file or directory; it does not exist" in capsys.readouterr().err


def test_what_a_dead_run_left_goes_after_a_while(tmp_path, param):
    with processes.child([sys.executable, "-c", ""]) as ended:
        ended.wait()
    cache = tmp_path / "cache"
    cache.mkdir()
    left = [
        cache / f".{number}.scores_{age}.npz"
        for number in (ended.pid, os.getpid())
        for age in ("new", "old")
    ]
    for path in left:
        path.touch()
        if "old" in path.name:
            os.utime(path, (1, 1))
    frame_cache.load_frames([write_clip(tmp_path / "a.wav", noise(RATE))], param, jobs=1)
    assert [path.exists() for path in left] == [True, False, True, True]


def wait_for_marks(cache: Path, n_clips: int) -> None:
    """Return once the frames of all clips are in the array; fail after 20 seconds."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        marks = [np.load(path) for path in cache.glob("*.done.npy")]
        if marks and marks[0].sum() == n_clips:
            return
        time.sleep(0.02)
    pytest.fail("nothing was extracted meanwhile")


@pytest.mark.slow
@pytest.mark.parametrize("per_process", [200, 1])
def test_frames_are_extracted_while_this_process_does_something_else(
    tmp_path, param, monkeypatch, per_process
):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setattr(frame_cache, "CLIPS_PER_PROCESS", per_process)
    monkeypatch.setattr(frame_cache, "CLIPS_PER_TASK", 1)
    clips = [write_clip(tmp_path / f"{i}.wav", noise(RATE, i)) for i in range(3)]
    calls = []

    def meanwhile():
        calls.append(1)
        wait_for_marks(tmp_path / "cache", len(clips))

    frames, bad = frame_cache.load_frames(clips, param, meanwhile=meanwhile)
    expected = np.concatenate([official_log_mel(clip.path).T for clip in clips])
    assert np.abs(frames.array - expected).max() <= DECIBELS
    assert (bad, calls) == ([], [1])
    frame_cache.load_frames(clips, param, meanwhile=meanwhile)  # from the cache
    assert calls == [1]


def busy(task, makes, place, done):
    done.with_name("pid").write_text(f"{os.getpid()}\n")
    time.sleep(60)


def test_an_error_meanwhile_ends_the_processes(tmp_path, param, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setattr(frame_cache, "_write_frames", busy)
    clips = [write_clip(tmp_path / "a.wav", noise(RATE))]
    pid = tmp_path / "cache" / "pid"

    def fails():
        until = time.monotonic() + 20
        while not (pid.is_file() and pid.read_text().endswith("\n")):
            assert time.monotonic() < until
            time.sleep(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frame_cache.load_frames(clips, param, meanwhile=fails)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(("jobs", "cores"), [(1, 2), (None, 1)])
def test_one_process_does_not_do_two_things(tmp_path, param, monkeypatch, jobs, cores):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    clips = [write_clip(tmp_path / "a.wav", noise(RATE))]
    meanwhile = pytest.fail  # would be called without arguments, which is an error too
    assert frame_cache.load_frames(clips, param, jobs, meanwhile=meanwhile)[0].clips
