"""Every client keeps the same contract: no event lost, none twice, refusals told, the wrong token not tried again.

The cases are here once; ``contract/`` holds each client behind the same operations.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mellm.engine.governance.erase import ErasureReport
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.sources.push import PushInlet
from tests import PATIENCE_S, REPO
from tests.clients.contract.drivers import Driver, Python, in_chromium, node, python
from tests.clients.test_dashboard import Background
from tests.clients.test_javascript_client import cut, publish
from tests.clients.test_page_states import Runs
from tests.engine.servers import TOKEN
from tests.engine.serving import free_port
from tests.stream.spoken import marker, spotted

pytestmark = pytest.mark.bare


@pytest.fixture(scope="module", params=["python", "node", "chromium"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    if request.param == "chromium":
        request.getfixturevalue("browser")
        with in_chromium(tmp_path_factory.mktemp("contract")) as one:
            yield one
        return
    with python() if request.param == "python" else node() as other:
        yield other


@pytest.fixture(autouse=True)
def _closed(driver: Driver) -> Iterator[None]:
    yield
    driver.do("close")


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def numbers(driver: Driver) -> list[int]:
    return [seq for seq, _, _ in driver.do("seen")]


def opened(driver: Driver, behind: Background, **given: Any) -> None:
    driver.do("open", behind.server.url, given)
    assert driver.do("ready") == {"value": True}
    until(lambda: given.get("after") or driver.do("position"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"after": "start"}, [1, 2, 3, 4]),
        ({"after": "start", "types": ["marker"]}, [1, 4]),
        ({"after": "start", "types": ["expression.*"]}, [2, 3]),
        ({"after": "start", "sources": ["desk"]}, [3]),
        ({"after": "start", "min_score": 0.8}, [1, 3, 4]),
    ],
    ids=["everything", "types", "families", "sources", "score"],
)
def test_what_is_chosen_comes_from_the_log(
    driver: Driver, given: dict[str, Any], expected: list[int]
) -> None:
    with Background(sources=("cam", "desk")) as behind:
        behind.publish("marker", "cam", marker())
        behind.publish("expression.spotted", "cam", spotted("e1", "cam", 0.5))
        behind.publish("expression.spotted", "desk", spotted("e2", "desk", 0.9))
        behind.publish("marker", "cam", marker())
        opened(driver, behind, **given)
        until(lambda: len(numbers(driver)) >= len(expected))
        assert numbers(driver) == expected


def test_breaks_lose_nothing_and_repeat_nothing(driver: Driver) -> None:
    with Background(sources=("cam",)) as behind:
        publish(behind, 20)
        opened(driver, behind, after="start")
        for _ in range(3):
            publish(behind, 20, 0.002)
            cut(behind)
            publish(behind, 20, 0.002)
        until(lambda: len(numbers(driver)) >= 140)
        assert numbers(driver) == list(range(1, 141))
        assert driver.do("reconnects") >= 1
        assert driver.do("position") == {"epoch": behind.server.hub.journal.epoch, "seq": 140}


def test_another_process_goes_on_where_this_one_was(driver: Driver, tmp_path: Path) -> None:
    port = free_port()
    with Background(sources=("cam",), journal=Journal(tmp_path / "j.db"), port=port) as behind:
        publish(behind, 5)
        opened(driver, behind, after="start")
        until(lambda: len(numbers(driver)) == 5)
        place = driver.do("position")
        driver.do("close")
        publish(behind, 3)
        opened(driver, behind, after=place)
        until(lambda: len(numbers(driver)) == 3)
        assert numbers(driver) == [6, 7, 8]


def test_what_cannot_be_replayed_is_told(driver: Driver) -> None:
    with Background(sources=("cam",)) as behind:
        publish(behind, 10)
        behind.server.hub.journal.prune(Retention(max_events=3), now=time.time_ns())
        opened(driver, behind, after="start")
        until(lambda: len(numbers(driver)) == 3)
        assert numbers(driver) == [8, 9, 10]
        assert "replay.truncated" in driver.do("notices")


def test_a_wrong_token_is_final(driver: Driver) -> None:
    with Background(sources=("cam",), token=TOKEN) as behind:
        driver.do("open", behind.server.url, {"token": "wrong-wrong-wrong-wrong"})
        until(lambda: driver.do("final"))
        assert "error" in driver.do("ready")
        sessions = behind.server.metrics._sessions
        time.sleep(0.6)
        assert behind.server.metrics._sessions == sessions
        opened(driver, behind, token=TOKEN)


def test_pictures_come_and_what_is_not_there_is_none(driver: Driver) -> None:
    with Background(sources=("cam",)) as behind:
        behind.server.evidence.put("e1", b"\x89PNG map")
        opened(driver, behind)
        behind.publish("expression.spotted", "cam", spotted("e1", "cam"))
        until(lambda: numbers(driver) == [1])
        assert driver.do("evidence", "e1", "motion") == {"value": list(b"\x89PNG map")}
        assert driver.do("evidence", "e2", "motion") == {"value": None}
        assert driver.do("evidence", "e1", "faces") == {"value": None}


def test_markers_stand_at_their_moment(driver: Driver) -> None:
    with Background(sources=("cam",)) as behind:
        opened(driver, behind)
        assert driver.do("marker", "now", "cam")
        assert driver.do(
            "marker", "then", "cam", "123456789012345678"
        )  # beyond what a number of JavaScript holds
        until(lambda: len(numbers(driver)) == 2)
        kept = [record.event.data for record in behind.server.hub.journal.replay()]
        assert [data["label"] for data in kept] == ["now", "then"]
        assert kept[1]["t_ns"] == "123456789012345678"


def test_withdrawal_answers_with_what_was_erased_or_why_not(driver: Driver) -> None:
    report = ErasureReport(events=9, expressions=("e0", "e1"), files=2)
    with Background(sources=("cam",), withdrawal=lambda source, by: report) as behind:
        opened(driver, behind)
        assert driver.do("withdraw", "cam") == {"value": {"events": 9, "expressions": 2, "files": 2}}
        assert "unknown source" in driver.do("withdraw", "nobody")["error"]


def test_sessions_are_agreed_to_begun_and_saved(driver: Driver) -> None:
    runs = Runs()
    with Background(sources=("desk",), runs=runs) as behind:
        runs.behind = behind
        opened(driver, behind)
        assert driver.do("agree", "desk", "a" * 64) == {"value": "page-1"}
        assert driver.do("begin", "desk") == {"value": "desk-1"}
        assert driver.do("save", "desk") == {"value": ["desk-1", 3]}
        assert [each[0] for each in runs.asked] == ["agree", "begin", "save"]
        assert "unknown source" in driver.do("save", "nobody")["error"]
    with Background(sources=("desk",)) as behind:
        opened(driver, behind)
        assert "--runs FOLDER" in driver.do("begin", "desk")["error"]


def test_pictures_are_pushed(driver: Driver) -> None:
    if isinstance(driver, Python):
        pytest.skip("the Python client does not push; mellm.stream.sources.push is for servers")
    inlet = PushInlet("me")
    with Background(sources=("me", "cam"), inlets={"me": inlet}) as behind:
        opened(driver, behind)
        assert driver.do("push", "me", 5) == {"value": 5}
        assert "not push:" in driver.do("push", "cam", 1)["error"]
    inlet.shut()


def test_events_can_be_iterated(driver: Driver) -> None:
    with Background(sources=("cam",)) as behind:
        opened(driver, behind)
        publish(behind, 3, 0.05)
        if isinstance(driver, Python):
            assert driver.do("iterated", 3) == [1, 2, 3]
            return
        until(lambda: len(numbers(driver)) == 3)
        # an iterator begins with what comes after it was asked for
        import threading

        later = threading.Timer(0.5, lambda: publish(behind, 3, 0.05))
        later.start()
        assert driver.do("iterated", 3) == [4, 5, 6]
        later.join()


def test_the_package_names_its_files_and_types_cover_what_there_is() -> None:
    folder = REPO / "clients" / "web"
    package = json.loads((folder / "package.json").read_text())
    assert all((folder / name).is_file() for name in package["files"])
    listed = subprocess.run(
        ["git", "ls-files", "clients/web"], cwd=REPO, capture_output=True, text=True
    ).stdout
    if listed:
        assert {f"clients/web/{name}" for name in package["files"]} <= set(listed.split())
    script, types = ((folder / name).read_text() for name in ("protocol.js", "protocol.d.ts"))
    for name in (
        "evidence",
        "marker",
        "push",
        "withdraw",
        "agree",
        "begin",
        "save",
        "events",
        "open",
        "close",
    ):
        assert f"  {name}(" in script.replace("async *", "").replace("async ", "")
        assert f"  {name}(" in types
