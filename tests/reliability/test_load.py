"""L1, L3, L4, L5: cameras and clients in numbers. Sums are asserted; speed is recorded, since machines are noisy."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket as network
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from mellm.clients.cli.demo import SAMPLE
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import SourcePipeline, Spotted
from mellm.engine.analysis.pipeline_factory import PipelineFactory
from mellm.engine.config import load
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.process.allocator import tune_malloc
from mellm.engine.server.server import Server
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.log.subscriber import HubLimits
from tests import PATIENCE_S
from tests.engine import moving
from tests.engine.servers import deaf_peer, running
from tests.reliability.figures import percentile, record


class Counting:
    """A sink that counts as the server does, and keeps what matters here."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.scores_late_ms: list[float] = []
        self.apexes: dict[str, list[int]] = {}

    def publish(self, kind: str, source: str, data: dict[str, Any], t_ns: int | None = None) -> None:
        self.metrics.observe(kind, source, data)
        if kind == "expression.spotted":
            self.apexes.setdefault(source, []).append(data["apex_frame"])
        elif kind == "stats" and source:
            self.scores_late_ms.append(data["score_p95_ms"])

    keeps_faces = False

    def evidence(self, expression: str, png: bytes, shown: str = "motion") -> None:
        pass


def stub_chain(source: str) -> SourcePipeline:
    """True motion signals on a moving texture; face finding and spotting are stubs."""
    return moving.chain(source, at=(160, 120))


def run_cameras(
    count: int,
    seconds: float,
    make: Callable[[str], SourcePipeline],
    uri: str | None = None,
    frames: int | None = None,
) -> tuple[Counting, dict[str, Any]]:
    """Cameras of 640×480 at 30 frames a second, for so long.

    :param uri: a recording that each of them plays; by default pictures that no face is in
    :param frames: in the recording
    """
    sink = Counting()
    shown = uri or f"synthetic:?fps=30&width=640&height=480&seconds={seconds}&seed="
    options = RunnerOptions(policy="live", realtime=True)
    uris = [shown if uri else f"{shown}{i}" for i in range(count)]
    runners = [SourceRunner(each, id=f"cam{i}", options=options) for i, each in enumerate(uris)]
    engine = LiveEngine(runners, make, ScriptedDescriber(delay_s=0.02), sink, workers=2)
    engine.start()
    until = time.monotonic() + 3 * seconds + PATIENCE_S
    while not engine.finished and time.monotonic() < until:
        time.sleep(0.05)
    assert engine.finished
    engine.stop()
    assert sink.metrics.imbalances() == []
    counts = [source.counts() for source in engine.sources.values()]
    captured = sum(c.captured for c in counts)
    dropped = sum(sum(c.dropped.values()) for c in counts)
    assert captured == sum(c.analysed for c in counts) + dropped
    assert captured == count * (frames or round(30 * seconds)), "frames that nobody counted"
    return sink, {
        "cameras": count,
        "seconds": seconds,
        "captured": captured,
        "dropped_percent": round(100 * dropped / captured, 2),
        "capture_to_score_p95_ms": max(round(c.score_p95_ms) for c in counts),
    }


def test_l1_four_cameras_for_a_while() -> None:
    _, figures = run_cameras(4, 8.0, stub_chain)
    record("L1", "C", run="stub networks", **figures)


@pytest.mark.slow
def test_l1_four_cameras_for_two_minutes() -> None:
    _, figures = run_cameras(4, 120.0, stub_chain)
    record("L1", "N", run="stub networks", **figures)


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_l1_with_the_true_networks() -> None:
    factory = PipelineFactory(load())
    _, figures = run_cameras(4, 60.0, lambda source: factory.make(source))
    record("L1", "N", run="true networks, no face visible", **figures)


@pytest.mark.slow
@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("cameras", [1, 2, 4])
def test_l1_with_the_true_networks_and_a_face(tmp_path: Path, cameras: int) -> None:
    """The shipped sample at 30 frames a second: how many faces this machine follows before it drops frames."""
    film, frames = filmed(tmp_path / "sample30.mp4", 30)
    factory = PipelineFactory(load())
    sink, figures = run_cameras(cameras, frames / 30, lambda source: factory.make(source), str(film), frames)
    found = {source: len(apexes) for source, apexes in sorted(sink.apexes.items())}
    record("L1", "N", run=f"true networks, {cameras} with a face", **figures, spotted=found)


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_l3_two_hundred_frames_a_second_of_a_face_with_the_true_networks(tmp_path: Path) -> None:
    """More than two cores carry: what is dropped is told, and the sums are right."""
    film, frames = filmed(tmp_path / "sample200.mp4", 200)
    factory = PipelineFactory(load())
    sink, figures = run_cameras(1, frames / 200, lambda source: factory.make(source), str(film), frames)
    found = sum(len(apexes) for apexes in sink.apexes.values())
    record("L3", "N", run="true networks, a face", **{**figures, "frames_per_s": 200}, spotted=found)


def filmed(path: Path, fps: int) -> tuple[Path, int]:
    """The sample at so many frames a second, each the one that was there at the moment."""
    with av.open(str(SAMPLE / "sample.mp4")) as source:
        pictures = [(frame.time, frame.to_image()) for frame in source.decode(video=0)]
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=fps, options={"crf": "16"})
        stream.width, stream.height = pictures[0][1].size
        stream.pix_fmt = "yuv420p"
        moments = np.arange(pictures[0][0], pictures[-1][0], 1 / fps)
        places = np.searchsorted([at for at, _ in pictures], moments, side="right") - 1
        for place in places:
            target.mux(stream.encode(av.VideoFrame.from_image(pictures[place][1])))
        target.mux(stream.encode())
    return path, len(places)


@pytest.mark.slow
def test_l2_eight_cameras_for_half_an_hour() -> None:
    """As L1; memory is looked at after five minutes and at the end."""
    tune_malloc()  # as a server does
    marks: list[float] = []

    def watched(source: str) -> SourcePipeline:
        made = stub_chain(source)
        take = made.take

        def noting(seen: Any) -> Any:
            if source == "cam0" and made.counts.captured == 30 * 300:
                marks.append(_rss_mb())
            return take(seen)

        made.take = noting  # type: ignore[method-assign]
        return made

    _, figures = run_cameras(8, 1800.0, watched)
    drift = _rss_mb() - marks[0] if marks else None
    record("L2", "N", **figures, rss_drift_mb=None if drift is None else round(drift, 1))


def test_l3_two_hundred_frames_a_second_lose_none_and_find_the_same(tmp_path: Path) -> None:
    _fast_camera(tmp_path, 3.2, "C")


@pytest.mark.slow
def test_l3_for_a_minute(tmp_path: Path) -> None:
    _fast_camera(tmp_path, 60.0, "N")


def _fast_camera(folder: Path, seconds: float, tier: str) -> None:
    """320×240 at 200 frames a second, paced by its time stamps, against the same file as fast as possible."""
    path = moving.video(folder / "fast.mp4", fps=200, seconds=seconds)
    offline = moving.chain("fast")
    with contextlib.closing(_opened(path)) as source:
        found = [o for item in iter(source.read, None) for o in offline.push(item)] + offline.finish()
    expected = [o.expression.apex.index for o in found if isinstance(o, Spotted)]
    sink = Counting()
    runner = SourceRunner(str(path), id="fast", options=RunnerOptions(policy="offline", realtime=True))
    engine = LiveEngine([runner], lambda source: moving.chain(source), ScriptedDescriber(), sink)
    start = time.monotonic()
    engine.start()
    while not engine.finished:
        time.sleep(0.02)
    took = time.monotonic() - start
    engine.stop()
    counts = engine.sources["fast"].counts()
    record(
        "L3",
        tier,
        run="stub networks",
        frames=counts.captured,
        lost=sum(counts.dropped.values()),
        expressions=len(expected),
        played_in_s=round(took, 1),
        of_s=seconds,
        capture_to_score_p95_ms=round(counts.score_p95_ms),
    )
    assert counts.analysed == counts.captured == round(200 * seconds)
    assert sink.apexes["fast"] == expected
    assert len(expected) >= moving.FOUND


def _opened(path: Path) -> Any:
    from mellm.stream.sources import open_source

    return open_source(str(path), id="fast")


async def test_l4_two_hundred_clients() -> None:
    await _fan_out(200, 6.0, "C")


@pytest.mark.slow
async def test_l4_a_thousand_clients_for_a_minute() -> None:
    await _fan_out(1000, 60.0, "N")


async def _fan_out(count: int, seconds: float, tier: str) -> None:
    """Ten events of 1.5 kB a second to everybody; clients and server share the process and the machine."""
    limits = HubLimits(backlog_events=4096, backlog_bytes=16 << 20) if count > 500 else None
    async with running(max_clients=count + 5, limits=limits, checked=False) as server:
        before = _rss_mb()
        crowd = [await _client(server) for _ in range(count)]
        per_client_kb = (_rss_mb() - before) * 1000 / count
        for each in crowd:
            await each.send('{"type":"subscribe","types":["marker"]}')
        late: list[float] = []
        seqs: dict[int, list[int]] = {i: [] for i in range(count)}
        readers = [asyncio.create_task(_read(each, late, seqs[i])) for i, each in enumerate(crowd)]
        await asyncio.sleep(0.5)
        sent = await _publish(server, seconds)
        await _until(lambda: all(len(s) == sent for s in seqs.values()))
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for each in crowd:
            await each.close()
        await _until(lambda: server.metrics.snapshot()["clients"] == 0)
        assert server.metrics.imbalances() == []
    record(
        "L4",
        tier,
        clients=count,
        messages=count * sent,
        p50_ms=round(percentile(late, 0.5), 1),
        p99_ms=round(percentile(late, 0.99), 1),
        kb_a_client_both_ends=round(per_client_kb, 1),
    )
    first = seqs[0]
    assert all(s == first for s in seqs.values()), "a gap, or another order"


async def test_l5_clients_that_read_slowly_or_not_at_all() -> None:
    """Eighty readers with and without twenty that do not keep up."""
    alone = await _readers_beside(0)
    beside = await _readers_beside(10)
    record(
        "L5",
        "C",
        fast_p99_ms={"without slow clients": alone["p99_ms"], "with": beside["p99_ms"]},
        ratio=round(beside["p99_ms"] / max(alone["p99_ms"], 0.1), 2),
        rss_grown_mb=beside["rss_grown_mb"],
        slow_cut_after_s=beside["cut_after_s"],
    )
    assert beside["rss_grown_mb"] <= 16.0 + 16.0  # both ends live in this process


async def _readers_beside(slow: int) -> dict[str, float]:
    limits = HubLimits(backlog_events=64, backlog_bytes=1 << 20)
    async with running(limits=limits, max_clients=200, checked=False) as server:
        before = _rss_mb()
        start = time.monotonic()
        cut: list[float] = []
        deaf = [await deaf_peer(server, {"types": ["marker"]}) for _ in range(slow)]
        crowd = [await _client(server) for _ in range(80)]
        sleepy = [await _client(server, small=True) for _ in range(slow)]
        for each in (*crowd, *sleepy):
            await each.send('{"type":"subscribe","types":["marker"]}')
        late: list[float] = []
        seqs: list[list[int]] = [[] for _ in crowd]
        tasks = [asyncio.create_task(_read(each, late, seqs[i])) for i, each in enumerate(crowd)]
        tasks += [asyncio.create_task(_doze(each)) for each in sleepy]

        async def watch() -> None:
            await _until(lambda: server.metrics.snapshot()["clients"] <= len(crowd))
            cut.append(time.monotonic() - start)

        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0.5)  # until everybody has subscribed
        sent = await _publish(server, 6.0, rate=40)
        await asyncio.wait_for(watcher, 30)
        await _until(lambda: all(len(s) == sent for s in seqs))
        grown = _rss_mb() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in (*crowd, *sleepy):
            await each.close()
        for socket in deaf:
            socket.close()
        await _until(lambda: server.metrics.snapshot()["clients"] == 0)
        assert server.metrics.imbalances() == []
        return {
            "p99_ms": round(percentile(late, 0.99), 1),
            "rss_grown_mb": round(grown, 1),
            "cut_after_s": round(cut[0], 1),
        }


async def _client(server: Server, *, small: bool = False) -> ClientConnection:
    """A raw client; a small one has hardly any room for what it has not read yet."""
    raw = network.socket()
    if small:
        raw.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    socket = await connect(
        server.url,
        sock=raw,
        subprotocols=[Subprotocol("mellm.v1")],
        proxy=None,
        compression=None,
        ping_interval=None,
        close_timeout=0.5,
        open_timeout=PATIENCE_S,
        max_queue=1 if small else 16,
    )
    while b"session.created" not in str(await socket.recv()).encode():
        pass
    return socket


async def _read(socket: ClientConnection, late: list[float], seqs: list[int]) -> None:
    while True:
        text = str(await socket.recv())
        now = time.monotonic()
        if '"type":"marker"' not in text.replace(": ", ":"):
            continue
        late.append((now - float(text.split("sent ")[1].split(" ")[0])) * 1e3)
        seqs.append(int(text.replace(": ", ":").split('"seq":')[1].split(",")[0]))


async def _doze(socket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
            await asyncio.sleep(1.0)


async def _publish(server: Server, seconds: float, rate: float = 10.0) -> int:
    start, sent = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        label = f"sent {time.monotonic():.6f} " + "x" * 1300
        await asyncio.to_thread(server.hub.publish_threadsafe, "marker", "", {"label": label, "by": "load"})
        sent += 1
        await asyncio.sleep(max(0.0, start + sent / rate - time.monotonic()))
    return sent


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)


def _rss_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
