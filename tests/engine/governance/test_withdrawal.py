"""Consent that is withdrawn: the source stops, what it showed is gone everywhere, and it stays so."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.spool import Spool
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.scripted import DEFAULT, ScriptedDescriber
from mellm.engine.governance.audit import AuditLog
from mellm.engine.governance.consent import not_erased, was_withdrawn
from mellm.engine.governance.erase import DataStore
from mellm.engine.governance.withdrawal import Withdrawal, WithdrawalFailed, finish
from mellm.engine.server.sinks import HubSink
from mellm.engine.server.tokens import Token
from mellm.engine.types import Description, Evidence
from mellm.stream.capture.runner import SourceRunner
from mellm.stream.errors import JournalError
from mellm.stream.frames import Frame, SourceInfo
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.access import ALL_SCOPES, Principal
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_ENDS, EXPRESSION_SPOTTED, SOURCE_OFFLINE
from mellm.stream.sources.push import PushInlet
from mellm.stream.sources.scripted import ScriptedSource
from tests import PATIENCE_S
from tests.engine.governance.test_erase import everything
from tests.engine.moving import SECONDS, SIZE, chain, picture
from tests.engine.servers import TOKEN, peer, running, until

FPS = 30


def camera(source: str) -> SourceRunner:
    """A face that moves, over and over, faster than in life."""

    def frames() -> Iterator[Frame]:
        count = round(SECONDS * FPS)
        for i in range(100_000):
            time.sleep(0.005)
            yield Frame(source, 0, i, round(i * 1e9 / FPS), time.monotonic_ns(), picture(i % count / FPS))

    info = SourceInfo(source, "scripted:", "camera", SIZE[1], SIZE[0], 0, FPS, None, True)
    return SourceRunner("scripted:", id=source, opener=lambda segment: ScriptedSource(info, frames()))


def sums(journal: Journal, source: str) -> tuple[int, int]:
    kinds = [record.type for record in journal.replay() if record.source == source]
    return kinds.count(EXPRESSION_SPOTTED), sum(kinds.count(end) for end in EXPRESSION_ENDS)


class Gate:
    """Answers at once, but for the second expression of ann: that one waits until it is opened."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, evidence: Evidence, context: DescribeContext) -> Description:
        if self._journal.about(context.expression)[0].source == "ann" and sums(self._journal, "ann")[1]:
            self.entered.set()
            assert self.open.wait(PATIENCE_S)
        return DEFAULT


async def test_a_client_withdraws_one_of_two_running_cameras(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.db")
    sources = ("ann", "bob")
    with AuditLog(tmp_path / "log.audit.jsonl") as audit:
        slot: list[Withdrawal] = []
        async with running(
            journal=journal,
            sources=sources,
            token=TOKEN,
            tokens=(Token.of("a-token-of-bobs-own-page", Principal("bob", ALL_SCOPES, frozenset({"bob"}))),),
            audit=audit,
            withdrawal=lambda source, by: slot[0](source, by),
        ) as server:
            hub = server.hub
            for source in sources:
                hub.consent(source, f"ref-of-{source}")
            maps = tmp_path / "maps"
            server.evidence.folder = maps
            sink, spool = HubSink(hub, server.evidence), Spool(maps / "open")
            gate = Gate(journal)
            engine = LiveEngine(
                [camera(s) for s in sources], chain, ScriptedDescriber([gate]), sink, workers=2, spool=spool
            )
            consents = {source: f"ref-of-{source}" for source in sources}
            keeper = DataStore(journal, maps, server.evidence)
            slot.append(Withdrawal(engine, hub, keeper, consents, audit))
            engine.start()
            await until(lambda: gate.entered.is_set() and sums(journal, "bob")[0])
            ids = {r.id for r in journal.replay() if r.source == "ann" and r.type == EXPRESSION_SPOTTED}
            bearer = {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}}
            other = {"additional_headers": {"Authorization": "Bearer a-token-of-bobs-own-page"}}
            async with (
                peer(server, **bearer) as one,
                peer(server, **other) as bobs,
                peer(server, **bearer) as reader,
            ):
                await bobs.say(type="consent.withdraw", source="ann", id="0")
                assert (await bobs.hear("error"))["data"]["code"] == "unknown_source"
                await reader.say(type="subscribe", types=["source.*"])
                await one.say(type="consent.withdraw", source="ann", id="1")
                done = await one.hear("consent.withdrawn")
                assert done["data"]["ref"] == "1"
                assert done["data"]["withdrawn"] == "ann"
                assert done["data"]["expressions"] >= len(ids)
                notice = await reader.hear(EVENTS_ERASED)
                assert (notice["source"], notice["data"]["reason"]) == ("ann", "withdrawal")
                assert notice["data"]["events"] == done["data"]["events"]
                offline = await reader.hear(SOURCE_OFFLINE)
                assert offline["data"]["code"] == "consent_withdrawn"
                assert "consent" in offline["data"]["message"]
                # who comes later is told of nothing but the erasure
                await one.say(type="subscribe", sources=["ann"], after={"epoch": journal.epoch, "seq": 0})
                told: set[str] = set()
                while (message := await one.hear())["type"] != "replay.done":
                    told.add(message["type"])
                assert told - {"subscribed"} == {EVENTS_ERASED, SOURCE_OFFLINE}
            bobs_before = sums(journal, "bob")[0]
            await until(lambda: sums(journal, "bob")[0] > bobs_before, 60)  # the other camera goes on
            assert sums(journal, "ann") == (0, 0)
            left = everything(maps)
            assert not [id for id in ids if id.encode() in left]
            assert list(maps.glob("*.faces.png"))  # the other's, which stay
            assert all(server.evidence.get(id) is None for id in ids)
            assert engine.described().dropped["withdrawn"] >= 1  # one was being described
            gate.open.set()
            engine.stop(drain_s=1)
            found = server.metrics.snapshot()["expressions"]  # what was erased stays accounted for
            ended = found["described"] + sum(found["abstained"].values()) + sum(found["dropped"].values())
            assert found["spotted"] == ended + found["pending"]
            assert found["pending"] == 0
            on_disk = everything(tmp_path / "log.db") + (tmp_path / "log.db").read_bytes()
            assert not [id for id in ids if id.encode() in on_disk]
            assert was_withdrawn(journal, "ann", "ref-of-ann")
            assert not not_erased(journal)
            names = {s: engine.sources[s].counts() for s in sources}
            for counts in names.values():
                assert counts.captured == counts.analysed + sum(counts.dropped.values()) + counts.waiting
    lines = (tmp_path / "log.audit.jsonl").read_text()
    assert (
        '"action":"consent.withdrawn","facts":{"source":"ann","consent":"ref-of-ann","by":"token"}' in lines
    )
    assert '"action":"session.admitted"' in lines
    assert '"principal":"bob"' in lines


class Stopped:
    """An engine whose sources are easily stopped."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def withdraw(self, source: str) -> None:
        self.stopped.append(source)


def keep(journal: Journal, source: str, id: str, **more: Any) -> None:
    journal.append(EXPRESSION_SPOTTED, source, {"id": id, "score": 0.5, **more}, time=10**18, id=id)


def test_only_what_was_recorded_under_this_consent_goes() -> None:
    with Journal() as journal:
        keep(journal, "desk", "e1", consent="first person")
        keep(journal, "desk", "e2", consent="second person")
        engine = Stopped()
        inlet = PushInlet("desk")
        withdrawal = Withdrawal(
            engine,
            Hub(journal),
            DataStore(journal),
            {"desk": "second person"},
            lambda *_: None,
            inlets={"desk": inlet},
        )
        assert withdrawal("desk", "panel").expressions == ("e2",)
        assert next(record.id for record in journal.replay()) == "e1"
        assert engine.stopped == ["desk"]
        assert not inlet.begin("somebody")
        assert withdrawal("desk", "panel").events == 0  # again: nothing left, no second notice
        assert [record.type for record in journal.replay()].count(EVENTS_ERASED) == 2


def test_a_disk_that_refuses_is_told_and_the_next_start_erases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    audit = lambda action, facts: told.append(action)  # noqa: E731
    with Journal(tmp_path / "log.db") as journal:
        keep(journal, "desk", "e1")
        hub, keeper, engine = Hub(journal), DataStore(journal), Stopped()

        def refuse(*_: object, **__: object) -> None:
            raise JournalError("cannot erase")

        with monkeypatch.context() as patched:
            patched.setattr(journal, "erase", refuse)
            with pytest.raises(WithdrawalFailed, match="could not be erased"):
                Withdrawal(engine, hub, keeper, {}, audit)("desk", "panel")
        assert engine.stopped == ["desk"]
        assert hub.publish_threadsafe("face.lost", "desk", {"track": 1}) is None
        assert not_erased(journal) == [("desk", "")]
    with Journal(tmp_path / "log.db") as journal:
        assert not list(finish(Hub(journal), DataStore(journal), audit))
        assert not not_erased(journal)
        assert was_withdrawn(journal, "desk", "")
        assert {record.type for record in journal.replay()} == {EVENTS_ERASED}
    assert told == ["consent.withdrawn", "data.not_erased", "data.erased"]


def test_a_decision_that_cannot_be_written_still_stops_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal() as journal:
        keep(journal, "desk", "e1")
        engine = Stopped()

        def refuse(*_: object) -> None:
            raise JournalError("disk full")

        monkeypatch.setattr(journal, "note", refuse)
        with pytest.raises(WithdrawalFailed, match="disk full"):
            Withdrawal(engine, Hub(journal), DataStore(journal), {}, lambda *_: None)("desk", "panel")
        assert engine.stopped == ["desk"]
        assert len(journal.about("e1")) == 1


async def test_a_server_without_sources_of_its_own_says_so() -> None:
    async with running(sources=("cam",)) as server, peer(server) as one:
        await one.say(type="consent.withdraw", source="cam", id="7")
        error = await one.hear("error")
        assert (error["data"]["code"], error["data"]["ref"]) == ("not_erased", "7")
