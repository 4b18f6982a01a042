"""The official helpers, as a script written for the official baseline calls them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import common as com
from data.audio import log_mel, stack_frames
from tests.data.test_audio import RATE, noise, official_log_mel, write_clip


def test_the_mode_is_true_for_dev_and_false_for_eval(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)  # the log goes there
    for option, mode in (("-d", True), ("--dev", True), ("-e", False), ("--eval", False)):
        monkeypatch.setattr(sys, "argv", ["script.py", option])
        assert com.command_line_chk() is mode


def test_settings_are_nested_dicts(monkeypatch, tmp_path) -> None:
    (tmp_path / "baseline.yaml").write_text("dev_directory: here\nfit: {epochs: 3}")
    monkeypatch.chdir(tmp_path)
    param = com.yaml_load()
    assert (param["dev_directory"], param["fit"]["epochs"]) == ("here", 3)
    assert (param["feature"]["n_mels"], param["max_fpr"]) == (128, 0.1)


def test_a_script_lists_machine_types_sections_and_clips(demo: Path) -> None:
    param = {"dev_directory": str(demo / "dev_data"), "eval_directory": str(demo / "eval_data")}
    dirs = com.select_dirs(param=param, mode=True)
    assert [Path(path).name for path in dirs] == ["fan", "valve"]
    assert com.get_section_names(dirs[0], dir_name="test") == [f"section_0{n}" for n in range(3)]
    files, labels = com.file_list_generator(
        target_dir=dirs[0], section_name="section_01", dir_name="test", mode=True
    )
    assert len(files) == len(labels) == 8
    assert labels.tolist() == sorted(labels.tolist())
    for path, label in zip(files, labels, strict=True):
        assert Path(path).is_file()
        assert ("_anomaly_" in path) == label
    whole, _ = com.file_list_generator(
        target_dir=dirs[0], section_name="*", dir_name="train", mode=True
    )
    assert len(whole) == 30
    (fan, _) = com.select_dirs(param=param, mode=False)
    (section, *_) = com.get_section_names(fan, dir_name="test")
    files, labels = com.file_list_generator(
        target_dir=fan, section_name=section, dir_name="test", mode=False
    )
    assert labels is None
    assert files == sorted(files)
    assert len(files) == 8


def test_vectors_are_stacked_frame_by_frame(tmp_path, param) -> None:
    clip = write_clip(tmp_path / "a.wav", noise(RATE))
    expected = official_log_mel(clip.path)  # (n_mels, n_frames)
    vectors = com.file_to_vectors(str(clip.path), n_mels=128)
    assert vectors.shape == (expected.shape[1] - 4, 640)
    assert vectors.dtype == np.float64
    np.testing.assert_allclose(vectors[3], expected[:, 3:8].T.ravel(), atol=1e-4)
    y, _ = com.file_load(str(clip.path), mono=True)
    np.testing.assert_array_equal(vectors, stack_frames(log_mel(y, param.feature), 5))
    assert com.file_to_vectors(str(clip.path)).shape[1] == 5 * 64


@pytest.mark.parametrize(("mono", "shape"), [(True, (100,)), (False, (2, 100))])
def test_several_channels(tmp_path, mono, shape) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 2)), 8000)
    y, rate = com.file_load(tmp_path / "a.wav", mono=mono)
    assert (y.shape, rate) == (shape, 8000)
