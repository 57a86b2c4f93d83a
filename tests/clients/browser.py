"""A real Chromium without a window, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests import PATIENCE_S

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S = ANSWER_S = PATIENCE_S


class Page:
    """One tab. Everything it says on its console, and every address it asks for, is kept."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._number = 0
        self.console: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScrollbarsHidden", hidden=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its answer."""
        self._number += 1
        self._link.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result

    def open(self, address: str) -> None:
        """Load a page and wait until it is there."""
        self.call("Page.navigate", url=address)
        until = time.monotonic() + ANSWER_S
        while not self.js("document.readyState === 'complete' && location.href !== 'about:blank'"):
            assert time.monotonic() < until, f"{address} does not finish loading"
            time.sleep(0.05)

    def size(self, width: int, height: int = 900) -> None:
        """A window of so many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def dark(self, on: bool) -> None:
        """Whether the user prefers dark pages."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression; promises are awaited."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def metrics(self) -> dict[str, float]:
        """Chromium's own counters: JSHeapUsedSize, Nodes, LayoutDuration …"""
        return {m["name"]: m["value"] for m in self.call("Performance.getMetrics")["metrics"]}

    def shot(self, path: Path, *, whole: bool = True) -> Path:
        """A picture of the page, PNG; of all of it unless told otherwise."""
        more: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        data = self.call("Page.captureScreenshot", format="png", **more)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as it is printed."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))
        return path

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._link.recv(timeout=ANSWER_S))
        said = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning", "assert"):
                self.console.append(" ".join(str(a.get("value", a.get("description"))) for a in said["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(str(said["exceptionDetails"]))
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.console.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.asked.append(said["request"]["url"])
        return message


def installed() -> str | None:
    """Path of a Chromium; tests ask for the fixture ``browser``, which skips them before they start anything."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium(folder: Path, *flags: str) -> Iterator[Page]:
    """A tab of a Chromium that ends with the block.

    :param folder: for its profile; :param flags: more of its flags
    :raises FileNotFoundError: where there is none
    """
    found = installed()
    if found is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(NAMES)} is installed")
    profile = folder / "profile"
    process = subprocess.Popen(
        [
            *(found, "--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"),
            *(f"--user-data-dir={profile}", "--force-color-profile=srgb", "--disable-dev-shm-usage"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *flags,
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(
            _tab(process, profile / "DevToolsActivePort"), max_size=None, ping_interval=None
        ) as link:
            yield Page(link)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """By request, and by force where that is not heard."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE_S)


def _tab(process: subprocess.Popen[bytes], announced: Path) -> str:
    """Address of the first tab, once the browser has told its port."""
    import urllib.request

    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, f"Chromium left with {process.returncode}"
        if announced.exists() and len(lines := announced.read_text().splitlines()) == 2:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("Chromium did not come up")
