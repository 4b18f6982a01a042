"""The folder of a report: replaced as a whole, and nothing else overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from settings import BadInput

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

    Raises BadInput where it cannot be written.
    """
    to = to.resolve()
    made, old = (to.with_name(f".{to.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    try:
        made.mkdir(parents=True)
        yield made
        if to.exists():
            os.replace(to, old)
        os.replace(made, to)
    except OSError as error:
        raise BadInput(
            f"{error.filename or to}: cannot be written ({error.strerror or error})"
        ) from None
    finally:
        for folder in (made, old):
            shutil.rmtree(folder, ignore_errors=True)
