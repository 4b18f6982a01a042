"""Unpack the archive of a machine type without trusting it: names, links and sizes are checked.

The archives of the challenge have different folders around their clips. Unpacked, the clips are in
train/, test/, source_test/, target_test/ or supplemental/ of the machine type, and the other files
beside these folders.
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
SMALLEST_LIMIT = 2**30  # bytes to which every archive may unpack
LARGEST_RATIO = 20  # of unpacked to packed bytes, for larger ones; it is below 10 for wavs
MOST_FILES = 200_000
BLOCK = 2**20  # bytes


def unpack(archive: Path, home: Path, machine_type: str, folder: str | None, work: Path) -> dict:
    """Unpack all files of an archive into the folder of its machine type, or none of them.

    Parameters
    ----------
    archive : a zip file
    home : dev_data/<machine type> or eval_data/<machine type>
    machine_type : name of a folder that the archive may have around the others
    folder : subfolder for clips that lie in no folder of CLIP_FOLDERS; None: these are an error
    work : a temporary folder on the disk of `home`; removed afterwards

    Returns
    -------
    The unpacked files: path below `home` → size in bytes.

    Raises
    ------
    BadInput : for a file that is not a complete zip file, and for an archive with a path out of the
        folder, a link or another special file, one name twice, a password, more files than
        MOST_FILES, or more bytes than max(SMALLEST_LIMIT, LARGEST_RATIO * its size). The bytes are
        counted while they are unpacked: the sizes that the archive states are not trusted.
    """
    allowed = limit = max(SMALLEST_LIMIT, LARGEST_RATIO * archive.stat().st_size)
    shutil.rmtree(work, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not _is_ignored(member)]
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
        raise BadInput(
            f"{_name(archive)}: not a complete zip file ({error}); nothing was unpacked"
        ) from None
    except _TooLarge:
        raise BadInput(
            f"{_name(archive)}: unpacks to more than {allowed} bytes, the limit for an archive of "
            "its size; nothing was unpacked"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _name(archive: Path) -> str:
    return archive.name.removesuffix(".part")


class _TooLarge(Exception):
    """The archive has more bytes than its limit."""


def _is_ignored(member: zipfile.ZipInfo) -> bool:
    # Folders are made where a file needs them. The other names are what macOS adds.
    name = Path(member.filename.replace("\\", "/"))
    return member.is_dir() or "__MACOSX" in name.parts or name.name == ".DS_Store"


def _places(
    archive: Path,
    members: Sequence[zipfile.ZipInfo],
    machine_type: str,
    folder: str | None,
    limit: int,
) -> list[str]:
    """Return the path of each member below the machine type, before any of them is read.

    Raises BadInput, or _TooLarge for sizes that add up to more than the limit.
    """
    if sum(member.file_size for member in members) > limit:
        raise _TooLarge
    if len(members) > MOST_FILES:
        raise BadInput(f"{_name(archive)}: has more than {MOST_FILES} files")
    places: list[str] = []
    taken: set[str] = set()
    problems = []
    for member in members:
        # `filename` ends at the first NUL character, and would hide what follows it.
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
    """Return the path of a member below its machine type; None for a clip in no clip folder."""
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
    """Unpack one member, and return its size in bytes; raise _TooLarge beyond the limit."""
    written = 0
    with opened.open(member) as source, path.open("xb") as target:
        while block := source.read(BLOCK):
            written += len(block)
            if written > limit:
                raise _TooLarge
            target.write(block)
    return written
