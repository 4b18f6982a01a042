"""What `tests.processes` promises: signals as from a terminal, and nobody left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import processes

# A process that starts another one, says so, and waits for ever.
PARENT = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
    "print('begun', flush=True)\n"
    "time.sleep(1000)\n"
)


@pytest.fixture
def in_background():
    """This process, as one that was started in the background: it ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_child_hears_ctrl_c_though_the_tests_do_not(in_background) -> None:
    code = (
        "import time\n"
        "try: print('begun', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt: print('heard')\n"
    )
    with processes.child([sys.executable, "-c", code]) as process:
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "heard\n"
    assert process.returncode == 0


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_nobody_is_left_whatever_happens(error) -> None:
    try:
        with processes.child([sys.executable, "-c", PARENT]) as process:
            assert process.stdout.readline() == "begun\n"
            if error:
                raise error
    except ZeroDivisionError:
        assert error
    assert process.returncode == -signal.SIGKILL
    assert processes.ends(process.pid)


def test_the_child_of_a_child_is_ended_though_its_parent_has_gone() -> None:
    code = PARENT.replace("time.sleep(1000)\n", "")
    with processes.child([sys.executable, "-c", code]) as process:
        assert process.stdout.readline() == "begun\n"
        process.wait(timeout=20)
        assert processes.running(process.pid)
    assert processes.ends(process.pid)


def test_what_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run([sys.executable, "-c", PARENT], timeout=1)
    assert time.monotonic() - began < 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_child_ends_with_a_killed_test_run(tmp_path: Path) -> None:
    sleeper = "import os; print(os.getpid(), flush=True); import time; time.sleep(1000)"
    code = (
        "import sys; from tests import processes\n"
        f"with processes.child([sys.executable, '-c', {sleeper!r}]) as process:\n"
        "    print(process.stdout.readline(), flush=True)\n"
        "    process.wait()\n"
    )
    root = Path(__file__).resolve().parent.parent
    with processes.child([sys.executable, "-c", code], cwd=root) as run:
        group = int(run.stdout.readline())  # of its own: it leads a session
        assert processes.running(group)
        run.kill()
        run.wait()
        assert processes.ends(group)


def test_an_early_end_is_told() -> None:
    with (
        processes.child([sys.executable, "-c", "raise SystemExit('no such thing')"]) as process,
        pytest.raises(AssertionError, match=r"ended with 1: .*no such thing"),
    ):
        processes.wait_until(lambda: False, process)
