"""F1, F2 against a real RTSP server on loopback: killed, stalled, restarted, down at start (users row 1)."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from mellm.stream.capture.runner import SourceRunner
from mellm.stream.frames import Frame, Gap
from mellm.stream.sources import open_source, probe
from tests import PATIENCE_S
from tests.reliability.figures import record
from tests.stream.videos import make_video

SERVER = Path(sys.executable).with_name("rtsp-server")
pytestmark = pytest.mark.skipif(not SERVER.exists(), reason="aio-rtsp-toolkit[server] is not installed")


class Server:
    """The server process, on a port that stays the same over restarts."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self.port, self.control = one.getsockname()[1], two.getsockname()[1]
        self.process = None

    @property
    def uri(self):
        return f"rtsp://127.0.0.1:{self.port}/clip.mp4?play_count=0"

    def start(self):
        command = [SERVER, "-d", self.folder, "-H", "127.0.0.1", "-p", self.port, "-cp", self.control]
        self.process = subprocess.Popen(
            [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path):
    make_video(tmp_path / "clip.mp4", frames=60, options={"bf": "0", "preset": "ultrafast"})
    server = Server(tmp_path)
    yield server
    server.kill()


class Watch:
    """A runner with a thread that takes everything, as the engine's worker does."""

    def __init__(self, uri):
        self.items = []
        self.states = []
        self.runner = SourceRunner(
            uri, id="cam", on_status=lambda s: self.states.append((time.monotonic(), s.state))
        )
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.runner.finished:
            item = self.runner.get(0.05)
            self.items += [] if item is None else [item]

    def frames(self):
        return [i for i in self.items if isinstance(i, Frame)]

    def after(self, state, since):
        """Seconds from ``since`` to the next ``state``; how many they are is a figure, and no test."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for at, name in list(self.states):
                if name == state and at >= since:
                    return at - since
            time.sleep(0.01)
        raise AssertionError(f"not {state}: {self.states}")

    def shown(self, segment, count=5):
        """Wait for pictures of a segment."""
        until = time.monotonic() + PATIENCE_S
        while sum(frame.segment == segment for frame in self.frames()) < count:
            assert time.monotonic() < until
            time.sleep(0.01)

    def __enter__(self):
        self.runner.start()
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.runner.stop()
        self.thread.join(PATIENCE_S)


def test_killed_restarted_stalled_and_continued(server):
    began = time.monotonic()
    with Watch(server.uri) as watch:
        watch.after("reconnecting", began)  # down at start
        began = time.monotonic()
        server.start()  # it may be found before this returns
        watch.after("online", began)
        watch.shown(0)

        gone = time.monotonic()
        server.kill()  # likewise
        noticed = watch.after("offline", gone)
        watch.after("reconnecting", gone)
        began = time.monotonic()
        server.start()  # it may be found before this returns
        back = watch.after("online", began)
        record("F1", "C", noticed_s=round(noticed, 2), online_after_server_start_s=round(back, 2))
        watch.shown(1)

        server.process.send_signal(signal.SIGSTOP)
        still = time.monotonic()
        noticed = watch.after("offline", still)
        server.process.send_signal(signal.SIGCONT)
        on = time.monotonic()
        back = watch.after("online", on)
        record("F2", "C", noticed_s=round(noticed, 2), recovered_s=round(back, 2))
        watch.shown(2)
    frames = watch.frames()
    assert sorted({f.segment for f in frames}) == [0, 1, 2]
    assert all(b.pts_ns > a.pts_ns for a, b in pairwise(frames))
    assert [i.reason for i in watch.items if isinstance(i, Gap) and i.reason == "reconnect"] == [
        "reconnect"
    ] * 2
    counts = watch.runner.counts()
    assert counts.captured == len(frames) + sum(counts.dropped.values())
    assert counts.losses == 2


def test_size_is_read_anew(server):
    """512×640 → 3000×4500 after a reconnect is what breaks others."""
    server.start()
    with Watch(server.uri) as watch:
        watch.after("online", 0.0)
        server.kill()
        make_video(server.folder / "clip.mp4", frames=60, size=(96, 64), options={"bf": "0"})
        began = time.monotonic()
        server.start()
        watch.after("online", began)
        watch.shown(1)
        assert (watch.runner.info.width, watch.runner.info.height) == (96, 64)
    shapes = {(f.segment, f.image.shape) for f in watch.frames()}
    assert shapes == {(0, (48, 64, 3)), (1, (64, 96, 3))}


def test_first_stamps_and_probe(server):
    server.start()
    report = probe(server.uri, seconds=1.0)
    assert (report.kind, report.codec, report.width, report.live) == ("rtsp", "h264", 64, True)
    assert report.measured_fps == pytest.approx(30.0, abs=1.0)
    with open_source(server.uri, id="cam") as source:
        frames = [item for item in (source.read() for _ in range(10)) if isinstance(item, Frame)]
    assert frames[0].pts_ns == 0
    assert all(25e6 < b.pts_ns - a.pts_ns < 45e6 for a, b in pairwise(frames))
