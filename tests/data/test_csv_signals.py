"""CSV signals as a dataset, and what is said about signals and labels that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core import settings
from core.errors import BadInput
from data import csv_signals
from data.dataset import read_clips


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A machine type of three training and three test signals."""
    home = tmp_path / "dev" / "pump"
    for folder in ("train", "test"):
        (home / folder).mkdir(parents=True)
        for index in range(3):
            lines = "\n".join(str(value) for value in np.arange(index, index + 60) / 100)
            (home / folder / f"{index}.csv").write_text(lines + "\n")
    (home / "test_label.csv").write_text("name,label\na,2\nb,0\nc,1\n")
    return home


def param(home: Path, *assignments: tuple[str, object]) -> dict:
    given = [
        ("dev_directory", str(home.parent)),
        ("cache_directory", str(home.parent.parent / "cache")),
        ("grlnet.feature.n_frames", 40),
        *assignments,
    ]
    held = settings.read_config(None, given)
    return held.for_system("grlnet")


def test_signals_are_clips_of_one_section_with_the_labels_of_the_csv(home: Path) -> None:
    frames, bad = read_clips(param(home), "dev", "pump", ("test",), 1)
    assert not bad
    said = [(clip.name, clip.label, clip.section) for clip in frames.clips]
    assert said == [
        ("1.csv", "normal", "section_00"),
        ("0.csv", "anomaly", "section_00"),
        ("2.csv", "anomaly", "section_00"),
    ]
    assert frames.count.tolist() == [60, 60, 60]
    np.testing.assert_allclose(frames.array[:60, 0], np.arange(1, 61) / 100, rtol=1e-6)


@pytest.mark.parametrize("place", ["test/label.csv", "Label/test_label.csv"])
def test_labels_are_found_in_each_place(home: Path, place: str) -> None:
    (home / "Label").mkdir()
    (home / "test_label.csv").rename(home / place)
    clips, bad = csv_signals.list_signals(home, ("test",))
    assert [clip.label for clip in clips] == ["normal", "anomaly", "anomaly"]
    assert not bad


def test_training_signals_need_no_labels(home: Path) -> None:
    clips, bad = csv_signals.list_signals(home, ("train",))
    assert [clip.label for clip in clips] == ["normal"] * 3
    assert not bad


def test_signals_without_labels_are_named(home: Path) -> None:
    (home / "test_label.csv").write_text("label\n0\n")
    with pytest.raises(BadInput, match=r"has 1 labels, and none for 1\.csv, 2\.csv"):
        csv_signals.list_signals(home, ("test",))
    (home / "test_label.csv").unlink()
    with pytest.raises(BadInput, match="no labels; expected a CSV with a column label"):
        csv_signals.list_signals(home, ("test",))


@pytest.mark.parametrize(
    ("text", "said"),
    [("index\n0\n", "no column label"), ("label\n0\n\n1\nyes\n", "'yes' in line 5")],
)
def test_labels_that_cannot_be_read(home: Path, text: str, said: str) -> None:
    (home / "test_label.csv").write_text(text)
    with pytest.raises(BadInput, match=said):
        csv_signals.list_signals(home, ("test",))


def test_an_anomaly_among_the_training_signals_is_named(home: Path) -> None:
    (home / "train_label.csv").write_text("label\n0\n1\n0\n")
    clips, bad = csv_signals.list_signals(home, ("train",))
    assert [clip.name for clip in clips] == ["0.csv", "2.csv"]
    assert [path.name for path, _ in bad] == ["1.csv"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.1\nloud\n0.2\n", "line 2 is not one number: 'loud'"),
        ("0.1\n\n0.2\n", "line 2 is blank"),
        ("0.1\n0.2\nnan\n", "line 3 is not a finite number"),
        ("0.1,0.2\n", "line 1 is not one number"),
        ("", "is empty"),
    ],
)
def test_a_signal_that_cannot_be_used_is_named_with_its_line(
    home: Path, text: str, said: str
) -> None:
    (home / "train" / "1.csv").write_text(text)
    frames, bad = read_clips(param(home), "dev", "pump", ("train",), 1)
    assert [clip.name for clip in frames.clips] == ["0.csv", "2.csv"]
    assert [path.name for path, _ in bad] == ["1.csv"]
    assert said in bad[0][1]


def test_a_segment_longer_than_every_clip_is_told_with_the_longest(home: Path) -> None:
    with pytest.raises(BadInput, match=r"longer than every clip.*0\.csv, has 60"):
        read_clips(param(home, ("grlnet.feature.n_frames", 61)), "dev", "pump", ("train",), 1)


def test_evaluation_signals_need_no_labels(home: Path) -> None:
    (home / "test_label.csv").unlink()
    clips, bad = csv_signals.list_signals(home, ("test",), labelled=False)
    assert [(clip.name, clip.label) for clip in clips] == [
        ("0.csv", ""),
        ("1.csv", ""),
        ("2.csv", ""),
    ]
    assert not bad
