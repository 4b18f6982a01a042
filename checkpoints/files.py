"""Published files read as data: names, numbers and arrays. Nothing in them is executed.

The official baselines' `.hdf5` (Keras 2.8) and pickles, and PyTorch's `.pth` and `.pth.tar`. What a
file declares is compared with its size before anything is read, so that no small file fills the
memory.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from core.arrays import check_members
from core.errors import BadInput

LARGEST = 2**31  # bytes of a checkpoint; published ones take up to some 100 MB
LARGEST_PICKLE = 2**20  # bytes of a pickle of a few numbers or names
MOST_VALUES = 10**6  # that dicts and lists may hold together, each as often as it is referred to
NUMBERED = ("dense", "batch_normalization")  # layers that Keras itself named
HDF5, ZIP = b"\x89HDF", b"PK\x03\x04"  # what files begin with
DAMAGED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, RuntimeError, MemoryError),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError),
    *(struct.error, NotImplementedError, ImportError),
)


def read(path: Path) -> Any:
    """What a published file holds, whichever kind it is of.

    Returns
    -------
    Of an official `.hdf5` its weights, as `read_hdf5`; of a PyTorch checkpoint and of an official
    pickle what they hold: dicts, lists, numbers, texts, and arrays for tensors.

    Raises
    ------
    BadInput : for a file that is missing, too large, damaged, of no known kind, or that would run
        code.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    if size > LARGEST:
        raise BadInput(f"{path}: is larger ({size} bytes) than any checkpoint ({LARGEST})")
    if start == HDF5:
        try:
            return read_hdf5(path)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise BadInput(f"{path}: not a model of an official baseline ({error})") from None
    if path.suffix == ".pkl":
        return read_pickle(path)
    return read_torch(path, zipped=start == ZIP)


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """The weights of an official `.hdf5`: "dense_3/kernel" → array.

    Layers without names of their own are numbered within their kind, in the file's order: a Keras
    that had built models before would have counted on.

    Raises
    ------
    OSError, KeyError, ValueError : for a file that is damaged, or not such a model.
    """
    import h5py

    tensors = {}
    left = path.stat().st_size
    with h5py.File(path, "r") as file:
        _check_layers(file)
        weights = file["model_weights"]
        counts: dict[str, int] = {}
        for layer in weights.attrs["layer_names"]:
            names = [_text(name) for name in weights[_text(layer)].attrs["weight_names"]]
            if not names:
                continue
            kind = _text(layer).rstrip("0123456789").rstrip("_")
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            numbered = f"{kind}_{number}" if number else kind
            for name in names:
                held = weights[_text(layer)][name]
                # Keras writes weights as they are; compressed, absent or linked ones could be any
                # number of times as large as the file.
                left -= held.nbytes
                elsewhere = held.external or held.is_virtual or held.file.filename != file.filename
                if left < 0 or elsewhere:
                    raise ValueError(f"{name} is larger than the file, or lies outside of it")
                place, _, weight = name.split(":")[0].rpartition("/")
                if place.rpartition("/")[2] == _text(layer) and kind in NUMBERED:
                    place = numbered
                if place.endswith("depthwise") and weight == "kernel":  # of Keras 3
                    weight = "depthwise_kernel"
                tensors[f"{place}/{weight}"] = np.asarray(held)
    return tensors


def _check_layers(file: Any) -> None:
    # Nothing of it would run, for only numbers are read; but whoever made it means something to.
    try:
        open_ends = [json.loads(_text(file.attrs.get("model_config", "{}")))]
    except RecursionError:
        raise ValueError("its model_config is nested too deep") from None
    while open_ends:
        held = open_ends.pop()
        if isinstance(held, dict):
            if str(held.get("class_name")).endswith("Lambda"):
                raise ValueError("refused, for it holds a Lambda layer, which is code")
            open_ends += held.values()
        elif isinstance(held, list):
            open_ends += held


def read_torch(path: Path, zipped: bool) -> Any:
    """What `torch.save` wrote, in its zip form or the one before: dicts, lists, numbers, arrays.

    Raises
    ------
    BadInput : as `read`, and without PyTorch.
    """
    try:
        if zipped:
            _check_stored(path)
        foreign = ", ".join(dict.fromkeys(_foreign(_pickle_within(path, zipped))))
    except DAMAGED as error:
        raise BadInput(f"{path}: not a whole PyTorch checkpoint ({_reason(error)})") from None
    if foreign:
        raise BadInput(
            f"{path}: refused, for it asks for {foreign}, which could run anything; a checkpoint "
            "holds tensors, numbers and texts"
        )
    try:
        import torch
    except ImportError:
        raise BadInput(
            f"{path}: reading it takes PyTorch, which is not installed; pip install .[convert]"
        ) from None
    try:
        admitted = [(admit, f"{module}.{name}") for (module, name), admit in NUMPY.items()]
        with torch.serialization.safe_globals(admitted), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols that are then read or refused
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        return _as_arrays(held, path.stat().st_size, torch)
    except DAMAGED as error:
        raise BadInput(f"{path}: not a whole PyTorch checkpoint ({_reason(error)})") from None


def read_pickle(path: Path) -> Any:
    """What the official code wrote by joblib: numbers, texts, lists of them, and their arrays.

    Raises
    ------
    BadInput : as `read`; for a pickle that asks for anything else.
    """
    data = path.read_bytes()
    if len(data) > LARGEST_PICKLE:
        raise BadInput(f"{path}: too large ({len(data)} bytes) for a pickle of a few numbers")
    try:
        return _plain(NumbersOnly(io.BytesIO(data)).load(), _counter())
    except (*DAMAGED, RecursionError) as error:
        raise BadInput(
            f"{path}: refused ({_first_line(error)}); only numbers, names and arrays of them are "
            "read"
        ) from None


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle: numbers and texts only."""

    def __init__(self, *arguments: Any):
        code = arguments[0]
        if not isinstance(code, str) or code[:1] not in "fiubU" or not code[1:].isdigit():
            raise pickle.UnpicklingError(f"it holds values of the kind {str(code)[:20]!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">", "|": "|"}[state[1]]

    def made(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for an array in a pickle, or for what joblib puts before the bytes of one."""

    array: np.ndarray | None = None

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: tuple[Any, ...] | dict[str, Any]) -> None:
        if isinstance(state, tuple):  # of numpy: version, shape, dtype, in Fortran's order, bytes
            _, self.shape, self.dtype, fortran, data = state
            self.order = "F" if fortran else "C"
            self.fill(data)
        else:
            self.shape, self.dtype, self.order = state["shape"], state["dtype"], state["order"]
            self.padded = state.get("numpy_array_alignment_bytes") is not None

    def fill(self, data: bytes) -> None:
        values = np.frombuffer(data, self.dtype.made())
        self.array = values.reshape(self.shape, order=self.order)

    def read(self, stream: io.BytesIO) -> None:
        """The bytes that joblib wrote behind it."""
        if self.padded:
            stream.read(stream.read(1)[0])
        n_bytes = self.dtype.made().itemsize * int(np.prod(self.shape, dtype=object))
        data = stream.read(n_bytes)
        if len(data) != n_bytes:
            raise EOFError("it ends within an array")
        self.fill(data)


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype.made())[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin-1")  # how bytes are written in old protocols


# What stands in for those names in a pickle that numbers and arrays need.
NUMPY: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}
ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    **NUMPY,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Array,
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"): _Array,
    ("_codecs", "encode"): _encoded,
}


class NumbersOnly(pickle._Unpickler):
    """Admits numbers, texts, lists, and what stands in for arrays of them.

    The one in Python, which joblib's own is made of too: the one in C sets aside memory for
    whatever number of objects a pickle names.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.PERSID[0], pickle.BINPERSID[0])
    }

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ADMITTED[module, name]

    def load_build(self) -> None:
        held = self.stack[-2]
        if not isinstance(held, (_Array, _Dtype)):
            raise pickle.UnpicklingError("it sets what is no array")
        super().load_build()
        if isinstance(held, _Array) and held.array is None:
            held.read(self.stream)

    dispatch[pickle.BUILD[0]] = load_build


def _plain(held: Any, count: Iterator[int]) -> Any:
    next(count)
    if isinstance(held, (list, tuple)):
        return [_plain(value, count) for value in held]
    if isinstance(held, _Array):
        return held.array
    if held is None or isinstance(held, (bool, int, float, str)):
        return held
    raise pickle.UnpicklingError(f"it holds a {type(held).__name__.lstrip('_')}")


def _as_arrays(held: Any, size: int, torch: Any) -> Any:
    """Tensors to arrays, in dicts and lists; the values may take no more bytes than the file."""
    count, left = _counter(), [size]

    def convert(held: Any) -> Any:
        next(count)
        if isinstance(held, dict):
            return {str(key): convert(value) for key, value in held.items()}
        if isinstance(held, (list, tuple)):
            return [convert(value) for value in held]
        if not isinstance(held, torch.Tensor):
            return held
        left[0] -= held.numel() * held.element_size()
        if left[0] < 0:
            raise ValueError("its tensors are larger than the file")
        if held.layout != torch.strided or held.is_quantized or held.is_complex():
            raise ValueError("it holds tensors that are sparse, quantised or complex")
        held = held.detach()
        # A copy, for the file is mapped into memory.
        return (held.float() if held.is_floating_point() else held).numpy().copy()

    return convert(held)


def _counter() -> Iterator[int]:
    yield from range(MOST_VALUES)
    raise ValueError(f"it holds more than {MOST_VALUES} values")


def _check_stored(path: Path) -> None:
    """Raise where the members of a zip are not stored whole, as they are: `torch.save`'s are."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as file:
        check_members(file, size)
        broken = file.testzip()
    if broken:
        raise ValueError(f"{broken} is damaged")


def _pickle_within(path: Path, zipped: bool) -> bytes:
    """The pickle of a checkpoint, or the file's beginning where the pickles lie."""
    if not zipped:
        with path.open("rb") as stream:
            return stream.read(LARGEST_PICKLE)
    with zipfile.ZipFile(path) as file:
        named = [name for name in file.namelist() if name.endswith("data.pkl")]
        if not named:
            raise ValueError("it has no data.pkl")
        with file.open(named[0]) as stream:
            return stream.read(LARGEST_PICKLE)


def _foreign(data: bytes) -> Iterator[str]:
    """What pickles, which are not loaded, ask for beside tensors and numbers."""
    stream, texts = io.BytesIO(data), []
    known = {f"{module}.{name}" for module, name in NUMPY} | {"_codecs.encode"}
    try:
        while stream.tell() < len(data):
            for opcode, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST"):
                    texts.append(argument)
                name = ""
                if opcode.name in ("GLOBAL", "INST"):
                    name = argument.replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    name = ".".join(texts[-2:])
                if name and name not in known and not name.startswith(("torch.", "collections.")):
                    yield name
    except (ValueError, IndexError, OverflowError, struct.error, EOFError):
        return  # where the bytes of the tensors begin


def _reason(error: BaseException) -> str:
    if isinstance(error, (EOFError, zipfile.BadZipFile)):
        return "it is cut short or damaged"
    # PyTorch's own words here tell how to load it unsafely.
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds something else than tensors, numbers and texts"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
