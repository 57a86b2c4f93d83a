"""Many recordings over several worker processes, some killed: one whole run folder each, as one machine makes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from mellm.clients.cli import run
from tests import PATIENCE_S, REPO
from tests.cluster.harness import until
from tests.cluster.servers import Nats, missing

pytestmark = pytest.mark.cluster
FPS = 25
SAMPLE = REPO / "clients" / "sample" / "sample.mp4"


def clips(folder: Path, number: int, frames: int) -> list[Path]:
    """Short pieces of the sample, each from another moment."""
    with av.open(str(SAMPLE)) as given:
        decoded = (frame for n, frame in enumerate(given.decode(video=0)) if not n % 2)
        pictures = [
            frame.to_ndarray(format="bgr24")[::2, ::2] for frame in islice(decoded, frames + min(number, 60))
        ]
    made = []
    for piece in range(number):
        path = folder / f"interview-{piece:03d}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "18"})
            stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
            start = piece % (len(pictures) - frames + 1)
            for place, picture in enumerate(pictures[start : start + frames]):
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                frame.pts, frame.time_base = place, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        made.append(path)
    return made


class Workers:
    def __init__(self, folder: Path, broker: Nats) -> None:
        self.folder = folder
        self.out = folder / "runs"
        self._broker = broker
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        bus = ["--bus", self._broker.url, "--bus-monitor", self._broker.monitor, "--node", name]
        command = [sys.executable, "-m", "mellm.clients.cli", "worker", *bus, "--out", str(self.out)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*command, "--describer", "rules"],
                stdout=log,
                stderr=log,
                cwd=REPO,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    if why := missing("nats"):
        pytest.skip(why)
    with Nats(tmp_path / "broker") as broker:
        made = Workers(tmp_path, broker)
        yield made
        for name in made.processes:
            made.kill(name)


def without_times(folder: Path) -> dict[str, Any]:
    """A run folder's files: lines without how long things took, everything else byte for byte."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == "run.json":
            continue
        name = str(path.relative_to(folder))
        if path.suffix != ".jsonl":
            found[name] = path.read_bytes()
            continue
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        for line in lines:
            for clocked in ("time", "epoch"):
                line.pop(clocked, None)
            for told in (line, line.get("data") or {}):
                if told.get("description"):
                    told["description"].pop("latency_ms", None)
        found[name] = lines
    return found


async def _batch(
    workers: Workers, number: int, frames: int, names: list[str], killed: list[str], capsys: Any
) -> None:
    folder = workers.folder / "video"
    folder.mkdir()
    paths = await asyncio.to_thread(clips, folder, number, frames)
    damaged = folder / "damaged.mp4"
    damaged.write_bytes(b"no video")
    for name in names:
        workers.start(name)
    bus = ["--bus", workers._broker.url, "--json"]
    submitted = asyncio.create_task(asyncio.to_thread(run, ["submit", *map(str, [*paths, damaged]), *bus]))
    rng = random.Random(number)

    def whole() -> int:
        return len([path for path in workers.out.glob("*") if not path.name.startswith(".")])

    for place, name in enumerate(killed, start=1):
        at = place * number // (len(killed) + 2)
        await until(lambda at=at: whole() >= at, f"{at} recordings", 10 * PATIENCE_S)  # type: ignore[misc]
        await asyncio.sleep(rng.uniform(0.0, 0.5))
        workers.kill(name)
    assert await submitted == 3
    states = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {state["state"] for state in states[:-1]} == {"done"}
    assert states[-1]["state"] == "failed"
    assert states[-1]["failures"] == 2
    assert "damaged.mp4" in states[-1]["error"]
    left = sorted(path.name for path in workers.out.iterdir())
    assert left == [path.stem for path in paths], "one whole folder each, and nothing beside them"
    for path in rng.sample(paths, min(4, number)):
        alone = workers.folder / "alone" / path.stem
        assert (
            await asyncio.to_thread(run, ["analyze", str(path), "--out", str(alone), "--describer", "rules"])
            == 0
        )
        here, there = without_times(workers.out / path.stem), without_times(alone)
        assert here == there
        assert len(here) >= 2


async def test_each_recording_becomes_one_folder_although_a_worker_is_killed(
    workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    await _batch(workers, 6, 30, ["w-1", "w-2"], ["w-1"], capsys)


@pytest.mark.slow
async def test_two_hundred_recordings_over_four_workers_of_which_two_are_killed(
    workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    await _batch(workers, 200, 25, ["w-1", "w-2", "w-3", "w-4"], ["w-2", "w-4"], capsys)
