"""A server of files on loopback that misbehaves as it is told: breaks off half-way, ignores Range, changes its files, asks for a token.

    with FileServer({"/big.bin": b"…"}) as server:
        server.breaks["/big.bin"] = [1000, 5000]        # the first two answers end after so many bytes of their body
        fetch(server.address + "/big.bin")
    server.sent["/big.bin"]                             # bytes of the file that were sent in all answers together

`publish` adds a model as the hub's API shows it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

BLOCK = 4096


class FileServer:
    """Attributes: files, path without query -> bytes; everything else is by path, too."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.breaks: dict[str, list[int]] = {}  # bytes after which the next answers break off
        self.plain: set[str] = set()  # no Range here
        self.tags: dict[str, list[str]] = {}  # ETags of the next answers; the last one stays; [""]: none
        self.types: dict[str, str] = {}  # content types
        self.statuses: dict[str, list[int]] = {}  # errors that the next answers are
        self.redirects: dict[str, str] = {}
        self.tokens: dict[str, str] = {}  # token that a path asks for
        self.slow: dict[str, float] = {}  # seconds of a pause after each block
        self.sent: dict[str, int] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def publish(self, model: str, commit: str, files: dict[str, bytes], large: tuple[str, ...] = (), store: FileServer | None = None) -> None:
        """Add a model of the hub; ``large`` files have a published SHA-256, and come from ``store``, another host, if one is given."""
        self.files[f"/api/models/{model}/revision/main"] = json.dumps({"sha": commit}).encode()
        entries: list[dict[str, Any]] = [{"type": "directory", "path": "1_Pooling", "size": 0, "oid": "0"}]
        for path, data in files.items():
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            lfs = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}} if path in large else {}
            entries.append({"type": "file", "path": path, "size": len(data), "oid": oid, **lfs})
            if path in large and store is not None:
                store.files[f"/store/{path}"] = data
                self.redirects[f"/{model}/resolve/{commit}/{path}"] = f"{store.address}/store/{path}"
            else:
                self.files[f"/{model}/resolve/{commit}/{path}"] = data
        self.files[f"/api/models/{model}/tree/{commit}"] = json.dumps(entries).encode()

    def seen(self, start: str = "/") -> list[str]:
        """Return the paths that were asked for, in order."""
        return [path for path, _ in self.requests if path.startswith(start)]

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.requests.append((self.path, dict(self.headers)))
            self.close_connection = True
            statuses = server.statuses.get(path)
            if statuses:
                return self._fail(statuses.pop(0))
            if path in server.tokens and self.headers.get("Authorization") != f"Bearer {server.tokens[path]}":
                return self._fail(403 if "Authorization" in self.headers else 401)
            if path in server.redirects:
                return self._head(302, {"Location": server.redirects[path], "Content-Length": "0"})
            if path not in server.files:
                return self._fail(404)
            self._send(path, server.files[path])

        def _send(self, path: str, data: bytes) -> None:
            tags = server.tags.get(path, [f'"{hashlib.md5(data).hexdigest()}"'])
            tag = tags.pop(0) if len(tags) > 1 else tags[0]
            headers = {"Content-Type": server.types.get(path, "application/octet-stream"), **({"ETag": tag} if tag else {})}
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start, code = 0, 200
            if asked and path not in server.plain and self.headers.get("If-Range", tag) == tag:
                start, code = int(asked[1]), 206
                if start >= len(data):
                    return self._fail(416)
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            breaks = server.breaks.get(path)
            stop = breaks.pop(0) if breaks else len(data)
            self._head(code, {**headers, "Content-Length": str(len(data) - start)})
            body = data[start:][:stop]
            for place in range(0, len(body), BLOCK):
                block = body[place : place + BLOCK]
                try:
                    self.wfile.write(block)
                except OSError:  # the reader has gone
                    return
                server.sent[path] = server.sent.get(path, 0) + len(block)
                time.sleep(server.slow.get(path, 0.0))

        def _fail(self, code: int) -> None:
            self._head(code, {"Content-Length": "0"})

        def _head(self, code: int, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {**headers, "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
