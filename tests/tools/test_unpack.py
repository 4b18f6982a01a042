"""Archives from strangers: one that is rejected leaves no file behind."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from core.errors import BadInput
from tools import unpack

GOOD = "fan/train/section_00_source_train_normal_0000_a_1.wav"


def make(path: Path, members: dict[str, bytes], change=None, packed: bool = False) -> Path:
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in {GOOD: b"wav", **members}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = kind
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            if change and name != GOOD:
                change(info)
            archive.writestr(info, content)
    return path


def run(archive: Path, home: Path) -> dict[str, int]:
    return unpack.unpack(archive, home, "fan", None, home.parent / "work")


def rejected(archive: Path, words: str) -> None:
    home = archive.parent / "deep" / "er" / "home"
    with pytest.raises(BadInput, match=words):
        run(archive, home)
    assert [path.name for path in archive.parent.rglob("*") if path.is_file()] == [archive.name]


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.txt", "fan/../../evil.txt", "fan/train/../../../evil.wav", "/tmp/evil.txt"),
        *("C:/evil.txt", "..\\evil.txt", "fan/train/..\\..\\..\\evil.wav"),
    ],
)
def test_paths_that_lead_elsewhere(tmp_path, name):
    rejected(make(tmp_path / "dev_fan.zip", {name: b"evil"}), "leads out of the folder")


def test_links_and_special_files(tmp_path):
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        archive = make(
            tmp_path / "dev_fan.zip",
            {"fan/train/x.wav": b"/etc/passwd"},
            lambda info, kind=kind: setattr(info, "external_attr", (kind | 0o777) << 16),
        )
        rejected(archive, "is a link or another special file")


def test_names_twice_passwords_and_strays(tmp_path):
    rejected(make(tmp_path / "a.zip", {"x/train/" + GOOD.split("/")[-1]: b""}), "is in it twice")
    rejected(make(tmp_path / "a.zip", {"fan/lone.wav": b""}), "lies in none of train, test")
    rejected(make(tmp_path / "a.zip", {"fan/train/a\nb.wav": b""}), "control characters")
    archive = make(tmp_path / "a.zip", {"fan/train/x.wav": b"secret"})
    content = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.rindex(signature) + at] |= 1
    archive.write_bytes(content)
    rejected(archive, "has a password")


def test_sizes_as_declared(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "SMALLEST_LIMIT", 50_000)
    archive = make(tmp_path / "dev_fan.zip", {"fan/train/x.wav": bytes(100_000)}, packed=True)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # nothing is read
    rejected(archive, "unpacks to more than 50000 bytes")


def test_sizes_against_their_declaration(tmp_path, monkeypatch):
    archive = make(tmp_path / "dev_fan.zip", {"fan/train/x.wav": bytes(100_000)}, packed=True)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<L", 100_000), struct.pack("<L", 10)))
    rejected(archive, "not a complete zip file|unpacks to more")
    # Were zipfile to hand out more than is declared, the count would still end it.
    monkeypatch.setattr(unpack, "SMALLEST_LIMIT", 50_000)
    endless = type("Endless", (), {"read": lambda self, n: bytes(n), "close": lambda self: None})
    endless.__enter__, endless.__exit__ = lambda self: self, lambda self, *_: None
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: endless())
    rejected(archive, "unpacks to more than 50000 bytes")


@pytest.mark.parametrize("damage", ["cut", "flipped", "no zip"])
def test_damaged_archives(tmp_path, damage):
    archive = make(tmp_path / "dev_fan.zip", {"fan/train/x.wav": bytes(range(256)) * 40})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 255
    archive.write_bytes({"cut": content[:3000], "flipped": content, "no zip": b"<html>"}[damage])
    rejected(archive, "not a complete zip file")


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST_FILES", 1)
    rejected(make(tmp_path / "dev_fan.zip", {"fan/train/x.wav": b""}), "more than 1 files")


def test_sizes_of_the_unpacked_files(tmp_path):
    archive = make(tmp_path / "dev_fan.zip", {"fan/attributes_00.csv": b"file_name\n"})
    home = tmp_path / "dev_data" / "fan"
    assert run(archive, home) == {GOOD.removeprefix("fan/"): 3, "attributes_00.csv": 10}
    assert (home / GOOD.removeprefix("fan/")).read_bytes() == b"wav"
    assert not (home.parent / "work").exists()
