"""How a script ends: its exit status, its last message, and the signals that stop it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from core.errors import BadInput

SECONDS_TO_REACT = 0.5  # to a signal


def run_script(main: Callable[[], int]) -> int:
    """Run a script's main, and report what went wrong in one message, without a traceback.

    Exit status: 1 for BadInput, and where a file, a disk or the memory fails; 130 for Ctrl-C; 143
    for SIGTERM.
    """
    try:
        with _signals_raised():
            return main()
    except BadInput as error:
        return _failed(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno, "see to it, and run the same command again")
        return _failed(f"{where}{error.strerror}; {advice}")
    except Exception as error:
        # TensorFlow has a class of its own, and is not imported here.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        reason = str(error).partition("\n")[0]
        return _failed(f"out of memory ({reason}); lower fit.batch_size, or train on fewer clips")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except SystemExit as error:
        if error.code == 128 + signal.SIGTERM:
            print("\nterminated; the same command goes on from here", file=sys.stderr)
        raise


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT and SystemExit at SIGTERM, until one ends the script.

    Python drops what is raised in a destructor or a callback, and some libraries suppress it while
    they are imported. So it is raised every half second, unless it is being handled already.
    """
    sent: list[int] = []

    def raised(number: int, frame: object) -> None:
        sent.append(number)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_REACT, SECONDS_TO_REACT)
        raise _signal_error(number)

    def again(number: int, frame: object) -> None:
        error = sys.exc_info()[1]  # what is handled now, such as by the clean-up of a `with`
        while error is not None:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                return
            error = error.__context__
        raise _signal_error(sent[-1])

    def report_unraisable(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, (KeyboardInterrupt, SystemExit)):
            hook(unraisable)

    handlers = {signal.SIGTERM: raised}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        handlers[signal.SIGINT] = raised
    if hasattr(signal, "setitimer"):
        handlers[signal.SIGALRM] = again
    hook, sys.unraisablehook = sys.unraisablehook, report_unraisable
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Block Ctrl-C: processes started within never get it, and this process gets it afterwards.

    A terminal sends Ctrl-C to all processes, and each would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it within would take the mask away again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_error(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


_ADVICE = {
    errno.ENOSPC: "free some space and run the same command again: what is done is saved",
    errno.EDQUOT: "free some space and run the same command again: what is done is saved",
    errno.EROFS: "give directories in the config that can be written",
    errno.EACCES: "give directories in the config that can be read and written",
    errno.EEXIST: "expected a directory: remove what is there, or give another one in the config",
    errno.ENOTDIR: "expected a directory: remove what is there, or give another one in the config",
    errno.ENAMETOOLONG: "give it a shorter name, or a directory nearer to the root",
    errno.EPIPE: "what read the output has ended; the same command goes on from here",
    errno.ENOENT: "it does not exist, or no longer; run the same command again when it does",
}


def _failed(message: str) -> int:
    log = logging.getLogger("baseline")
    with contextlib.suppress(OSError):  # the log may lie on the disk that is full
        if log.handlers:
            log.error("%s", message)
    print(f"error: {message}", file=sys.stderr)
    _drop_unwritten_output()
    return 1


def _drop_unwritten_output() -> None:
    """Send what standard output cannot take to nowhere: Python writes it again at its exit.

    That would fail again, with a second message and another exit status.
    """
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
