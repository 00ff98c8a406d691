"""Headless Chromium, driven as a reader would drive it: real clicks, keys and wheel, over the DevTools pipe.

The pipe is two file descriptors of the browser process, so nothing listens on any port.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1200,900",
    "--remote-debugging-pipe",
)
PATIENCE = 90.0
# the browser reads commands from descriptor 3 and answers on 4
_START = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""


def found() -> str | None:
    """The browser of this machine, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def chromium_of(profile: Path) -> Browser:
    """The browser of this machine, or the test is skipped (failed, with LAMPC_REQUIRE_BROWSER=1)."""
    program = found()
    if program is None:
        if os.environ.get("LAMPC_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium, and LAMPC_REQUIRE_BROWSER=1 asks for it")
        pytest.skip("no Chromium here: the pages are not driven")
    return Browser(program, profile)


class Browser:
    """One browser process. Use as a context manager."""

    def __init__(self, program: str, profile: Path) -> None:
        there, self._write = os.pipe()
        self._read, back = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (there, back)]
        command = [sys.executable, "-c", _START, *map(str, high), program, *FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(command, pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (there, back, *high):
            os.close(fd)
        self._left = b""
        self._last = 0
        self.pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
        except (OSError, AssertionError):
            self._process.kill()
        self._process.wait(30)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile go to their pages."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        number = self._last
        while True:
            told = self.listen()
            if told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told.get("result", {})
                return result

    def listen(self) -> dict[str, Any]:
        """The next message."""
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"the browser said nothing for {PATIENCE} s"
            more = os.read(self._read, 1 << 16)
            assert more, "the browser ended"
            self._left += more
        head, _, self._left = self._left.partition(b"\0")
        told: dict[str, Any] = json.loads(head)
        page = self.pages.get(told.get("sessionId", ""))
        if page is not None and "method" in told:
            page.hear(told["method"], told["params"])
        return told

    def open(self, path: Path) -> Page:
        """Open a file in a new tab, and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Runtime", "Log", "Page", "Network"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=path.as_uri())
        while not page.loaded:
            self.listen()
        return page


class Page:
    """A tab. `errors` are what the console told as errors or warnings, `requests` what was asked for but the page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(json.dumps(params["entry"]))
        elif method == "Network.requestWillBeSent" and params.get("type") != "Document":
            self.requests.append(params["request"]["url"])

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of the first element that a CSS selector finds."""
        box = self.js(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return box[0], box[1]

    def click(self, selector: str, count: int = 1) -> None:
        x, y = self.middle(selector)
        for i in range(1, count + 1):
            self._mouse("mousePressed", x, y, button="left", clickCount=i)
            self._mouse("mouseReleased", x, y, button="left", clickCount=i)

    def drag(self, x: float, y: float, dx: float, dy: float) -> None:
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        self._mouse("mouseMoved", x + dx, y + dy, button="left")
        self._mouse("mouseReleased", x + dx, y + dy, button="left", clickCount=1)

    def wheel(self, x: float, y: float, delta: float) -> None:
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=delta)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def key(self, name: str, text: str = "") -> None:
        more = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def panel(self) -> str:
        """What stands beside the picture."""
        text: str = self.js("panel.innerText")
        return text

    def screenshot(self) -> NDArray[np.uint8]:
        """Pixels of what is seen, [height, width, 3], at a quarter of its size."""
        width, height, x, y = self.js("[innerWidth, innerHeight, scrollX, scrollY]")
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 0.25}
        told = self.call("Page.captureScreenshot", format="png", clip=clip)
        return _pixels(base64.b64decode(told["data"]))


def colors(pixels: NDArray[np.uint8]) -> int:
    """How many colours a picture has."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return len(np.unique(packed))


def _pixels(png: bytes) -> NDArray[np.uint8]:
    """A PNG of 8-bit RGB or RGBA without interlacing, as the browser writes it (RFC 2083)."""
    at, data = 8, b""
    width = height = depth = 0
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (bits, interlaced) == (8, 0)
            depth = {2: 3, 6: 4}[color]
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    raw = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * depth)
    out = np.zeros((height, width, depth), np.uint8)
    for y in range(height):
        line, kind = raw[y, 1:].reshape(width, depth), int(raw[y, 0])
        above = out[y - 1] if y else np.zeros((width, depth), np.uint8)
        if kind == 0:
            out[y] = line
        elif kind == 1:
            out[y] = np.cumsum(line, axis=0, dtype=np.uint8)
        elif kind == 2:
            out[y] = line + above
        else:
            out[y] = _slow(line, above, kind)
    return out[:, :, :3]


def _slow(line: NDArray[np.uint8], above: NDArray[np.uint8], kind: int) -> NDArray[np.uint8]:
    """Filters 3 (average) and 4 (Paeth), pixel by pixel."""
    width, depth = line.shape
    out = np.zeros((width, depth), np.int64)
    up = above.astype(np.int64)
    zero = np.zeros(depth, np.int64)
    for x in range(width):
        a, b, c = (out[x - 1] if x else zero), up[x], (up[x - 1] if x else zero)
        if kind == 3:
            guess = (a + b) // 2
        else:
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            guess = np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))
        out[x] = (line[x] + guess) & 255
    return out.astype(np.uint8)
