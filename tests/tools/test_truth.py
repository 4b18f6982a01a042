"""The download of the published truth, from a server on 127.0.0.1 with made-up sources."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import pytest

from core.errors import BadInput
from evaluation.truth import read_ground_truth
from tests.tools.failing_server import serving
from tools import download
from tools.truth import SOURCES, git_tree

TABLES = {
    f"ground_truth_{kind}/ground_truth_fan_section_03_test.csv": "".join(
        f"section_03_{number:04}.wav,{number // divisor % 2}\n" for number in range(8)
    ).encode()
    for kind, divisor in (("data", 1), ("domain", 4))
}
LISTED = b"fan\r\nsection_00_0001.wav,section_00_source_test_anomaly_0000_a_1.wav\r\n"
OF_2020 = b"fan\nid_01_00000000.wav,normal_id_01_00000007.wav,0\n"


def packed(year: int, files: dict[str, bytes]) -> bytes:
    source = SOURCES[year]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(
                f"{source.repository.partition('/')[2]}-{source.commit}/{name}", content
            )
    return stream.getvalue()


def address(year: int) -> str:
    return f"/{SOURCES[year].repository}/zip/{SOURCES[year].commit}"


@pytest.fixture
def server(monkeypatch):
    """Serves the sources of 2020, 2022 and 2025, with trees and digests of the made-up files."""
    trees = {
        folder: git_tree(
            {name.partition("/")[2]: text for name, text in TABLES.items() if folder in name}
        )
        for folder in SOURCES[2022].folders
    }
    monkeypatch.setitem(SOURCES, 2022, dataclasses.replace(SOURCES[2022], folders=trees))
    monkeypatch.setitem(SOURCES, 2020, dataclasses.replace(SOURCES[2020], sha256=""))
    with serving() as server:
        others = {"README.md": b"", "ground_truth_data/../../escaped.csv": b"1", "code.py": b""}
        server.pages[address(2022)] = packed(2022, {**TABLES, **others})
        server.pages[address(2025)] = packed(2025, {SOURCES[2025].file: LISTED})
        server.files[SOURCES[2020].record] = {"eval_data_list.csv": OF_2020, "other.zip": b""}
        yield server


def run(server, to: Path, year: int, *more: str) -> int:
    arguments = [str(year), "--truth", "--to", str(to), "--base-url", server.url, *more]
    return download.main(arguments, pause=0.001)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("year", "expected"),
    [
        (2020, {"eval_data_list.csv": OF_2020}),
        (2022, TABLES),
        (2025, {"eval_data_list_2025.csv": LISTED}),
    ],
)
def test_the_truth_of_each_form_and_then_nothing_to_do(server, tmp_path, capsys, year, expected):
    assert run(server, tmp_path, year) == 0
    assert files(tmp_path / "ground_truth") == expected
    assert read_ground_truth(tmp_path / "ground_truth").sections
    assert SOURCES[year].licence in capsys.readouterr().out
    server.requests.clear()
    assert run(server, tmp_path, year) == 0
    assert server.requests == []
    assert "nothing to do" in capsys.readouterr().out
    assert set(tmp_path.iterdir()) == {tmp_path / "ground_truth", tmp_path / ".download"}


def test_a_transfer_that_breaks_is_tried_again(server, tmp_path):
    server.faults = [
        lambda handler, *_: handler.answer(503, b""),
        lambda handler, content, _: handler.answer(200, content[:50], length=len(content)),
        lambda handler, *_: handler.hang_up(),
    ]
    assert run(server, tmp_path, 2022) == 0
    assert files(tmp_path / "ground_truth") == TABLES


def changed(name: str, content: bytes | None) -> dict[str, bytes]:
    tables = {**TABLES, name: content}
    return {key: value for key, value in tables.items() if value is not None}


DATA, DOMAIN = TABLES


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no archive", "a damaged archive"),
        (packed(2022, changed(DATA, TABLES[DOMAIN])), "ground_truth_data/ is not the tree"),
        (packed(2022, changed(DOMAIN, None)), "has no files in ground_truth_domain/"),
        (packed(2022, {**TABLES, "ground_truth_data/more.csv": b""}), "is not the tree"),
    ],
)
def test_what_is_not_the_source_is_refused_and_nothing_is_left(server, tmp_path, content, problem):
    server.pages[address(2022)] = content
    with pytest.raises(BadInput, match=problem):
        run(server, tmp_path, 2022)
    assert not (tmp_path / "ground_truth").exists()


def test_a_source_of_which_only_the_form_is_known(server, tmp_path):
    server.pages[address(2025)] = packed(
        2025, {SOURCES[2025].file: LISTED.replace(b"section", b"s")}
    )
    with pytest.raises(BadInput, match=r"not a ground truth: .*line 2"):
        run(server, tmp_path, 2025)
    server.pages[address(2025)] = packed(
        2025, {SOURCES[2025].file: LISTED.replace(b"_00_", b"_03_")}
    )
    with pytest.raises(BadInput, match="its names are as of DCASE 2022, not 2025"):
        run(server, tmp_path, 2025)
    assert not (tmp_path / "ground_truth").exists()


def test_other_files_in_the_way_stay(server, tmp_path):
    (tmp_path / "ground_truth").mkdir()
    (tmp_path / "ground_truth" / "mine.csv").write_text("1\n")
    with pytest.raises(BadInput, match="in the way of the ground truth of 2022"):
        run(server, tmp_path, 2022)
    assert files(tmp_path / "ground_truth") == {"mine.csv": b"1\n"}


def test_a_file_changed_later_and_another_year_are_noticed(server, tmp_path):
    assert run(server, tmp_path, 2022) == 0
    with pytest.raises(BadInput, match="has data of another year"):
        run(server, tmp_path, 2025)
    (tmp_path / "ground_truth" / DATA).write_bytes(b"")
    with pytest.raises(BadInput, match="in the way"):
        run(server, tmp_path, 2022)


def test_too_large_a_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.truth.LARGEST", 100)
    with pytest.raises(BadInput, match="larger than 100 bytes"):
        run(server, tmp_path, 2022)


def test_a_tree_is_named_as_git_does():
    """By `git write-tree --prefix=d/` of these three files."""
    made = git_tree({"a.csv": b"1\n", "b/c.csv": b"", "b.csv": b"2\n"})
    assert made == "99bea22385be9fe43f6c3972663e28831b3b6ea7"


def test_every_year_has_a_source_of_one_kind():
    assert set(SOURCES) == set(download.RECORDS)
    for source in SOURCES.values():
        assert bool(source.record) != bool(source.repository)
        assert bool(source.folders) != bool(source.file)
        assert bool(source.repository) == bool(source.commit)
    assert json.dumps([source.licence for source in SOURCES.values()]).count("must not") == 4
