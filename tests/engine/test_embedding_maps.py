"""The maps of embeddings that testing leaves."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from core import settings
from data.clips import TEST_FOLDERS
from data.dataset import read_clips
from engine import scoring
from engine.embedding_maps import COLUMNS
from models.embedding_map import Projection
from tests.conftest import imports_of, places, run_inside

RAW = ("-d", "--system", "raw_spec", "--jobs", "1")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def ran(script: str, demo: Path, out: Path, *assigned: str) -> str:
    run = run_inside(script, *RAW, data=demo, out=out, assigned=("feature.n_mels=16", *assigned))
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def tested(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """raw_spec, trained and tested on the demo data."""
    out = tmp_path_factory.mktemp("tested")
    ran("00_train.py", demo, out)
    ran("01_test.py", demo, out)
    return out


def test_a_map_has_every_clip_on_the_axes_of_the_training_clips(demo: Path, tested: Path) -> None:
    rows = rows_of(tested / "result" / "raw_spec" / "embedding_map_fan.csv")
    assert tuple(rows[0]) == COLUMNS
    home = demo / "dev_data" / "fan"
    for split in ("train", "test"):
        names = sorted(row["clip"] for row in rows if row["split"] == split)
        assert names == sorted(path.name for path in home.glob(f"{split}/*.wav"))
    assert all(f"_{row['label']}_" in row["clip"] for row in rows)
    assert {row["class"] for row in rows} == {f"{row['section']} {row['domain']}" for row in rows}
    run = settings.read_config(None, [("feature.n_mels", 16)]).for_system("raw_spec")
    run = run.with_values({"dev_directory": demo / "dev_data", "cache_directory": tested / "cache"})
    means = {}
    for folders in (("train",), TEST_FOLDERS):
        frames, _ = read_clips(run, "dev", "fan", folders)
        for clip, first, count in zip(frames.clips, frames.first, frames.count, strict=True):
            levels = frames.array[first : first + count].astype(np.float64)
            means[clip.folder, clip.name] = levels.mean(axis=0)
    training = np.stack([means[key] for key in means if key[0] == "train"])
    _, _, axes = np.linalg.svd(training - training.mean(axis=0))
    for row in rows:
        place = axes[:2] @ (means[row["split"], row["clip"]] - training.mean(axis=0))
        np.testing.assert_allclose(np.abs([float(row["x"]), float(row["y"])]), np.abs(place), 1e-3)


def test_slices_give_the_same_map(
    demo: Path, tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "CLIPS_PER_SLICE", 7)
    shutil.copytree(tested / "model", tmp_path / "model")
    output = ran("01_test.py", demo, tmp_path)
    assert "slice 2 of" in output
    for path in (tested / "result" / "raw_spec").glob("embedding_map_*.csv"):
        assert (tmp_path / "result" / "raw_spec" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_map_is_written_again_without_tensorflow(demo: Path, tested: Path) -> None:
    path = tested / "result" / "raw_spec" / "embedding_map_fan.csv"
    before = path.read_bytes()
    path.unlink()
    command = ["01_test.py", *RAW, "--set", "feature.n_mels=16", *places(demo, tested)]
    imported, _ = imports_of(command, ("tensorflow",), timeout=120)
    assert imported == []
    assert path.read_bytes() == before


def test_labels_move_no_clip(demo: Path, tested: Path, tmp_path: Path) -> None:
    """The same clips, their labels exchanged, lie where they lay."""
    exchanged = {"normal": "anomaly", "anomaly": "normal"}

    def renamed(name: str) -> str:
        return re.sub("normal|anomaly", lambda match: exchanged[match[0]], name)

    shutil.copytree(tested / "model", tmp_path / "model")
    for path in demo.glob("dev_data/*/*/*.wav"):
        name = renamed(path.name) if path.parent.name == "test" else path.name
        to = tmp_path / path.parent.relative_to(demo) / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    ran("01_test.py", tmp_path, tmp_path)
    rows, others = (
        rows_of(folder / "result" / "raw_spec" / "embedding_map_fan.csv")
        for folder in (tested, tmp_path)
    )
    before, after = (
        {row["clip"]: (row["x"], row["y"], row["label"]) for row in some if row["split"] == "test"}
        for some in (rows, others)
    )
    assert before == {
        renamed(name): (x, y, exchanged[label]) for name, (x, y, label) in after.items()
    }


def test_an_earlier_map_goes_where_there_is_none_now(demo: Path, tmp_path: Path) -> None:
    small = ("fit.epochs=1", "fit.verbose=0", "feature.n_mels=16")
    where = {"data": demo, "out": tmp_path, "assigned": small}
    given = ("-d", "--system", "ae", "--machine", "fan", "--jobs", "1")
    assert run_inside("00_train.py", *given, **where).returncode == 0
    path = tmp_path / "result" / "ae" / "embedding_map_fan.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("earlier")
    assert run_inside("01_test.py", *given, **where).returncode == 0
    assert not path.exists()


@pytest.mark.parametrize(
    "training", [np.ones((1, 4)), np.ones((5, 1)), np.ones((6, 4)), np.arange(5.0)[:, None]]
)
def test_few_or_equal_embeddings_have_places_too(training: np.ndarray) -> None:
    places = Projection(training).coordinates(training + 1)
    assert places.shape == (len(training), 2)
    assert np.isfinite(places).all()
