"""Unpack the archive of a machine type, from whoever it comes: names, links and sizes checked.

Whatever folders an archive of the challenge has around them, its clips end in train/, test/,
source_test/, target_test/ or supplemental/ of the machine type, other files beside these.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from core.errors import BadInput

CLIP_FOLDERS = ("train", "test", "source_test", "target_test", "supplemental")
SMALLEST_LIMIT = 2**30  # bytes that any archive may unpack to
LARGEST_RATIO = 20  # unpacked to packed beyond that; wavs stay below 10
MOST_FILES = 200_000
BLOCK = 2**20


def unpack(archive: Path, home: Path, machine_type: str, folder: str | None, work: Path) -> dict:
    """Unpack an archive into the folder of its machine type; all of it, or nothing.

    Parameters
    ----------
    archive : a zip file, at whose place nothing else is written
    home : dev_data/<machine type> or eval_data/<machine type>
    machine_type : the name of the folder that the archive may have around its own
    folder : where clips belong that lie in no folder of CLIP_FOLDERS; None: nowhere
    work : a folder on the same disk to unpack in first; removed afterwards

    Returns
    -------
    What was unpacked: path below home → size in bytes.

    Raises
    ------
    BadInput : for what is no whole zip file, and for one with a path that leads elsewhere, a link
        or another special file, a name twice, a password, more files than MOST_FILES, or more
        bytes than max(SMALLEST_LIMIT, LARGEST_RATIO * its size), whatever its headers say.
    """
    allowed = limit = max(SMALLEST_LIMIT, LARGEST_RATIO * archive.stat().st_size)
    shutil.rmtree(work, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not _is_left_out(member)]
            places = _places(archive, members, machine_type, folder, limit)
            sizes = {}
            for member, place in zip(members, places, strict=True):
                (work / place).parent.mkdir(parents=True, exist_ok=True)
                sizes[place] = _write(opened, member, work / place, limit)
                limit -= sizes[place]
        for place in sizes:
            (home / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / place, home / place)
        return sizes
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, zlib.error) as error:
        raise BadInput(f"{_name(archive)}: not a whole zip file ({error})") from None
    except _TooLarge:
        raise BadInput(
            f"{_name(archive)}: unpacks to more than the {allowed} bytes that an archive of its "
            "size may; nothing of it was kept"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _name(archive: Path) -> str:
    return archive.name.removesuffix(".part")


class _TooLarge(Exception):
    pass


def _is_left_out(member: zipfile.ZipInfo) -> bool:
    # Folders are made as they are needed; the rest is what macOS adds.
    name = Path(member.filename.replace("\\", "/"))
    return member.is_dir() or "__MACOSX" in name.parts or name.name == ".DS_Store"


def _places(
    archive: Path,
    members: Sequence[zipfile.ZipInfo],
    machine_type: str,
    folder: str | None,
    limit: int,
) -> list[str]:
    """Where each member goes, below the machine type; raises BadInput before anything is read."""
    if sum(member.file_size for member in members) > limit:
        raise _TooLarge
    if len(members) > MOST_FILES:
        raise BadInput(f"{_name(archive)}: holds more than {MOST_FILES} files")
    places: list[str] = []
    taken: set[str] = set()
    problems = []
    for member in members:
        # Everything after a NUL is lost in `filename`.
        name = member.orig_filename.replace("\\", "/")
        kind = stat.S_IFMT(member.external_attr >> 16)
        place = _place(name, machine_type, folder)
        if ".." in name.split("/") or name.startswith("/") or re.match(r"[A-Za-z]:", name):
            problems.append(f"{name!r} leads out of the folder")
        elif any(ord(character) < 32 for character in name):
            problems.append(f"{name!r} has control characters in its name")
        elif kind not in (0, stat.S_IFREG):
            problems.append(f"{name!r} is a link or another special file")
        elif member.flag_bits & 1:
            problems.append(f"{name!r} has a password")
        elif place is None:
            problems.append(f"{name!r} lies in none of {', '.join(CLIP_FOLDERS)}")
        elif place in taken:
            problems.append(f"{name!r} is in it twice")
        else:
            taken.add(place)
            places.append(place)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BadInput(f"{_name(archive)}: not unpacked: {'; '.join(problems[:5])}{more}")
    return places


def _place(name: str, machine_type: str, folder: str | None) -> str | None:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    above = parts[:-1]
    clips = next((at for at, part in enumerate(above) if part in CLIP_FOLDERS), None)
    if clips is not None:
        parts = parts[clips:]
    elif machine_type in above:
        parts = parts[above.index(machine_type) + 1 :]
    else:
        parts = parts[-1:]
    if clips is None and parts and parts[-1].lower().endswith(".wav"):
        return f"{folder}/{parts[-1]}" if folder else None
    return "/".join(parts) or None


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int) -> int:
    written = 0
    with opened.open(member) as source, path.open("xb") as target:
        while block := source.read(BLOCK):
            written += len(block)
            if written > limit:
                raise _TooLarge
            target.write(block)
    return written
