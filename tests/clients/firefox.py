"""A real Firefox without a window, spoken to over WebDriver BiDi: what opening a page and asking it takes."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests import PATIENCE_S
from tests.clients.browser import end

NAMES = ("firefox-esr", "firefox")


def installed() -> str | None:
    """Path of a Firefox, ``None`` where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class FirefoxPage:
    """One tab. What it says on its console as an error is kept."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._number = 0
        self.console: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self._tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._number += 1
        self._link.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message: dict[str, Any] = json.loads(self._link.recv(timeout=PATIENCE_S))
            if message.get("method") == "log.entryAdded" and message["params"]["level"] in ("error", "warn"):
                self.console.append(str(message["params"].get("text")))
            if message.get("id") == self._number:
                assert message["type"] == "success", f"{method}: {message}"
                result: dict[str, Any] = message["result"]
                return result

    def open(self, address: str) -> None:
        """Load a page and wait until it is there."""
        self.call("browsingContext.navigate", context=self._tab, url=address, wait="complete")

    def size(self, width: int, height: int = 900) -> None:
        """A window of so many CSS pixels."""
        self.call(
            "browsingContext.setViewport", context=self._tab, viewport={"width": width, "height": height}
        )

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression, through JSON; promises are awaited."""
        done = self.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert done["type"] == "success", done.get("exceptionDetails", {}).get("text")
        return json.loads(done["result"]["value"])

    def shot(self, path: Path) -> Path:
        """A picture of the whole page, PNG."""
        made = self.call("browsingContext.captureScreenshot", context=self._tab, origin="document")
        path.write_bytes(base64.b64decode(made["data"]))
        return path

    def files(self, selector: str, path: Path) -> None:
        """Choose a file in an input, as a person would."""
        found = self.call(
            "browsingContext.locateNodes", context=self._tab, locator={"type": "css", "value": selector}
        )
        node = {"sharedId": found["nodes"][0]["sharedId"]}
        self.call("input.setFiles", context=self._tab, element=node, files=[str(path)])


@contextmanager
def firefox(folder: Path) -> Iterator[FirefoxPage]:
    """A tab of a Firefox that ends with the block.

    :param folder: for its profile
    :raises FileNotFoundError: where there is none
    """
    found = installed()
    if found is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(NAMES)} is installed")
    profile = folder / "firefox"
    profile.mkdir()
    process = subprocess.Popen(
        [
            found,
            "--headless",
            "--no-remote",
            "--remote-debugging-port",
            "0",
            "--profile",
            str(profile),
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_address(process, profile), max_size=None, ping_interval=None) as link:
            yield FirefoxPage(link)
    finally:
        end(process)


def _address(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Once the browser has written its port."""
    announced = profile / "WebDriverBiDiServer.json"
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None, f"Firefox left with {process.returncode}"
        try:
            place = json.loads(announced.read_text())
            return f"ws://{place['ws_host']}:{place['ws_port']}/session"
        except (OSError, ValueError, KeyError):
            time.sleep(0.1)
    raise AssertionError("Firefox did not come up")
