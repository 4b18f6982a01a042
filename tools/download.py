"""Download the data of a DCASE Challenge Task 2, as 00_train.py expects it.

    python -m tools.download 2022 --to DIR

fetches the archives of the year's public Zenodo records and unpacks them into
DIR/dev_data/<machine type> and DIR/eval_data/<machine type>. What was interrupted goes on with the
same command; what is there already is not fetched again. What is under way, and a record of what
was unpacked, lie in DIR/.download.
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

from core.errors import BadInput, Together, nearest
from core.files import alone, save_json
from core.log import progress_bar
from core.script import guarded
from tools.unpack import unpack
from tools.zenodo import CHECKSUM, Archive, Line, Unreachable, size_of

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
# Each part's folder, and where its clips belong in it if an archive does not say.
FOLDERS = {"dev": ("dev_data", None), "additional": ("eval_data", "train")}
FOLDERS["eval"] = ("eval_data", "test")

# dev_data_fan.zip, dev_fan.zip, eval_data_train_fan.zip, eval_data_fan_train_r2.zip
_ARCHIVE = re.compile(
    r"(?:dev|eval)(?:_data)?(?:_train|_test)?_(?P<machine_type>.+?)(?:_train|_test)?"
    r"(?:_r(?P<revision>\d+))?\.zip"
)


def main(argv: Sequence[str] | None = None, pause: float = 1.0) -> int:
    """Run the command line.

    pause : seconds before the second attempt; each further one waits twice as long
    """
    args = _arguments(argv)
    try:
        return _download(args, Line(args.base_url, pause))
    except OSError as error:
        where = error.filename or args.to
        raise BadInput(f"{where}: cannot be written ({error.strerror or error})") from None
    except KeyboardInterrupt:
        print("\nwhat was fetched is kept; the same command goes on from there", file=sys.stderr)
        raise


def _download(args: argparse.Namespace, line: Line) -> int:
    parts = [part for part in FOLDERS if getattr(args, part)] or list(FOLDERS)
    state = args.to / ".download"
    _check_year(state, args.year)
    listed = {part: list_archives(line, state, part, RECORDS[args.year][part]) for part in parts}
    archives = choose(listed, args.machine)
    todo = [archive for archive in archives if not is_unpacked(args.to, state, archive)]
    if not todo:
        print(f"{args.to}: all {len(archives)} archives are there already; nothing to do")
        return 0
    _check_space(args.to, state, todo)
    with alone(state):
        fetch_all(line, args.to, state, todo)
    print(f"{args.to}: complete; set dev_directory and eval_directory to the folders in it")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Download the data of a DCASE Challenge Task 2 and unpack it.",
        epilog="Without --dev, --additional and --eval all three are downloaded.",
        allow_abbrev=False,
    )
    parser.add_argument("year", type=int, choices=RECORDS, help="year of the challenge")
    parser.add_argument("--dev", action="store_true", help="development dataset")
    parser.add_argument(
        "--additional", action="store_true", help="additional training dataset, of the eval data"
    )
    parser.add_argument("--eval", action="store_true", help="evaluation dataset: its test clips")
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
        "--base-url", default=BASE_URL, metavar="URL", help=f"another server (default: {BASE_URL})"
    )
    args = parser.parse_args(argv)
    if (
        urlsplit(args.base_url).scheme not in ("http", "https")
        or not urlsplit(args.base_url).netloc
    ):
        parser.error("argument --base-url: expected an address such as https://zenodo.org")
    return args


def _check_year(state: Path, year: int) -> None:
    own = {f"record_{number}.json" for number in RECORDS[year].values()}
    for path in state.glob("record_*.json"):
        if path.name not in own:
            raise BadInput(
                f"{state.parent}: holds data of another year ({path}); give each year a folder of "
                "its own with --to"
            )


def list_archives(line: Line, state: Path, part: str, record: int) -> list[Archive]:
    """The archives of a record, of each machine type the latest revision.

    A published record never changes, so its list is asked for once and kept.
    """
    kept = state / f"record_{record}.json"
    try:
        files = _checked_files(json.loads(kept.read_text(encoding="utf-8")), record)
    except (OSError, ValueError, BadInput):
        files = _checked_files(line.record(record), record)
        save_json(kept, {"files": files})
    latest: dict[str, tuple[int, Archive]] = {}
    for file in files:
        words = _ARCHIVE.fullmatch(file["key"])
        if words is None:
            continue
        name, revision = words["machine_type"], int(words["revision"] or 1)
        url = line.address(file["links"]["self"])
        found = Archive(part, name, record, file["key"], file["size"], file["checksum"], url)
        if name not in latest or latest[name][0] < revision:
            latest[name] = (revision, found)
    if not latest:
        raise BadInput(f"record {record} ({part}): lists no archive of a machine type")
    return [archive for _, archive in sorted(latest.values(), key=lambda pair: pair[1].key)]


def _checked_files(answer: Any, record: int) -> list[dict[str, Any]]:
    """The files of a record's description, with only what is used of them."""
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
            raise BadInput(f"record {record}: {file['key']!r} is no name for a file")
        if file["size"] < 0 or not CHECKSUM.fullmatch(file["checksum"]):
            raise BadInput(f"record {record}: {file['key']} has no usable size or checksum")
    return files


def choose(listed: dict[str, list[Archive]], wanted: Sequence[str]) -> list[Archive]:
    """The archives of the wanted machine types, or all; raises BadInput for one in no part."""
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
    """Whether all that an archive holds is in its place, by the record of its unpacking."""
    home = to / FOLDERS[archive.part][0] / archive.machine_type
    try:
        record = json.loads((state / f"{archive.key}.json").read_text(encoding="utf-8"))
        sizes = record["files"].items() if record["checksum"] == archive.checksum else ()
        return bool(sizes) and all(
            (home / place).stat().st_size == size or not place.endswith(".wav")
            for place, size in sizes
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_space(to: Path, state: Path, todo: Sequence[Archive]) -> None:
    state.mkdir(parents=True, exist_ok=True)
    needed, free = _left(state, todo), shutil.disk_usage(to).free
    if needed > free:
        raise BadInput(f"{to}: {_bytes(needed)} are left to download and {_bytes(free)} are free")


def _left(state: Path, archives: Sequence[Archive]) -> int:
    return sum(max(0, archive.size - size_of(_part(state, archive))) for archive in archives)


def _part(state: Path, archive: Archive) -> Path:
    return state / f"{archive.key}.part"


def _bytes(number: int) -> str:
    return tqdm.format_sizeof(number, "B", 1000)


def fetch_all(line: Line, to: Path, state: Path, todo: Sequence[Archive]) -> None:
    """Download and unpack one archive after the other; raises BadInput for those that failed."""
    problems = Together()
    total = sum(archive.size for archive in todo)
    print(f"{len(todo)} archives, {_bytes(_left(state, todo))} left to download")
    bar = progress_bar(total, "", "B")
    bar.unit_scale = True
    with bar:
        for number, archive in enumerate(todo, start=1):
            bar.set_description(f"[{number}/{len(todo)}] {archive.key}")
            folder, clips = FOLDERS[archive.part]
            with problems:
                path = _part(state, archive)
                try:
                    line.fetch(archive, path, bar)
                except Unreachable as error:
                    problems.messages.append(str(error))
                    break
                sizes = unpack(
                    path,
                    to / folder / archive.machine_type,
                    archive.machine_type,
                    clips,
                    state / f"{archive.key}.unpacking",
                )
                record = {"checksum": archive.checksum, "files": sizes}
                save_json(state / f"{archive.key}.json", record)
                path.unlink()
                left = todo[number:]
                bar.write(
                    f"{archive.key}: {len(sizes)} files -> {to / folder / archive.machine_type}; "
                    f"left: {len(left)} archives, {_bytes(_left(state, left))}"
                )
    if problems.messages:
        problems.messages.append("what was fetched is kept; the same command goes on from there")
    problems.stop()


if __name__ == "__main__":
    sys.exit(guarded(main))
