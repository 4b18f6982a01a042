"""The published ground truth of the evaluation data, downloaded and checked.

Its sources are small: a file of a Zenodo record, or a repository at a fixed commit. So a file comes
whole or not at all, and is not continued where it broke off, as an archive of clips is. Nothing is
at its place before everything is checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from core.errors import BadInput
from core.files import lock_directories, save_json
from evaluation.metrics import EvaluationError
from evaluation.truth import Truth, read_ground_truth
from tools.zenodo import ZenodoClient

FOLDER = "ground_truth"
CODE_URL = "https://codeload.github.com"
LARGEST = 2**25  # bytes of an archive or a list, and of what is unpacked from one
MIT = "MIT licence"
NTT = (
    "NTT's software licence agreement for evaluation: for internal, non-commercial use; the files "
    "must not be passed on"
)


@dataclass(frozen=True)
class Source:
    """Where the ground truth of a year is.

    repository : "owner/name", with its commit; or the number of a Zenodo record
    folders : of the repository → its tree as git names it, which depends on every byte in it; ""
        where it is not known here, so that only the form of the files is checked
    file : the list, in place of folders; its SHA-256, "" where it is not known here
    licence : of the files
    """

    licence: str
    repository: str = ""
    commit: str = ""
    record: int = 0
    folders: dict[str, str] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""


# The trees and digests were computed from copies of the sources. NTT's were not at hand: there the
# commit pins the content, and the form of the files is checked. Of 2025 the evaluator's commit is
# not known, so the list of the common baseline is taken; of 2026 only the beginning of the commit.
_TABLES = ("ground_truth_data", "ground_truth_domain", "ground_truth_attributes")
SOURCES = {
    2020: Source(
        "as the record states",
        record=3951620,
        file="eval_data_list.csv",
        sha256="a179d4dde7993a2971044cf5ee00abb306c5016becce372c625e79845673b3bb",
    ),
    2021: Source(
        MIT,
        "y-kawagu/dcase2021_task2_evaluator",
        "178746837e5ffe46f8c8bfc6498e7d538b25bc41",
        folders={"ground_truth_data": "0098664df016684e199471b1b7c624d8f3f486c2"},
    ),
    2022: Source(
        MIT,
        "Kota-Dohi/dcase2022_evaluator",
        "de8719b7d35280ff3a39487c9d1003413eef7818",
        folders={
            "ground_truth_data": "6a684874dd773ea18c29ac8f936ffe86930a7088",
            "ground_truth_domain": "c9df7f9fc78029338d6b5a02a583886d68f387eb",
        },
    ),
    2023: Source(
        NTT,
        "nttcslab/dcase2023_task2_evaluator",
        "3aa8a9fe09a9a55d9dccb74fd4f17ba9791fb5ea",
        folders=dict.fromkeys(_TABLES, ""),
    ),
    2024: Source(
        NTT,
        "nttcslab/dcase2024_task2_evaluator",
        "b5d17f63769bf4372a5412a7ede1f814c9590047",
        folders=dict.fromkeys(_TABLES, ""),
    ),
    2025: Source(
        NTT,
        "nttcslab/dcase2023_task2_baseline_ae",
        "9b64dc42276a64f65b7cbf2761d3c9ec525cff94",
        file="datasets/eval_data_list_2025.csv",
    ),
    2026: Source(
        NTT,
        "nttcslab/dcase2026_task2_evaluator",
        "f6a94a2b",
        folders=dict.fromkeys(_TABLES, ""),
    ),
}


def download_truth(client: ZenodoClient, to: Path, year: int) -> None:
    """Download the ground truth of a year into DIR/ground_truth, unless it is there.

    client : of the server that has the year's source

    Raises BadInput where it cannot be downloaded, is not what the source is known to have, or
    where something else is in its place; OSError where it cannot be written.
    """
    source, place, state = SOURCES[year], to / FOLDER, to / ".download"
    described = state / f"truth_{year}.json"
    if place.exists():
        if _complete(place, described):
            print(f"{place}: the ground truth of {year} is there; nothing to do")
            return
        raise BadInput(f"{place}: is in the way of the ground truth of {year}; move it away")
    with lock_directories(state):
        unpacked = state / f"truth_{year}.unpacking"
        shutil.rmtree(unpacked, ignore_errors=True)
        files = _record_file(client, source) if source.record else _repository(client, source)
        for name, content in files.items():
            path = unpacked / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        truth = _checked(unpacked, source, year)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        save_json(described, {"source": source.repository or source.record, "files": digests})
        unpacked.rename(place)
    clips = sum(map(len, truth.sections.values()))
    print(f"{place}: {clips} clips of {len(truth.sections)} sections")
    print(f"licence of these files: {source.licence}")


def _complete(place: Path, described: Path) -> bool:
    """Return whether the files of a ground truth are as they were downloaded."""
    try:
        files = json.loads(described.read_text(encoding="utf-8"))["files"]
        return bool(files) and all(
            hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
            for name, digest in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _checked(folder: Path, source: Source, year: int) -> Truth:
    """Return the ground truth in a folder; raise BadInput where it is not that of the year."""
    try:
        truth = read_ground_truth(folder)
    except EvaluationError as error:
        raise BadInput(f"{_name(source)}: not a ground truth: {error}") from None
    if year not in truth.definition.years:
        raise BadInput(f"{_name(source)}: its names are as of {truth.definition.title}, not {year}")
    return truth


def _name(source: Source) -> str:
    if source.record:
        return f"record {source.record}"
    return f"{source.repository} at {source.commit}"


def _record_file(client: ZenodoClient, source: Source) -> dict[str, bytes]:
    answer = client.record(source.record)
    try:
        links = {file["key"]: str(file["links"]["self"]) for file in answer["files"]}
        content = client.small_file(client.address(links[source.file]), LARGEST)
    except (TypeError, KeyError):
        raise BadInput(
            f"record {source.record}: does not list {source.file}; is --base-url right?"
        ) from None
    _check_digest(source, content)
    return {source.file: content}


def _check_digest(source: Source, content: bytes) -> None:
    if source.sha256 and hashlib.sha256(content).hexdigest() != source.sha256:
        raise BadInput(
            f"{_name(source)}: {source.file} has another SHA-256 than {source.sha256}; try again "
            "later"
        )


def _repository(client: ZenodoClient, source: Source) -> dict[str, bytes]:
    """Return the files of a repository that are the ground truth: path → content."""
    url = f"{client.base_url}/{source.repository}/zip/{source.commit}"
    files = _members(client.small_file(url, LARGEST), source)
    if source.file:
        _check_digest(source, files[source.file])
        return {PurePosixPath(source.file).name: files[source.file]}
    for folder, tree in source.folders.items():
        inside = {
            name.removeprefix(f"{folder}/"): content
            for name, content in files.items()
            if name.startswith(f"{folder}/")
        }
        if not inside:
            raise BadInput(f"{_name(source)}: has no files in {folder}/")
        if tree and git_tree(inside) != tree:
            raise BadInput(
                f"{_name(source)}: {folder}/ is not the tree {tree}: something is missing or "
                "changed; try again later"
            )
    return files


def _members(archive: bytes, source: Source) -> dict[str, bytes]:
    """Return the files of an archive of a repository that are wanted, by their paths in it."""
    wanted = re.compile(
        "|".join([re.escape(source.file)] if source.file else map(_inside, source.folders))
    )
    files, size = {}, 0
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as package:
            for member in package.infolist():
                # The archive has one folder, named as the repository and the commit.
                name = member.filename.partition("/")[2]
                if member.is_dir() or not wanted.fullmatch(name):
                    continue
                size += member.file_size
                if size > LARGEST:
                    raise BadInput(f"{_name(source)}: more than {LARGEST} bytes unpacked")
                files[name] = package.read(member)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{_name(source)}: a damaged archive ({error}); try again later") from None
    if source.file and source.file not in files:
        raise BadInput(f"{_name(source)}: has no {source.file}")
    return files


def _inside(folder: str) -> str:
    """Return the pattern of the tables in a folder, at any depth of plain names."""
    return rf"{re.escape(folder)}(/(?!\.)[\w.+ -]+)+\.csv"


def git_tree(files: dict[str, bytes]) -> str:
    """Return the name that git gives a folder with these files: path → content."""
    entries: dict[str, tuple[bytes, bytes]] = {}
    below: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = content
        else:
            entries[name] = b"100644", bytes.fromhex(_git_object("blob", content))
    for name, inside in below.items():
        entries[f"{name}/"] = b"40000", bytes.fromhex(git_tree(inside))
    listed = b"".join(
        mode + b" " + name.rstrip("/").encode() + b"\0" + digest
        for name, (mode, digest) in sorted(entries.items(), key=lambda pair: pair[0].encode())
    )
    return _git_object("tree", listed)


def _git_object(kind: str, content: bytes) -> str:
    head = f"{kind} {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
