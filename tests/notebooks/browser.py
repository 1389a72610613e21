"""A browser without a window, driven through its debugging port: what a page shows and computes, as a test sees it."""

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import websocket  # comes with JupyterLab

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--remote-debugging-port=0"]


class Page:
    """One page; `problems` collects what the browser complains about."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(address, timeout=300, suppress_origin=True)
        self.numbers = itertools.count(1)
        self.problems: list[str] = []
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **given: object) -> dict:
        """Send one command and return its result."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            message = json.loads(self.socket.recv())
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]

    def _note(self, message: dict) -> None:
        method, given = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(given["exceptionDetails"].get("exception", given["exceptionDetails"])))
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.problems.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(given["request"]["url"])

    def open(self, address: str) -> None:
        """Open an address, after a blank page, so that a new fragment alone loads it again as well."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.protocol !== 'about:'")

    def run(self, expression: str) -> object:
        """Return what an expression gives, waited for if it is a promise."""
        done = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str, seconds: float = 120) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"after {seconds} s still not: {condition}; {self.problems}"
            time.sleep(0.05)

    def shape(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Make the window so wide, and the reader one who likes it dark or light."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        preferred = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[preferred])

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Page]:
    """Start Chromium with a profile of its own, and end it."""
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if found := re.search(r"ws://(127\.0\.0\.1:\d+)/", line):
                break
        else:
            raise RuntimeError("Chromium does not start")
        with urllib.request.urlopen(f"http://{found[1]}/json/list") as answer:
            address = next(t["webSocketDebuggerUrl"] for t in json.load(answer) if t["type"] == "page")
        yield Page(address)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()
