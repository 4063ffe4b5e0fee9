"""A real Chromium, driven over its pipe: Chromium reads commands from descriptor 3 and writes replies and events to 4, as JSON."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


def find_browser() -> str | None:
    """Return the path of a Chromium, None where none is installed."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page in one headless Chromium.

    Args:
        program: From ``find_browser``.
        profile: An empty folder.
    """

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The pipe's descriptors must be 3 and 4 in the browser; a shell moves them there.
        script = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
        command = ["bash", "-c", script, "browser", program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is kept in ``events``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": self._session} if self._session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            reply = self._read(method)
            if reply.get("id") == self._number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                result: dict[str, Any] = reply["result"]
                return result
            self.events.append(reply)

    def _read(self, waiting_for: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while b"\0" not in self._rest:
            ready = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))[0]
            found = os.read(self._in, 1 << 20) if ready else b""
            assert found, f"the browser does not answer {waiting_for}"
            self._rest += found
        first, _, self._rest = self._rest.partition(b"\0")
        reply: dict[str, Any] = json.loads(first)
        return reply

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False, touch: bool = False) -> None:
        """Show a file at a size and wait until it is laid out."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + 60
        while self.run("location.href + ' ' + document.readyState") != f"{page.as_uri()} complete":
            assert time.monotonic() < deadline, f"{page} does not load"
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str) -> Any:
        """Return a script's value; the page itself has none."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        try:
            self.call("Browser.close")
        finally:
            self._process.wait(timeout=30)
            os.close(self._in)
            os.close(self._out)


def read_png(data: bytes) -> tuple[int, int, set[tuple[int, int, int]]]:
    """Return the width, the height and the colours of a PNG as Chromium writes them: 8 bits, RGB or RGBA, not interlaced."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed, width, height, channels = 8, b"", 0, 0, 0
    while place < len(data):
        size, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            width, height, channels = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big"), {2: 3, 6: 4}[content[9]]
        packed += content if kind == b"IDAT" else b""
        place += size + 12
    raw, stride = zlib.decompress(packed), width * channels
    above, colours = bytearray(stride), set()
    for row in range(height):
        start = row * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], line, above, channels)
        colours |= set(zip(line[0::channels], line[1::channels], line[2::channels], strict=True))
        above = line
    return width, height, colours


def _unfilter(kind: int, line: bytearray, above: bytearray, channels: int) -> None:
    """Undo a row's filter in place (PNG specification, section 9)."""
    if kind == 2:
        line[:] = bytes((x + b) & 255 for x, b in zip(line, above, strict=True))
    elif kind in (1, 3, 4):
        for i, x in enumerate(line):
            a, b, c = (line[i - channels], above[i], above[i - channels]) if i >= channels else (0, above[i], 0)
            line[i] = (x + (a if kind == 1 else (a + b) // 2 if kind == 3 else _paeth(a, b, c))) & 255


def _paeth(a: int, b: int, c: int) -> int:
    to_a, to_b, to_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    return a if to_a <= to_b and to_a <= to_c else b if to_b <= to_c else c
