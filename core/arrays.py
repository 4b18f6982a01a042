"""Arrays and descriptions on disk, from whoever they come: nothing in them runs, and no small file
fills the memory.
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
LARGEST_JSON = 2**26  # bytes of a description

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DAMAGED = (
    *(zipfile.BadZipFile, struct.error, tokenize.TokenError, SyntaxError, EOFError),
    *(NotImplementedError, RuntimeError, KeyError, TypeError, OverflowError),
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `numpy.savez` wrote, by name.

    Raises
    ------
    OSError : for a file that is missing or cannot be read.
    ValueError : for one that is damaged, compressed, larger than LARGEST_ARRAYS, or holds Python
        objects. Whatever it declares, no more is read than it has bytes.
    """
    return dict(_arrays(path, np.lib.format.read_array))


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Their shapes, without reading them; raises as `read_arrays`."""
    return dict(_arrays(path, None))


def check_members(file: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError where members of a zip of so many bytes are not stored as they are."""
    for member in file.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
            raise ValueError(
                f"{member.filename} would grow from {member.compress_size} to {member.file_size} "
                "bytes; what wrote it does not compress"
            )
    if sum(member.file_size for member in file.infolist()) > size:
        raise ValueError("its members together are larger than the file")


def read_json(path: Path, largest: int = LARGEST_JSON) -> Any:
    """The tree of a JSON file.

    Raises
    ------
    OSError : for a file that is missing or cannot be read.
    ValueError : for one that is no JSON, nested without end, or larger than so many bytes.
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
    # NumPy sets aside whatever memory a header asks for, before it finds that the values are not
    # there.
    with file.open(member) as stream:
        shape, _, kind = _HEADERS[np.lib.format.read_magic(stream)](stream)
        if kind.hasobject:
            raise ValueError(f"{member.filename} holds Python objects, which could run anything")
        if kind.kind not in "biufU" or not kind.itemsize:
            raise ValueError(f"{member.filename} holds neither numbers nor texts, but {kind}")
        if stream.tell() + kind.itemsize * int(np.prod(shape, dtype=object)) != member.file_size:
            raise ValueError(f"{member.filename} has not the values that it says")
    return shape
