"""`--help` of every script answers at once: it starts no TensorFlow."""

from __future__ import annotations

import os
import sys

import pytest

from tests import processes
from tests.conftest import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("[0-9][0-9]_*.py"))
SECONDS = 1.0  # of one core, which other tests running beside this one do not change
RUNS = 3  # the first may read the modules from a disk


def test_the_scripts_are_there():
    assert {"00_train.py", "01_test.py", "02_report.py", "03_submit.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_at_once_without_tensorflow(script, tmp_path):
    command = [sys.executable, "-X", "importtime", ROOT / script, "--help"]
    run = processes.run(command, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith(f"usage: {script}")
    if script in ("00_train.py", "01_test.py"):
        assert "--skip-bad" in run.stdout
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"tensorflow", "keras", "sklearn", "librosa", "matplotlib.pyplot"} & imported
    seconds = [cpu_seconds([sys.executable, ROOT / script, "--help"]) for _ in range(RUNS)]
    assert min(seconds) < SECONDS
    assert not list(tmp_path.iterdir())  # nor is anything written


def cpu_seconds(command: list[object]) -> float:
    before = os.times()
    assert processes.run(command).returncode == 0
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])  # of the children that have ended
