"""Units in worker processes: their logs, another attempt, and what becomes of the others."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from core.command_line import command_line_chk
from core.errors import BadInput, Together
from engine import executors, jobs
from engine.executors import Processes
from tests import processes
from tests.conftest import ROOT, places


def act(param: dict, how: str, mark: str) -> None:
    """What the units of these tests do, in a process of their own."""
    before = Path(mark).exists()
    Path(mark).write_text(os.environ["TF_NUM_INTRAOP_THREADS"])
    os.system(f"echo {how} speaks below Python")
    if how == "is refused":
        raise BadInput("a clip is bad")
    if how == "always fails" or (how == "fails once" and not before):
        raise OSError("the disk is slow")
    if how == "is killed once" and not before:
        os.kill(os.getpid(), signal.SIGKILL)


def run(tmp_path: Path, *hows: str) -> tuple[list[str], list[str], str]:
    """Which units failed, what was told of them, and what baseline.log says."""
    param = dict.fromkeys(jobs.DIRECTORIES, str(tmp_path))
    todo = [
        jobs.Unit(how, how, how.replace(" ", "_"), param, act, (how, str(tmp_path / f"{n}.mark")))
        for n, how in enumerate(hows)
    ]
    engine, problems = Processes(2), Together()
    try:
        failed = jobs.run(todo, engine, problems)
    finally:
        engine.close()
    log = (tmp_path / "baseline.log").read_text()
    return [unit.title for unit in failed], problems.messages, log


def test_a_unit_fails_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    failed, told, log = run(tmp_path, "is refused", "always fails", "fails once", "is well")
    assert sorted(failed) == ["always fails", "is refused"]
    where = tmp_path / "logs" / "always_fails.log"
    assert sorted(told) == [
        f"always fails: OSError: the disk is slow; log -> {where}",
        f"is refused: a clip is bad; log -> {tmp_path / 'logs' / 'is_refused.log'}",
    ]
    assert where.read_text().count("Traceback") == 2
    assert where.read_text().count("always fails speaks below Python") == 2
    assert (tmp_path / "logs" / "is_refused.log").read_text().count("a clip is bad") == 1
    assert "[4/4]" in log
    assert "is well: done" in log
    assert "fails once: done" in log
    share = max(1, os.cpu_count() // 2)
    assert {path.read_text() for path in tmp_path.glob("*.mark")} == {str(share)}
    assert not list((tmp_path / "logs").glob(".*"))


@pytest.mark.slow
def test_a_killed_worker_takes_no_other_unit_with_it(tmp_path):
    failed, told, log = run(tmp_path, "is killed once", *(f"is well {n}" for n in range(4)))
    assert not failed
    assert not told
    assert log.count(": done after") == 5
    assert "is killed once: its process, or one beside it, was killed" in log


def test_a_worker_stands_elsewhere_and_gets_plain_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    param = {**dict.fromkeys(jobs.DIRECTORIES, "here"), "seed": 0}
    unit = jobs.Unit("a", "a", "a", param, act, (), here=(object(),)).elsewhere()
    assert unit.here == ()
    assert unit.param["cache_directory"] == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cluster", "local"), "'local' is not auto, ray://host:port or local:N"),
        (("--cluster", "ray://head"), "is not auto"),
        (("--gpus-per-job", "1"), "goes with --cluster"),
        (("--cluster", "auto", "--gpus-per-job", "1.5"), "a fraction of one, or a whole number"),
    ],
)
def test_misuse(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line_chk("", ["-d", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    args = command_line_chk("", ["-d", "--cluster", "local:1"])
    with pytest.raises(BadInput, match=r"pip install '\.\[cluster\]'"), executors.engine(args, []):
        pass


@pytest.mark.slow
def test_interrupted_side_by_side(demo, tmp_path):
    logs = tmp_path / "result" / "ae" / "logs"
    command = [sys.executable, ROOT / "00_train.py", "-d", "--jobs", "2", "--set"]
    command += ["fit.epochs=1000", "fit.batch_size=64", *places(demo, tmp_path)]
    with processes.child(command) as process:
        processes.wait_until(lambda: len(list(logs.glob(".*.now"))) == 2, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, wrong = process.communicate(timeout=15)
        assert process.returncode == 130, said + wrong
        assert "interrupted" in wrong
        assert "Traceback" not in said + wrong
        assert processes.ends(process.pid)  # nobody of them is left
