"""Zenodo's records and files, over a line that may break."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from core.errors import BadInput

CHECKSUM = re.compile(r"(?P<kind>md5|sha1|sha256|sha512):(?P<digest>[0-9a-f]{32,128})")

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


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


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
        self.session.headers["User-Agent"] = "asd-baselines"

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
        before = size_of(path)
        bar.update(before)
        while True:
            ended = before >= archive.size
            try:
                ended = ended or self._receive(archive, path, bar)
                problem = _Interrupted("it ends too early")
            except _Interrupted as error:
                problem = error
            have = size_of(path)
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
        have = size_of(path)
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
    bar.update(-size_of(path))
    path.write_bytes(b"")
    return 0


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2].strip("\"')( ") or type(error).__name__
