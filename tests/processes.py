"""The only place where tests start processes: they begin as from a terminal, and always end.

A test run in the background (`nohup`, `&`) ignores SIGINT, and its children would inherit that. So
a small program first puts the signals back, and then becomes the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Signals as from a terminal; and on Linux the kernel ends the child if the test run is killed.
BEGIN = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
os.execvp(sys.argv[1], sys.argv[1:])
"""


@contextlib.contextmanager
def child(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a session of its own; on leaving, end it and all that it started.

    Start it from a thread that lives as long as the command: on Linux it ends with that thread.

    Parameters
    ----------
    options : of `subprocess.Popen`; by default stdout and stderr are captured as text
    """
    captured = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BEGIN, *map(str, command)],
        **{**captured, **options},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a child and its whole process group at once, and wait for it."""
    with contextlib.suppress(ProcessLookupError):  # the whole group has ended already
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(
    command: Sequence[object], timeout: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Return how a command ended, as `subprocess.run`; options as of `child`.

    Raises
    ------
    subprocess.TimeoutExpired : after so many seconds; the command is ended
    """
    with child(command, **options) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 60
) -> None:
    """Return as soon as a condition is true; fail if the process ends first, or time runs out."""
    until = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < until, f"nothing happened within {seconds} seconds"
        time.sleep(0.02)


def ends(group: int, seconds: float = 5) -> bool:
    """Return whether every process of a group ends within so many seconds."""
    until = time.monotonic() + seconds
    while running(group):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def running(group: int) -> bool:
    """Return whether a process group has a process that has not ended.

    On Linux one that nobody has waited for yet counts as ended: init may take seconds to do so, or
    never do it in a container.
    """
    if sys.platform != "linux":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, 0)
            return True
        return False
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has gone meanwhile
            # The command's name stands in brackets, and may hold anything.
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False
