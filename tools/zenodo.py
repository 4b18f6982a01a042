"""A client for Zenodo's records and files that survives a connection that breaks.

urllib3's `Retry` repeats requests that get no answer, or the answer of a busy server. What it
cannot do is done here: a transfer that breaks midway continues where it was, and what came is
compared with its checksum.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, ProtocolError
from urllib3.util import Retry

from core.errors import BadInput

CHECKSUM = re.compile(r"(?P<kind>md5|sha1|sha256|sha512):(?P<digest>[0-9a-f]{32,128})")

ATTEMPTS = 8  # in a row that bring no new byte of an archive
RECORD_ATTEMPTS = 5  # for a record's description: the address may be wrong
WRONG_TRANSFERS = 3  # of one archive, each from its first byte
RETRIED = frozenset({408, 425, 429, *range(500, 600)})  # status codes
LONGEST_PAUSE = 60.0  # seconds between two attempts, unless the server asks for more
LONGEST_WAIT = 300.0  # seconds that a server may ask for
TIMEOUT = (15, 60)  # seconds to connect, and between two blocks of an answer
BLOCK = 2**20  # bytes
LARGEST_DESCRIPTION = 2**24  # bytes of a record's description


class Archive(NamedTuple):
    """One file of a record: one machine type of one part ("dev", "additional", "eval").

    size : bytes
    checksum : as the record states it, such as "md5:900150983cd24fb0d6963f7d28e17f72"
    """

    part: str
    machine_type: str
    record: int
    key: str
    size: int
    checksum: str
    url: str


class Unreachable(BadInput):
    """The server does not answer, so the other files cannot be downloaded either."""


class _TransferError(Exception):
    """A transfer broke midway; another attempt may bring the rest."""


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 where there is no file."""
    return path.stat().st_size if path.is_file() else 0


class ZenodoClient:
    """Downloads records and files from one server, with pauses between repeated requests.

    base_url : address of the server
    pause : seconds; the first failure is retried at once, the second after 2 * pause, each
        further one after twice the time
    """

    def __init__(self, base_url: str, pause: float):
        self.base_url = base_url.rstrip("/")
        self.record_retries = _retries(RECORD_ATTEMPTS, pause)
        self.archive_retries = _retries(ATTEMPTS, pause)

    def address(self, link: str) -> str:
        """Return the address of a file: its link, moved to the server of this client."""
        if link.startswith(f"{self.base_url}/"):
            return link
        parts = urlsplit(link)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.base_url}{quote(parts.path, safe='/%')}{query}"

    def record(self, number: int) -> Any:
        """Return the description of a record, as the API gives it.

        Raises BadInput where it is not JSON, and Unreachable where the server does not answer.
        """
        url = f"{self.base_url}/api/records/{number}"
        try:
            return json.loads(self.small_file(url, LARGEST_DESCRIPTION))
        except ValueError:
            raise BadInput(f"{url}: not a description of a record (no JSON)") from None

    def small_file(self, url: str, most: int) -> bytes:
        """Return the content of a file, whose transfer begins at its first byte at every attempt.

        most : bytes; a larger file raises BadInput

        Raises Unreachable where the server does not answer.
        """
        retries = self.record_retries
        while True:
            try:
                with _get(url, retries) as answer:
                    return _read(answer, most)
            except _TransferError as error:
                retries = _next_attempt(retries, url, str(error))
            except ValueError:
                raise BadInput(f"{url}: larger than {most} bytes") from None

    def fetch(self, archive: Archive, path: Path, bar: tqdm) -> None:
        """Download an archive to a path, continuing what an earlier attempt left there.

        The lengths and ranges that a server states are not trusted: an archive is complete when
        its checksum is that of the record.

        Raises BadInput, or Unreachable where the server does not answer. What has come stays at
        the path.
        """
        path.touch()
        bar.update(file_size(path))
        retries, wrong = self.archive_retries, 0
        while True:
            before = file_size(path)
            try:
                ended = self._receive(archive, path, bar)
                problem = f"{archive.key} ends too early"
            except _TransferError as error:
                ended, problem = False, str(error)
            size = file_size(path)
            if ended and _checksum(path, archive.checksum) == archive.checksum:
                bar.update(archive.size - size)
                return
            if size >= archive.size:
                wrong += 1
                if wrong == WRONG_TRANSFERS:
                    raise BadInput(
                        f"{archive.key}: came {wrong} times with another checksum than the "
                        f"record's {archive.checksum}; try again later"
                    )
                size = _start_again(path, bar)
                problem = f"{archive.key} came with another checksum"
            if size > before:
                retries = self.archive_retries
            retries = _next_attempt(retries, archive.url, problem)

    def _receive(self, archive: Archive, path: Path, bar: tqdm) -> bool:
        """Append what the server sends; return whether it has no more."""
        size = file_size(path)
        if size >= archive.size:
            return True
        with _get(archive.url, self.archive_retries, start=size) as answer:
            if answer.status_code == 416:
                return True
            if size and answer.status_code != 206:
                size = _start_again(path, bar)
            start = size
            with path.open("ab") as file:
                while block := _read_block(answer, archive.size - size):
                    file.write(block)
                    size += len(block)
                    bar.update(len(block))
        # The end of an answer is that of the file only if nothing follows when asked for more.
        return size >= archive.size or size == start


class _Retries(Retry):
    """Retries that report long pauses to the user, and refuse pauses beyond LONGEST_WAIT."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Return the seconds that a server asks for; None for no or an invalid Retry-After."""
        try:
            seconds = super().get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):
            return None
        if seconds and seconds > LONGEST_WAIT:
            raise Unreachable(
                f"the server answers {response.status} {response.reason} and asks to come back in "
                f"{seconds / 60:.0f} minutes"
            )
        return seconds

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Wait for as long as the server asks, else for twice the time of the last pause."""
        asked = None if response is None else self.get_retry_after(response)
        pause = asked or self.get_backoff_time()
        if pause >= 1:
            last = self.history[-1]
            problem = _reason(last.error) if last.error else f"the server answers {last.status}"
            tqdm.write(f"{problem}; another attempt in {pause:.0f} s", file=sys.stderr)
        super().sleep(response)


def _retries(attempts: int, pause: float) -> _Retries:
    retries = _Retries(
        total=attempts - 1,
        status_forcelist=RETRIED,
        backoff_factor=pause,
        backoff_max=LONGEST_PAUSE,
        raise_on_status=False,  # the last answer is returned; it states what is wrong
    )
    # By default it shortens longer times to six hours, and the user would come back too early.
    retries.retry_after_max = math.inf
    return retries


def _next_attempt(retries: _Retries, url: str, problem: str) -> _Retries:
    """Wait before another transfer; raise BadInput where all attempts in a row have failed."""
    try:
        retries = retries.increment("GET", url, error=ProtocolError(problem))
    except MaxRetryError:
        attempts = len(retries.history) + 1
        raise BadInput(f"{url}: {problem}, {attempts} times in a row; try again later") from None
    retries.sleep()
    return retries


def _get(url: str, retries: _Retries, start: int = 0) -> requests.Response:
    """Ask for a file from a byte on; return an answer 200, 206 or (from a later byte) 416.

    Raises Unreachable after all retries, and BadInput where retries are useless.
    """
    # Lengths and ranges are those of the file, not of a packed form of it.
    headers = {"Accept-Encoding": "identity", "User-Agent": "asd-baselines"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retries))
            answer = session.get(url, stream=True, timeout=TIMEOUT, headers=headers)
    except Unreachable as error:
        raise Unreachable(f"{url}: {error}") from None
    except requests.RequestException as error:
        raise Unreachable(f"{url}: no answer ({_reason(error)}); try again later") from None
    if answer.status_code in (200, 206) or (answer.status_code == 416 and start):
        return answer
    answer.close()
    problem = f"{url}: the server answers {answer.status_code} {answer.reason}"
    if answer.status_code in RETRIED:
        raise Unreachable(f"{problem}; try again later")
    raise BadInput(problem)


def _read_block(answer: requests.Response, most: int) -> bytes:
    """Return the next bytes of an answer, b"" at its end; raise _TransferError where it breaks."""
    try:
        # requests' own reader would drop the bytes that came just before the break.
        return answer.raw.read1(min(BLOCK, most), decode_content=False)
    except (HTTPError, OSError):
        raise _TransferError("the transfer broke off") from None


def _read(answer: requests.Response, most: int) -> bytes:
    """Return all bytes of an answer; raise ValueError where these are too many."""
    content = b""
    while len(content) <= most and (block := _read_block(answer, BLOCK)):
        content += block
    if len(content) > most:
        raise ValueError
    return content


def _checksum(path: Path, like: str) -> str:
    """Return the checksum of a file, of the same kind as the given one."""
    kind = like.partition(":")[0]
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return f"{kind}:{digest.hexdigest()}"


def _start_again(path: Path, bar: tqdm) -> int:
    """Empty the file of a transfer, and return its size: 0."""
    bar.update(-file_size(path))
    path.write_bytes(b"")
    return 0


def _reason(error: Exception) -> str:
    """Return the innermost reason of an error, without the addresses in its text."""
    inner: Any = error
    while isinstance(inner, Exception):
        error = inner
        reasons = (getattr(error, "reason", None), *error.args)
        inner = next((reason for reason in reasons if isinstance(reason, Exception)), None)
    return str(error).rpartition(": ")[2] or type(error).__name__
