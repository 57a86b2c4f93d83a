"""What the live page says in words and colour, pause and looking back, and a session from consent to saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.browser import Page
from tests.clients.test_dashboard import (
    SHOTS,
    Background,
    described,
    feed,
    moments,
    motion_map,
    opened,
    until,
)
from tests.stream.spoken import spotted

pytestmark = pytest.mark.usefixtures("browser")
CONNECTED = "document.getElementById('connection').textContent === 'connected'"
SETUP = {
    "ready": False,
    "checks": [
        {"name": "face", "level": "bad", "text": "face 60 px wide: come closer, it needs 96"},
        {"name": "light", "level": "ok", "text": "light good"},
    ],
}


def part(page: Page, name: str, what: str = "textContent") -> Any:
    return page.js(f"document.querySelector('[data-part={name}]').{what}")


def shown(page: Page, name: str, text: str) -> None:
    until(page, f"document.querySelector('[data-part={name}]')?.textContent.includes({text!r})")


def media(name: str, ns: int) -> dict[str, Any]:
    return {f"{name}_ns": str(ns), f"{name}_ms": ns / 1e6}


def test_states_are_words_in_colour_with_what_to_do(tmp_path: Path) -> None:
    with Background(sources=("desk",)) as behind, opened(behind.server, tmp_path) as page:
        until(page, CONNECTED)
        behind.publish("source.online", "desk", {"uri": "cam", "kind": "camera", "width": 640, "height": 480})
        shown(page, "state", "online")
        assert part(page, "state", "className") == "state ok"
        assert part(page, "why", "hidden")
        service = {"fps": 25.0, "faces": None, "gaps": False}
        told = {"from": service, "to": {**service, "fps": 12.5}, "reason": "overload", "degraded": True}
        told |= {"message": "too much to do: lower the camera's rate", **media("t", 0)}
        behind.publish("source.degraded", "desk", told)
        shown(page, "why", "lower the camera's rate.")
        assert part(page, "state", "className") == "state warn"
        behind.publish("source.degraded", "desk", {**told, "reason": "recovered", "degraded": False})
        until(page, "document.querySelector('[data-part=why]').hidden")
        behind.publish(
            "stats", "desk", {"captured": 9, "fps": 30.0, "analysed": 9, "waiting": 0, "setup": SETUP}
        )
        shown(page, "state", "not judged now")
        assert part(page, "why") == "Face 60 px wide: come closer, it needs 96."
        assert part(page, "why", "className") == "why bad"
        page.shot(SHOTS / "states.png")
        behind.publish("source.picture", "desk", {"state": "dark", **media("at", 0), **media("t", 0)})
        shown(page, "why", "put light on the face")
        behind.publish("source.ended", "desk", {"early": False, "message": "", "frames": 96})
        shown(page, "why", "played to its end (96 frames)")
        behind.publish(
            "source.ended",
            "desk",
            {"code": "source_lost", "message": "the camera was unplugged - plug it in"},
        )
        shown(page, "why", "The camera was unplugged - plug it in. The source is not tried again.")
        assert part(page, "state", "className") == "state bad"
        assert page.console == []


def test_parts_of_the_server_that_fail_are_named_until_they_work_again(tmp_path: Path) -> None:
    with Background(sources=("desk",)) as behind, opened(behind.server, tmp_path) as page:
        until(page, CONNECTED)
        failed = {"worker": "previews", "state": "failed", "code": "internal", "message": "out of memory"}
        behind.publish("server.worker", "", failed)
        until(page, "!document.getElementById('problems').hidden")
        said = page.js("document.getElementById('problems').textContent")
        assert said == "The small pictures failed and will be started again: Out of memory."
        behind.publish("server.worker", "", {"worker": "previews", "state": "recovered"})
        until(page, "document.getElementById('problems').hidden")


def test_pausing_holds_the_page_and_looks_back(tmp_path: Path) -> None:
    with Background(sources=("desk",)) as behind:
        behind.server.evidence.put("e0", motion_map())
        with opened(behind.server, tmp_path) as page:
            until(page, CONNECTED)
            feed(behind)
            until(page, "document.querySelectorAll('.card').length === 4")
            page.js("document.getElementById('pause').click()")
            behind.publish("expression.spotted", "desk", {**spotted("e9", "desk", 0.9), **moments(30_000.0)})
            until(page, "document.getElementById('count').textContent === '4 of 5'")  # it goes on behind
            page.js("document.getElementById('back').value = 8")
            page.js("document.getElementById('back').dispatchEvent(new Event('input'))")
            until(page, "!!document.querySelector('[data-id=e0]') && !document.querySelector('[data-id=e2]')")
            assert page.js("document.getElementById('paused').textContent") == "paused, 00:08 before"
            page.shot(SHOTS / "paused.png")
            # a click on a card's time shows that moment
            page.js("document.querySelector('[data-id=e0] h3').click()")
            until(page, "!!document.querySelector('[data-id=e0]') && !document.querySelector('[data-id=e2]')")
            page.js("document.getElementById('pause').click()")
            until(page, "document.querySelectorAll('.card').length === 5")
            # pictures enlarge
            behind.publish("expression.described", "desk", described("e0", 4000.0))
            until(page, "!!document.querySelector('[data-id=e0] .map img')")
            page.js("document.querySelector('[data-id=e0] .map img').click()")
            assert page.js("document.getElementById('enlarged').open")
            assert page.js("document.querySelectorAll('#enlarged img').length") == 1
            page.js("document.getElementById('enlarged').click()")
            assert not page.js("document.getElementById('enlarged').open")
            assert page.console == []


class Runs:
    """What the server does when it is asked, in place of cameras and disks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.behind: Background

    def facts(self) -> dict[str, Any]:
        return {
            "video": True,
            "consent_text": "Your face is measured.\n<b>Nothing</b> leaves.",
            "consent_sha256": "a" * 64,
        }

    def agree(self, source: str, sha256: str, by: str) -> str:
        self.asked.append(("agree", source, sha256))
        self.behind.publish(
            "source.online", source, {"uri": "cam", "kind": "camera", "width": 640, "height": 480}
        )
        return "page-1"

    def begin(self, source: str, by: str) -> str:
        self.asked.append(("begin", source))
        self.behind.publish("source.session", source, {"run": "desk-1", "state": "begun", "video": True})
        return "desk-1"

    def save(self, source: str, by: str) -> tuple[str, int]:
        self.asked.append(("save", source))
        saved = {"run": "desk-1", "state": "saved", "video": True, "expressions": 3}
        self.behind.publish("source.session", source, saved)
        return "desk-1", 3


@pytest.mark.parametrize("width", [1280, 390])
def test_a_session_from_the_yes_to_the_saved_run(tmp_path: Path, width: int) -> None:
    runs = Runs()
    with Background(sources=("desk",), runs=runs) as behind:
        runs.behind = behind
        behind.publish(
            "source.offline", "desk", {"code": "consent_missing", "message": "waiting for consent"}
        )
        with opened(behind.server, tmp_path) as page:
            page.size(width, 1000)
            until(page, CONNECTED)
            shown(page, "state", "waiting for consent")
            page.js("document.querySelector('[data-part=session-new]').click()")
            assert "<b>Nothing</b> leaves." in page.js("document.querySelector('.consent').textContent")
            agree = "[...document.querySelectorAll('#session button')].find((b) => b.textContent.startsWith('Yes'))"
            assert page.js(f"{agree}.disabled")  # not before it was read
            page.shot(SHOTS / f"consent-{width}.png", whole=False)
            page.js("document.querySelector('#session input').click()")
            page.js(f"{agree}.click()")
            until(page, "document.querySelector('#session h2').textContent.startsWith('Set-up')")
            assert runs.asked == [("agree", "desk", "a" * 64)]
            stats = {"captured": 9, "fps": 30.0, "analysed": 9, "waiting": 0}
            behind.publish("stats", "desk", {**stats, "setup": SETUP})
            until(page, "!!document.querySelector('.checks .bad')")
            assert "come closer" in page.js("document.querySelector('.checks .bad').textContent")
            assert "Start all the same" in page.js("document.getElementById('session').textContent")
            page.shot(SHOTS / f"setup-{width}.png", whole=False)
            good = [{**check, "level": "ok"} for check in SETUP["checks"]]
            behind.publish("stats", "desk", {**stats, "setup": {"ready": True, "checks": good}})
            start = "[...document.querySelectorAll('#session button')].find((b) => /^Start the/.test(b.textContent))"
            until(page, f"!!{start}")
            assert page.js("document.documentElement.scrollWidth") <= width
            page.js(f"{start}.click()")
            shown(page, "session", "Session desk-1, video is kept")
            assert not page.js("document.getElementById('session').open")
            page.js("document.querySelector('[data-part=session-save]').click()")
            shown(page, "session", "Saved as desk-1: 3 expressions")
            assert part(page, "session-save", "disabled")
            assert runs.asked[1:] == [("begin", "desk"), ("save", "desk")]
            assert page.console == []
