"""Files that appear whole, directories that one run holds, CSV and JSON."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.errors import BadInput


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it there: it appears whole or not at all.

    Raises OSError naming its place, where the disk is full or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if error.errno and error.filename in (None, beside, str(beside)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        beside.unlink(missing_ok=True)


def remove_stale_files(directory: Path, seconds: float = 0) -> None:
    """Remove what runs that ended amid `atomic_write` left in a directory.

    That is what bears the number of a process that is not there, and was not written to for so
    many seconds: another machine may be at work in a directory that it shares.
    """
    for path in directory.glob(".*.*"):
        number = path.name.split(".")[1]
        if not re.fullmatch("[0-9]{1,7}", number) or _is_there(int(number)):
            continue
        with contextlib.suppress(FileNotFoundError):  # another run sweeps too
            if path.is_file() and time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def _is_there(process: int) -> bool:
    if os.name != "posix":  # elsewhere asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def save_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows in the official form: commas, no header of its own, lines ending in "\\n"."""
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        plain = csv.writer(stream, lineterminator="\n")
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            # Before Python 3.13 a lone carriage return is not quoted, and ends the row for readers.
            (quoted if any("\r" in str(value) for value in row) else plain).writerow(row)


def save_json(path: Path, tree: Any) -> None:
    """Write a tree of plain values as JSON that a person can read."""
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def lock_directories(*directories: Path) -> Iterator[None]:
    """Hold directories for this run, however it ends, and remove what dead runs left there.

    Raises BadInput where another run holds one of them.
    """
    with contextlib.ExitStack() as held:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(directory / ".lock", directory))
            remove_stale_files(directory)
        yield


@contextlib.contextmanager
def locked(lock: Path, directory: Path) -> Iterator[None]:
    """Hold a lock, which the end of the process gives back too.

    Raises BadInput where another run holds it, and is thus at work in the directory.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, blocking=False):
            yield
    except Timeout:
        raise BadInput(
            f"{directory}: another run is at work here; wait until it is done, or give this one "
            "another directory"
        ) from None
