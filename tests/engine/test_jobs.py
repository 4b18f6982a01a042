"""Jobs in worker processes: their logs, another attempt, and what becomes of the others."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from core.command_line import parse_command_line
from core.errors import BadInput, ProblemCollector
from core.run_settings import SystemSettings
from core.settings import read_config
from engine import executors, jobs
from engine.executors import ProcessExecutor
from tests import processes
from tests.conftest import ROOT, places


def run_in(place: Path) -> SystemSettings:
    """Return settings whose directories are all one."""
    return read_config().for_system("ae").with_values(dict.fromkeys(jobs.DIRECTORIES, place))


def act(param: SystemSettings, how: str, mark: str) -> None:
    """Do what the jobs of these tests do, each in a worker."""
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
    """Return the titles of the jobs that failed, the problems, and the text of baseline.log."""
    param = run_in(tmp_path)
    todo = [
        jobs.Job(how, how, how.replace(" ", "_"), param, act, (how, str(tmp_path / f"{n}.mark")))
        for n, how in enumerate(hows)
    ]
    problems = ProblemCollector()
    with contextlib.closing(ProcessExecutor(2)) as executor:
        failed = jobs.run_jobs(todo, executor, problems)
    log = (tmp_path / "baseline.log").read_text()
    return [job.title for job in failed], problems.messages, log


def test_a_job_fails_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    failed, messages, log = run(tmp_path, "is refused", "always fails", "fails once", "is well")
    assert sorted(failed) == ["always fails", "is refused"]
    where = tmp_path / "logs" / "always_fails.log"
    assert sorted(messages) == [
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
def test_a_killed_worker_takes_no_other_job_with_it(tmp_path):
    failed, messages, log = run(tmp_path, "is killed once", *(f"is well {n}" for n in range(4)))
    assert not failed
    assert not messages
    assert log.count(": done after") == 5
    assert "is killed once: its process, or one beside it, was killed" in log


def test_a_worker_gets_absolute_paths_and_plain_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    param = run_in(Path("here"))
    job = jobs.Job("a", "a", "a", param, act, (), local_arguments=(object(),)).for_worker()
    assert job.local_arguments == ()
    assert job.settings.cache_directory == tmp_path / "here"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cluster", "local"), "'local' is not auto, ray://host:port or local:N"),
        (("--cluster", "ray://head"), "is not auto"),
        (("--gpus-per-job", "1"), "goes with --cluster"),
        (("--cluster", "auto", "--gpus-per-job", "1.5"), "a fraction of one, or a whole number"),
    ],
)
def test_misuse(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_command_line("", ["-d", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_ray_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    command, _ = parse_command_line("", ["-d", "--cluster", "local:1"])
    made = executors.make_executor(command, [])
    with pytest.raises(BadInput, match=r"pip install '\.\[cluster\]'"), made:
        pass


@pytest.mark.slow
def test_interrupted_side_by_side(demo, tmp_path):
    logs = tmp_path / "result" / "ae" / "logs"
    command = [sys.executable, ROOT / "00_train.py", "-d", "--jobs", "2", "--set"]
    command += ["fit.epochs=1000", "fit.batch_size=64", *places(demo, tmp_path)]
    with processes.child(command) as process:
        processes.wait_until(
            lambda: sum(bool(path.read_text()) for path in logs.glob(".*.progress")) == 2, process
        )
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, errors = process.communicate(timeout=15)
        assert process.returncode == 130, output + errors
        assert "interrupted" in errors
        assert "Traceback" not in output + errors
        assert "leaked" not in errors  # semaphores of the workers
        assert processes.ends(process.pid)  # no process of the group is left
