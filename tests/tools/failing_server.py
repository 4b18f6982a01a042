"""A record server on 127.0.0.1 that fails as a test asks, for the tests of the download."""

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
    pages : path of any other address → bytes
    listed : name → fields that replace those of the record's description
    faults : one per request of a file, called in order with the handler, the bytes of the file and
        the first byte that is asked for; each answers the request, or returns False to let the
        server answer
    description_faults : the same for requests of a record's description
    requests : path and Range of every request, in order
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[int, dict[str, bytes]] = {}
        self.pages: dict[str, bytes] = {}
        self.listed: dict[str, dict] = {}
        self.faults: list[Callable[[Handler, bytes, int], bool | None]] = []
        self.description_faults: list[Callable[[Handler, bytes, int], bool | None]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer for /api/records/<record> and /api/records/<record>/files/<name>/content."""
        self.server.requests.append((self.path, self.headers.get("Range")))
        if self.path in self.server.pages:
            self.serve(self.server.pages[self.path], self.server.faults)
            return
        words = self.path.strip("/").split("/")
        if words[:2] != ["api", "records"]:
            self.answer(404, b"")
            return
        files = self.server.files.get(int(words[2]))
        if files is None or (len(words) > 3 and words[4] not in files):
            self.answer(404, b"")
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
                for name, content in files.items()
            ]
            description = json.dumps({"id": int(words[2]), "files": listed}).encode()
            self.serve(description, self.server.description_faults)
        else:
            self.serve(files[words[4]], self.server.faults)

    def serve(self, content: bytes, faults: list) -> None:
        """Send the bytes asked for, unless a fault answers."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if faults and faults.pop(0)(self, content, start) is not False:
            return
        if start >= len(content) > 0:
            self.answer(416, b"")
        elif asked:
            where = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"Content-Range": where})
        else:
            self.answer(200, content)

    def answer(
        self, status: int, content: bytes, headers: dict | None = None, length: int | None = None
    ) -> None:
        """Send an answer, with a length that may be wrong, and close the connection."""
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
        """Print nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server in another thread."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
