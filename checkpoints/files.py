"""Published files read as data: names, numbers and arrays. Nothing in them is executed.

They are the official baselines' `.hdf5` and pickles, and PyTorch's `.pth` and
`.pth.tar`. The sizes that a file declares are compared with its own size before anything is read,
so that no small file fills the memory.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from checkpoints.keras_hdf5 import read_hdf5
from core.arrays import check_members
from core.errors import BadInput

LARGEST = 2**31  # bytes of a checkpoint; published ones take up to some 100 MB
LARGEST_PICKLE = 2**20  # bytes of a pickle of a few numbers or names
MOST_VALUES = 10**6  # of all dicts and lists in a file, each counted wherever it is referred to
HDF5, ZIP = b"\x89HDF", b"PK\x03\x04"  # what files begin with
DAMAGED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, RuntimeError, MemoryError),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError),
    *(struct.error, NotImplementedError, ImportError),
)


def read(path: Path) -> Any:
    """Return the content of a published file of any kind.

    Returns
    -------
    The weights of an official `.hdf5`, as `read_hdf5` does; of a PyTorch checkpoint or an official
    pickle its dicts, lists, numbers and texts, and arrays for tensors.

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


def read_torch(path: Path, zipped: bool) -> Any:
    """Return the content of a file by `torch.save`: dicts, lists, numbers, texts, arrays.

    zipped : whether it has the present form, a zip, or the one of old versions

    Raises
    ------
    BadInput : as `read`, and where PyTorch is not installed.
    """
    try:
        if zipped:
            _check_zip(path)
        foreign = ", ".join(dict.fromkeys(_foreign_names(_pickle_within(path, zipped))))
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
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        return _as_arrays(content, path.stat().st_size, torch)
    except DAMAGED as error:
        raise BadInput(f"{path}: not a whole PyTorch checkpoint ({_reason(error)})") from None


def read_pickle(path: Path) -> Any:
    """Return the content of an official pickle by joblib: numbers and texts, lists and arrays.

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

    def as_dtype(self) -> np.dtype:
        """Return the dtype that this stands for."""
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for an array in a pickle, or for the header that joblib puts before its bytes."""

    array: np.ndarray | None = None

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: tuple[Any, ...] | dict[str, Any]) -> None:
        if isinstance(state, tuple):  # NumPy's: version, shape, dtype, in Fortran's order, bytes
            _, self.shape, self.dtype, fortran, data = state
            self.order = "F" if fortran else "C"
            self.fill(data)
        else:
            self.shape, self.dtype, self.order = state["shape"], state["dtype"], state["order"]
            self.padded = state.get("numpy_array_alignment_bytes") is not None

    def fill(self, data: bytes) -> None:
        """Make the array of its bytes."""
        values = np.frombuffer(data, self.dtype.as_dtype())
        self.array = values.reshape(self.shape, order=self.order)

    def read(self, stream: io.BytesIO) -> None:
        """Make the array of the bytes that joblib wrote after its header."""
        if self.padded:
            stream.read(stream.read(1)[0])
        n_bytes = self.dtype.as_dtype().itemsize * int(np.prod(self.shape, dtype=object))
        data = stream.read(n_bytes)
        if len(data) != n_bytes:
            raise EOFError("it ends within an array")
        self.fill(data)


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype.as_dtype())[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin-1")  # how bytes are written in old protocols


# The names in a pickle that numbers and arrays need → what stands in for each.
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
    """Unpickles numbers, texts, lists, and the names in ADMITTED.

    It derives from the unpickler in Python, as joblib's own does: the one in C sets memory aside
    for as many objects as a pickle declares.
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
        """Return what stands in for a name; raise UnpicklingError for one not in ADMITTED."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ADMITTED[module, name]

    def load_build(self) -> None:
        """Set the state of an array, and read the bytes that joblib wrote after it."""
        value = self.stack[-2]
        if not isinstance(value, (_Array, _Dtype)):
            raise pickle.UnpicklingError("it sets what is no array")
        super().load_build()
        if isinstance(value, _Array) and value.array is None:
            value.read(self.stream)

    dispatch[pickle.BUILD[0]] = load_build


def _plain(value: Any, count: Iterator[int]) -> Any:
    """Return the content of a pickle with arrays for what stands in for them."""
    next(count)
    if isinstance(value, (list, tuple)):
        return [_plain(item, count) for item in value]
    if isinstance(value, _Array):
        return value.array
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__.lstrip('_')}")


def _as_arrays(content: Any, size: int, torch: Any) -> Any:
    """Return dicts and lists with arrays for tensors, which take `size` bytes at most."""
    count, left = _counter(), [size]

    def convert(value: Any) -> Any:
        next(count)
        if isinstance(value, dict):
            return {str(key): convert(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [convert(item) for item in value]
        if not isinstance(value, torch.Tensor):
            return value
        left[0] -= value.numel() * value.element_size()
        if left[0] < 0:
            raise ValueError("its tensors are larger than the file")
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise ValueError("it holds tensors that are sparse, quantised or complex")
        value = value.detach()
        # A copy, for the file is mapped into memory.
        return (value.float() if value.is_floating_point() else value).numpy().copy()

    return convert(content)


def _counter() -> Iterator[int]:
    """Yield numbers; raise ValueError after MOST_VALUES of them."""
    yield from range(MOST_VALUES)
    raise ValueError(f"it holds more than {MOST_VALUES} values")


def _check_zip(path: Path) -> None:
    """Raise ValueError where members of a zip are compressed or damaged.

    `torch.save` does not compress.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as file:
        check_members(file, size)
        broken = file.testzip()
    if broken:
        raise ValueError(f"{broken} is damaged")


def _pickle_within(path: Path, zipped: bool) -> bytes:
    """Return the pickle of a checkpoint; of the old form, the file's beginning with its pickles."""
    if not zipped:
        with path.open("rb") as stream:
            return stream.read(LARGEST_PICKLE)
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if name.endswith("data.pkl")]
        if not names:
            raise ValueError("it has no data.pkl")
        with file.open(names[0]) as stream:
            return stream.read(LARGEST_PICKLE)


def _foreign_names(data: bytes) -> Iterator[str]:
    """Yield the names that pickles ask for beside tensors and numbers, without loading them."""
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
        return  # here the bytes of the tensors begin


def _reason(error: BaseException) -> str:
    """Return in words why a file could not be read."""
    if isinstance(error, (EOFError, zipfile.BadZipFile)):
        return "it is cut short or damaged"
    # PyTorch's own message explains how to load such a file unsafely.
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds something else than tensors, numbers and texts"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
