"""Messages on the screen and in the log, and progress bars."""

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
# Where progress bars write how far they are; None: they are shown on the screen.
_progress_file: contextvars.ContextVar[Path | None] = contextvars.ContextVar(
    "progress_file", default=None
)


class _RaisingHandler(logging.Handler):
    """Raises what fails, as for every other file; logging itself prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, getattr(self, "baseFilename", "the screen"))
        super().handleError(record)


class _LogFile(_RaisingHandler, logging.FileHandler):
    """Writes messages to a file."""


class _Screen(_RaisingHandler):
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


class _MessageList(logging.Handler):
    """Appends (level, message) to a list."""

    def __init__(self, messages: list[tuple[int, str]]):
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelno, record.getMessage()))


def setup_log(directory: Path, show_errors: bool = False) -> None:
    """Log to the screen and, with times, to `baseline.log` in a directory.

    show_errors : on the screen too, for a script that does not end with `core.script.run_script`,
        which shows an error as the last line of the run
    """
    screen = _Screen()
    screen.setFormatter(logging.Formatter("%(message)s"))
    if not show_errors:
        screen.addFilter(lambda record: record.levelno < logging.ERROR)
    _log_to(directory / "baseline.log", screen)


def _log_to(path: Path, other: logging.Handler) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _end_log()
    logger.addHandler(other)
    logger.addHandler(file)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextlib.contextmanager
def output_to_file(log: Path, progress: Path, messages: list[tuple[int, str]]) -> Iterator[None]:
    """Redirect all output of a worker to a file, that of C++ libraries included.

    Parameters
    ----------
    log : the file; the output is appended
    progress : the file in which progress bars write how far they are; removed at the end
    messages : gets (level, message) of what is logged
    """
    _log_to(log, _MessageList(messages))
    progress.write_text("", encoding="utf-8")
    originals = [os.dup(1), os.dup(2)]
    token = _progress_file.set(progress)
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
        _progress_file.reset(token)
        for number, original in zip((1, 2), originals, strict=True):
            os.dup2(original, number)
            os.close(original)
        _end_log()
        progress.unlink(missing_ok=True)


def _end_log() -> None:
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


class _ProgressFile(tqdm):
    """A progress bar that only writes how far it is to a file, for another process to show."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        with contextlib.suppress(OSError):  # a display is not worth a training
            _progress_file.get().write_text(f"{self.n}/{self.total} {self.unit}s", encoding="utf-8")


def progress_bar(total: int, title: str, unit: str, done: int = 0) -> tqdm:
    """Return a progress bar that shows the time left.

    It is rarely redrawn where the screen is no terminal.

    Parameters
    ----------
    total, done : how many there are, and how many of them are done already
    unit : what is counted, in the singular
    """
    if _progress_file.get():
        return _ProgressFile(total=total, desc=title, unit=unit, initial=done, mininterval=1)
    often = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, desc=title, unit=unit, initial=done, mininterval=often)
