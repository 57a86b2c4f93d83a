"""The runner against scripted sources: no network, no waiting for real back-offs."""

import logging
import threading
import time

import pytest

from mellm.stream.capture.buffer import BufferOptions
from mellm.stream.capture.reconnect import BackoffOptions
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.clock import ManualClock
from mellm.stream.errors import (
    SourceCorrupt,
    SourceNotFound,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreachable,
)
from mellm.stream.frames import Frame, Gap, SourceInfo
from mellm.stream.sources.scripted import ScriptedSource
from tests import PATIENCE_S, PROMPT_S
from tests.reliability.figures import record
from tests.stream.videos import frame_at, make_video, pts_ms

AT_ONCE = BackoffOptions(steps_s=(0.01,), jitter=0.0)
CAMERA = SourceInfo("cam", "rtsp://***@cam/1", "rtsp", 4, 1, live=True)


def video(start_ms=0.0, count=3, segment=0, step_ms=40.0):
    return [frame_at(start_ms + i * step_ms, segment=segment, index=i) for i in range(count)]


class Stage:
    """A runner on scripted openings; each is an exception or a function from segment to script."""

    def __init__(self, openings, *, info=CAMERA, clock=None, **options):
        self.openings = iter(openings)
        self.info = info
        self.sources = []
        self.statuses = []
        self.segments = []
        self.tries = 0
        self.over = threading.Event()
        self.hanging = [self.over]
        options.setdefault("backoff", AT_ONCE)
        self.runner = SourceRunner(
            "rtsp://admin:secret@cam/1",
            id="cam",
            options=RunnerOptions(**options),
            on_status=self.statuses.append,
            opener=self.open,
            clock=clock,
        )

    def open(self, segment):
        self.tries += 1
        self.segments.append(segment)
        opening = next(self.openings, None)
        if opening is None:
            self.over.wait()  # nothing more is scripted: hang, as a dead camera does
            raise SourceUnreachable("the test is over")
        if isinstance(opening, Exception):
            raise opening
        script = list(opening(segment))
        self.hanging += [each for each in script if isinstance(each, threading.Event)]
        source = ScriptedSource(self.info, script)
        self.sources.append(source)
        return source

    def take(self, frames, timeout_s=PATIENCE_S):
        items = []
        deadline = time.monotonic() + timeout_s
        while sum(isinstance(i, Frame) for i in items) < frames and time.monotonic() < deadline:
            item = self.runner.get(0.05)
            items += [] if item is None else [item]
        return items

    def states(self):
        return [s.state for s in self.statuses]

    def __enter__(self):
        self.runner.start()
        return self

    def __exit__(self, *exc):
        self.runner.stop()
        for each in self.hanging:  # readers that were given up end with the test
            each.set()


def until(true, timeout_s=PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_stream_that_just_ends_was_lost_and_comes_back_in_a_new_segment():
    forever = threading.Event()
    script = lambda segment: [*video(segment=segment)]  # noqa: E731
    with Stage([script, lambda s: [*video(5000.0, segment=s), forever]]) as stage:
        items = stage.take(6)
    frames = [i for i in items if isinstance(i, Frame)]
    gaps = [i for i in items if isinstance(i, Gap)]
    assert [f.segment for f in frames] == [0, 0, 0, 1, 1, 1]
    assert stage.segments[:2] == [0, 1]
    assert [(g.reason, g.segment) for g in gaps] == [("reconnect", 1)]
    # media time goes on by what the outage took, whatever the stream now counts from
    assert gaps[0].from_ns == frames[2].pts_ns
    assert gaps[0].to_ns == frames[3].pts_ns
    assert pts_ms(frames)[4] - pts_ms(frames)[3] == pytest.approx(40.0)
    assert stage.states() == ["online", "offline", "reconnecting", "online"]
    assert stage.sources[0].closed


def test_down_at_start():
    down = SourceUnreachable("rtsp://***@cam/1: connection refused")
    with Stage([down, down, down, lambda s: [*video(), threading.Event()]]) as stage:
        assert len(stage.take(3)) == 3
    assert stage.states() == ["offline", *["reconnecting"] * 3, "online"]
    assert [s.attempt for s in stage.statuses if s.state == "reconnecting"] == [1, 2, 3]
    assert stage.segments == [0, 0, 0, 0]


def test_must_open_gives_up_at_once():
    with Stage([SourceUnreachable("x: refused")], must_open=True) as stage:
        until(lambda: stage.runner.finished)
    assert isinstance(stage.runner.failure, SourceUnreachable)
    assert stage.states() == ["ended"]


@pytest.mark.parametrize("error", [SourceUnauthorized("x"), SourceNotFound("x")])
def test_what_refuses_at_the_start(error):
    """A wrong password will not mend itself; a stream that is not there yet may come."""
    with Stage([error, lambda s: [*video(), threading.Event()]]) as stage:
        until(lambda: stage.runner.finished or "online" in stage.states())
        assert (stage.runner.failure is error) == isinstance(error, SourceUnauthorized)


def test_giving_up_after_so_many_tries():
    with Stage([SourceTimeout("x")] * 10, max_attempts=3) as stage:
        until(lambda: stage.runner.finished)
    assert stage.tries == 4
    assert isinstance(stage.runner.failure, SourceTimeout)


@pytest.mark.parametrize("frames_before", [0, 3])
def test_a_reader_that_hangs_is_abandoned_and_replaced(frames_before):
    """F2. What the old reader still delivers is thrown away."""
    hang = threading.Event()
    clock = ManualClock()
    old = lambda s: [*video(count=frames_before), hang, *video(9000.0)]  # noqa: E731
    stage = Stage([old, lambda s: [*video(segment=s), threading.Event()]], clock=clock)
    with stage:
        assert len(stage.take(frames_before)) == frames_before
        time.sleep(0.05)
        clock.advance(2.4)
        time.sleep(0.15)
        assert "offline" not in stage.states()
        clock.advance(0.2 if frames_before else 6.0)
        until(lambda: "offline" in stage.states())
        until(lambda: clock.advance(0.1) or stage.tries == 2)
        items = stage.take(3)
        hang.set()
        until(lambda: stage.sources[0].closed)
        assert stage.runner.get(0.05) is None
    assert len([i for i in items if isinstance(i, Frame)]) == 3
    offline = next(s for s in stage.statuses if s.state == "offline")
    assert offline.error.code == "source_timeout"


def test_a_dead_camera_for_ten_minutes_on_a_manual_clock(caplog):
    """F4: at most 40 tries, at most a line in ten seconds."""
    clock = ManualClock()
    stage = Stage([SourceUnreachable("x: refused")] * 100, clock=clock, backoff=BackoffOptions(), seed=1)
    with caplog.at_level(logging.INFO), stage:
        until(lambda: stage.statuses)
        for _ in range(600):
            clock.advance(1.0)
            time.sleep(0.004)
    lines = len([r for r in caplog.records if r.name == "mellm.stream.capture.runner"])
    record("F4", "C", tries=stage.tries, log_lines=lines)
    assert 10 <= stage.tries <= 40
    assert lines <= 60
    assert "secret" not in caplog.text


def test_an_error_nobody_foresaw_is_a_loss(caplog):
    with Stage([lambda s: [*video(), ZeroDivisionError()], lambda s: [*video(), threading.Event()]]) as stage:
        assert len([i for i in stage.take(6) if isinstance(i, Frame)]) == 6
    assert "ZeroDivisionError" in caplog.text


def test_slow_analysis_drops_whole_stretches_and_counts_them():
    forever = threading.Event()
    script = lambda s: [*video(count=100, step_ms=33.0), forever]  # noqa: E731
    with Stage([script], buffer=BufferOptions(seconds=0.5)) as stage:
        until(lambda: stage.runner.counts().captured == 100)
        items = []
        while (item := stage.runner.get(0.05)) is not None:
            items.append(item)
        counts = stage.runner.counts()
    taken = sum(isinstance(i, Frame) for i in items)
    assert counts.captured == taken + sum(counts.dropped.values()) + counts.waiting
    assert counts.dropped["overflow"] == sum(i.frames for i in items if isinstance(i, Gap)) > 0
    assert isinstance(items[0], Gap)


def test_damaged_frames_are_captured_and_dropped():
    gap = Gap("cam", 0, 80_000_000, 200_000_000, "decode", 4)
    with Stage([lambda s: [*video(), gap, *video(240.0), threading.Event()]]) as stage:
        stage.take(6)
        counts = stage.runner.counts()
    assert (counts.captured, counts.dropped) == (10, {"decode": 4})


def test_stop_is_quick_and_leaves_nothing_unaccounted():
    hang = threading.Event()
    with Stage([lambda s: [*video(), hang]]) as stage:
        until(lambda: stage.runner.counts().captured == 3)
        began = time.monotonic()
        stage.runner.stop()
        assert time.monotonic() - began < PROMPT_S
    counts = stage.runner.counts()
    assert (counts.captured, counts.dropped, counts.waiting) == (3, {"stopped": 3}, 0)
    assert stage.runner.finished
    hang.set()


def test_stop_while_waiting_to_reconnect():
    with Stage([SourceUnreachable("x")] * 9, backoff=BackoffOptions(steps_s=(60.0,))) as stage:
        until(lambda: "reconnecting" in stage.states())
        began = time.monotonic()
        stage.runner.stop()
        assert time.monotonic() - began < PROMPT_S


def test_a_callback_that_fails_does_no_harm(caplog):
    stage = Stage([lambda s: [*video(), threading.Event()]])
    stage.runner.on_status = lambda status: 1 / 0
    with stage:
        assert len(stage.take(3)) == 3
    assert "callback failed" in caplog.text


# -- recordings ---------------------------------------------------------------------------------------


def test_a_recording_played_live_keeps_its_pace_and_ends(tmp_path):
    path = make_video(tmp_path / "clip.mp4", frames=20, fps=40)
    statuses = []
    runner = SourceRunner(str(path), id="clip", on_status=statuses.append)
    began = time.monotonic()
    runner.start()
    frames = []
    while not runner.finished:
        item = runner.get(0.1)
        frames += [] if item is None else [item]
    seconds = time.monotonic() - began
    assert seconds > 0.47
    assert [f.index for f in frames] == list(range(20))
    assert pts_ms(frames) == [25.0 * i for i in range(20)]
    assert runner.info.live
    assert (runner.failure, runner.end.early) == (None, False)
    until(lambda: [s.state for s in statuses] == ["online", "ended"])
    spread = [(f.wall_ns - frames[0].wall_ns) / 1e6 - 25.0 * i for i, f in enumerate(frames)]
    assert min(spread) > -5.0
    runner.stop()


def test_offline_never_drops():
    options = RunnerOptions(policy="offline", buffer=BufferOptions(seconds=0.1))
    runner = SourceRunner("synthetic:?seconds=2&width=16&height=16", id="s", options=options)
    runner.start()
    time.sleep(0.1)
    frames = []
    while not runner.finished:
        item = runner.get(0.05)
        frames += [] if item is None else [item]
    assert [f.index for f in frames] == list(range(60))
    assert runner.counts().dropped == {}
    runner.stop()


def test_a_recording_that_breaks_is_not_tried_again():
    info = SourceInfo("clip", "clip.mp4", "file", 4, 1)
    with Stage([lambda s: [*video(), SourceCorrupt("clip.mp4: damaged")]], info=info) as stage:
        stage.take(3)
        until(lambda: stage.runner.finished)
    assert isinstance(stage.runner.failure, SourceCorrupt)
    assert stage.tries == 1


def test_missing_file():
    runner = SourceRunner("/nowhere/clip.mp4", id="clip")
    runner.start()
    until(lambda: runner.finished)
    assert isinstance(runner.failure, SourceNotFound)
    runner.stop()


def test_status_data_is_plain_and_without_credentials():
    import json

    with Stage(
        [SourceUnreachable("rtsp://***@cam/1: refused"), lambda s: [*video(), threading.Event()]]
    ) as stage:
        stage.take(3)
    text = json.dumps([s.data() for s in stage.statuses])
    assert "secret" not in text
    assert {"uri", "width", "height", "segment", "code", "attempt"} <= {
        k for s in stage.statuses for k in s.data()
    }
