"""The checkpoints in torch/ are PyTorch's; what stands in for it reads and writes the same."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import files
from checkpoints.files import NUMPY
from tests.checkpoints import torch_format, write_torch
from tests.checkpoints.published_files import PYTORCH_FILES, TORCH
from tests.checkpoints.torch_format import Tensor, needs_torch

ADMITTED = [(admit, f"{module}.{name}") for (module, name), admit in NUMPY.items()]
PATHS = sorted(path for path in PYTORCH_FILES.glob("**/*.*t*") if path.name != "expanded.pth")


def assert_same(actual: Any, expected: Any) -> None:
    """Trees with the same keys in the same order, and equal arrays, tensors and values."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif hasattr(expected, "shape"):
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(actual, expected)
    else:
        assert actual == expected


def as_arrays(tree: Any) -> Any:
    """A tree as it was read without PyTorch, its tensors as arrays with their strides."""
    if isinstance(tree, dict):
        return type(tree)((key, as_arrays(value)) for key, value in tree.items())
    return tree.array if isinstance(tree, Tensor) else tree


def test_there_is_a_file_of_every_release() -> None:
    folders = {path.parent.name for path in PATHS}
    assert folders - {"torch"} == set(TORCH)
    assert len(PATHS) == len(TORCH) + 2 + 2  # three files of one release; a tree in both formats


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name} {path.name}")
def test_written_without_pytorch_it_is_the_same_file(path: Path, tmp_path: Path) -> None:
    tree = as_arrays(torch_format.read(path, ADMITTED))
    if path.parent == PYTORCH_FILES:
        assert_same(tree, write_torch.tree_of_all())
        tree = write_torch.tree_of_all()
    zipped = zipfile.is_zipfile(path)
    torch_format.write(tree, tmp_path / path.name, zipped)
    if not zipped:
        assert_same(as_arrays(torch_format.read(tmp_path / path.name, ADMITTED)), tree)
        return
    with zipfile.ZipFile(path) as theirs, zipfile.ZipFile(tmp_path / path.name) as ours:
        for name in ours.namelist():
            if not name.endswith("data.pkl"):
                assert ours.read(name) == theirs.read(name), name
        assert set(theirs.namelist()) - set(ours.namelist()) <= {
            f"{ours.namelist()[0].partition('/')[0]}/{name}"
            for name in (".format_version", ".storage_alignment", ".data/serialization_id")
        }


def test_the_files_are_what_pytorch_writes(tmp_path: Path) -> None:
    torch = needs_torch()
    write_torch.write_all(tmp_path)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.pth*"))
    assert written == sorted(
        path.relative_to(PYTORCH_FILES) for path in PYTORCH_FILES.rglob("*.pth*")
    )
    for path in PATHS:
        old, new = (
            torch.load(folder / path.relative_to(PYTORCH_FILES), weights_only=False)
            for folder in (PYTORCH_FILES, tmp_path)
        )
        assert_same(new, old)
        assert_same(as_arrays(torch_format.read(path, ADMITTED)), old)
        assert_same(files.read(tmp_path / path.relative_to(PYTORCH_FILES)), files.read(path))


def test_pytorch_reads_what_was_written_without_it(tmp_path: Path) -> None:
    torch = needs_torch()
    for zipped in (True, False):
        torch_format.write(write_torch.tree_of_all(), tmp_path / "a.pth", zipped)
        actual = torch.load(tmp_path / "a.pth", weights_only=False)
        assert_same(actual, torch_format.as_tensors(write_torch.tree_of_all(), torch))
        assert actual["net"]["a"].stride() == (1, 3)
