"""A log of a million events: half of them are erased while other cameras go on.

Figures: ``python -m pytest -m slow tests/reliability/test_million_events.py``; they are recorded. Only the service's
watchdog is asserted, with the room that a busy machine needs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.server.process import systemd
from mellm.stream.log.erasure import Selection
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Record
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import EXPRESSION_DESCRIBED, EXPRESSION_SPOTTED, SCORE, Event, Filter
from tests.reliability.figures import record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1700)]

WATCHDOG_S = 20.0
"""``WatchdogSec`` of the unit that is shipped."""


def fill(journal: Journal, count: int, *, sources: str) -> None:
    """So many events, as the writer writes them, without the queue in between."""
    data = {"score": 0.5, "text": "The inner brows are raised. " * 8, "regions": [0.125] * 29, "consent": "r"}
    event = Event(EXPRESSION_SPOTTED, "ID", 1, journal.epoch, "SOURCE", 0, {"id": "ID", **data})
    before, middle, after = wire.encode(event).replace(b'"seq":1', b'"seq":SEQ').split(b'"ID"')
    writer = journal._writer

    def rows(first: int, last: int) -> Iterator[tuple[object, ...]]:
        for seq in range(first, last):
            source, id = sources[seq % len(sources)], uuid.uuid4().hex
            told = middle.replace(b"SEQ", b"%d" % seq).replace(b"SOURCE", source.encode())
            payload = before + f'"{id}"'.encode() + told + f'"{id}"'.encode() + after
            yield seq, EXPRESSION_SPOTTED, source, id, seq, 0.5, payload, "r"

    def write(db: sqlite3.Connection, first: int, last: int) -> None:
        db.execute("BEGIN")
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows(first, last))
        db.execute("COMMIT")
        writer.last = last - 1

    end = journal.last_seq + count + 1
    for first in range(journal.last_seq + 1, end, 10_000):
        writer.call(lambda db, first=first: write(db, first, min(end, first + 10_000)))


def percentile(values: list[float], q: float) -> float:
    return round(float(np.percentile(values, q)), 2)


class Camera(threading.Thread):
    """Says ten scores and one expression a second, each with the moment at which it was said."""

    def __init__(self, hub: Hub, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.hub, self.over = hub, over
        self.held_ms: dict[str, list[float]] = {SCORE: [], EXPRESSION_DESCRIBED: []}

    def run(self) -> None:
        n = 0
        while not self.over.wait(0.02):
            n += 1
            for kind, due in ((SCORE, True), (EXPRESSION_DESCRIBED, n % 5 == 0)):
                if due:
                    said = time.monotonic_ns()
                    data = {"said": said, "me": 0.5} if kind == SCORE else {"id": f"new{n}", "said": said}
                    self.hub.post(kind, "b", data)
                    self.held_ms[kind].append((time.monotonic_ns() - said) / 1e6)


@pytest.mark.parametrize("layout", ["ab", "a then b"])
async def test_e1_half_of_a_million_events_are_erased_and_another_camera_does_not_notice(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[float] = []
    address = str(tmp_path / "notify")
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.bind(address)
    bell.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    def alive() -> None:
        systemd.alive()
        bell.recv(64)
        beats.append(time.monotonic())

    count = int(os.environ.get("MELLM_EVENTS", "1000000"))
    with Watchdog(on_alive=alive) as watchdog, Journal(tmp_path / "log.db", vitals=watchdog) as journal:
        started = time.monotonic()
        if layout == "ab":
            fill(journal, count, sources="ab")
        else:
            fill(journal, count // 2, sources="a")
            fill(journal, count // 2, sources="b")
        filled_s = time.monotonic() - started
        hub = Hub(journal)
        hub.attach()
        late: dict[str, list[float]] = {SCORE: [], EXPRESSION_DESCRIBED: []}
        reader = hub.subscribe(Filter(sources=frozenset("b")))

        async def listen() -> None:
            while True:
                item = await reader.next()
                if isinstance(item, Record) and item.type in late:
                    late[item.type].append((time.monotonic_ns() - item.event.data["said"]) / 1e6)

        listening = asyncio.create_task(listen())
        following = asyncio.create_task(watchdog.follow_loop())
        over = threading.Event()
        camera = Camera(hub, over)
        camera.start()
        await asyncio.sleep(5)
        calm = {kind: list(values) for kind, values in late.items()}
        for values in (*late.values(), *camera.held_ms.values()):
            values.clear()
        started = time.monotonic()
        gone = await asyncio.to_thread(journal.erase, Selection(source="a"), reason="withdrawal")
        took_s = time.monotonic() - started
        await asyncio.sleep(0.5)
        over.set()
        camera.join()
        listening.cancel()
        following.cancel()
        await asyncio.gather(listening, following, return_exceptions=True)
        apart_s = max(b - a for a, b in itertools.pairwise(beats))
        assert gone.events == count // 2
        assert gone.wiped
        assert watchdog.unhealthy is None
        size_mb = (tmp_path / "log.db").stat().st_size / 1e6
        started = time.monotonic()
        journal.close()
        closed_s = time.monotonic() - started
    bell.close()
    record(
        "E1",
        "N",
        run=layout,
        events=count,
        erased=gone.events,
        log_mb=round(size_mb),
        filled_s=round(filled_s, 1),
        took_s=round(took_s, 1),
        score_p99_ms=percentile(late[SCORE], 99),
        score_longest_ms=percentile(late[SCORE], 100),
        expression_p99_ms=percentile(late[EXPRESSION_DESCRIBED], 99),
        expression_longest_ms=percentile(late[EXPRESSION_DESCRIBED], 100),
        publisher_held_p99_ms=percentile(camera.held_ms[SCORE] + camera.held_ms[EXPRESSION_DESCRIBED], 99),
        before_score_p99_ms=percentile(calm[SCORE], 99),
        before_expression_p99_ms=percentile(calm[EXPRESSION_DESCRIBED], 99),
        beats_apart_s=round(apart_s, 2),
        closed_s=round(closed_s, 2),
    )
    assert apart_s < WATCHDOG_S / 2
    assert len(late[SCORE]) > 10
    assert len(late[EXPRESSION_DESCRIBED]) > 2


def test_e2_an_older_log_of_a_million_events_is_opened(tmp_path: Path) -> None:
    """Bringing it up to date happens before the server says that it is ready."""
    count = int(os.environ.get("MELLM_EVENTS", "1000000"))
    path = tmp_path / "log.db"
    with Journal(path) as journal:
        fill(journal, count, sources="ab")
    db = sqlite3.connect(path)
    db.executescript(
        "DROP INDEX events_by_source; DROP INDEX events_by_consent; ALTER TABLE events DROP COLUMN consent;"
        "UPDATE meta SET value = '1' WHERE key = 'schema'; VACUUM;"
    )
    db.close()
    started = time.monotonic()
    with Journal(path) as journal:
        took_s = time.monotonic() - started
        assert journal.last_seq == count
        (found,) = journal._writer.call(
            lambda db: db.execute("SELECT count(*) FROM events WHERE consent = 'r'").fetchone()
        )
        assert found == count
    record("E2", "N", events=count, took_s=round(took_s, 1))
