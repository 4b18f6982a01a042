"""A record server on 127.0.0.1 that misbehaves as it is told, for the tests of the download."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Server(http.server.ThreadingHTTPServer):
    """Serves records as Zenodo's API does, and their files by range.

    files : record → name → bytes
    faults : called one after the other for the requests of files, with the handler, the bytes and
        the start asked for; each answers itself, or returns False to let the file be served
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[int, dict[str, bytes]] = {}
        self.listed: dict[str, dict] = {}
        self.faults: list[Callable[[Handler, bytes, int], bool | None]] = []
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer for /api/records/<record> and /api/records/<record>/files/<name>/content."""
        self.server.asked.append((self.path, self.headers.get("Range")))
        words = self.path.strip("/").split("/")
        held = self.server.files.get(int(words[2]))
        if held is None or (len(words) > 3 and words[4] not in held):
            self.say(404, b"")
        elif len(words) == 3:
            listed = [
                {
                    "id": "1",
                    "key": name,
                    "size": len(content),
                    "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                    "links": {"self": f"{self.server.url}{self.path}/files/{name}/content"},
                    **self.server.listed.get(name, {}),
                }
                for name, content in held.items()
            ]
            self.say(200, json.dumps({"id": int(words[2]), "files": listed}).encode())
        else:
            self.serve(held[words[4]])

    def serve(self, content: bytes) -> None:
        """The bytes asked for, unless a fault answers."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if self.server.faults and self.server.faults.pop(0)(self, content, start) is not False:
            return
        if start >= len(content) > 0:
            self.say(416, b"")
        elif asked:
            where = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.say(206, content[start:], {"Content-Range": where})
        else:
            self.say(200, content)

    def say(
        self, status: int, content: bytes, headers: dict | None = None, length: int | None = None
    ) -> None:
        """An answer, with a length that may be a lie; the connection is closed after it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        self.close_connection = True

    def hang_up(self) -> None:
        """Close the connection at once."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server in a thread of its own."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
