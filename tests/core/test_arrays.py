"""Arrays and descriptions from strangers: read where they are what they say, refused elsewhere."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.arrays import LARGEST_ARRAYS, array_shapes, read_arrays, read_json


def npy(array: np.ndarray, **changes: str) -> bytes:
    """An array as a `.npy` file, its header changed: old text → new of the same length."""
    stream = io.BytesIO()
    np.save(stream, array)
    data = stream.getvalue()
    for old, new in changes.values():
        assert len(old) == len(new)
        assert old.encode() in data
        data = data.replace(old.encode(), new.encode())
    return data


def zipped(path: Path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


class RunsCode:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("was_run"),))


def test_what_savez_wrote_is_read(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "\u97f3"]), "c": np.array(3)}
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert array_shapes(tmp_path / "a.npz") == {"a": (2, 3), "b": (2,), "c": ()}
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "b.npz")


ZEROS = np.zeros(1000)


@pytest.mark.parametrize(
    ("members", "kind", "said"),
    [
        ([("a.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED, "a.npy would grow from"),
        ([("a.npy", npy(ZEROS, shape=("(1000,), ", "(9**99,),")))], 0, "."),
        (
            [("a.npy", npy(ZEROS, shape=("(1000,)", "(9999,)")))],
            0,
            "fewer or more values than it declares",
        ),
        (
            [("a.npy", npy(ZEROS, shape=("(1000,), }         ", "(9999999999999,), }")))],
            0,
            "than it declares",
        ),
        ([("a.npy", npy(ZEROS, kind=("'<f8'", "'<U0'"), n=("(1000,)", "(9999,)")))], 0, "neither"),
        ([("a.npy", npy(ZEROS, kind=("'<f8'", "'|O8'")))], 0, "Python objects"),
        ([("a.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535)], 0, "."),
        ([("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'shape': (1L, ((")], 0, "."),
        ([("a.npy", b"")], 0, "."),
        ([("a.txt", b"text")], 0, "."),
    ],
)
def test_what_lies_or_would_grow_is_refused(tmp_path: Path, members, kind, said) -> None:
    path = zipped(tmp_path / "a.npz", *members, kind=kind)
    for read in (read_arrays, array_shapes):
        with pytest.raises(ValueError, match=said):
            read(path)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", a=np.array([RunsCode()], dtype=object))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(RunsCode()))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(ValueError, match=r"Python objects|not a zip file"):
            read_arrays(tmp_path / name)
    assert not (tmp_path / "was_run").exists()


def test_members_that_overlap_or_are_locked_are_refused(tmp_path: Path) -> None:
    data = npy(np.zeros(10**4))
    path = zipped(tmp_path / "a.npz", ("a.npy", data))
    with zipfile.ZipFile(path, "a") as file:
        for number in range(9):  # nine more names for the same bytes
            twin = zipfile.ZipInfo(f"{number}.npy")
            of = file.getinfo("a.npy")
            twin.file_size = twin.compress_size = of.file_size
            twin.CRC, twin.header_offset = of.CRC, of.header_offset
            file.filelist.append(twin)
        file._didModify = True
    with pytest.raises(ValueError, match="add up to more bytes than the file has"):
        read_arrays(path)
    path = zipped(tmp_path / "b.npz", ("a.npy", data))
    whole = bytearray(path.read_bytes())
    whole[whole.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="password"):
        read_arrays(path)


def test_a_file_larger_than_any_model_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as stream:
        stream.truncate(LARGEST_ARRAYS + 1)  # takes no space on the disk
    with pytest.raises(ValueError, match="is larger than 4294967296 bytes"):
        read_arrays(tmp_path / "a.npz")


def test_json_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, "\u97f3"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, "\u97f3"]}
    with pytest.raises(ValueError, match="is larger than 9 bytes"):
        read_json(path, 9)
    for text, said in (("[" * 10**6, "nested too deep"), ("{", "."), ("9" * 10**4, "digits")):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_json(path)
