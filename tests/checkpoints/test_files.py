"""Files from strangers: what is read, and that nothing runs, expands or is half believed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import joblib
import numpy as np
import pytest

from checkpoints.files import read
from core.errors import BadInput
from tests.checkpoints.published_files import PYTORCH_FILES
from tests.checkpoints.torch_format import needs_torch

NAMES = np.unique(["section_01", "section_00"])


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "content",
    [[1.5, np.float64(2.5), 3], (np.float32(0.5), np.int64(-3)), NAMES, np.array([[1.0], [2.0]])],
    ids=["list", "numpy numbers", "names", "array"],
)
def test_what_joblib_wrote_is_read(tmp_path, content, protocol) -> None:
    joblib.dump(content, tmp_path / "a.pkl", protocol=protocol)
    assert np.array_equal(read(tmp_path / "a.pkl"), content)


def test_arrays_in_plain_pickles_are_read(tmp_path) -> None:
    for content in (NAMES, np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([1.0], ">f4")):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=4))
        assert np.array_equal(read(tmp_path / "a.pkl"), content)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_does_not(tmp_path, protocol) -> None:
    mark = tmp_path / "ran"
    for content in (Evil(mark), [1.0, Evil(mark)], {"a": Evil(mark)}):
        for name in ("a.pkl", "a.pth"):
            (tmp_path / name).write_bytes(pickle.dumps(content, protocol))
            with pytest.raises(BadInput, match=f"{name}: refused.*{os.system.__module__}.system"):
                read(tmp_path / name)
    assert not mark.exists()


def pickled(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.slow
def test_pickles_that_fill_the_memory_are_refused(tmp_path) -> None:
    nested: list = []
    for _ in range(40):
        nested = [nested, nested]
    bombs = {
        "more than 1000000 values": pickle.dumps(nested),
        "too large": bytes(2**20 + 1),
        # A byte array of 2 ** 40 bytes, and a memo of as many places as fit a number.
        "refused": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "it ends within an array": joblib_bytes(NAMES)[:-20],
    }
    for words, data in bombs.items():
        with pytest.raises(BadInput, match=words):
            read(pickled(tmp_path, data))
    assert read(pickled(tmp_path, b"\x80\x02]r\xff\xff\xff\x7f.")) == []


def joblib_bytes(content: object) -> bytes:
    stream = io.BytesIO()
    joblib.dump(content, stream)
    return stream.getvalue()


def test_other_things_in_pickles_are_refused(tmp_path) -> None:
    for content, words in (
        ({"a": 1}, "it holds a dict"),
        (np.array([None, 1]), "refused"),
        (np.array(["2020-01-01"], "datetime64[D]"), "it holds values of the kind 'M8'"),
        (OrderedDict(a=1), "it asks for collections.OrderedDict"),
    ):
        with pytest.raises(BadInput, match=words):
            read(pickled(tmp_path, joblib_bytes(content)))
    for data in (b"", b"text", pickle.dumps([1.0] * 9)[:-3]):
        with pytest.raises(BadInput, match="refused"):
            read(pickled(tmp_path, data))


@pytest.mark.parametrize("name", ["tree_zip.pth", "tree_before_zip.pth"])
def test_a_torch_checkpoint_is_read_whole_or_not_at_all(tmp_path, pytorch, name) -> None:
    path = tmp_path / "a.pth"
    whole = (PYTORCH_FILES / name).read_bytes()
    path.write_bytes(whole)
    weight = np.arange(6.0).reshape(2, 3).T
    content = read(path)
    assert content["net"]["a"].dtype == np.float32
    assert np.array_equal(content["net"]["a"], weight)
    assert (content["net"]["n"], content["best"], content["e"]) == (3, 0.5, None)
    for cut in (0, 3, 30, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(BadInput, match=r"a.pth: not a whole PyTorch checkpoint \(") as caught:
            read(path)
        assert "weights_only" not in str(caught.value)


def test_a_flipped_byte_is_noticed(tmp_path) -> None:
    path = tmp_path / "a.pth"
    whole = bytearray((PYTORCH_FILES / "tree_zip.pth").read_bytes())
    whole[whole.index(np.arange(6.0).tobytes())] ^= 1
    path.write_bytes(whole)
    with pytest.raises(BadInput, match=r"data/0 is damaged"):
        read(path)


def test_a_torch_checkpoint_that_would_run_code_does_not(tmp_path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "a.pth"
    evil = pickle.dumps({"a": 1, "b": Evil(mark)}, protocol=2)
    with (
        zipfile.ZipFile(PYTORCH_FILES / "tree_zip.pth") as good,
        zipfile.ZipFile(path, "w") as file,
    ):
        for member in good.namelist():
            file.writestr(member, evil if member.endswith("data.pkl") else good.read(member))
    with pytest.raises(BadInput, match=r"refused, for it asks for .*system, which could run"):
        read(path)
    # Before the zip form: after the pickles of a number, a version and a system.
    path.write_bytes(before_tree() + evil)
    with pytest.raises(BadInput, match=r"refused, for it asks for .*system, which could run"):
        read(path)
    assert not mark.exists()


def before_tree() -> bytes:
    """Return what a checkpoint before the zip form has in front of its tree."""
    stream = io.BytesIO((PYTORCH_FILES / "tree_before_zip.pth").read_bytes())
    for _ in range(3):
        pickle.load(stream)
    return stream.getvalue()[: stream.tell()]


def test_what_only_looks_like_a_name_of_pytorch_is_refused_by_its_own_check(tmp_path) -> None:
    needs_torch()
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02ctorch.hub\nload\nX\x01\x00\x00\x00a\x85R.")
        file.writestr("a/version", b"3")
    with pytest.raises(BadInput, match="holds something else than tensors"):
        read(path)


def test_zip_bombs_are_refused_before_they_expand(tmp_path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(10**7))
    with pytest.raises(BadInput, match=r"a/data.pkl would grow from \d+ to 10000000 bytes"):
        read(path)
    # Members that lie over one another.
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", bytes(10**4))
        file.filelist *= 5
    with pytest.raises(BadInput, match="its members add up to more bytes than the file has"):
        read(path)


def test_tensors_larger_than_the_file_are_refused(pytorch) -> None:
    with pytest.raises(BadInput, match="its tensors are larger than the file"):
        read(PYTORCH_FILES / "expanded.pth")


def test_sparse_tensors_are_refused(tmp_path) -> None:
    torch = needs_torch()
    path = tmp_path / "a.pth"
    torch.save({"a": torch.eye(2).to_sparse()}, path)
    with pytest.raises(BadInput, match="not a whole PyTorch checkpoint"):
        read(path)


def test_without_pytorch_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickle.dumps({}))
    with pytest.raises(BadInput, match=r"takes PyTorch, which is not installed; pip install .\[co"):
        read(path)


def hdf5(path: Path, add) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense"]
        group.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0"]
        add(group["dense"])
    return path


def test_hdf5_holds_its_weights_itself(tmp_path) -> None:
    path = hdf5(tmp_path / "a.hdf5", lambda group: group.create_dataset("dense/kernel:0", (3, 2)))
    assert read(path)["dense/kernel"].shape == (3, 2)

    def linked(group) -> None:
        group["dense/kernel:0"] = h5py.ExternalLink(str(path), "model_weights/dense/dense/kernel:0")

    def virtual(group) -> None:
        layout = h5py.VirtualLayout((3, 2), float)
        layout[:] = h5py.VirtualSource(str(path), "model_weights/dense/dense/kernel:0", (3, 2))
        group.create_virtual_dataset("dense/kernel:0", layout)

    for add in (
        virtual,
        lambda group: group.create_dataset("dense/kernel:0", (2**16, 2**16)),
        lambda group: group.create_dataset(
            "dense/kernel:0", data=np.zeros((10**3, 10**3)), compression=9
        ),
        linked,
    ):
        with pytest.raises(BadInput, match="larger than the file, or lies outside of it"):
            read(hdf5(tmp_path / "b.hdf5", add))


def test_hdf5_that_is_cut_short_or_foreign_is_refused(tmp_path) -> None:
    path = hdf5(tmp_path / "a.hdf5", lambda group: group.create_dataset("dense/kernel:0", (3, 2)))
    whole = path.read_bytes()
    for data in (whole[:20], whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(data)
        with pytest.raises(BadInput, match=r"a.hdf5: not a model of an official baseline"):
            read(path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(BadInput, match="not a model of an official baseline"):
        read(path)


def test_files_that_cannot_be_read_are_named(tmp_path) -> None:
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BadInput, match=f"cannot be read \\({words}"):
            read(path)
