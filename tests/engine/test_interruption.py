"""Runs that are interrupted while processes extract features, and two runs at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import processes
from tests.conftest import ROOT, places, run_inside

CLIPS = 401  # what starts a second process


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dev_data of a machine type of many short clips."""
    folder = tmp_path_factory.mktemp("many")
    home = folder / "dev_data" / "fan" / "train"
    home.mkdir(parents=True)
    noise = 0.1 * np.random.default_rng(0).normal(size=4000)
    for index in range(CLIPS):
        soundfile.write(
            home / f"section_00_source_train_normal_{index:04}.wav", np.roll(noise, index), 16000
        )
    return folder


@contextlib.contextmanager
def extracting(data: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of 00_train.py, just as its processes begin to extract features."""
    command = [sys.executable, str(ROOT / "00_train.py"), "-d", "--jobs", "2", "--set"]
    with processes.child([*command, *places(data, out)]) as process:
        processes.wait_until(lambda: list(out.glob("cache/*.done.npy")), process)
        yield process


def ends(process: subprocess.Popen[str], code: int, said: str) -> None:
    began = time.monotonic()
    # Returns when every process that could write has ended.
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - began < 5
    assert process.returncode == code
    assert "Traceback" not in told
    assert said in told


@pytest.mark.parametrize("moment", [0.2, 1.5])
@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_a_second_run_disturbs_nothing(
    many: Path, tmp_path: Path, moment: float
) -> None:
    with extracting(many, tmp_path) as first:
        second = run_inside("00_train.py", "-d", data=many, out=tmp_path)
        assert second.returncode == 1
        assert "ae: another run is at work here; wait until it is done" in second.stderr
        time.sleep(moment)
        assert first.poll() is None
        os.killpg(first.pid, signal.SIGINT)  # as a terminal does
        ends(first, 130, "interrupted; the same command goes on from here")


@pytest.mark.slow
def test_sigterm_ends_all_processes(many: Path, tmp_path: Path) -> None:
    with extracting(many, tmp_path) as process:
        time.sleep(0.2)
        process.terminate()
        ends(process, 143, "terminated; the same command goes on from here")
