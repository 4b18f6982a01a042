"""Embeddings that were computed elsewhere: where their files are looked for, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import BadInput
from data.clips import Clip
from data.embedding_files import embedding_file, read_embeddings


def clip(name: str = "a", machine_type: str = "fan", folder: str = "train") -> Clip:
    path = Path("dev_data") / machine_type / folder / f"{name}.wav"
    return Clip(path, machine_type, "section_00", folder)


def put(directory: Path, place: str, vector: object) -> Path:
    path = directory / place
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(vector))
    return path


@pytest.mark.parametrize(
    "place", ["dev_data/fan/train/a.npy", "fan/train/a.npy", "train/a.npy", "a.npy"]
)
def test_the_folder_mirrors_the_data_as_far_up_as_one_likes(tmp_path: Path, place: str) -> None:
    assert embedding_file(tmp_path, clip()) is None
    path = put(tmp_path, place, [1.0, 2])
    assert embedding_file(tmp_path, clip()) == path
    assert read_embeddings(tmp_path, [clip()]).tolist() == [[1, 2]]


def test_the_file_in_more_folders_counts(tmp_path: Path) -> None:
    put(tmp_path, "a.npy", [1.0])
    put(tmp_path, "fan/train/a.npy", [2.0])
    put(tmp_path, "dev_data/fan/train/a.npy", [3.0])
    assert read_embeddings(tmp_path, [clip()]).tolist() == [[3.0]]


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    for name, vector in (
        ("good", [1.0, 2, 3]),
        ("more", [[4, 5, 6]]),
        ("wide", [1.0, 2, 3, 4]),
        ("nan", [1.0, np.nan, 3]),
        ("table", [[1.0, 2], [3, 4]]),
        ("text", ["a", "b", "c"]),
    ):
        put(tmp_path, f"{name}.npy", vector)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    names = ["good", "more", "wide", "nan", "table", "text", "broken", "missing"]
    with pytest.raises(BadInput) as raised:
        read_embeddings(tmp_path, [clip(name) for name in names])
    said = str(raised.value)
    assert len(said.splitlines()) == 6
    for words in (
        f"dev_data/fan/train/missing.wav: no embedding, such as {tmp_path}/fan/train/missing.npy",
        "wide.npy: has the width 4, and most others 3",
        "nan.npy: has values that are not finite",
        "table.npy: has the shape (2, 2); expected one vector (width,)",
        "text.npy: no array of numbers",
        "broken.npy: cannot be read as .npy",
    ):
        assert words in said
    assert read_embeddings(tmp_path, [clip("good"), clip("more")]).shape == (2, 3)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"a.npy: cannot be read as .npy \(Object arrays"):
        read_embeddings(tmp_path, [clip()])


def test_two_clips_of_one_name_need_folders(tmp_path: Path) -> None:
    put(tmp_path, "a.npy", [1.0])
    both = [clip("a", "fan"), clip("a", "pump")]
    with pytest.raises(BadInput, match=r"a.npy: the embedding of dev_data/fan.* put them into"):
        read_embeddings(tmp_path, both)
    put(tmp_path, "pump/train/a.npy", [2.0])
    assert read_embeddings(tmp_path, both).tolist() == [[1.0], [2.0]]


def test_a_missing_folder_and_a_long_list(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"embeddings.network.directory: there is no directory"):
        read_embeddings(tmp_path / "none", [clip()])
    with pytest.raises(BadInput, match="and 5 more"):
        read_embeddings(tmp_path, [clip(str(number)) for number in range(25)])
