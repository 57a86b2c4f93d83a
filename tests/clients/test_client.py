"""The client against real servers that break, restart and refuse."""

import asyncio
import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mellm.clients.client import Session, connect
from mellm.engine.governance.erase import ErasureReport
from mellm.engine.governance.withdrawal import WithdrawalFailed
from mellm.engine.server.server import Server
from mellm.engine.server.tokens import Token
from mellm.stream.errors import ProtocolError, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.log.subscriber import HubLimits
from mellm.stream.protocol.access import Principal, Scope
from mellm.stream.protocol.events import Event, Position
from tests import PATIENCE_S
from tests.engine.servers import TOKEN, options, running, until
from tests.stream.spoken import marker, spotted

PNG = b"\x89PNG\r\n\x1a\n motion map"


def publish(hub: Hub, count: int, pause: float = 0.0, text: str = "question 3") -> None:
    for _ in range(count):
        hub.publish_threadsafe("marker", "cam", marker(text))
        time.sleep(pause)


def follow(server: Server, **settings: object) -> Session:
    return connect(server.url, **{"backoff_s": 0.02, "max_backoff_s": 0.1, **settings})  # type: ignore[arg-type]


async def numbers(stream: AsyncIterator[Event], until_seq: int) -> list[int]:
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in stream:
            if event.seq is not None:
                seen.append(event.seq)
                if event.seq >= until_seq:
                    break
    return seen


async def test_past_and_present_in_ten_lines() -> None:
    async with running() as server:
        publish(server.hub, 10)
        async with connect(server.http_url) as session:
            assert session.hello["purpose"] == "self-use"
            assert session.created["replay"]["to_seq"] == 10
            thread = threading.Thread(target=publish, args=(server.hub, 300))
            thread.start()
            assert await numbers(session.events(after="start"), 310) == list(range(1, 311))
            thread.join()
            epoch = server.hub.journal.epoch
            assert session.position == Position(epoch, 310)
            assert await numbers(session.events(after=f"{epoch}:305"), 310) == list(range(306, 311))


async def test_breaks_are_repaired_without_loss_or_repetition() -> None:
    async with running() as server, follow(server) as session:
        stream = session.events()
        thread = threading.Thread(target=publish, args=(server.hub, 400, 0.001))
        reading = asyncio.create_task(numbers(stream, 400))
        await until(lambda: server.hub.subscribers)
        thread.start()
        for _ in range(5):
            await asyncio.sleep(0.05)
            for connection in list(server._connections):
                connection._socket.transport.abort()
        assert await reading == list(range(1, 401))
        assert session.reconnects >= 3
        thread.join()


async def test_a_restarted_server_is_found_again_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with running(journal=Journal(path)) as server:
        session = follow(server)
        async with session:
            port = server.port
            reading = asyncio.create_task(numbers(session.events(), 20))
            await until(lambda: server.hub.subscribers)
            await asyncio.to_thread(publish, server.hub, 10)
            await server.stop()
            publish(server.hub, 5)  # nobody listens; the journal does
            server.hub.journal.close()
            await asyncio.sleep(0.1)
            async with running(journal=Journal(path), port=port) as again:
                await asyncio.to_thread(publish, again.hub, 5)
                assert await reading == list(range(1, 21))


async def test_a_break_before_the_first_event_loses_nothing() -> None:
    async with running() as server, follow(server) as session:
        publish(server.hub, 3)
        reading = asyncio.create_task(numbers(session.events(), 5))
        await until(lambda: session.position is not None)
        for connection in list(server._connections):
            connection._socket.transport.abort()
        publish(server.hub, 2)
        assert await reading == [4, 5]


async def test_a_client_that_was_too_slow_comes_back_by_itself() -> None:
    async with running(limits=HubLimits(backlog_events=4)) as server, follow(server) as session:
        seen: list[int] = []
        async with asyncio.timeout(PATIENCE_S):
            async for event in session.events(after="start"):
                if event.type == "replay.done" and not seen:
                    while not server.metrics._closes[4409]:
                        publish(server.hub, 20, text="x" * 20_000)
                        await asyncio.sleep(0.01)
                if event.seq is not None:
                    seen.append(event.seq)
                    if event.seq == server.hub.journal.last_seq:
                        break
        assert seen == list(range(1, server.hub.journal.last_seq + 1))
        assert session.reconnects >= 1


async def test_filters_and_notices() -> None:
    async with running(sources=("cam", "door")) as server, follow(server) as session:
        for source in ("cam", "door"):
            for score in (0.2, 0.9):
                data = spotted(f"{source}{score}", source, score)
                server.hub.publish_threadsafe("expression.spotted", source, data)
        server.hub.publish_threadsafe("marker", "cam", marker())
        chosen = session.events(
            sources=["cam"], types=["expression.*", "replay.done"], min_score=0.5, after="start"
        )
        first, second = [await anext(chosen) for _ in range(2)]
        assert (first.id, second.type) == ("cam0.9", "replay.done")
        with pytest.raises(ProtocolError, match="unknown source 'attic'; there are: cam, door"):
            await anext(session.events(sources=["attic"]))
        with pytest.raises(ProtocolError, match="did you mean 'marker'"):
            await anext(session.events(types=["markr"]))
        with pytest.raises(UsageError, match="EPOCH:SEQ"):
            await anext(session.events(after="yesterday"))


async def test_one_session_is_read_by_one_reader() -> None:
    async with running() as server, follow(server) as session:
        first = session.events()
        waiting = asyncio.ensure_future(anext(first))
        await until(lambda: server.hub.subscribers)
        with pytest.raises(UsageError, match="already"):
            await anext(session.events())
        publish(server.hub, 1)
        assert (await waiting).seq == 1
        with pytest.raises(UsageError, match="replaced"):
            await anext(first)


async def test_what_cannot_be_replayed_is_told() -> None:
    async with running() as server, follow(server) as session:
        publish(server.hub, 10)
        server.hub.journal.prune(Retention(max_events=4), now=0)
        stream = session.events(after="start")
        notice = await anext(stream)
        assert (notice.type, notice.data["reason"]) == ("replay.truncated", "retention")
        assert await numbers(stream, 10) == [7, 8, 9, 10]


async def test_another_journal_behind_the_address_is_read_from_its_start() -> None:
    async with running() as server, follow(server) as session:
        publish(server.hub, 3)
        stream = session.events(after=Position("an-older-journal", 500))
        assert await numbers(stream, 3) == [1, 2, 3]


async def test_markers_go_in_and_come_back() -> None:
    async with running(sources=("cam",)) as server, follow(server) as session:
        stream = session.events(types=["marker"], after="start")
        await session.add_marker("question 3", source="cam", time_ns=5)
        event = await anext(stream)
        assert (event.data["label"], event.data["t_ns"]) == ("question 3", "5")


async def test_motion_maps_are_asked_for_in_and_beside_the_loop() -> None:
    async with running(sources=("cam",)) as server, follow(server) as session:
        for number in range(3):
            server.hub.publish_threadsafe("expression.spotted", "cam", spotted(f"e{number}", "cam", 0.9))
        server.evidence.put("e1", PNG)
        stream = session.events(after="start")
        pictures = []
        async with asyncio.timeout(PATIENCE_S):
            async for event in stream:
                if event.seq is None:
                    break
                pictures.append(await session.evidence(event.id))
        assert pictures == [None, PNG, None]
        # nobody reads: the answer is read past an event, which is kept
        publish(server.hub, 1)
        assert await session.evidence("e1") == PNG
        assert (await anext(stream)).type == "marker"
        # somebody reads elsewhere
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        assert await asyncio.gather(session.evidence("e1"), session.evidence("e2")) == [PNG, None]
        publish(server.hub, 1)
        assert (await waiting).seq == 5


async def test_a_motion_map_that_cannot_come_is_an_error() -> None:
    narrow = Token.of(TOKEN, Principal("watcher", frozenset({Scope.EVENTS_READ})))
    async with running(tokens=(narrow,)) as server:
        async with follow(server, token=TOKEN) as session:
            with pytest.raises(ProtocolError, match="media:read") as caught:
                await session.evidence("e1")
            assert caught.value.close_code == 4403
            asking = asyncio.create_task(session.evidence("e2"))
            await server.stop()
            with pytest.raises(ProtocolError):
                await asking
        with pytest.raises(ProtocolError, match="not connected"):
            await session.evidence("e1")


async def test_faces_are_another_picture(tmp_path: Path) -> None:
    async with running(sources=("cam",)) as server, follow(server) as session:
        server.evidence.put("e1", PNG)
        assert await session.evidence("e1", shown="faces") is None
        server.evidence.folder = tmp_path
        server.evidence.put("e1", PNG[::-1], "faces")
        assert await session.evidence("e1", shown="faces") == PNG[::-1]


async def test_consent_is_withdrawn_or_the_reason_is_said_why_not() -> None:
    asked: list[str] = []

    def withdraw(source: str, by: str) -> ErasureReport:
        if asked:
            raise WithdrawalFailed("the disk refuses; it goes on at the next start")
        asked.append(source)
        return ErasureReport(events=3, expressions=("e1",), files=1)

    reader = Token.of("only-reads-0123456789", Principal("reader", frozenset({Scope.EVENTS_READ})))
    writer = Token.of(TOKEN, Principal("writer"))
    async with running(sources=("cam",), withdrawal=withdraw, tokens=(reader, writer)) as server:
        async with follow(server, token=TOKEN) as session:
            assert await session.withdraw("cam") == {"events": 3, "expressions": 1, "files": 1}
            with pytest.raises(ProtocolError, match="next start"):
                await session.withdraw("cam")
            with pytest.raises(ProtocolError, match="nowhere"):
                await session.withdraw("nowhere")
        async with follow(server, token="only-reads-0123456789") as session:
            with pytest.raises(ProtocolError, match="sources:write") as caught:
                await session.withdraw("cam")
            assert caught.value.close_code == 4403
    assert asked == ["cam"]


async def test_previews_come_with_their_picture_when_named() -> None:
    async with running(sources=("cam",), previews=("cam",)) as server, follow(server) as session:
        stream = session.events(types=["preview", "marker"])
        waiting = asyncio.ensure_future(anext(stream))
        await until(lambda: server.hub.wants_preview("cam"))
        data = {"media_type": "image/jpeg", "bytes": 3, "width": 1, "height": 1}
        server.hub.publish_threadsafe("preview", "cam", data, 5, picture=b"jpg")
        event = await waiting
        assert (event.picture, event.data["width"], event.data["t_ns"]) == (b"jpg", 1, "5")


@pytest.mark.parametrize("seed", range(3))
async def test_a_network_that_cuts_anywhere_costs_no_event(seed: int) -> None:
    draw = random.Random(seed)
    cuts = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: list[int]) -> None:
        nonlocal cuts
        while data := await reader.read(draw.randrange(1, 900)):
            budget[0] -= len(data)
            writer.write(data[: max(0, len(data) + min(0, budget[0]))])
            await writer.drain()
            if budget[0] <= 0:
                cuts += 1
                break

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # a WebSocket handshake takes 700 bytes and a greeting 2000: some cuts fall into them
        budget = [draw.randrange(300, 20_000) if cuts < 12 else 1 << 40]
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        ways = [asyncio.create_task(carry(*way, budget)) for way in ((reader, back), (there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, back):
            end.transport.abort()

    async with running() as server:
        listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        publish(server.hub, 200)
        session = connect(f"ws://127.0.0.1:{port}", backoff_s=0.01, max_backoff_s=0.02)
        for _ in range(15):
            with contextlib.suppress(ProtocolError):  # the first connection is the caller's to repeat
                await session.__aenter__()
                break
        thread = threading.Thread(target=publish, args=(server.hub, 200, 0.002))
        thread.start()
        assert await numbers(session.events(after="start"), 400) == list(range(1, 401))
        thread.join()
        await session.close()
        listener.close()
    assert cuts >= 5


async def test_a_refused_token_is_not_tried_again() -> None:
    async with running(token=TOKEN) as server:
        async with follow(server, token=TOKEN) as session:
            assert session.created
        for token in ("wrong-wrong-wrong-wrong", None):
            opened = server.metrics._sessions
            with pytest.raises(ProtocolError) as caught:
                async with follow(server, token=token):
                    pass
            assert caught.value.close_code == 4401
            assert server.metrics._sessions - opened <= 1


async def test_a_token_that_is_revoked_during_a_break_ends_the_stream() -> None:
    async with running(token=TOKEN) as server, follow(server, token=TOKEN) as session:
        port = server.port
        reading = asyncio.create_task(numbers(session.events(), 1))
        await until(lambda: server.hub.subscribers)
        await server.stop()
        async with running(token=TOKEN[::-1], port=port):
            with pytest.raises(ProtocolError) as caught:
                await reading
        assert caught.value.close_code == 4401


async def test_without_reconnecting_a_loss_is_an_error_with_its_code() -> None:
    async with running() as server, follow(server, reconnect=False) as session:
        reading = asyncio.create_task(numbers(session.events(), 1))
        await until(lambda: server.hub.subscribers)
        await server.stop()
        with pytest.raises(ProtocolError, match="shutdown") as caught:
            await reading
        assert caught.value.close_code == 1001


async def test_closing_ends_the_iteration() -> None:
    async with running() as server, follow(server) as session:
        reading = asyncio.create_task(numbers(session.events(), 1))
        await until(lambda: server.hub.subscribers)
        await session.close()
        assert await reading == []


async def test_nobody_there_is_one_clear_error() -> None:
    async with Server(options(), hub=Hub(Journal())) as server:
        url = server.url
        server.hub.journal.close()
    with pytest.raises(ProtocolError, match="mellm serve") as caught:
        async with connect(url):
            pass
    assert caught.value.close_code == 1006


async def test_a_server_of_another_kind_is_refused() -> None:
    from websockets.asyncio.server import serve as listen
    from websockets.typing import Subprotocol

    async def silent(socket: object) -> None:
        await asyncio.sleep(10)

    async def chatty(socket) -> None:  # type: ignore[no-untyped-def]
        await socket.send("hello there")

    for handler in (silent, chatty):
        async with listen(
            handler, "127.0.0.1", 0, subprotocols=[Subprotocol("mellm.v1")], close_timeout=0.1
        ) as other:
            port = next(iter(other.sockets)).getsockname()[1]
            with pytest.raises(ProtocolError, match=r"mellm\.v1"):
                async with connect(f"ws://127.0.0.1:{port}", open_timeout_s=0.3):
                    pass
            for connection in other.connections:
                connection.transport.abort()
            for task in list(other.handler_tasks):
                task.cancel()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765/v1/stream"),
        ("https://lab.example/", "wss://lab.example/v1/stream"),
        ("wss://lab.example/proxied/stream", "wss://lab.example/proxied/stream"),
        ("wss://lab.example/mellm", "wss://lab.example/mellm/v1/stream"),
        ("https://lab.example/a/b/", "wss://lab.example/a/b/v1/stream"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    assert connect(url).url == address


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8765",
        "rtsp://cam/1",
        "",
        "ws://",
        "ws://[",
        "ws://host/?token=hunter2",
        "ws://me:hunter2@host",
    ],
)
def test_addresses_that_are_refused_without_showing_secrets(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


def test_the_client_needs_websockets_only() -> None:
    code = (
        "import sys, mellm.clients.client, websockets.asyncio.client; "
        "names = {m.partition('.')[0] for m in sys.modules}; "
        "heavy = {'numpy', 'cv2', 'av', 'pydantic', 'httpx', 'click', 'rich', 'engine', 'detectors'}; "
        "sys.exit(', '.join(sorted(names & heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=PATIENCE_S, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
