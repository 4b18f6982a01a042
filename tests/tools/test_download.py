"""The download over connections that fail in every way, from a server on 127.0.0.1."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.errors import BadInput
from core.files import lock_directories
from core.run_settings import SharedSettings
from core.script import run_script
from data import clips
from tests import processes
from tests.conftest import ROOT
from tests.tools.failing_server import serving
from tools import download

PAUSE = 0.001
RECORDS = download.RECORDS[2022]
DEV, ADDITIONAL, EVAL = RECORDS.values()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def noise(seed: int, size: int = 5000) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def clip(folder: str, number: int = 0) -> str:
    kind = "train" if folder == "train" else "test"
    return f"{folder}/section_00_source_{kind}_normal_{number:04}_a_1.wav"


@pytest.fixture
def server():
    with serving() as server:
        for record, tail, folder in ((ADDITIONAL, "_train", "train"), (EVAL, "_test", "test")):
            server.files[record] = {
                f"eval_data_fan{tail}.zip": zipped({f"fan/{clip(folder)}": noise(record)})
            }
        server.files[DEV] = {
            "dev_fan.zip": zipped(
                {
                    f"fan/{clip('train')}": noise(1, 300_000),
                    f"fan/{clip('test')}": noise(2),
                    "fan/attributes_00.csv": b"file_name,d1p,d1v\n",
                }
            ),
            "dev_valve.zip": zipped({f"valve/{clip('train')}": noise(3)}),
            "readme.pdf": b"not an archive",
        }
        yield server


def run(server, to: Path, *more: str, year: str = "2022") -> int:
    arguments = [year, "--to", str(to), "--base-url", server.url, *more]
    return download.main(arguments, pause=PAUSE)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".download" not in path.parts
    }


FAN = {
    f"dev_data/fan/{clip('train')}": noise(1, 300_000),
    f"dev_data/fan/{clip('test')}": noise(2),
    "dev_data/fan/attributes_00.csv": b"file_name,d1p,d1v\n",
}
ALL = {
    **FAN,
    f"dev_data/valve/{clip('train')}": noise(3),
    f"eval_data/fan/{clip('train')}": noise(ADDITIONAL),
    f"eval_data/fan/{clip('test')}": noise(EVAL),
}


def requests_of_files(server) -> list[str]:
    return [path for path, _ in server.requests if "/files/" in path]


def test_a_second_download_to_the_same_place_stops(server, tmp_path):
    with (
        lock_directories(tmp_path / ".download"),
        pytest.raises(BadInput, match="another run is at work here"),
    ):
        run(server, tmp_path)
    assert files(tmp_path) == {}


def test_everything_byte_identical_and_then_nothing_to_do(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    assert files(tmp_path) == ALL
    assert not list((tmp_path / ".download").glob("*.part"))
    assert "left: 3 archives" in capsys.readouterr().out
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert server.requests == []
    assert "nothing to do" in capsys.readouterr().out


def test_parts_and_machine_types_are_chosen(server, tmp_path):
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert files(tmp_path) == FAN
    assert run(server, tmp_path, "--additional", "--eval") == 0
    assert set(files(tmp_path)) == set(ALL) - {f"dev_data/valve/{clip('train')}"}
    with pytest.raises(BadInput, match=r"--machine vlave: not in the dev data; did you mean valve"):
        run(server, tmp_path, "--dev", "--machine", "vlave")


def test_only_what_is_missing_is_fetched_again(server, tmp_path):
    run(server, tmp_path)
    (tmp_path / f"dev_data/valve/{clip('train')}").unlink()
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert len(requests_of_files(server)) == 1
    assert files(tmp_path) == ALL


def broken_off(at: int):
    def fault(handler, content, start):
        handler.answer(
            206 if start else 200,
            content[start : start + at],
            {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"},
            len(content) - start,
        )

    return fault


def busy(status: int, headers: dict | None = None):
    return lambda handler, content, start: handler.answer(status, b"busy", headers)


def hang_up(handler, content, start):
    handler.hang_up()


def too_short_a_length(handler, content, start):
    handler.answer(
        206 if start else 200,
        content[start : start + 900],
        {"Content-Range": f"bytes {start}-{start + 899}/{start + 900}"},
    )


def range_ignored(handler, content, start):
    handler.answer(200, content)


def another_range(handler, content, start):
    handler.answer(
        206, content[7:], {"Content-Range": f"bytes 7-{len(content) - 1}/{len(content)}"}
    )


def wrong_bytes(handler, content, start):
    handler.answer(200, bytes(len(content)))


def more_than_there_is(handler, content, start):
    handler.answer(200, content + b"and more")


def without_length(handler, content, start):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for at in range(0, len(content), 4096):
        block = content[at : at + 4096]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
    handler.wfile.write(b"0\r\n\r\n")


FAILURES = {
    "breaks off again and again": [broken_off(20_000)] * 9,
    "breaks off within a chunk": [broken_off(1), broken_off(1)],
    "no answer": [hang_up] * 3,
    "429 with seconds": [busy(429, {"Retry-After": "0"})] * 2,
    "429 with a date": [busy(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
    "429 with nonsense": [busy(429, {"Retry-After": "soon"})],
    "429 with a date that cannot be": [
        busy(429, {"Retry-After": "Wed, 21 Oct 99999 07:28:00 GMT"})
    ],
    "503": [busy(503)] * 3,
    "a length that is too short": [too_short_a_length] * 5,
    "a length that is too long": [lambda h, c, s: h.answer(200, c, None, len(c) + 5000)],
    "no ranges": [broken_off(9000), range_ignored],
    "another range than asked for": [broken_off(9000), another_range],
    "wrong bytes at first": [wrong_bytes, wrong_bytes],
    "wrong bytes, then broken off": [broken_off(9000), wrong_bytes],
    "more than there is": [more_than_there_is],
    "no length": [without_length],
}


@pytest.mark.parametrize("faults", FAILURES.values(), ids=FAILURES)
def test_failures_end_byte_identical(server, tmp_path, faults):
    server.faults = list(faults)
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert server.faults == []
    assert files(tmp_path) == FAN


def test_what_broke_off_is_not_fetched_twice(server, tmp_path):
    server.faults = [broken_off(20_000)] * 3
    run(server, tmp_path, "--dev", "--machine", "fan")
    ranges = [range_ for path, range_ in server.requests if "/files/" in path]
    assert ranges == [None, "bytes=20000-", "bytes=40000-", "bytes=60000-"]


def test_a_description_of_a_record_comes_over_failures_too(server, tmp_path):
    server.description_faults = [hang_up, busy(503), broken_off(9), broken_off(0)]
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert server.description_faults == []
    assert files(tmp_path) == FAN


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (hang_up, r"no answer \(Remote end closed connection without response\); try again"),
        (busy(503), "the server answers 503 Service Unavailable; try again later"),
        (broken_off(9), "the transfer broke off, 5 times in a row; try again later"),
    ],
)
def test_a_description_that_does_not_come(server, tmp_path, fault, words):
    server.description_faults = [fault] * 5
    with pytest.raises(BadInput, match=words):
        run(server, tmp_path, "--dev")
    assert server.description_faults == []


@pytest.mark.parametrize(
    ("size", "listed"), [("more", {"size": 400_000}), ("no", {"checksum": "md5:" + "0" * 32})]
)
def test_a_record_with_another_size_or_checksum(server, tmp_path, size, listed):
    server.listed["dev_fan.zip"] = listed
    if size == "more":  # the checksum is right
        assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
        assert files(tmp_path) == FAN
        return
    with pytest.raises(BadInput, match=r"dev_fan.zip: came 3 times with another checksum"):
        run(server, tmp_path, "--dev")
    # The other archive of the record is there, and the next try has only this one to fetch.
    assert set(files(tmp_path)) == {f"dev_data/valve/{clip('train')}"}


def test_a_dead_server_keeps_everything_for_the_next_try(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.zenodo.ATTEMPTS", 3)
    server.faults = [broken_off(50_000), *[hang_up] * 3]
    with pytest.raises(BadInput, match=r"dev_fan.zip.*no answer(.|\n)*the same command continues"):
        run(server, tmp_path, "--dev")
    assert (tmp_path / ".download" / "dev_fan.zip.part").stat().st_size == 50_000
    assert files(tmp_path) == {}
    server.requests.clear()
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert [range_ for _, range_ in server.requests] == ["bytes=50000-"]
    assert files(tmp_path) == FAN


@pytest.mark.parametrize(("seconds", "minutes"), [("7200", "120"), ("86400", "1440")])
def test_a_server_that_asks_for_too_long_a_pause(server, tmp_path, seconds, minutes):
    server.faults = [busy(429, {"Retry-After": seconds})]
    with pytest.raises(BadInput, match=rf"429.*come back in {minutes} minutes"):
        run(server, tmp_path, "--dev")
    assert len(requests_of_files(server)) == 1


def test_pauses_are_as_long_as_the_server_asks(server, tmp_path, monkeypatch, capsys):
    pauses = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    server.faults = [busy(429, {"Retry-After": "17"}), busy(503), busy(503)]
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert "the server answers 429; another attempt in 17 s" in capsys.readouterr().err
    assert pauses == [17.0, 2 * PAUSE, 4 * PAUSE]


def test_a_file_that_has_gone_stops_only_itself(server, tmp_path):
    server.listed["dev_fan.zip"] = {
        "links": {"self": f"{server.url}/api/records/1/files/x/content"}
    }
    with pytest.raises(BadInput, match=r"files/x/content: the server answers 404"):
        run(server, tmp_path, "--dev")
    assert set(files(tmp_path)) == {f"dev_data/valve/{clip('train')}"}


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"key": "../dev_fan.zip"}, "is not a valid file name"),
        ({"size": -1}, "no usable size or checksum"),
        ({"checksum": "crc:12"}, "no usable size or checksum"),
        ({"links": {}}, "does not list files"),
    ],
)
def test_a_record_that_cannot_be(server, tmp_path, listed, words):
    server.listed["dev_fan.zip"] = listed
    with pytest.raises(BadInput, match=words):
        run(server, tmp_path, "--dev")
    assert files(tmp_path) == {}


def test_links_lead_to_the_server_that_was_asked(server, tmp_path):
    link = f"https://zenodo.org/api/records/{DEV}/files/dev_fan.zip/content"
    server.listed["dev_fan.zip"] = {"links": {"self": link}}
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert files(tmp_path) == FAN


def test_each_year_a_folder_of_its_own(server, tmp_path):
    run(server, tmp_path, "--dev", "--machine", "fan")
    with pytest.raises(BadInput, match="has data of another year"):
        run(server, tmp_path, "--dev", year="2023")


@pytest.mark.parametrize(
    ("year", "part", "archive", "inside", "there"),
    [
        (2020, "dev", "dev_data_fan.zip", "fan/train/normal_id_00_00000000.wav", None),
        (2020, "additional", "eval_data_train_fan.zip", "fan/train/normal_id_01_0.wav", None),
        (2020, "eval", "eval_data_test_fan.zip", "fan/test/id_01_00000000.wav", None),
        (2021, "dev", "dev_data_fan.zip", f"fan/{clip('source_test')}", clip("source_test")),
        (2021, "eval", "eval_data_fan_test.zip", f"fan/{clip('target_test')}", None),
        (2022, "eval", "eval_data_fan_test.zip", "section_03_0000.wav", "test/section_03_0000.wav"),
        (2023, "dev", "dev_fan.zip", f"dev_data/raw/fan/{clip('train')}", clip("train")),
        (2024, "additional", "eval_data_3DPrinter_train_r2.zip", clip("train"), clip("train")),
        (2025, "additional", "eval_data_fan_train.zip", "fan/supplemental/section_00_a.wav", None),
        (2026, "dev", "dev_ToyCar_r2.zip", f"ToyCar_r2/{clip('test')}", clip("test")),
        (2026, "eval", "eval_data_Sander_test.zip", "Sander/test/section_00_0000.wav", None),
    ],
)
def test_every_year_unpacks_into_train_and_test(
    server, tmp_path, year, part, archive, inside, there
):
    server.files[download.RECORDS[year][part]] = {
        archive: zipped({inside: b"wav", "__MACOSX/._x": b"", "readme.txt": b"r"})
    }
    assert run(server, tmp_path, f"--{part}", year=str(year)) == 0
    (folder,) = {"dev": ["dev_data"], "additional": ["eval_data"], "eval": ["eval_data"]}[part]
    (home,) = (tmp_path / folder).iterdir()
    assert home.name in ("fan", "3DPrinter", "ToyCar", "Sander")
    expected = there or inside.partition("/")[2]
    assert files(home) == {expected: b"wav", "readme.txt": b"r"}


def test_the_latest_revision_of_an_archive_counts(server, tmp_path):
    first, second = zipped({clip("train"): b"1"}), zipped({clip("train"): b"2"})
    record = download.RECORDS[2026]["dev"]
    server.files[record] = {"dev_ToyCar_r2.zip": second, "dev_ToyCar.zip": first}
    assert run(server, tmp_path, "--dev", year="2026") == 0
    assert files(tmp_path) == {f"dev_data/ToyCar/{clip('train')}": b"2"}


def test_what_was_downloaded_is_a_dataset(server, tmp_path):
    run(server, tmp_path, "--dev")
    shared = SharedSettings(dev_directory=tmp_path / "dev_data")
    assert clips.select_machines(shared, "dev", []) == ["fan", "valve"]
    found, bad = clips.list_wavs(tmp_path / "dev_data" / "fan", ("train",))
    assert (len(found), bad) == (1, [])


@pytest.mark.parametrize(
    "arguments",
    [["2019", "--to", "x"], ["2022"], ["2022", "--to", "x", "--base-url", "zenodo.org"]],
)
def test_misuse_exits_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        download.main(arguments)
    assert stopped.value.code == 2


def test_a_place_that_cannot_be_written(server, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_script(lambda: run(server, tmp_path / "file", "--dev")) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_ctrl_c_exits_130_and_the_same_command_goes_on(server, tmp_path):
    def stall(handler, content, start):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:70_000])
        handler.wfile.flush()
        time.sleep(20)

    server.faults = [stall]
    server.daemon_threads, server.block_on_close = True, False
    command = [sys.executable, "-m", "tools.download", "2022", "--dev", "--machine", "fan"]
    command += ["--to", str(tmp_path), "--base-url", server.url]
    part = tmp_path / ".download" / "dev_fan.zip.part"
    with processes.child(command, cwd=ROOT) as process:
        processes.wait_until(lambda: part.exists() and part.stat().st_size == 70_000, process)
        os.kill(process.pid, signal.SIGINT)
        message = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "the same command goes on" in message
    assert "Traceback" not in message
    assert part.stat().st_size == 70_000
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert files(tmp_path) == FAN


def test_a_damaged_record_of_unpacking_is_not_believed(server, tmp_path):
    run(server, tmp_path, "--dev", "--machine", "fan")
    for name in ("dev_fan.zip.json", f"record_{DEV}.json"):
        (tmp_path / ".download" / name).write_text(json.dumps({"files": 3}))
    server.requests.clear()
    assert run(server, tmp_path, "--dev", "--machine", "fan") == 0
    assert len(server.requests) == 2
