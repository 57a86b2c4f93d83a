"""What every bus promises: the same tests on memory, on JetStream and on Redis."""

from __future__ import annotations

import asyncio

import pytest

from mellm.engine.bus.base import ACK_WAIT_S, MAX_BYTES, MOST_DELIVERIES, Bus, Delivery, Stream
from mellm.stream.errors import BusConflict, MessageInvalid
from tests.engine.bus.conftest import Place

LONG_S = 10.0
"""A wait that ends early when the test passes."""


async def taken(bus: Bus, stream: Stream = "evidence") -> Delivery:
    found = await bus.take(stream, LONG_S)
    assert found is not None
    return found


async def test_messages_come_back_in_order_and_by_pattern(bus: Bus) -> None:
    numbers = [
        await bus.append(subject, body, id=body.decode())
        for subject, body in (("event.a.1", b"one"), ("event.b.1", b"two"), ("event.a.1", b"three"))
    ]
    assert numbers == sorted(set(numbers))
    seen, at = [], 0
    while (message := await bus.read("event.a.>", at)) is not None:
        at = message.seq
        seen.append((message.subject, message.id, message.body))
    assert seen == [("event.a.1", "one", b"one"), ("event.a.1", "three", b"three")]
    everything = await bus.read("event.>", numbers[0])
    assert everything is not None
    assert (everything.seq, everything.body) == (numbers[1], b"two")
    assert await bus.end("event") == numbers[2]
    newest = await bus.last("event.a.1")
    assert newest is not None
    assert newest.body == b"three"
    assert await bus.last("event.c.1") is None


async def test_a_reader_that_waits_is_told(bus: Bus, place: Place) -> None:
    other = await place.another()
    waiting = asyncio.create_task(other.read("result.>", 0, LONG_S))
    await asyncio.sleep(0.05)
    await bus.append("result.door.1", b"x" * 60_000, id="1")
    message = await waiting
    assert message is not None
    assert message.body == b"x" * 60_000
    await other.close()


async def test_a_reader_does_not_wait_longer_than_asked(bus: Bus) -> None:
    assert await bus.read("event.>", 0, 0.05) is None
    assert await bus.take("evidence", 0.05) is None


async def test_the_same_id_is_stored_once(bus: Bus) -> None:
    first = await bus.append("event.a.1", b"one", id="same")
    assert await bus.append("event.a.1", b"one", id="same") == first
    assert await bus.end("event") == first


async def test_a_subject_that_changed_is_not_appended_to(bus: Bus) -> None:
    first = await bus.append("event.a.1", b"one", id="1", expect=0)
    await bus.append("event.b.1", b"other", id="2", expect=0)
    with pytest.raises(BusConflict):
        await bus.append("event.a.1", b"two", id="3", expect=0)
    assert await bus.append("event.a.1", b"two", id="4", expect=first) > first


async def test_work_is_given_to_one_at_a_time_and_ends(bus: Bus, place: Place) -> None:
    other = await place.another()
    for name in ("1", "2"):
        await bus.append(f"evidence.a.{name}", name.encode(), id=name)
    found = [await taken(bus), await taken(other)]
    assert sorted(each.message.body for each in found) == [b"1", b"2"]
    assert {each.tries for each in found} == {1}
    assert all(0 <= each.age_s < 60 for each in found)
    assert await bus.take("evidence", 0.05) is None
    for each, holder in zip(found, (bus, other), strict=True):
        await holder.done(each)
    await asyncio.sleep(ACK_WAIT_S + 0.3)
    assert await bus.take("evidence", 0.3) is None
    await other.close()


async def test_work_that_nobody_ended_is_given_out_twice_and_never_again(bus: Bus) -> None:
    await bus.append("evidence.a.1", b"1", id="1")
    assert (await taken(bus)).tries == 1
    again = await taken(bus)  # nobody said anything about the first: it comes back by itself
    assert (again.tries, again.message.body) == (2, b"1")
    await bus.again(again)
    assert MOST_DELIVERIES == 2
    assert await bus.take("evidence", ACK_WAIT_S + 0.3) is None
    await bus.append("evidence.a.2", b"2", id="2")
    assert (await taken(bus)).message.body == b"2"


async def test_work_in_hand_stays_there(bus: Bus, place: Place) -> None:
    other = await place.another()
    await bus.append("evidence.a.1", b"1", id="1")
    mine = await taken(bus)
    for _ in range(5):
        assert await other.take("evidence", ACK_WAIT_S / 3) is None
        await bus.busy(mine)
    await bus.done(mine)
    await other.close()


async def test_a_job_comes_back_until_it_ends(bus: Bus) -> None:
    await bus.append("job.b.1", b"1", id="1")
    for tries in (1, 2, 3, 4):
        found = await taken(bus, "job")
        assert found.tries == tries
        await bus.again(found)
    await bus.done(await taken(bus, "job"))
    assert await bus.take("job", 0.3) is None


async def test_a_fetch_after_one_that_timed_out_does_not_stall(bus: Bus) -> None:
    for number in range(10):
        assert await bus.take("evidence", 0.02) is None
        await bus.append(f"evidence.a.{number}", b"x", id=str(number))
        await bus.done(await taken(bus))


async def test_keys_change_by_compare_and_set_only(bus: Bus, place: Place) -> None:
    other = await place.another()
    assert await bus.get("lease", "door") is None
    first = await bus.put("lease", "door", b"a", 0)
    with pytest.raises(BusConflict):
        await other.put("lease", "door", b"b", 0)
    second = await other.put("lease", "door", b"b", first)
    with pytest.raises(BusConflict):
        await bus.put("lease", "door", b"c", first)
    found = await bus.get("lease", "door")
    assert found is not None
    assert (found.value, found.revision) == (b"b", second)
    await bus.put("node", "n1", b"1", None)
    await bus.put("node", "n1", b"2", None)
    assert {key: entry.value for key, entry in (await bus.keys("node")).items()} == {"n1": b"2"}
    assert await bus.keys("asked") == {}
    await bus.forget("lease", "door")
    assert await bus.get("lease", "door") is None
    await bus.put("lease", "door", b"d", 0)
    await other.close()


async def test_of_many_at_once_one_wins(bus: Bus) -> None:
    async def try_to(name: int) -> bool:
        try:
            await bus.put("lease", "door", str(name).encode(), 0)
        except BusConflict:
            return False
        return True

    assert sum(await asyncio.gather(*(try_to(name) for name in range(8)))) == 1


async def test_a_purge_takes_one_camera_and_no_other(bus: Bus) -> None:
    for camera in ("door", "door2"):
        for number in range(3):
            await bus.append(f"evidence.{camera}.{number}", b"x", id=f"{camera}{number}")
    assert await bus.purge("evidence.door.>") == 3
    assert await bus.read("evidence.door.>", 0) is None
    kept = await bus.read("evidence.>", 0)
    assert kept is not None
    assert kept.subject == "evidence.door2.0"
    for _ in range(3):
        found = await taken(bus)
        assert found.message.subject.startswith("evidence.door2.")
        await bus.done(found)
    assert await bus.take("evidence", 0.3) is None


async def test_a_message_over_the_bound_is_refused_before_it_is_sent(bus: Bus) -> None:
    with pytest.raises(MessageInvalid):
        await bus.append("event.a.1", b"x" * (MAX_BYTES + 1), id="1")
    await bus.append("event.a.1", b"x" * MAX_BYTES, id="2")
    found = await bus.last("event.a.1")
    assert found is not None
    assert len(found.body) == MAX_BYTES


async def test_what_is_told_is_heard_by_whoever_listens(bus: Bus, place: Place) -> None:
    other = await place.another()
    heard = other.hear("score.>")
    first = asyncio.ensure_future(anext(heard))
    while not first.done():
        await bus.tell("stats.a", b"not this")
        await bus.tell("score.a", b"this")
        await asyncio.sleep(0.02)
    assert first.result() == ("score.a", b"this")
    await heard.aclose()  # type: ignore[attr-defined]
    await other.close()


async def test_a_bus_says_what_it_holds(bus: Bus) -> None:
    await bus.append("evidence.a.1", b"x" * 1000, id="1")
    facts = await bus.facts()
    assert facts.streams["evidence"][0] == 1
    assert facts.streams["evidence"][1] >= 1000
    assert facts.waiting["evidence"] == 1
    if not facts.server.startswith("memory"):
        assert facts.synced is True
