"""How a script ends: exit status, last message and signals; and failures that are collected."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import time
from collections.abc import Iterator

import pytest

from core.errors import BadInput, ProblemCollector
from core.script import run_script


@pytest.fixture
def terminal_signals() -> Iterator[None]:
    """Set the handlers of a program started from a terminal, however the tests were started."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,  # ignored in the background
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGALRM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a.npz"),
            "a.npz: No space left on device",
        ),
        (OSError(errno.EROFS, "Read-only file system", "model"), "give directories in the config"),
        (OSError(errno.EACCES, "Permission denied", "model"), "that can be read and written"),
        (
            OSError(errno.ENOENT, "No such file or directory", "data"),
            "data: No such .*; it does not exist",
        ),
        (OSError(errno.EIO, "Input/output error"), "error: Input/output error; see to it"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            r"out of memory \(Unable to allocate 9 GiB\); lower",
        ),
        (type("ResourceExhaustedError", (Exception,), {})("OOM\nmore"), r"out of memory \(OOM\)"),
    ],
)
def test_what_the_machine_lacks_is_told_in_one_line(capsys, error, said):
    def lacking() -> int:
        raise error

    assert run_script(lacking) == 1
    told = capsys.readouterr().err
    assert re.search(said, told)
    assert told.count("\n") == 1


def test_a_bug_is_not_hidden():
    for error in (ZeroDivisionError(), OSError("no number")):
        with pytest.raises(type(error)):
            run_script(lambda error=error: (_ for _ in ()).throw(error))


def test_sigterm_exits_with_143_and_the_handler_is_put_back(terminal_signals, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        run_script(lambda: signal.raise_signal(signal.SIGTERM))
    assert caught.value.code == 143
    assert "terminated; the same command goes on from here" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_failures_of_long_steps_are_told_at_once_and_counted_at_the_end(caplog):
    caplog.set_level("WARNING", "baseline")
    failures = ProblemCollector(log=True)
    with failures:
        raise BadInput("fan: diverged")
    assert caplog.messages == ["fan: diverged"]
    with pytest.raises(BadInput, match=r"^1 of 2 failed, the others are done:\nfan: d"):
        failures.stop(2)


def test_guarded_tells_and_exits(capsys):
    def bad() -> int:
        raise BadInput("fan.wav: is empty")

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert run_script(bad) == 1
    assert "error: fan.wav: is empty" in capsys.readouterr().err
    assert run_script(interrupted) == 130
    assert run_script(lambda: 0) == 0


def _dropped_by_a_destructor(number: int) -> None:
    class Held:
        def __del__(self) -> None:
            signal.raise_signal(number)

    held = Held()
    del held


def _swallowed(number: int) -> None:
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # as libraries do on import
        signal.raise_signal(number)


@pytest.mark.parametrize("lost", [_dropped_by_a_destructor, _swallowed])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_goes_unheeded_is_raised_again(terminal_signals, lost, number, code, capfd):
    def main() -> int:
        lost(number)
        time.sleep(20)
        return 0

    began = time.monotonic()
    try:
        assert run_script(main) == code
    except SystemExit as end:
        assert end.code == code
    assert time.monotonic() - began < 5
    assert "Traceback" not in capfd.readouterr().err


def test_a_signal_on_its_way_out_does_not_disturb_the_clean_up(terminal_signals, monkeypatch):
    monkeypatch.setattr("core.script.SECONDS_TO_REACT", 0.05)
    cleaned = []

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                raise ValueError
            time.sleep(0.3)
            cleaned.append(True)

    def main() -> int:
        with held():
            signal.raise_signal(signal.SIGINT)
        return 0

    assert run_script(main) == 130
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_runs_in_the_background_goes_on_ignoring_ctrl_c(terminal_signals):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def main() -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    assert run_script(main) == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
