"""PyTorch's checkpoint files without PyTorch, so that a test run without it skips little.

`save` and `load` stand in for `torch.save` and `torch.load` where PyTorch is not installed. They
know what published checkpoints need, and nothing else. `test_torch_format.py` compares them with
the files in `torch/`, which PyTorch wrote.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import importlib.util
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import pytest

INSTALLED = importlib.util.find_spec("torch") is not None

STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8"}
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the format before zip
SYSTEM = {
    "protocol_version": VERSION,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


class Name(NamedTuple):
    """A function or class of PyTorch, which a pickle only names."""

    module: str
    name: str

    def __call__(self) -> None:
        """Do nothing: the pickler only asks whether it could be called."""


named = functools.cache(Name)  # one object per name, to which a pickle can refer back


class Storage(NamedTuple):
    """The values of a tensor in a pickle: they lie elsewhere in the file."""

    kind: str
    key: str
    size: int


class Tensor:
    """A tensor as far as `checkpoints.files` asks for it. array : its values, of any strides"""

    layout, is_quantized = "strided", False

    def __init__(self, array: np.ndarray):
        self.array = array

    def numel(self) -> int:
        return int(np.prod(self.array.shape, dtype=object))

    def element_size(self) -> int:
        return self.array.itemsize

    def is_complex(self) -> bool:
        return self.array.dtype.kind == "c"

    def is_floating_point(self) -> bool:
        return self.array.dtype.kind == "f"

    def detach(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.array.astype(np.float32))

    def numpy(self) -> np.ndarray:
        return self.array


class _Pickler(pickle._Pickler):
    """Writes arrays as PyTorch writes tensors; keeps their values in `storages`, by key."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def __init__(self, stream: BinaryIO, zipped: bool):
        super().__init__(stream, protocol=2)
        self.zipped, self.storages = zipped, {}

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, Storage):
            return None
        place = ("storage", named("torch", value.kind), value.key, "cpu", value.size)
        return place if self.zipped else (*place, None)

    def save_array(self, array: np.ndarray) -> None:
        kind = next(kind for kind, code in STORAGES.items() if np.dtype(code) == array.dtype)
        key = str(len(self.storages))
        # In the order of memory, as PyTorch keeps a transposed tensor.
        flat = array.T if array.flags.f_contiguous and array.ndim > 1 else array
        self.storages[key] = np.ascontiguousarray(flat).ravel()
        strides = tuple(step // array.itemsize for step in array.strides)
        storage = Storage(kind, key, array.size)
        given = (storage, 0, array.shape, strides, False, OrderedDict())
        self.save_reduce(named("torch._utils", "_rebuild_tensor_v2"), given)

    def save_name(self, name: Name) -> None:
        self.write(pickle.GLOBAL + f"{name.module}\n{name.name}\n".encode())
        self.memoize(name)

    dispatch[np.ndarray] = save_array
    dispatch[Name] = save_name


def needs_torch() -> Any:
    """Return PyTorch; skip the test where it is not installed."""
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[convert]'")


def save(tree: Any, path: Path, zipped: bool = True) -> None:
    """Write a checkpoint of arrays in dicts and lists; by PyTorch where it is installed.

    Parameters
    ----------
    zipped : in PyTorch's zip form, or in the one before
    """
    if INSTALLED:
        import torch

        torch.save(as_tensors(tree, torch), path, _use_new_zipfile_serialization=zipped)
        return
    write(tree, path, zipped)


def as_tensors(tree: Any, torch: Any) -> Any:
    """Return a tree with PyTorch's tensors for arrays; they keep their strides."""
    if isinstance(tree, dict):
        return type(tree)((key, as_tensors(value, torch)) for key, value in tree.items())
    return torch.from_numpy(tree) if isinstance(tree, np.ndarray) else tree


def write(tree: Any, path: Path, zipped: bool = True) -> None:
    """Write a checkpoint as `save` does without PyTorch."""
    stream = io.BytesIO()
    if not zipped:
        for part in (MAGIC, VERSION, SYSTEM):
            pickle.dump(part, stream, protocol=2)
    pickler = _Pickler(stream, zipped)
    pickler.dump(tree)
    if zipped:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
            file.writestr(f"{path.stem}/data.pkl", stream.getvalue())
            file.writestr(f"{path.stem}/byteorder", "little")
            for key, values in pickler.storages.items():
                file.writestr(f"{path.stem}/data/{key}", values.tobytes())
            file.writestr(f"{path.stem}/version", "3\n")
        return
    pickle.dump(list(pickler.storages), stream, protocol=2)
    for values in pickler.storages.values():
        stream.write(struct.pack("<q", values.size) + values.tobytes())
    path.write_bytes(stream.getvalue())


class _Unpickler(pickle.Unpickler):
    """Admits tensors, and what the caller admits: (function, its name in pickles)."""

    def __init__(self, stream: BinaryIO, admitted: Sequence[tuple[Callable[..., Any], str]]):
        super().__init__(stream)
        self.known = {name: function for function, name in admitted}
        self.known["collections.OrderedDict"] = OrderedDict
        self.known["_codecs.encode"] = codecs.encode  # bytes, in old protocols
        self.known["torch._utils._rebuild_tensor_v2"] = _rebuilt
        self.known |= {f"torch.{kind}": code for kind, code in STORAGES.items()}
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, place: tuple[Any, ...]) -> np.ndarray:
        _, code, key, _, size, *_ = place
        return self.storages.setdefault(key, np.zeros(size, code))


def _rebuilt(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> Tensor:
    steps = [step * storage.itemsize for step in strides]
    return Tensor(np.lib.stride_tricks.as_strided(storage[offset:], shape, steps))


def read(path: Path, admitted: Sequence[tuple[Callable[..., Any], str]]) -> Any:
    """Return what a checkpoint holds, with a `Tensor` for each of its tensors."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            top = next(name for name in file.namelist() if name.endswith("/data.pkl"))
            pickled = _Unpickler(io.BytesIO(file.read(top)), admitted)
            tree = pickled.load()
            for key, values in pickled.storages.items():
                data = file.read(top.replace("data.pkl", f"data/{key}"))
                values[:] = np.frombuffer(data, values.dtype)
        return tree
    with path.open("rb") as stream:
        if pickle.load(stream) != MAGIC or pickle.load(stream) != VERSION:
            raise pickle.UnpicklingError("no checkpoint")
        pickle.load(stream)  # the system that wrote it
        pickled = _Unpickler(stream, admitted)
        tree = pickled.load()
        for key in pickle.load(stream):
            values = pickled.storages[key]
            (size,) = struct.unpack("<q", stream.read(8))
            values[:] = np.frombuffer(stream.read(size * values.itemsize), values.dtype)
    return tree


def stand_in() -> SimpleNamespace:
    """Return a module `torch` that has what `checkpoints.files` asks of it."""
    admitted: list[tuple[Callable[..., Any], str]] = []

    @contextlib.contextmanager
    def safe_globals(names: Sequence[tuple[Callable[..., Any], str]]) -> Iterator[None]:
        admitted[:] = names
        yield
        admitted.clear()

    def load(path: Path, map_location: str, weights_only: bool, mmap: bool) -> Any:
        assert (map_location, weights_only) == ("cpu", True)
        return read(path, admitted)

    return SimpleNamespace(
        Tensor=Tensor,
        load=load,
        serialization=SimpleNamespace(safe_globals=safe_globals),
        strided=Tensor.layout,
    )
