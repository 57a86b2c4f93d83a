"""Sessions as clients of a server begin and save them, and consent that is given on the page."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.sessions import SessionOptions, Sessions
from mellm.engine.config import SourceSettings, load
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.consent_record import ConsentText
from mellm.engine.governance.erase import DataStore
from mellm.engine.governance.withdrawal import Withdrawal
from mellm.engine.results.run_reader import films, read_run
from mellm.engine.server.run_control import RunControl
from mellm.engine.server.server import Server
from mellm.engine.server.sinks import HubSink
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EXPRESSION_ENDS
from tests.engine.governance.test_withdrawal import camera
from tests.engine.moving import chain
from tests.engine.servers import Peer, peer, running, until

SETTINGS = load().model_copy(
    update={"purpose": "research", "sources": (SourceSettings(id="cam", uri="scripted:"),)}
)
TEXT = ConsentText("Your face is measured.\nNothing leaves this room.")


@dataclass
class Lab:
    """A server with one camera whose sessions are kept below ``runs``."""

    server: Server
    control: RunControl
    engine: LiveEngine
    runs: Path
    audited: list[tuple[str, Any]]

    async def expressions(self, more: int = 1) -> None:
        """Wait until so many more have ended."""
        journal = self.server.hub.journal

        def ended() -> int:
            return sum(record.type in EXPRESSION_ENDS for record in journal.replay())

        before = ended()
        await until(lambda: ended() >= before + more)


class _Later:
    """Handed to the server before its hub, and so the true one, is there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.true, name)


@asynccontextmanager
async def lab(folder: Path, *, text: ConsentText | None) -> AsyncIterator[Lab]:
    runs, later, audited = folder / "runs", _Later(), []
    consents: dict[str, str] = {} if text else {"cam": "form-7"}
    slot: list[Withdrawal] = []
    async with running(
        journal=Journal(folder / "log.db"),
        sources=("cam",),
        runs=later,
        withdrawal=lambda source, by: slot[0](source, by),
    ) as server:
        hub: Hub = server.hub
        sessions = Sessions(SETTINGS, SessionOptions(video=True, faces=True))
        hub.observe(sessions.observe)
        engine = LiveEngine(
            [camera("cam")],
            chain,
            ScriptedDescriber(),
            HubSink(hub, EvidenceStore()),
            tap=sessions,
            remake=camera,
        )
        sessions.attach(engine)
        audit = lambda action, facts: audited.append((action, facts))  # noqa: E731
        waiting = frozenset({"cam"}) if text else frozenset()
        control = RunControl(
            runs, sessions, engine, hub, consents, audit, purpose="research", text=text, waiting=waiting
        )
        later.true = control
        store = DataStore(hub.journal, None, None, runs)
        slot.append(Withdrawal(control, hub, store, consents, audit))
        control.start()
        engine.start([] if text else None)
        try:
            yield Lab(server, control, engine, runs, audited)
        finally:
            engine.stop(1.0)
            sessions.close()


async def asked(one: Peer, answer: str, **message: Any) -> dict[str, Any]:
    await one.say(id="q", **message)
    data: dict[str, Any] = (await one.hear(answer))["data"]
    assert data["ref"] == "q"
    return data


async def test_a_session_is_saved_and_the_next_begins(tmp_path: Path) -> None:
    async with lab(tmp_path, text=None) as here, peer(here.server) as one:
        await here.expressions()
        saved = await asked(one, "run.changed", type="run.save", source="cam")
        assert saved["expressions"] >= 1
        run = read_run(here.runs / saved["run"])
        assert run.state["settings"]["consent"] == "form-7"
        assert len(run.expressions) == saved["expressions"]
        assert films(run, "cam")
        # it goes on in the next one, whose times begin at 0 again
        await here.expressions(4)
        second = await asked(one, "run.changed", type="run.save", source="cam")
        after = read_run(here.runs / second["run"])
        assert after.expressions
        assert {r.id for r in after.expressions}.isdisjoint({r.id for r in run.expressions})
        assert after.events[0].type == "source.online"
        assert 0 <= after.expressions[0].onset_ms < run.state["sources"]["cam"]["media_s"] * 1000 + 10_000
        assert (await asked(one, "error", type="run.save", source="nobody"))["code"] == "unknown_source"


async def test_nothing_is_seen_before_the_yes_and_after_the_session(tmp_path: Path) -> None:
    async with lab(tmp_path, text=TEXT) as here:
        async with peer(here.server, greeted=False) as one:
            created = (await one.hear("session.created"))["data"]
            assert created["sessions"]["consent_text"] == TEXT.text
            assert created["sources"][0]["code"] == "consent_missing"
            assert (await asked(one, "error", type="run.begin", source="cam"))["code"] == "consent_missing"
            wrong = await asked(one, "error", type="consent.give", source="cam", sha256="0" * 64)
            assert "has changed" in wrong["message"]
            assert not here.engine.sources["cam"].started
            given = await asked(one, "consent.given", type="consent.give", source="cam", sha256=TEXT.sha256)
            record = here.runs / "consents" / f"{given['reference']}.json"
            told = json.loads(record.read_text())
            assert (told["answer"], told["text"], told["source"]) == ("yes", TEXT.text, "cam")
            assert told["text_sha256"] == TEXT.sha256
            assert stat.S_IMODE(record.stat().st_mode) == 0o600
            await here.expressions()  # the set-up check sees the source before the session begins
            begun = await asked(one, "run.changed", type="run.begin", source="cam")
            await here.expressions()
            saved = await asked(one, "run.changed", type="run.save", source="cam")
            assert saved["run"] == begun["run"]
            assert read_run(here.runs / begun["run"]).state["settings"]["consent"] == given["reference"]
            # whoever sits down next has agreed to nothing
            assert here.engine.sources["cam"].resting
            assert (await asked(one, "error", type="run.begin", source="cam"))["code"] == "consent_missing"
            again = await asked(one, "consent.given", type="consent.give", source="cam", sha256=TEXT.sha256)
            assert again["reference"] != given["reference"]
            await here.expressions()
        assert [a for a, _ in here.audited] == [
            "consent.given",
            "session.begun",
            "session.saved",
            "consent.given",
        ]


async def test_withdrawal_takes_the_open_session_and_the_next_person_can_agree(tmp_path: Path) -> None:
    async with lab(tmp_path, text=TEXT) as here, peer(here.server) as one:
        await asked(one, "consent.given", type="consent.give", source="cam", sha256=TEXT.sha256)
        begun = await asked(one, "run.changed", type="run.begin", source="cam")
        await here.expressions()
        gone = await asked(one, "consent.withdrawn", type="consent.withdraw", source="cam")
        assert gone["expressions"] >= 1
        folder = here.runs / begun["run"]
        assert not list(folder.glob("video/*"))
        assert not list(folder.glob("evidence/*"))
        assert json.loads((folder / "run.json").read_text())["sources"]["cam"] == {"state": "erased"}
        assert (folder / "expressions.jsonl").read_bytes() == b""
        await asked(one, "consent.given", type="consent.give", source="cam", sha256=TEXT.sha256)
        await here.expressions()


async def test_a_server_without_sessions_says_how_to_have_them() -> None:
    async with running(sources=("cam",)) as server, peer(server) as one:
        for message in (
            {"type": "run.begin"},
            {"type": "run.save"},
            {"type": "consent.give", "sha256": "0" * 64},
        ):
            refused = await asked(one, "error", source="cam", **message)
            assert "--runs FOLDER" in refused["message"]
