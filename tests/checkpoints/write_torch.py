"""Write the checkpoints in `tests/checkpoints/torch/` with PyTorch.

    pip install '.[convert]'
    python -m tests.checkpoints.write_torch

They are small networks of each system that publishes in PyTorch's formats, in the files of its
release, and a tree that no release has: transposed, whole and odd values, in both of PyTorch's
formats. The values follow from a seed, so the same files come out each time.
"""

from __future__ import annotations

import argparse
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints.published_files import PYTORCH_FILES, TORCH, parts, published_by, small
from tests.checkpoints.torch_format import as_tensors


def main() -> None:
    """Write all of them."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for path in write_all(PYTORCH_FILES):
        print(f"{path.stat().st_size:9,} bytes  {path}")


def write_all(folder: Path) -> list[Path]:
    """Write every checkpoint below a folder; return the files."""
    import torch

    files = []
    for system in TORCH:
        (folder / system).mkdir(parents=True, exist_ok=True)
        for name, tree in parts(system, weights(system)).items():
            files.append(folder / system / name)
            torch.save(_published(tree, torch), files[-1])
    for name, zipped in (("tree_zip.pth", True), ("tree_before_zip.pth", False)):
        files.append(folder / name)
        torch.save(
            as_tensors(tree_of_all(), torch), files[-1], _use_new_zipfile_serialization=zipped
        )
    files.append(folder / "expanded.pth")
    torch.save({"a": torch.ones(1).expand(10**5, 10**5)}, files[-1])
    return files


def tree_of_all() -> dict[str, Any]:
    """Return dicts, a transposed tensor of float64, a whole number, a NumPy number and None."""
    weight = np.arange(6, dtype=np.float64).reshape(2, 3).T
    return {"net": OrderedDict(a=weight, n=np.array(3)), "best": np.float64(0.5), "e": None}


def weights(system: str) -> dict[str, np.ndarray]:
    """Return random weights for a small network, under the names of its release.

    They are rounded to half precision, so that the files take less room when they are compressed.
    """
    tensors = {}
    for name, old in published_by(small(system)).items():
        random = np.random.default_rng(zlib.crc32(f"{system} {name}".encode()))
        x = random.standard_normal(old.shape)
        if name.endswith("running_var"):
            x = 0.5 + np.abs(x)
        elif x.ndim > 1:
            x /= np.sqrt(np.prod(x.shape[1:]))
        else:
            x = 0.1 * x + (name.endswith("weight"))  # scales near 1, biases near 0
        tensors[name] = x.astype(np.float16).astype(np.float32)
    return tensors


def _published(tree: Any, torch: Any) -> Any:
    """Tensors for arrays, and state dicts with the versions that PyTorch notes in them."""
    if isinstance(tree, OrderedDict):
        state = as_tensors(tree, torch)
        state._metadata = OrderedDict({"": {"version": 1}})
        return state
    if isinstance(tree, dict):
        return {key: _published(value, torch) for key, value in tree.items()}
    return tree


if __name__ == "__main__":
    main()
