"""The folder of a report: replaced as a whole, and nothing else overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from core.errors import BadInput
from core.files import locked

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

    A killed run leaves what it had made beside, which the next one removes.
    Raises BadInput where it cannot be written, or another run is at it.
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
