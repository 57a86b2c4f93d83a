"""Fan-out: order, handover from journal to live, bounded backlogs, sums that balance."""

import asyncio
import sqlite3
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Record, Retention
from mellm.stream.log.subscriber import (
    HubLimits,
    ReplayDone,
    ReplayTruncated,
    Skipped,
    SlowConsumer,
    Subscriber,
)
from mellm.stream.protocol.events import EXPRESSION_SPOTTED, MARKER, SCORE, SOURCE_OFFLINE, Filter, Position
from tests import PATIENCE_S


def make(journal: Journal | None = None, **limits: int) -> Hub:
    return Hub(journal or Journal(), limits=HubLimits(**limits))


def publish(hub: Hub, count: int, type: str = MARKER, source: str = "cam", **data: Any) -> None:
    for _ in range(count):
        hub.publish_threadsafe(type, source, data)


async def take(subscriber: Subscriber, until: int) -> list[int]:
    """Numbers of reliable events, up to one that is at least ``until``."""
    seen: list[int] = []
    while not seen or seen[-1] < until:
        item = await subscriber.next()
        if isinstance(item, Record) and item.seq is not None:
            seen.append(item.seq)
    return seen


def balanced(subscriber: Subscriber) -> bool:
    t = subscriber.totals
    return (
        t.offered == t.delivered_reliable + t.delivered_lossy + t.coalesced + t.abandoned + subscriber.waiting
    )


async def test_live_events_come_in_order_from_any_thread() -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()
    threads = [threading.Thread(target=publish, args=(hub, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert await take(subscriber, 400) == list(range(1, 401))
    for thread in threads:
        thread.join()
    assert balanced(subscriber)


async def test_a_late_reader_gets_the_past_then_the_present_without_a_seam() -> None:
    hub = make()
    hub.attach()
    publish(hub, 700)  # more than one page, before and during the replay
    subscriber = hub.subscribe(after=Position(hub.journal.epoch, 100))
    thread = threading.Thread(target=publish, args=(hub, 500))
    thread.start()
    assert await take(subscriber, 1200) == list(range(101, 1201))
    thread.join()
    assert balanced(subscriber)


async def test_replay_ends_with_a_notice() -> None:
    hub = make()
    publish(hub, 3)  # before there is a loop: the journal has them
    hub.attach()
    subscriber = hub.subscribe(after=Position(hub.journal.epoch, 1))
    items = [await subscriber.next() for _ in range(3)]
    assert [item.seq for item in items[:2] if isinstance(item, Record)] == [2, 3]
    assert items[2] == ReplayDone(Position(hub.journal.epoch, 3), 2)


@pytest.mark.parametrize(
    ("epoch", "seq", "reason", "first"),
    [("other", 5, "epoch", 3), (None, 1, "retention", 3), (None, 99, "ahead", 6), (None, 2, None, 3)],
)
async def test_what_cannot_be_replayed_is_said(
    epoch: str | None, seq: int, reason: str | None, first: int
) -> None:
    hub = make()
    hub.attach()
    publish(hub, 5)
    hub.journal.prune(Retention(max_events=3), now=0)
    await asyncio.sleep(0.01)
    asked = Position(epoch or hub.journal.epoch, seq)
    subscriber = hub.subscribe(after=asked)
    publish(hub, 1)
    if reason is not None:
        notice = await subscriber.next()
        assert notice == ReplayTruncated(reason, asked, Position(hub.journal.epoch, first - 1))
    assert await take(subscriber, 6) == list(range(first, 7))


async def test_filters_make_jumps_never_losses() -> None:
    hub = make()
    hub.attach()
    wanted = Filter(sources=frozenset({"b"}), types=frozenset({EXPRESSION_SPOTTED}), min_score=0.5)
    live, late = hub.subscribe(wanted), None
    for i in range(10):
        hub.publish_threadsafe(EXPRESSION_SPOTTED, "ab"[i % 2], {"id": f"e{i}", "score": i / 10})
    late = hub.subscribe(wanted, after=Position(hub.journal.epoch, 0))
    for subscriber in (live, late):
        assert await take(subscriber, 10) == [6, 8, 10]
    assert live.position == Position(hub.journal.epoch, 10)


async def test_media_time_and_identity_travel_with_the_event() -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()
    hub.publish_threadsafe(EXPRESSION_SPOTTED, "cam", {"id": "e1"}, 1_500_000)
    item = await subscriber.next()
    assert isinstance(item, Record)
    assert item.event.id == "e1"
    assert item.event.data == {"id": "e1", "t_ns": "1500000", "t_ms": 1.5}


async def test_the_latest_score_survives_and_the_rest_is_told() -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()
    for i in range(10):
        hub.publish_threadsafe(SCORE, "cam", {"me": i})
        hub.publish_threadsafe(SCORE, "door", {"me": i})
    publish(hub, 1)
    await asyncio.sleep(0.01)
    items = [await subscriber.next() for _ in range(4)]
    assert items[0] == Skipped({SCORE: 18})
    assert isinstance(items[1], Record)
    assert items[1].seq == 1  # reliable before lossy
    assert [item.event.data["me"] for item in items[2:] if isinstance(item, Record)] == [9, 9]
    assert balanced(subscriber)


async def test_lossy_events_of_many_ids_stay_bounded() -> None:
    hub = make(backlog_events=4)
    hub.attach()
    subscriber = hub.subscribe()
    for i in range(20):
        hub.publish_threadsafe(SCORE, "cam", {}, id=f"track-{i}")
    hub.flush()
    assert subscriber.waiting == 4
    assert balanced(subscriber)


@pytest.mark.parametrize("limits", [{"backlog_events": 8}, {"backlog_bytes": 2000}])
async def test_a_reader_that_stands_still_is_cut_and_the_others_are_not(limits: dict[str, int]) -> None:
    hub = make(**limits)
    hub.attach()
    slow, quick = hub.subscribe(), hub.subscribe()
    told: list[SlowConsumer] = []
    slow.on_overflow = told.append
    reading = asyncio.create_task(take(quick, 100))
    publish(hub, 2)
    assert await take(slow, 2) == [1, 2]
    for _ in range(98):
        publish(hub, 1)
        await asyncio.sleep(0)
    assert await reading == list(range(1, 101))
    with pytest.raises(SlowConsumer) as caught:
        await slow.next()
    assert caught.value.resume == told[0].resume == Position(hub.journal.epoch, 2)
    assert caught.value.close_code == 4409
    assert slow.waiting == 0
    assert balanced(slow)
    # where it was told to resume, nothing is missing
    hub.unsubscribe(slow)
    assert await take(hub.subscribe(after=caught.value.resume), 100) == list(range(3, 101))


async def test_a_loop_that_stood_still_rereads_the_journal() -> None:
    hub = make(incoming_events=16)
    hub.attach()
    subscriber, lossy = hub.subscribe(), hub.subscribe(Filter(types=frozenset({SCORE})))
    publish(hub, 300)  # the loop has had no turn yet
    publish(hub, 5, SCORE)
    assert await take(subscriber, 300) == list(range(1, 301))
    publish(hub, 1)
    assert await take(subscriber, 301) == [301]
    assert hub.lossy_overflow == 5
    assert balanced(subscriber)
    assert balanced(lossy)


async def test_a_finished_reader_gets_what_waits_then_the_end() -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()
    publish(hub, 3)
    hub.flush()
    subscriber.finish()
    assert await take(subscriber, 3) == [1, 2, 3]
    with pytest.raises(StopAsyncIteration):
        await subscriber.next()


async def test_leaving_counts_what_is_left_behind() -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()
    publish(hub, 3)
    hub.flush()
    hub.unsubscribe(subscriber)
    hub.unsubscribe(subscriber)
    assert (hub.subscribers, subscriber.totals.abandoned) == (0, 3)
    assert balanced(subscriber)


async def test_a_full_disk_stops_no_camera_and_no_event_is_seen_unwritten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()

    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(hub.journal._writer, "_insert", full)
        publish(hub, 50)
        assert (hub.unjournalled, hub.journal_failing) == (50, True)
    assert len(caplog.records) == 1
    publish(hub, 1)
    assert await take(subscriber, 1) == [1]
    assert not hub.journal_failing


async def test_a_disk_that_stands_still_does_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = make()
    hub.attach()
    subscriber = hub.subscribe()
    writer = hub.journal._writer
    write, stuck, free = writer._write, threading.Event(), threading.Event()

    def wait(*args: Any) -> Any:
        stuck.set()
        free.wait(30)
        return write(*args)

    publish(hub, 1)
    monkeypatch.setattr(writer, "_write", wait)
    thread = threading.Thread(target=publish, args=(hub, 1))
    thread.start()
    stuck.wait(PATIENCE_S)  # the publisher waits for the disk
    async with asyncio.timeout(PATIENCE_S):
        assert await take(subscriber, 1) == [1]
        hub.post(
            MARKER, "cam", {"label": "posted meanwhile"}
        )  # whoever need not know its number does not wait
        hub.publish_threadsafe(SCORE, "cam", {"me": 0.5})  # nor does what is not written
        score = await subscriber.next()
        assert (score.type, score.seq) == (SCORE, None)
        assert hub.journal.last_seq == 1
        free.set()
        assert await take(subscriber, 3) == [2, 3]
    thread.join()


def test_a_queue_that_is_full_loses_the_event_and_counts_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mellm.stream.log.writer.BOUND", 3)
    monkeypatch.setattr("mellm.stream.log.hub.PATIENCE_S", 0.05)
    with Journal() as journal:
        hub = Hub(journal)
        free, writer = threading.Event(), journal._writer
        write = writer._write
        monkeypatch.setattr(writer, "_write", lambda batch: (free.wait(30), write(batch))[1])
        for _ in range(8):
            hub.post(MARKER, "cam", {"label": "x"})
        assert 1 <= hub.unjournalled <= 5
        free.set()
        journal.flush()
        assert journal.last_seq == 8 - hub.unjournalled


async def test_observers_hear_everything_before_it_is_sent() -> None:
    hub = make()
    heard: list[tuple[str, str, Any]] = []
    hub.observe(lambda *event: heard.append(event))
    publish(hub, 1, MARKER, "cam", label="a")
    publish(hub, 1, SCORE, "cam")
    assert heard == [(MARKER, "cam", {"label": "a"}), (SCORE, "cam", {})]


def test_mistakes_are_told_to_whoever_publishes() -> None:
    hub = make()
    with pytest.raises(ValueError, match="unknown event type"):
        hub.publish_threadsafe("face.winked", "cam", {})
    with pytest.raises(ValueError, match="JSON"):
        hub.publish_threadsafe(SCORE, "cam", {"me": float("inf")})
    with pytest.raises(ValueError, match="positive"):
        HubLimits(backlog_events=0)


async def test_publishing_outlives_the_loop() -> None:
    hub = make()
    loop = asyncio.new_event_loop()
    loop.close()
    hub.attach(loop)
    publish(hub, 2)
    assert hub.journal.last_seq == 2


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["publish", "burst", "read", "turn", "leave", "come"]), max_size=40))
def test_whatever_happens_in_whatever_order_a_reader_misses_nothing(steps: list[str]) -> None:
    async def play() -> None:
        hub = make(backlog_events=6, incoming_events=10)
        hub.attach()
        seen: list[int] = []
        subscriber: Subscriber | None = hub.subscribe(after=Position(hub.journal.epoch, 0))

        async def read(count: int) -> None:
            nonlocal subscriber
            assert subscriber is not None
            try:
                for _ in range(count):
                    async with asyncio.timeout(0.02):
                        item = await subscriber.next()
                    if isinstance(item, Record) and item.seq is not None:
                        seen.append(item.seq)
            except TimeoutError:
                pass
            except SlowConsumer:
                hub.unsubscribe(subscriber)
                subscriber = None

        for step in steps:
            if step == "publish":
                publish(hub, 1)
            elif step == "burst":
                publish(hub, 15)
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "leave" and subscriber is not None:
                hub.unsubscribe(subscriber)
                subscriber = None
            elif step == "come" and subscriber is None:
                subscriber = hub.subscribe(after=Position(hub.journal.epoch, seen[-1] if seen else 0))
            elif step == "read" and subscriber is not None:
                await read(2)
        while len(seen) < hub.journal.last_seq:
            if subscriber is None:
                subscriber = hub.subscribe(after=Position(hub.journal.epoch, seen[-1] if seen else 0))
            await read(1000)
        assert seen == list(range(1, hub.journal.last_seq + 1))
        hub.journal.close()

    asyncio.run(play())


def test_of_a_silenced_source_only_its_end_is_told() -> None:
    with Journal() as journal:
        hub = Hub(journal)
        seen: list[tuple[str, str]] = []
        hub.observe(lambda type, source, data: seen.append((type, source)))
        hub.silence("a")
        assert hub.publish_threadsafe(MARKER, "a", {"label": "x"}) is None
        assert hub.publish_threadsafe(SCORE, "a", {"me": 0.1}) is None
        assert hub.publish_threadsafe(MARKER, "b", {"label": "x"}) is not None
        assert hub.publish_threadsafe(SOURCE_OFFLINE, "a", {}) is not None
        assert seen == [(MARKER, "b"), (SOURCE_OFFLINE, "a")]
        assert journal.last_seq == 2
