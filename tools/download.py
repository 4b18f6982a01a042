"""Download the data of a DCASE Challenge Task 2, as 00_train.py expects it.

    python -m tools.download 2022 --to DIR

downloads the archives of the year's public Zenodo records and unpacks them into
DIR/dev_data/<machine type> and DIR/eval_data/<machine type>. With --truth the published ground
truth of the evaluation clips comes to DIR/ground_truth, see tools.truth. After an interruption the
same command continues where it was; what is complete is not downloaded a second time. Unfinished
downloads, and a list of the unpacked files of each archive, are in DIR/.download.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from core.command_line import program_name
from core.errors import BadInput, ProblemCollector, nearest
from core.files import lock_directories, save_json
from core.log import progress_bar
from core.script import run_script
from tools import truth
from tools.unpack import unpack
from tools.zenodo import CHECKSUM, Archive, Unreachable, ZenodoClient, file_size

BASE_URL = "https://zenodo.org"
RECORDS = {
    2020: {"dev": 3678171, "additional": 3727685, "eval": 3841772},
    2021: {"dev": 4562016, "additional": 4660992, "eval": 4884786},
    2022: {"dev": 6355122, "additional": 6462969, "eval": 6586456},
    2023: {"dev": 7882613, "additional": 7830345, "eval": 7860847},
    2024: {"dev": 10902294, "additional": 11259435, "eval": 11363076},
    2025: {"dev": 15097779, "additional": 15392814, "eval": 15519362},
    2026: {"dev": 19336329, "additional": 20151556, "eval": 20437238},
}
# Part → its folder, and the subfolder of clips that lie in no such folder of their archive.
FOLDERS = {
    "dev": ("dev_data", None),
    "additional": ("eval_data", "train"),
    "eval": ("eval_data", "test"),
}

# dev_data_fan.zip, dev_fan.zip, eval_data_train_fan.zip, eval_data_fan_train_r2.zip
_ARCHIVE = re.compile(
    r"(?:dev|eval)(?:_data)?(?:_train|_test)?_(?P<machine_type>.+?)(?:_train|_test)?"
    r"(?:_r(?P<revision>\d+))?\.zip"
)


def main(argv: Sequence[str] | None = None, pause: float = 1.0) -> int:
    """Run the command line; return the exit status 0.

    pause : seconds, see ZenodoClient

    Raises BadInput, also where a file cannot be written.
    """
    args = _arguments(argv)
    try:
        _check_year(args.to / ".download", args.year)
        if args.truth:
            server = BASE_URL if truth.SOURCES[args.year].record else truth.CODE_URL
            client = ZenodoClient(args.base_url or server, pause)
            truth.download_truth(client, args.to, args.year)
        if args.truth and not any(getattr(args, part) for part in FOLDERS):
            return 0
        return _download(args, ZenodoClient(args.base_url or BASE_URL, pause))
    except OSError as error:
        where = error.filename or args.to
        raise BadInput(f"{where}: cannot be written ({error.strerror or error})") from None


def _download(args: argparse.Namespace, client: ZenodoClient) -> int:
    """Download what the arguments ask for and is missing; return the exit status 0."""
    parts = [part for part in FOLDERS if getattr(args, part)] or list(FOLDERS)
    state = args.to / ".download"
    records = RECORDS[args.year]
    listed = {part: list_archives(client, state, part, records[part]) for part in parts}
    archives = choose(listed, args.machine)
    todo = [archive for archive in archives if not is_unpacked(args.to, state, archive)]
    if not todo:
        print(f"{args.to}: all {len(archives)} archives are there; nothing to do")
        return 0
    _check_space(args.to, state, todo)
    with lock_directories(state):
        fetch_all(client, args.to, state, todo)
    print(f"{args.to}: complete; set dev_directory and eval_directory to its folders")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Download the data of a DCASE Challenge Task 2 and unpack it.",
        epilog="Without --dev, --additional, --eval and --truth the first three are downloaded.",
        allow_abbrev=False,
    )
    parser.add_argument("year", type=int, choices=RECORDS, help="year of the challenge")
    parser.add_argument("--dev", action="store_true", help="development dataset")
    parser.add_argument(
        "--additional", action="store_true", help="additional training dataset, of the eval data"
    )
    parser.add_argument("--eval", action="store_true", help="evaluation dataset: its test clips")
    parser.add_argument(
        "--truth", action="store_true", help="published ground truth of the evaluation dataset"
    )
    parser.add_argument(
        "--machine",
        nargs="+",
        default=[],
        metavar="NAME",
        help="machine types to download (default: all of the year)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that gets dev_data and eval_data",
    )
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help=f"another server (default: {BASE_URL}; for --truth also {truth.CODE_URL})",
    )
    args = parser.parse_args(argv)
    if args.base_url is not None and (
        urlsplit(args.base_url).scheme not in ("http", "https")
        or not urlsplit(args.base_url).netloc
    ):
        parser.error("argument --base-url: expected an address such as https://zenodo.org")
    return args


def _check_year(state: Path, year: int) -> None:
    """Raise BadInput where the folder has data of another year."""
    expected = {f"record_{number}.json" for number in RECORDS[year].values()}
    expected.add(f"truth_{year}.json")
    for path in (*state.glob("record_*.json"), *state.glob("truth_*.json")):
        if path.name not in expected:
            raise BadInput(
                f"{state.parent}: has data of another year ({path}); choose another folder for "
                f"{year} with --to"
            )


def list_archives(client: ZenodoClient, state: Path, part: str, record: int) -> list[Archive]:
    """Return the archives of a record: the latest revision per machine type, sorted by name.

    A published record never changes, so its description is downloaded once and saved.
    """
    saved = state / f"record_{record}.json"
    try:
        files = _checked_files(json.loads(saved.read_text(encoding="utf-8")), record)
    except (OSError, ValueError, BadInput):
        files = _checked_files(client.record(record), record)
        save_json(saved, {"files": files})
    latest: dict[str, tuple[int, Archive]] = {}
    for file in files:
        match = _ARCHIVE.fullmatch(file["key"])
        if match is None:
            continue
        name, revision = match["machine_type"], int(match["revision"] or 1)
        url = client.address(file["links"]["self"])
        archive = Archive(part, name, record, file["key"], file["size"], file["checksum"], url)
        if name not in latest or latest[name][0] < revision:
            latest[name] = (revision, archive)
    if not latest:
        raise BadInput(
            f"record {record} ({part}): lists no archive of a machine type; is --base-url right?"
        )
    return [archive for _, archive in sorted(latest.values(), key=lambda pair: pair[1].key)]


def _checked_files(answer: Any, record: int) -> list[dict[str, Any]]:
    """Return the files that a record's description lists, with the fields used here.

    Raises BadInput for a file without them, or with a name that is no plain file name.
    """
    try:
        files = [
            {
                "key": str(file["key"]),
                "size": int(file["size"]),
                "checksum": str(file["checksum"]).lower(),
                "links": {"self": str(file["links"]["self"])},
            }
            for file in answer["files"]
        ]
    except (TypeError, KeyError, ValueError):
        raise BadInput(
            f"record {record}: its description does not list files with key, size, checksum and "
            "links; is --base-url right?"
        ) from None
    for file in files:
        if re.search(r"[/\\\x00-\x1f]", file["key"]) or file["key"].startswith("."):
            raise BadInput(f"record {record}: {file['key']!r} is not a valid file name")
        if file["size"] < 0 or not CHECKSUM.fullmatch(file["checksum"]):
            raise BadInput(f"record {record}: {file['key']} has no usable size or checksum")
    return files


def choose(listed: dict[str, list[Archive]], wanted: Sequence[str]) -> list[Archive]:
    """Return the archives of the wanted machine types, of all if none is named.

    Raises BadInput for machine types that no part has.
    """
    known = sorted({archive.machine_type for part in listed.values() for archive in part})
    missing = [name for name in wanted if name not in known]
    if missing:
        raise BadInput(
            "\n".join(
                f"--machine {name}: not in the {' or '.join(listed)} data{nearest(name, known)}"
                for name in missing
            )
        )
    return [
        archive
        for part in listed.values()
        for archive in part
        if not wanted or archive.machine_type in wanted
    ]


def is_unpacked(to: Path, state: Path, archive: Archive) -> bool:
    """Return whether every file of an archive is in its place.

    Clips must have the size that they had when they were unpacked; other files may have changed.
    """
    home = to / FOLDERS[archive.part][0] / archive.machine_type
    try:
        unpacked = json.loads((state / f"{archive.key}.json").read_text(encoding="utf-8"))
        sizes = unpacked["files"].items() if unpacked["checksum"] == archive.checksum else ()
        return bool(sizes) and all(
            (home / place).stat().st_size == size or not place.endswith(".wav")
            for place, size in sizes
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_space(to: Path, state: Path, todo: Sequence[Archive]) -> None:
    """Raise BadInput where the disk is too small for the archives; make the folder."""
    state.mkdir(parents=True, exist_ok=True)
    needed, free = _left(state, todo), shutil.disk_usage(to).free
    if needed > free:
        raise BadInput(
            f"{to}: {_bytes(needed)} are left to download, but only {_bytes(free)} are free; free "
            "some space, or choose another folder with --to"
        )


def _left(state: Path, archives: Sequence[Archive]) -> int:
    """Return how many bytes of the archives are not downloaded yet."""
    return sum(
        max(0, archive.size - file_size(_unfinished(state, archive))) for archive in archives
    )


def _unfinished(state: Path, archive: Archive) -> Path:
    return state / f"{archive.key}.part"


def _bytes(number: int) -> str:
    return tqdm.format_sizeof(number, "B", 1000)


def fetch_all(client: ZenodoClient, to: Path, state: Path, todo: Sequence[Archive]) -> None:
    """Download and unpack archives, one after another.

    Raises BadInput for those that failed. The others are complete, unless the server is not
    reachable.
    """
    problems = ProblemCollector()
    print(f"{len(todo)} archives, {_bytes(_left(state, todo))} left to download")
    bar = progress_bar(sum(archive.size for archive in todo), "", "B")
    bar.unit_scale = True
    with bar:
        for number, archive in enumerate(todo, start=1):
            bar.set_description(f"[{number}/{len(todo)}] {archive.key}")
            with problems:
                try:
                    client.fetch(archive, _unfinished(state, archive), bar)
                except Unreachable as error:
                    problems.messages.append(str(error))
                    break
                result = _unpack(archive, to, state)
                left = todo[number:]
                bar.write(f"{result}; left: {len(left)} archives, {_bytes(_left(state, left))}")
    if problems.messages:
        problems.messages.append("the same command continues unfinished downloads")
    problems.stop()


def _unpack(archive: Archive, to: Path, state: Path) -> str:
    """Unpack a complete archive, save the sizes of its files, and remove it; return a summary."""
    folder, clips = FOLDERS[archive.part]
    home = to / folder / archive.machine_type
    path = _unfinished(state, archive)
    sizes = unpack(path, home, archive.machine_type, clips, state / f"{archive.key}.unpacking")
    save_json(state / f"{archive.key}.json", {"checksum": archive.checksum, "files": sizes})
    path.unlink()
    return f"{archive.key}: {len(sizes)} files -> {home}"


if __name__ == "__main__":
    sys.exit(run_script(main))
