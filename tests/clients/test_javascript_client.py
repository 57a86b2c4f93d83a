"""The page's own client, in a real browser, under the contract that the Python client keeps: no loss, no repeat."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mellm.stream.log.journal import Journal
from tests.clients.browser import Page, chromium
from tests.clients.test_dashboard import Background, until
from tests.engine.servers import TOKEN
from tests.engine.serving import free_port
from tests.stream.spoken import marker, spotted

pytestmark = pytest.mark.usefixtures("browser")

START = """
(async () => {
  const { Client } = await import("/protocol.js");
  window.seen = []; window.notices = []; window.states = [];
  window.one = new Client(`ws://${location.host}/v1/stream`, {
    event: (e) => (e.seq === null ? notices.push(e.type) : seen.push(e.seq)),
    state: (name) => states.push(name),
  }, { types: ["marker", "expression.*"], replay: REPLAY, token: TOKEN });
  one.open();
})()
"""


def started(page: Page, url: str, *, replay: int = 0, token: str = "null") -> None:
    page.open(f"{url}/icon.svg")  # of the same origin, and with a policy that lets scripts of it in
    page.js(START.replace("REPLAY", str(replay)).replace("TOKEN", token))


def publish(behind: Background, count: int, pause_s: float = 0.0) -> None:
    for _ in range(count):
        behind.publish("marker", "cam", marker())
        time.sleep(pause_s)


def cut(behind: Background) -> None:
    """Every connection ends without a word."""
    for connection in list(behind.server._connections):
        connection._loop.call_soon_threadsafe(connection._socket.transport.abort)


def test_breaks_are_repaired_without_loss_or_repetition(tmp_path: Path) -> None:
    with Background(sources=("cam",)) as behind, chromium(tmp_path) as page:
        publish(behind, 50)
        started(page, behind.server.http_url, replay=10_000)
        until(page, "seen.length === 50")
        for _ in range(4):
            publish(behind, 40, 0.002)
            cut(behind)
            publish(behind, 40, 0.002)
        until(page, "seen.length >= 370")
        assert page.js("seen") == list(range(1, 371))
        assert page.js("one.reconnects") >= 2


def test_a_restarted_server_is_found_again_where_it_was(tmp_path: Path) -> None:
    port = free_port()
    with chromium(tmp_path) as page:
        with Background(sources=("cam",), journal=Journal(tmp_path / "j.db"), port=port) as behind:
            publish(behind, 5)
            started(page, behind.server.http_url, replay=10)
            until(page, "seen.length === 5")
        with Background(sources=("cam",), journal=Journal(tmp_path / "j.db"), port=port) as behind:
            publish(behind, 5)
            until(page, "seen.length >= 10")
            assert page.js("seen") == list(range(1, 11))


def test_motion_maps_and_refusals(tmp_path: Path) -> None:
    with Background(sources=("cam",)) as behind, chromium(tmp_path) as page:
        behind.server.evidence.put("e1", b"\x89PNG map")
        started(page, behind.server.http_url)
        until(page, "!!one.position")  # subscribed: what is published from now on is sent
        behind.publish("expression.spotted", "cam", spotted("e1", "cam"))
        assert page.js("one.evidence('e1').then((bytes) => [...bytes])") == list(b"\x89PNG map")
        assert page.js("one.evidence('e2')") is None
        refused = page.js("one.ask({type: 'push.start', source: 'cam'}).catch((error) => error.message)")
        assert "not push:" in refused
        assert page.js("one.marker('from JavaScript', 'cam')") is True
        until(page, "seen.length === 2")


def test_a_wrong_token_is_not_tried_again(tmp_path: Path) -> None:
    with Background(sources=("cam",), token=TOKEN) as behind, chromium(tmp_path) as page:
        started(page, behind.server.http_url, token="'wrong-wrong-wrong'")
        until(page, "states.at(-1) === 'token'")
        opened = behind.server.metrics._sessions
        time.sleep(1.0)
        assert behind.server.metrics._sessions == opened
        started(page, behind.server.http_url, token=f"'{TOKEN}'")
        until(page, "states.at(-1) === 'connected'")


PAUSES = """(async () => {
  const at = [], send = one.send.bind(one);
  one.send = (message) => { at.push(performance.now()); return send(message); };
  await Promise.all(Array.from({ length: 8 }, (_, number) => one.evidence(`e${number}`)));
  return at.slice(1).map((each, number) => each - at[number]);
})()"""


def test_many_pictures_are_asked_for_no_faster_than_the_server_said(tmp_path: Path) -> None:
    with Background(sources=("cam",)) as behind, chromium(tmp_path) as page:
        started(page, behind.server.http_url)
        until(page, "states.includes('connected')")
        pauses = page.js(PAUSES)
        assert len(pauses) == 7
        assert min(pauses) > 1000 / behind.server.options.messages_per_s
        # faces are not asked for where the server has said that it keeps none
        assert page.js("one.evidence('e1', 'faces')") is None
