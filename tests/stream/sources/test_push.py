"""Pictures from a client, through the inlet, to frames; and the runner that reads them."""

import threading
import time

import cv2
import numpy as np
import pytest

from mellm.stream.capture.runner import RunnerOptions, SourceRunner, SourceStatus
from mellm.stream.errors import SourceTooLarge, SourceUnreachable
from mellm.stream.frames import Frame, Gap
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.push import DEPTH, Pushed, PushInlet
from tests import PATIENCE_S


def jpeg(value: int = 128, size: tuple[int, int] = (48, 64)) -> bytes:
    ok, data = cv2.imencode(".jpg", np.full((*size, 3), value, np.uint8))
    assert ok
    return data.tobytes()


def inlet(*pictures: bytes, step_ns: int = 40_000_000, start_ns: int = 7_000_000_000) -> PushInlet:
    made = PushInlet("me")
    assert made.begin("a")
    for number, picture in enumerate(pictures):
        assert made.offer("a", Pushed(picture, start_ns + number * step_ns))
    return made


def test_pictures_become_frames_on_the_senders_clock() -> None:
    made = inlet(jpeg(10), jpeg(20), jpeg(30))
    source = made.open(3)
    frames = [source.read() for _ in range(3)]
    assert [f.pts_ns for f in frames if isinstance(f, Frame)] == [0, 40_000_000, 80_000_000]
    assert [round(float(f.image.mean())) for f in frames if isinstance(f, Frame)] == [10, 20, 30]
    assert (source.info.kind, source.info.width, source.info.height, source.info.live) == (
        "push",
        64,
        48,
        True,
    )
    made.finish("a")
    with pytest.raises(SourceUnreachable, match="nobody sends"):
        source.read()


def test_damaged_pictures_are_lost_and_counted() -> None:
    whole = jpeg(200, (480, 640))
    source = inlet(whole, whole[:-400], b"\xff\xd8 no picture \xff\xd9", b"", whole).open(0)
    first, gap, last = (source.read() for _ in range(3))
    assert isinstance(first, Frame)
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.frames) == ("decode", 3)
    assert isinstance(last, Frame)
    assert last.index == 4


def test_the_oldest_goes_when_nobody_reads() -> None:
    source = inlet(*(jpeg(10 * n) for n in range(DEPTH + 5))).open(0)
    gap, *frames = (source.read() for _ in range(DEPTH + 1))
    assert isinstance(gap, Gap)
    assert gap.frames == 5
    assert [round(float(f.image.mean())) for f in frames if isinstance(f, Frame)] == list(range(50, 130, 10))


def test_a_picture_over_the_bound_is_an_error_before_it_is_decoded() -> None:
    source = inlet(jpeg(size=(200, 200))).open(0, SourceOptions(max_pixels=100 * 100))
    with pytest.raises(SourceTooLarge, match="200×200"):
        source.read()


def test_one_sender_at_a_time() -> None:
    made = inlet()
    assert made.begin("a")
    assert not made.begin("b")
    assert not made.offer("b", Pushed(jpeg(), 0))
    made.finish("b")
    assert made.offer("a", Pushed(jpeg(), 0))
    made.finish("a")
    assert made.begin("b")
    made.shut()
    assert not made.begin("b")


def test_a_reader_that_was_given_up_ends() -> None:
    made = inlet(jpeg())
    old = made.open(0)
    old.read()
    errors: list[str] = []

    def read() -> None:
        try:
            old.read()
        except SourceUnreachable as error:
            errors.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    opened: list[object] = []
    newer = threading.Thread(target=lambda: opened.append(made.open(1).read()))
    newer.start()
    thread.join(PATIENCE_S)
    made.offer("a", Pushed(jpeg(), 2))
    for each in (thread, newer):
        each.join(PATIENCE_S)
        assert not each.is_alive()
    assert errors == ["push:me was closed"]
    assert isinstance(opened[0], Frame)


def test_the_runner_comes_and_goes_with_the_sender() -> None:
    made = PushInlet("me")
    told: list[SourceStatus] = []
    runner = SourceRunner(
        "push:",
        id="me",
        options=RunnerOptions(open_s=float("inf")),
        opener=made.open,
        on_status=told.append,
    )
    runner.start()
    time.sleep(0.3)
    assert told == []  # nobody has sent yet, and that is no trouble
    for sender in ("a", "b"):
        assert made.begin(sender)
        for number in range(5):
            made.offer(sender, Pushed(jpeg(), number * 40_000_000))
            time.sleep(0.02)
        made.finish(sender)
        deadline = time.monotonic() + PATIENCE_S
        while told[-1:] == [] or told[-1].state != "reconnecting":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        told_now, told[:] = [each.state for each in told], []
        assert told_now == ["online", "offline", "reconnecting"]
    counts = runner.counts()
    assert (counts.captured, counts.dropped) == (10, {})
    items = [runner.get(0.1) for _ in range(11)]
    assert [type(item) for item in items] == [Frame] * 5 + [Gap] + [Frame] * 5
    times = [item.pts_ns for item in items if isinstance(item, Frame)]
    assert times == sorted(times)
    made.shut()
    runner.stop()
