"""Download the data of a DCASE Challenge Task 2, as 00_train.py expects it.

    python tools/download.py 2022 --to DIR

fetches the archives of the year's public Zenodo records and unpacks them into
DIR/dev_data/<machine type> and DIR/eval_data/<machine type>. What was interrupted goes on with the
same command; what is there already is not fetched again. What is under way, and a record of what
was unpacked, lie in DIR/.download.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
import urllib3
from tqdm import tqdm

import output
from settings import BadInput, Together, guarded, nearest
from tools.unpack import unpack

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
_CHECKSUM = re.compile(r"(?P<kind>md5|sha1|sha256|sha512):(?P<digest>[0-9a-f]{32,128})")

ATTEMPTS = 8  # in a row that bring nothing new of an archive
RECORD_ATTEMPTS = 5  # before anything was fetched, when the address may be wrong
WRONG_TRANSFERS = 3  # of one archive, from its first byte
LONGEST_PAUSE = 60.0  # seconds
LONGEST_WAIT = 300.0  # that a server may ask for, in seconds
TIMEOUT = (15, 60)  # to connect, and between two pieces of an answer, in seconds
BLOCK = 2**20
LARGEST_ANSWER = 2**24  # of the record's description, in bytes


class Archive(NamedTuple):
    """A file of a record: one machine type of one part ("dev", "additional", "eval")."""

    part: str
    machine_type: str
    record: int
    key: str
    size: int
    checksum: str
    url: str


class Unreachable(BadInput):
    """The server does not answer, so that no other file is to be had either."""


class _Interrupted(Exception):
    """What is worth another attempt.

    silent : whether nothing came at all, so that other files are not to be had either
    wait : seconds, if the server says how many
    """

    def __init__(self, reason: str, silent: bool = False, wait: float | None = None):
        super().__init__(reason)
        self.silent = silent
        self.wait = wait


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
    with output.alone(state):
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
        output.save_json(kept, {"files": files})
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
        if file["size"] < 0 or not _CHECKSUM.fullmatch(file["checksum"]):
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
    return sum(max(0, archive.size - _size(_part(state, archive))) for archive in archives)


def _part(state: Path, archive: Archive) -> Path:
    return state / f"{archive.key}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _bytes(number: int) -> str:
    return tqdm.format_sizeof(number, "B", 1000)


def fetch_all(line: Line, to: Path, state: Path, todo: Sequence[Archive]) -> None:
    """Download and unpack one archive after the other; raises BadInput for those that failed."""
    problems = Together()
    total = sum(archive.size for archive in todo)
    print(f"{len(todo)} archives, {_bytes(_left(state, todo))} left to download")
    bar = output.progress_bar(total, "", "B")
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
                output.save_json(state / f"{archive.key}.json", record)
                path.unlink()
                left = todo[number:]
                bar.write(
                    f"{archive.key}: {len(sizes)} files -> {to / folder / archive.machine_type}; "
                    f"left: {len(left)} archives, {_bytes(_left(state, left))}"
                )
    if problems.messages:
        problems.messages.append("what was fetched is kept; the same command goes on from there")
    problems.stop()


class Line:
    """Requests to one server, repeated with growing pauses while it breaks off or has no time.

    pause : seconds before the second attempt
    """

    def __init__(self, base_url: str, pause: float):
        self.base_url = base_url.rstrip("/")
        self.pause = pause
        self.session = requests.Session()
        # Lengths and ranges are those of the file, not of a packed form of it.
        self.session.headers["Accept-Encoding"] = "identity"
        self.session.headers["User-Agent"] = "asd-baselines tools/download.py"

    def address(self, link: str) -> str:
        """The address of a file: its link, on the server that was asked."""
        if link.startswith(f"{self.base_url}/"):
            return link
        parts = urlsplit(link)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.base_url}{quote(parts.path, safe='/%')}{query}"

    def record(self, number: int) -> Any:
        """The description of a record, as the API gives it."""
        url = f"{self.base_url}/api/records/{number}"
        for attempt in itertools.count(1):
            try:
                with self._answer(url, 0) as answer:
                    text = _read(answer, LARGEST_ANSWER)
                return json.loads(text)
            except _Interrupted as problem:
                self._wait(url, problem, attempt, RECORD_ATTEMPTS)
            except ValueError:
                raise BadInput(f"{url}: not a description of a record (no JSON)") from None

    def fetch(self, archive: Archive, path: Path, bar: tqdm) -> None:
        """Download an archive, going on where an earlier attempt left off.

        What a server says of lengths and ranges is not believed: an archive is whole when its
        checksum is that of the record.

        Raises BadInput, or Unreachable, with what was fetched kept at the path.
        """
        attempt = wrong = 0
        path.touch()
        before = _size(path)
        bar.update(before)
        while True:
            ended = before >= archive.size
            try:
                ended = ended or self._receive(archive, path, bar)
                problem = _Interrupted("it ends too early")
            except _Interrupted as error:
                problem = error
            have = _size(path)
            if ended and _checksum(path, archive.checksum) == archive.checksum:
                bar.update(archive.size - have)
                return
            if have >= archive.size:
                wrong += 1
                if wrong == WRONG_TRANSFERS:
                    raise BadInput(
                        f"{archive.key}: came {wrong} times with another checksum than the "
                        f"record's {archive.checksum}; try again later"
                    )
                have = _start_again(path, bar)
                problem = _Interrupted(f"{archive.key} came with another checksum")
            attempt = 0 if have > before else attempt + 1
            before = have
            if not ended or attempt:
                self._wait(archive.url, problem, attempt, ATTEMPTS)

    def _receive(self, archive: Archive, path: Path, bar: tqdm) -> bool:
        """Append what comes; returns whether the server has no more."""
        have = _size(path)
        with self._answer(archive.url, have) as answer:
            if answer.status_code == 416:
                return True
            if have and answer.status_code != 206:
                have = _start_again(path, bar)
            came = False
            with path.open("ab") as file:
                while block := _piece(answer, archive.size - have):
                    file.write(block)
                    have += len(block)
                    came = True
                    bar.update(len(block))
        # The end of an answer is that of the file only if nothing follows when asked for more.
        return have >= archive.size or not came

    def _answer(self, url: str, start: int) -> requests.Response:
        """Ask for a file from a byte on; raises _Interrupted if that is worth another attempt."""
        try:
            headers = {"Range": f"bytes={start}-"} if start else {}
            answer = self.session.get(url, stream=True, timeout=TIMEOUT, headers=headers)
        except requests.RequestException as error:
            raise _Interrupted(f"no answer ({_reason(error)})", silent=True) from None
        if answer.status_code in (200, 206) or (answer.status_code == 416 and start):
            return answer
        answer.close()
        reason = f"the server answers {answer.status_code} {answer.reason}"
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise _Interrupted(reason, True, _retry_after(answer))
        raise BadInput(f"{url}: {reason}")

    def _wait(self, url: str, problem: _Interrupted, attempt: int, most: int) -> None:
        wait = min(LONGEST_PAUSE, self.pause * 2 ** max(0, attempt - 1))
        if problem.wait is not None:
            wait = problem.wait
        if wait > LONGEST_WAIT:
            raise Unreachable(f"{url}: {problem} and asks to come back in {wait / 60:.0f} minutes")
        if attempt >= most:
            kind = Unreachable if problem.silent else BadInput
            raise kind(f"{url}: {problem}, {attempt} times in a row; try again later")
        if wait >= 1:
            tqdm.write(f"{problem}; another attempt in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)


def _piece(answer: requests.Response, most: int) -> bytes:
    """What has come of an answer; requests' own reader would drop it where the line breaks off."""
    try:
        return answer.raw.read1(min(BLOCK, most), decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError):
        raise _Interrupted("the transfer broke off") from None


def _read(answer: requests.Response, most: int) -> bytes:
    blocks = b""
    while len(blocks) <= most and (block := _piece(answer, BLOCK)):
        blocks += block
    if len(blocks) > most:
        raise ValueError
    return blocks


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds that a server asks to wait, said as a number or as a date; None: it does not say."""
    told = answer.headers.get("Retry-After", "").strip()
    if told.isdigit():
        return float(told)
    try:
        moment = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def _checksum(path: Path, like: str) -> str:
    kind = like.partition(":")[0]
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return f"{kind}:{digest.hexdigest()}"


def _start_again(path: Path, bar: tqdm) -> int:
    bar.update(-_size(path))
    path.write_bytes(b"")
    return 0


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2].strip("\"')( ") or type(error).__name__


if __name__ == "__main__":
    sys.exit(guarded(main))
