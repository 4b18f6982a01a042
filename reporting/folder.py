"""The folder of a report: replaced as a whole, and nothing else overwritten; names in it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from core.errors import BadInput
from core.files import atomic_write, locked

MARK = '<meta name="generator" content="asd-baselines report">'


def check(to: Path) -> None:
    """Raise BadInput where a folder holds something else than an earlier report."""
    try:
        if not to.exists() or (to.is_dir() and not any(to.iterdir())):
            return
        with (to / "report.html").open(encoding="utf-8") as stream:
            if MARK in stream.read(4096):
                return
    except (OSError, UnicodeDecodeError):
        pass
    raise BadInput(f"--to {to}: it holds something else than a report; name another folder")


@contextlib.contextmanager
def replaced(to: Path) -> Iterator[Path]:
    """Make a report beside its place, and put it there when it is whole.

    A run that was killed leaves an unfinished folder beside it, which the next run removes.
    Raises BadInput where the folder cannot be written, or another run is writing it.
    """
    to = to.resolve()
    made, old, lock = (to.with_name(f".{to.name}.{kind}") for kind in ("new", "old", "lock"))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, to):
            _tidy(to, made, old)
            try:
                made.mkdir()
                yield made
                if to.exists():
                    os.replace(to, old)
                os.replace(made, to)
            finally:
                _tidy(to, made, old)
    except OSError as error:
        raise BadInput(
            f"{error.filename or to}: cannot be written ({error.strerror or error})"
        ) from None


def _tidy(to: Path, made: Path, old: Path) -> None:
    if old.exists() and not to.exists():
        os.replace(old, to)  # interrupted between the two renames
    for folder in (made, old):
        shutil.rmtree(folder, ignore_errors=True)


def slug(text: str) -> str:
    """Return a file name of letters, digits, "-" and "_"; another text gives another one."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:60]
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"


def save_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8; it appears whole or not at all."""
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")
