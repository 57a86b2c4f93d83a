"""Each long-lived thread, by name, with each fault: it is told, health is red, and work flows again.

What a fault in the threads of a source means for its frames and expressions is in ``test_workers.py``.
"""

from __future__ import annotations

import ast
import inspect
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mellm.engine.analysis import watchdog as watchdog_module
from mellm.engine.analysis.session import Begun, SessionRecorder
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.governance.audit import AuditLog, verify
from mellm.engine.results.run_folder import RunFolder
from mellm.engine.server import previews as previews_module
from mellm.engine.server import server as server_module
from mellm.engine.server.server import Server
from mellm.stream.capture import runner as runner_module
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.frames import SourceInfo
from mellm.stream.log import writer as writer_module
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.sources.scripted import ScriptedSource
from tests import PATIENCE_S, REPO
from tests.engine.servers import options
from tests.reliability import test_workers as by_source
from tests.reliability.faults import Fault, Hang, at_call
from tests.stream.videos import frame_at

ROOMS = ("stream", "detectors", "engine", "clients")
Drive = Callable[[], None]
"""Gives the thread something to do; called again and again."""


class Rig:
    """What a worker needs to be started.

    :param patch: of pytest, to make limits short
    """

    def __init__(self, folder: Path, watchdog: Watchdog, fault: Fault, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.watchdog, self.fault, self.patch = folder, watchdog, fault, patch

    def limit(self, module: ModuleType, **seconds: float) -> None:
        for name, value in seconds.items():
            self.patch.setattr(module, name, value)


def nothing() -> None:
    """It has work of its own."""


@contextmanager
def previews(rig: Rig) -> Iterator[Drive]:
    rig.limit(previews_module, ABANDON_S=3.0)
    with Journal() as journal:
        hub = Hub(journal)
        rig.patch.setattr(hub, "wants_preview", lambda source: True)
        made = previews_module.Previews(hub, ["a"], every_s=0.0, vitals=rig.watchdog)
        at_call(1, rig.fault, made, "_publish")
        made.start()
        frame = replace(frame_at(0.0), source="a", picture=np.zeros((24, 32, 3), np.uint8))
        yield lambda: made(frame)
        made.stop()


@contextmanager
def _serving(rig: Rig, name: str, spoil: Callable[[Server], None]) -> Iterator[Drive]:
    rig.limit(server_module, SWEEP_LIMIT_S=0.5, HOUSEKEEPING_S=0.05)
    with Journal() as journal:
        server = Server(options(stats_s=0.05), hub=Hub(journal), watchdog=rig.watchdog)
        spoil(server)
        (worker,) = (each for each in server._chores if each.name == name)
        worker.start()
        yield nothing
        worker.stop()
        assert worker.join(PATIENCE_S)


def stats(rig: Rig) -> object:
    return _serving(rig, "stats", lambda server: at_call(2, rig.fault, server.metrics, "snapshot"))


def retention(rig: Rig) -> object:
    return _serving(rig, "retention", lambda server: at_call(2, rig.fault, server, "_sweep"))


@contextmanager
def audit(rig: Rig) -> Iterator[Drive]:
    with AuditLog(rig.folder / "audit.jsonl", vitals=rig.watchdog) as log:
        at_call(1, rig.fault, log, "_try_to_seal")
        yield lambda: log("something.done", {})
    assert verify(rig.folder / "audit.jsonl").intact


@contextmanager
def journal(rig: Rig) -> Iterator[Drive]:
    rig.limit(writer_module, LIMIT_S=0.5)
    posted = []
    with Journal(rig.folder / "log.db", vitals=rig.watchdog) as log:
        at_call(3, rig.fault, log._writer, "_write")

        def post() -> None:
            if len(posted) < 1000:
                posted.append(log.post("marker", "", {}, time=1))

        yield post
        log.flush()
        assert [each.result().seq for each in posted] == list(range(1, len(posted) + 1))  # type: ignore[union-attr]


@contextmanager
def watching(rig: Rig) -> Iterator[Drive]:
    """The supervisor of a camera, which reads on by another thread."""
    rig.limit(runner_module, ABANDON_S=3.0)
    camera = SourceInfo("cam", "rtsp://cam/1", "rtsp", 4, 1, live=True)

    over = threading.Event()

    def opened(segment: int) -> ScriptedSource:
        frames = [frame_at(40.0 * i, segment=segment, index=i) for i in range(9)]
        return ScriptedSource(camera, [*frames, over])

    made = SourceRunner("rtsp://cam/1", id="cam", options=RunnerOptions(stall_s=30.0), opener=opened)
    at_call(1, rig.fault, made, "_watch")
    made.start(rig.watchdog)
    yield lambda: made.get(0.01) and None
    over.set()
    made.stop()


@contextmanager
def watchdog(rig: Rig) -> Iterator[Drive]:
    """Nobody watches it but the event loop, which is played here."""
    rig.limit(watchdog_module, ABANDON_S=3.0)
    second = Watchdog(tick_s=0.02)
    second.on_change = rig.watchdog.on_change
    at_call(2, rig.fault, second, "_on_alive")
    rig.patch.setattr(Watchdog, "unhealthy", property(lambda self: second._ill(lambda error: True)))
    with second:
        yield second._own.check


@contextmanager
def _session(rig: Rig, *, video: bool) -> Iterator[Drive]:
    run = RunFolder.create(rig.folder / "run", {"test": True}, {})
    recorder = SessionRecorder(run, Begun("a", "a"), video=video, vitals=rig.watchdog)
    spoilt = recorder._camera if video else recorder._worker
    at_call(2, rig.fault, recorder, "_try")
    recorder.start()
    count = iter(range(10**6))

    def more() -> None:
        at = next(count)
        if video:
            recorder.frame(
                replace(frame_at(40.0 * at, index=at), source="a", picture=np.zeros((32, 32, 3), np.uint8))
            )
        else:
            recorder.event(
                "source.gap", {"from_ns": "0", "to_ns": "0", "t_ns": "0", "reason": "pts", "frames": 0}
            )

    yield more
    recorder.finish(None, {}, patience_s=0.1)
    assert not spoilt.alive


def session(rig: Rig) -> object:
    return _session(rig, video=False)


def video(rig: Rig) -> object:
    return _session(rig, video=True)


ROWS: dict[str, Callable[[Rig], object] | Callable[..., None]] = {
    "'previews'": previews,
    "'stats'": stats,
    "'retention'": retention,
    "'audit'": audit,
    "'journal'": journal,
    "'watchdog'": watchdog,
    "f'watch-{id}'": watching,
    "f'session-{begun.source}'": session,
    "f'video-{begun.source}'": video,
    # tests of their own, with all four faults
    "runner.id": by_source.test_a_fault_in_the_analysis,
    "f'tell-{source}'": by_source.test_a_fault_in_what_a_source_tells,
    "f'describe-{number}'": by_source.test_a_fault_in_describing,
    "f'read-{self.id}'": by_source.test_a_fault_in_the_reader_of_a_camera,
}
"""Every :class:`~mellm.stream.worker.Worker` that the product makes, by the name it is given."""


def _workers() -> Iterator[str]:
    for room in ROOMS:
        for path in sorted((REPO / room).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not re.search(r"from mellm\.stream\.worker import .*\bWorker\b", text):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Worker":
                    yield ast.unparse(node.args[0])


def test_no_worker_is_forgotten() -> None:
    assert sorted(_workers()) == sorted(ROWS)
    for row in ROWS.values():
        assert {"rig", "fault"} & set(inspect.signature(row).parameters)


RIGS = {name: row for name, row in ROWS.items() if "rig" in inspect.signature(row).parameters}


@pytest.mark.parametrize("name", RIGS)
def test_a_fault_is_told_health_is_red_and_work_flows_again(
    name: str,
    tmp_path: Path,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, str]] = []
    red: list[str] = []
    plain = name.strip("f'").partition("{")[0]
    with Watchdog(tick_s=0.05) as vitals:
        vitals.on_change = lambda worker, state, error: told.append((worker, state))
        with RIGS[name](Rig(tmp_path, vitals, fault, monkeypatch)) as drive:  # type: ignore[attr-defined]
            until = time.monotonic() + PATIENCE_S

            def wait_for(done: Callable[[], bool]) -> None:
                while not done():
                    drive()
                    if ill := vitals.unhealthy:
                        red.append(ill)
                    assert time.monotonic() < until, (told, red[-1:])
                    time.sleep(0.01)

            wait_for(lambda: bool(told) or (isinstance(fault, Hang) and bool(red)))
            if isinstance(fault, Hang):
                stays = not told
                if stays:  # one that is never replaced: what it waited for comes back
                    wait_for(lambda: plain in red[-1])
                    stays = name in NEVER_REPLACED
                    if stays:
                        fault.over.set()
                wait_for(lambda: stays or len(told) == 2)
            else:
                wait_for(lambda: len(told) == 2)
            wait_for(lambda: vitals.unhealthy is None)
    if isinstance(fault, Hang) and name in NEVER_REPLACED:
        assert told == []
    else:
        assert [(worker.startswith(plain), state) for worker, state in told] == [
            (True, "failed"),
            (True, "recovered"),
        ]
    assert any(plain in each for each in red)


NEVER_REPLACED = {
    "'stats'",
    "'retention'",
    "'audit'",
    "'journal'",
    "f'session-{begun.source}'",
    "f'video-{begun.source}'",
}
"""A second one would do the same to the same file, or at the same disk; it is red until it moves."""
