"""Atomic writes of text, CSV and JSON files, and locks on directories."""

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
    """Yield a temporary path in the same directory, and rename it to the path afterwards.

    So the file appears whole or not at all. Raises OSError naming the path, where the disk is full
    or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, temporary, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale_files(directory: Path, seconds: float = 0) -> None:
    """Remove the temporary files that ended processes left in a directory, see `atomic_write`.

    seconds : for so long a file must not have been written to. Where machines share a directory,
        its process may be running on another one.
    """
    for path in directory.glob(".*.*"):
        number = path.name.split(".")[1]
        if not re.fullmatch("[0-9]{1,7}", number) or _is_running(int(number)):
            continue
        with contextlib.suppress(FileNotFoundError):  # another run removes them too
            if path.is_file() and time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def _is_running(process: int) -> bool:
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
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        plain = csv.writer(stream, lineterminator="\n")
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            # Before Python 3.13 a lone carriage return is not quoted, and ends the row for readers.
            (quoted if any("\r" in str(value) for value in row) else plain).writerow(row)


def save_json(path: Path, tree: Any) -> None:
    """Write a tree of plain values as JSON that a person can read."""
    save_text(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def save_text(path: Path, text: str) -> None:
    """Write a text in UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def lock_directories(*directories: Path) -> Iterator[None]:
    """Lock directories for this run, and remove the temporary files that ended runs left there.

    Raises BadInput where another run has locked one of them.
    """
    with contextlib.ExitStack() as locks:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            locks.enter_context(locked(directory / ".lock", directory))
            remove_stale_files(directory)
        yield


@contextlib.contextmanager
def locked(lock: Path, directory: Path) -> Iterator[None]:
    """Lock a directory with a lock file; it is unlocked afterwards, or as the process ends.

    Raises BadInput where another run has locked it, and is thus at work in the directory.
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
