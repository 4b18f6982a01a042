"""What a run says: messages on the screen and in the log, and progress bars."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

logger = logging.getLogger("baseline")
_told_to: contextvars.ContextVar[Path | None] = contextvars.ContextVar("told_to", default=None)


class _Telling(logging.Handler):
    """Fails as every other file does; logging itself prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, getattr(self, "baseFilename", "the screen"))
        super().handleError(record)


class _LogFile(_Telling, logging.FileHandler):
    pass


class _Screen(_Telling):
    """Prints messages, above the progress bar where one is watched."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr.isatty():
                tqdm.write(self.format(record), file=sys.stdout)
            else:
                print(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except (OSError, ValueError):  # nobody reads any more
            self.handleError(record)


class _Kept(logging.Handler):
    """Keeps (level, message) in a list."""

    def __init__(self, said: list[tuple[int, str]]):
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelno, record.getMessage()))


def setup_log(directory: Path) -> None:
    """Send messages to the screen and, with times, to `baseline.log` in a directory."""
    screen = _Screen()
    screen.setFormatter(logging.Formatter("%(message)s"))
    # Errors reach the screen as the last word of the run, from `settings.run_script`.
    screen.addFilter(lambda record: record.levelno < logging.ERROR)
    _log_to(directory / "baseline.log", screen)


def _log_to(path: Path, beside: logging.Handler) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _end_log()
    logger.addHandler(beside)
    logger.addHandler(file)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextlib.contextmanager
def into_file(log: Path, now: Path, said: list[tuple[int, str]]) -> Iterator[None]:
    """Send all that a worker says to a file, C++ libraries included.

    Parameters
    ----------
    log : the file; it is added to
    now : where progress bars say how far they are; there until the end
    said : gets (level, message) of what is logged
    """
    _log_to(log, _Kept(said))
    now.write_text("", encoding="utf-8")
    kept = [os.dup(1), os.dup(2)]
    token = _told_to.set(now)
    try:
        with (
            log.open("a", encoding="utf-8") as stream,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
            yield
    finally:
        _told_to.reset(token)
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        _end_log()
        now.unlink(missing_ok=True)


def _end_log() -> None:
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


class _Told(tqdm):
    """A bar that somebody else shows: it only writes down how far it is."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        with contextlib.suppress(OSError):  # a display is not worth a training
            _told_to.get().write_text(f"{self.n}/{self.total} {self.unit}s", encoding="utf-8")


def progress_bar(total: int, title: str, unit: str, done: int = 0) -> tqdm:
    """A progress bar with the time left; rarely redrawn where nobody watches it."""
    if _told_to.get():
        return _Told(total=total, desc=title, unit=unit, initial=done, mininterval=1)
    often = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, desc=title, unit=unit, initial=done, mininterval=often)
