"""A client's pictures over a real socket, to an engine that sees a face in them."""

import asyncio

import cv2
import numpy as np

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.server.sinks import HubSink
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.protocol import client_messages as said
from mellm.stream.sources.push import PushInlet
from tests import PATIENCE_S
from tests.engine import moving
from tests.engine.servers import peer, running, until


def jpeg(image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    return data.tobytes()


async def test_pushed_pictures_are_analysed_as_a_cameras() -> None:
    inlet = PushInlet("me")
    async with running(sources=("me",), inlets={"me": inlet}) as server:
        options = RunnerOptions(open_s=float("inf"))
        runner = SourceRunner("push:", id="me", options=options, opener=inlet.open)
        engine = LiveEngine([runner], moving.chain, ScriptedDescriber(), HubSink(server.hub, server.evidence))
        engine.start()
        try:
            async with peer(server) as one:
                await one.say(type="subscribe", types=["source.*", "expression.*"])
                await one.say(type="push.start", source="me", id="p")
                accepted = (await one.hear("push.accepted"))["data"]
                assert (accepted["ref"], accepted["pushed"]) == ("p", "me")
                pictures = [
                    jpeg(moving.grained(moving.picture(i / 30), i)) for i in range(round(moving.SECONDS * 30))
                ]
                for number, picture in enumerate(pictures):
                    await one.socket.send(said.encode_push(picture, 10**15 + round(number * 1e9 / 30)))
                    await asyncio.sleep(1 / 60)
                online = await one.hear("source.online")
                assert (online["data"]["kind"], online["data"]["width"]) == ("push", moving.SIZE[1])
                spotted = await one.hear("expression.spotted")
                assert spotted["data"]["onset_ms"] < 1000 * moving.SECONDS
                await one.hear("expression.described")
                await one.say(type="push.stop")
                ended = (await one.hear("push.ended"))["data"]
                assert ended["pictures"] == len(pictures)
                await one.hear("source.offline")
            await until(lambda: not engine.sources["me"].counts().waiting)
            assert engine.sources["me"].counts().captured == len(pictures)
        finally:
            inlet.shut()
            await asyncio.to_thread(engine.stop)
        assert server.metrics.imbalances() == []


async def test_one_sender_at_a_time_and_a_broken_connection_frees_the_inlet() -> None:
    inlet = PushInlet("me")
    async with (
        running(sources=("me",), inlets={"me": inlet}) as server,
        peer(server) as first,
        peer(server) as second,
    ):
        await first.say(type="push.start", source="me")
        await first.hear("push.accepted")
        await second.say(type="push.start", source="me", id="s")
        error = (await second.hear("error"))["data"]
        assert (error["code"], error["ref"]) == ("busy", "s")
        first.socket.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await second.say(type="push.start", source="me")
                if (await second.hear())["type"] == "push.accepted":
                    break
                await asyncio.sleep(0.1)


async def test_a_picture_over_the_bound_closes_the_connection() -> None:
    async with running(sources=("me",), inlets={"me": PushInlet("me")}) as server, peer(server) as one:
        await one.say(type="push.start", source="me")
        await one.hear("push.accepted")
        await one.socket.send(said.encode_push(bytes(2 << 20), 0))
        assert await one.ends() == 1009
