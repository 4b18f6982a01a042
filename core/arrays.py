"""Arrays and JSON from files of any origin.

No code in them runs, and no small file fills the memory.
"""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

LARGEST_ARRAYS = 2**32  # bytes of a file of arrays
LARGEST_JSON = 2**26  # bytes of a JSON file

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DAMAGED = (
    *(zipfile.BadZipFile, struct.error, tokenize.TokenError, SyntaxError, EOFError),
    *(NotImplementedError, RuntimeError, KeyError, TypeError, OverflowError),
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays that `numpy.savez` wrote, by name.

    No more is read than the file has bytes, whatever it declares.

    Raises
    ------
    OSError : for a file that is missing or cannot be read.
    ValueError : for one that is damaged, compressed, larger than LARGEST_ARRAYS, or has Python
        objects in it.
    """
    return dict(_arrays(path, np.lib.format.read_array))


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays, which are not read, by name; raises as `read_arrays`."""
    return dict(_arrays(path, None))


def check_members(file: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError where members of a zip are compressed, or larger than the zip.

    size : of the zip, in bytes
    """
    for member in file.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
            raise ValueError(
                f"{member.filename} would grow from {member.compress_size} to {member.file_size} "
                "bytes; what wrote it does not compress"
            )
    if sum(member.file_size for member in file.infolist()) > size:
        raise ValueError("its members add up to more bytes than the file has")


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    OSError : for a file that is missing or cannot be read.
    ValueError : for one that is no JSON, nested too deep, or larger than `largest` bytes.
    """
    with path.open("rb") as stream:
        data = stream.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"is larger than {largest} bytes")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def _arrays(path: Path, read: Any) -> Iterator[tuple[str, Any]]:
    size = path.stat().st_size
    if size > LARGEST_ARRAYS:
        raise ValueError(f"is larger than {LARGEST_ARRAYS} bytes")
    try:
        with zipfile.ZipFile(path) as file:
            check_members(file, size)
            for member in file.infolist():
                shape = _shape(file, member)
                if read:
                    with file.open(member) as stream:
                        yield member.filename.removesuffix(".npy"), read(stream, allow_pickle=False)
                else:
                    yield member.filename.removesuffix(".npy"), shape
    except _DAMAGED as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _shape(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    # NumPy allocates the memory that a header asks for before it reads the values, which may be
    # missing.
    with file.open(member) as stream:
        shape, _, kind = _HEADERS[np.lib.format.read_magic(stream)](stream)
        if kind.hasobject:
            raise ValueError(f"{member.filename} holds Python objects, which could run anything")
        if kind.kind not in "biufU" or not kind.itemsize:
            raise ValueError(f"{member.filename} holds neither numbers nor texts, but {kind}")
        if stream.tell() + kind.itemsize * int(np.prod(shape, dtype=object)) != member.file_size:
            raise ValueError(f"{member.filename} has fewer or more values than it declares")
    return shape
