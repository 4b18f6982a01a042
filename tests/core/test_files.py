"""What a run says and leaves: files that are whole, a directory that is its own."""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import sys
from pathlib import Path

import pytest

from core import settings
from core.errors import BadInput
from core.files import atomic_write, lock_directories, save_csv, save_json
from core.log import logger, setup_log
from core.script import run_script
from tests import processes


@pytest.fixture
def log(tmp_path: Path):
    """Where a test's log is to be; taken down afterwards."""
    yield tmp_path / "baseline.log"
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


def dead_process() -> int:
    with processes.child([sys.executable, "-c", ""]) as ended:
        return ended.pid


def test_messages_go_to_screen_and_file_and_errors_to_the_file_alone(log: Path, capsys) -> None:
    setup_log(log.parent)
    logger.info("%d clips", 3)
    logger.error("bad")
    assert capsys.readouterr().out == "3 clips\n"
    assert [line.split(" ", 3)[2:] for line in log.read_text().splitlines()] == [
        ["INFO", "3 clips"],
        ["ERROR", "bad"],
    ]
    setup_log(log.parent)
    logger.info("once")
    assert log.read_text().count("once") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_on_a_full_disk_ends_the_run_with_one_message(tmp_path: Path, capsys) -> None:
    (tmp_path / "baseline.log").symlink_to("/dev/full")

    def run() -> int:
        setup_log(tmp_path)
        logger.info("3 clips")
        return 0

    try:
        assert run_script(run) == 1
    finally:
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
    said = capsys.readouterr().err
    assert "baseline.log: No space left on device; free some space" in said
    assert "Traceback" not in said
    assert "Logging error" not in said


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_any_more_ends_quietly(tmp_path: Path, unbuffered: str) -> None:
    code = (
        "import sys, pathlib; from core import log, script\n"
        "def run():\n"
        f"    log.setup_log(pathlib.Path({str(tmp_path)!r}))\n"
        "    for _ in range(9): log.logger.info('text')\n"
        "sys.exit(script.run_script(run))\n"
    )
    command = [sys.executable, "-c", code]
    reading, writing = os.pipe()
    options = {"cwd": settings.HOME, "env": {**os.environ, "PYTHONUNBUFFERED": unbuffered}}
    with processes.child(command, stdout=writing, **options) as run:
        os.close(writing)
        os.close(reading)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert said == (
        "error: the screen: Broken pipe; what read the output has ended; the same command goes on "
        "from here\n"
    )


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "result.csv"
    with pytest.raises(ZeroDivisionError), atomic_write(place) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert list(place.parent.iterdir()) == []
    with atomic_write(place) as beside:
        beside.write_text("old")
    with pytest.raises(OSError, match="full"), atomic_write(place) as beside:
        beside.write_text("ne")
        raise OSError("full")
    assert [path.name for path in place.parent.iterdir()] == ["result.csv"]
    assert place.read_text() == "old"


def test_a_disk_that_is_full_or_gone_is_told_with_the_place(tmp_path: Path, monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def gone(beside: str, place: str) -> None:
        raise OSError(errno.ENOENT, "No such file or directory", str(beside), None, str(place))

    place = tmp_path / "result.csv"
    for fails, said in ((full, "No space"), (gone, "No such file")):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fails)
            with pytest.raises(OSError, match=said) as caught:
                save_csv(place, [["a"]])
        assert caught.value.filename == str(place)
    with pytest.raises(OSError, match="other"), atomic_write(place):
        raise OSError(errno.EIO, "other", "elsewhere")


def test_csv_and_json_are_read_back_as_they_were(tmp_path: Path) -> None:
    rows = [["a\nb.wav", "0.1"], ["a\rb.wav", "0.2"], ['c, "d".wav', "\u97f3"]]
    save_csv(tmp_path / "a.csv", rows)
    assert b"\r\n" not in (tmp_path / "a.csv").read_bytes()
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == rows
    save_json(tmp_path / "a.json", {"\u97f3": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"\u97f3": [1, None]}


def test_a_second_run_on_a_directory_says_so_and_the_first_goes_on(tmp_path: Path) -> None:
    with lock_directories(tmp_path / "a", tmp_path / "b"):
        second = lock_directories(tmp_path / "c", tmp_path / "b")
        with (
            pytest.raises(BadInput, match=r"/b: another run is at work here; wait"),
            second,
        ):
            pytest.fail("two runs in one directory")
        with lock_directories(tmp_path / "c"):
            pass
        with pytest.raises(BadInput), lock_directories(tmp_path / "a"):
            pytest.fail("two runs in one directory")
    with lock_directories(tmp_path / "a", tmp_path / "b"):
        pass


def test_what_a_dead_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = dead_process()
    gone = tmp_path / f".{dead}.model_fan.npz"
    kept = [
        tmp_path / name
        for name in (
            f".{os.getpid()}.model_fan.npz",
            ".1.model_fan.npz",  # of a process that is not ours, and there
            ".lock.npz",
            f".{dead}x.npz",
            f"{dead}.npz",
            "model_fan.npz",
            f".{dead}",
        )
    ]
    for path in (gone, *kept):
        path.touch()
    (tmp_path / f".{dead}.folder").mkdir()
    with lock_directories(tmp_path):
        assert not gone.exists()
        assert all(path.exists() for path in kept)
        assert (tmp_path / f".{dead}.folder").is_dir()


def test_a_log_without_a_place_is_told(tmp_path: Path, capsys) -> None:
    (tmp_path / "result").write_text("a file")
    assert run_script(lambda: setup_log(tmp_path / "result" / "ae")) == 1
    assert run_script(lambda: setup_log(tmp_path / "result")) == 1
    said = capsys.readouterr().err
    assert said.count("expected a directory: remove what is there, or give another one") == 2
    assert logging.getLogger("baseline") is logger
