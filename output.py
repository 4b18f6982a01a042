"""What a run says and leaves: messages, progress, files that appear whole, and whose they are."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from settings import BadInput

logger = logging.getLogger("baseline")


def setup_log(directory: Path) -> None:
    """Send messages to the screen and, with times, to `baseline.log` in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    screen = logging.StreamHandler(sys.stdout)
    screen.setFormatter(logging.Formatter("%(message)s"))
    # Errors reach the screen as the last word of the run, from `settings.guarded`.
    screen.addFilter(lambda record: record.levelno < logging.ERROR)
    file = logging.FileHandler(directory / "baseline.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(screen)
    logger.addHandler(file)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def progress_bar(total: int, title: str, unit: str, done: int = 0) -> tqdm:
    """A progress bar with the time left; rarely redrawn where nobody watches it."""
    often = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, desc=title, unit=unit, initial=done, mininterval=often)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it there: it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def save_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows in the official form: commas, no header of its own, lines ending in "\\n"."""
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def save_json(path: Path, tree: Any) -> None:
    """Write a tree of plain values as JSON that a person can read."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def alone(*directories: Path) -> Iterator[None]:
    """Hold directories for this run, however it ends.

    Raises BadInput where another run holds one of them.
    """
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as held:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(FileLock(directory / ".lock", blocking=False))
            except Timeout:
                raise BadInput(
                    f"{directory}: another run is at work here; wait until it is done, or give "
                    "this one another directory"
                ) from None
        yield
