"""One client's life over a real socket: streaming, refusals, and every way to end."""

import asyncio
import contextlib
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

from mellm.engine.server.server import Server
from mellm.stream.log.journal import Journal
from mellm.stream.log.subscriber import HubLimits
from tests import PATIENCE_S, PROMPT_S
from tests.engine.servers import TOKEN, deaf_peer, peer, running, until
from tests.stream.spoken import marker, scored


def publish(server: Server, count: int, text: str = "question 3") -> None:
    for _ in range(count):
        server.hub.publish_threadsafe("marker", "cam", marker(text))


async def test_greeting() -> None:
    async with running(sources=("cam",)) as server, peer(server, greeted=False) as client:
        hello, created = await client.hear(), await client.hear()
    assert (hello["type"], created["type"]) == ("hello", "session.created")
    assert list(hello) == ["type", "id", "seq", "epoch", "source", "time", "data"]
    assert hello["data"]["protocol"] == "mellm.v1"
    assert hello["data"]["auth_needed"] is False
    assert hello["data"]["purpose"] == "self-use"
    assert "must not decide about people" in hello["data"]["notice"]
    assert created["data"]["sources"] == [{"id": "cam", "state": "offline", "preview": False, "push": False}]
    assert created["data"]["replay"] == {"epoch": server.hub.journal.epoch, "from_seq": 1, "to_seq": 0}


async def test_replay_then_live_without_a_seam() -> None:
    async with running() as server, peer(server) as client:
        publish(server, 300)
        epoch = server.hub.journal.epoch
        await client.say(type="subscribe", after={"epoch": epoch, "seq": 0}, id="s")
        thread = threading.Thread(target=publish, args=(server, 300))
        thread.start()
        subscribed = await client.hear()
        assert (subscribed["type"], subscribed["data"]["ref"]) == ("subscribed", "s")
        assert await client.numbers(600) == list(range(1, 601))
        thread.join()


async def test_what_was_forgotten_is_said() -> None:
    async with running() as server, peer(server) as client:
        await client.say(type="subscribe", after={"epoch": "another", "seq": 9})
        truncated = await client.hear("replay.truncated")
        assert truncated["data"]["reason"] == "epoch"
        assert truncated["data"]["from"] == {"epoch": server.hub.journal.epoch, "seq": 0}
        assert (await client.hear("replay.done"))["data"]["events"] == 0


async def test_filter_change_and_unsubscribe() -> None:
    async with running() as server, peer(server) as client:
        await client.say(type="subscribe", types=["source.*"])
        await client.hear("subscribed")
        publish(server, 1)
        await client.say(type="subscribe", types=["marker"])
        await client.hear("subscribed")
        publish(server, 1)
        assert (await client.hear())["seq"] == 2
        await client.say(type="unsubscribe", id="u")
        assert (await client.hear())["data"] == {"ref": "u"}
        publish(server, 1)
        assert server.hub.subscribers == 0


async def test_an_unknown_field_is_refused_by_name_and_the_session_goes_on() -> None:
    async with running() as server, peer(server) as client:
        await client.say(type="subscribe", source=["cam"], id="x")
        refused = (await client.hear())["data"]
        assert (refused["code"], refused["ref"]) == ("unknown_field", "x")
        assert "did you mean 'sources'" in refused["message"]
        await client.say(type="subscribe")
        await client.hear("subscribed")


async def test_markers_stand_on_the_media_clock() -> None:
    async with running(sources=("cam",)) as server, peer(server) as client:
        server.hub.publish_threadsafe("score", "cam", scored(), 7_000_000_000)
        await client.say(type="subscribe")
        await client.hear("subscribed")
        await client.say(type="marker.add", label="question 3", id="m")
        said = await client.hear("marker")
        assert (said["source"], said["data"]["label"], said["data"]["ref"]) == ("cam", "question 3", "m")
        assert 7_000_000_000 <= int(said["data"]["t_ns"]) <= 8_000_000_000
        server.hub.publish_threadsafe("score", "door", scored(), 5)
        await client.say(type="marker.add", label="both")
        said = await client.hear("marker")
        assert said["source"] == ""
        assert set(said["data"]["clocks"]) == {"cam", "door"}
        server.hub.journal.close()
        await client.say(type="marker.add", label="lost")
        assert (await client.hear("error"))["data"]["code"] == "journal"


async def test_goodbye_tells_totals_and_where_to_resume() -> None:
    async with running() as server, peer(server) as client:
        await client.say(type="subscribe")
        await client.hear("subscribed")
        publish(server, 3)
        await client.numbers(3)
        await client.say(type="session.close")
        closed = (await client.hear("session.closed"))["data"]
        assert closed["reason"] == "client"
        assert closed["totals"]["reliable"] == 3
        assert closed["resume"] == {"epoch": server.hub.journal.epoch, "seq": 3}
        assert await client.ends() == 1000


@pytest.mark.parametrize(
    ("payload", "code"),
    [("nonsense", 4400), (b"\x00", 4400), ('{"x": NaN}', 4400), ("[" * 20_000, 4400), ("x" * 65_537, 1009)],
)
async def test_what_is_no_message_ends_the_session(payload: str | bytes, code: int) -> None:
    async with running() as server, peer(server) as client:
        await client.socket.send(payload)
        assert await client.ends() == code
        async with peer(server):
            pass  # the server is well


async def test_talking_too_fast_ends_the_session() -> None:
    async with running(messages_per_s=5.0) as server, peer(server) as client:
        for _ in range(12):
            await client.say(type="marker.add", label="x")
        assert await client.ends() == 4429


async def test_tokens_in_the_header_or_as_first_message() -> None:
    async with running(token=TOKEN) as server:
        async with peer(server, additional_headers={"Authorization": f"Bearer {TOKEN}"}):
            pass
        async with peer(server, greeted=False) as client:
            assert (await client.hear("hello"))["data"]["auth_needed"] is True
            await client.say(type="session.auth", token=TOKEN)
            await client.hear("session.created")
        async with peer(server, greeted=False) as client:
            await client.say(type="session.auth", token="wrong")
            assert (await client.hear("error"))["data"]["code"] == "unauthorised"
            assert await client.ends() == 4401
        async with peer(server, greeted=False) as client:
            assert await client.ends() == 4408


async def test_a_deaf_client_is_cut_in_time_and_nobody_else_notices() -> None:
    """A backlog that overflows, or a message that nobody takes for the write time, ends in 4409."""
    async with running(limits=HubLimits(backlog_events=16)) as server, peer(server) as client:
        await client.say(type="subscribe")
        await client.hear("subscribed")
        deaf = await deaf_peer(server, {})
        await until(lambda: server.hub.subscribers == 2)
        started, late = time.monotonic(), 0.0
        text = "x" * 20_000
        for number in range(1, 401):
            at = time.monotonic()
            await asyncio.to_thread(publish, server, 1, text=text)
            assert (await client.hear())["seq"] == number
            late = max(late, time.monotonic() - at)
        await until(lambda: server.hub.subscribers == 1)
        assert time.monotonic() - started < PATIENCE_S
        assert late < PROMPT_S
        deaf.close()
        await until(lambda: server.metrics._closes[4409] == 1)
        assert server.metrics.imbalances() == []


async def test_a_deaf_client_in_the_middle_of_a_replay_is_cut_too() -> None:
    async with running(journal=Journal()) as server:
        publish(server, 400, text="x" * 20_000)
        deaf = await deaf_peer(server, {"after": {"epoch": server.hub.journal.epoch, "seq": 0}})
        await until(lambda: server.metrics._closes[4409])
        deaf.close()


async def test_a_client_that_was_cut_resumes_and_misses_nothing() -> None:
    async with running(limits=HubLimits(backlog_events=4)) as server:
        seen: list[int] = []
        async with peer(server, max_queue=1) as client:
            await client.say(type="subscribe")
            await client.hear("subscribed")
            while not server.metrics._closes[4409]:  # it does not read meanwhile
                publish(server, 20, text="x" * 20_000)
                await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    seen += [number] if (number := (await client.hear())["seq"]) else []
        last = server.hub.journal.last_seq
        assert len(seen) < last
        async with peer(server) as client:
            after = {"epoch": server.hub.journal.epoch, "seq": seen[-1] if seen else 0}
            await client.say(type="subscribe", after=after)
            assert seen + await client.numbers(last) == list(range(1, last + 1))


async def test_a_connection_that_breaks_leaves_nothing_behind() -> None:
    async with running() as server:
        async with peer(server) as client:
            await client.say(type="subscribe")
            await client.hear("subscribed")
            client.socket.transport.abort()
        await until(lambda: not server.hub.subscribers and not server._connections)
        assert server._addresses == {}
        assert server.metrics.snapshot()["clients"] == 0


async def test_stopping_sends_what_waits_then_says_goodbye() -> None:
    async with running() as server, peer(server) as subscribed, peer(server) as idle:
        await subscribed.say(type="subscribe")
        await subscribed.hear("subscribed")
        await asyncio.to_thread(publish, server, 50)
        stopping = asyncio.create_task(server.stop())
        assert await subscribed.numbers(50) == list(range(1, 51))
        for client in (subscribed, idle):
            closed = await client.hear("session.closed")
            assert closed["data"]["reason"] == "shutdown"
            assert await client.ends() == 1001
        await stopping
        assert server.metrics.imbalances() == []


async def test_stopping_waits_for_no_deaf_client() -> None:
    async with running() as server:
        deaf = await deaf_peer(server, {})
        await until(lambda: server.hub.subscribers)
        publish(server, 200, text="x" * 20_000)
        started = time.monotonic()
        await server.stop()
        assert time.monotonic() - started < PROMPT_S
        deaf.close()
