"""Previews leave only where they are allowed, asked for, and due."""

import time

import cv2
import numpy as np
import pytest

from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.server.previews import Previews
from mellm.stream.frames import Frame
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Record
from mellm.stream.protocol.events import PREVIEW, Filter
from mellm.stream.protocol.wire import decode_picture

PREVIEWS = Filter(types=frozenset({PREVIEW}))


def frame(source: str = "cam", height: int = 1080, width: int = 1920) -> Frame:
    image = np.full((height, width, 3), (10, 200, 90), np.uint8)
    return Frame(source, 0, 0, 40_000_000, 0, image)


def show(previews: Previews, each: Frame) -> None:
    """What the analysis leaves, as the previews' own thread takes it."""
    previews(each)
    previews.step()


async def test_a_preview_is_small_and_like_the_frame() -> None:
    hub = Hub(Journal())
    hub.attach()
    reader = hub.subscribe(PREVIEWS)
    show(Previews(hub, ["cam"]), frame())
    hub.flush()
    record = await reader.next()
    assert isinstance(record, Record)
    event = decode_picture(record.payload)
    assert (event.type, event.source, event.seq, event.data["t_ms"]) == (PREVIEW, "cam", None, 40.0)
    image = cv2.imdecode(np.frombuffer(event.picture, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (event.data["height"], event.data["width"], 3) == (360, 640, 3)
    assert np.abs(image.mean((0, 1)) - (10, 200, 90)).max() < 3
    assert event.data["bytes"] == len(event.picture)


@pytest.mark.parametrize(("height", "width", "shape"), [(240, 320, (240, 320)), (1280, 720, (640, 360))])
async def test_nothing_is_made_larger_and_the_longer_side_counts(
    height: int, width: int, shape: tuple
) -> None:
    hub = Hub(Journal())
    hub.attach()
    reader = hub.subscribe(PREVIEWS)
    show(Previews(hub, ["cam"]), frame(height=height, width=width))
    hub.flush()
    record = await reader.next()
    assert isinstance(record, Record)
    data = record.event.data
    assert (data["height"], data["width"]) == shape


async def test_nothing_leaves_that_was_not_allowed_or_not_asked_for() -> None:
    hub, made = Hub(Journal()), []
    hub.attach()
    hub.observe(lambda type, source, data: made.append(source))
    now = 0.0
    previews = Previews(hub, ["cam", "hall"], every_s=0.2, clock=lambda: now)
    everything = hub.subscribe(Filter())
    show(previews, frame())
    assert made == []  # everything is all but previews
    watcher = hub.subscribe(Filter(frozenset({"cam", "door"}), PREVIEWS.types))
    for source in ("door", "hall", "cam", "cam"):
        show(previews, frame(source))
    assert made == ["cam"]  # not door, which may not; not hall, which nobody watches; the second is too early
    now = 0.2
    show(previews, frame())
    assert made == ["cam", "cam"]
    hub.flush()
    assert (watcher.waiting, everything.waiting) == (1, 0)  # the later one has replaced the earlier
    hub.unsubscribe(watcher)
    now = 1.0
    show(previews, frame())
    assert made == ["cam", "cam"]


def test_a_picture_that_cannot_be_encoded_costs_neither_the_camera_nor_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    deaths: list[tuple[str, str]] = []
    with Journal() as journal, Watchdog() as watchdog:
        hub = Hub(journal)
        monkeypatch.setattr(hub, "wants_preview", lambda source: True)
        hub.observe(lambda type, source, data: made.append(source))
        watchdog.on_change = lambda name, state, error: deaths.append((name, state))
        previews = Previews(hub, ["bad", "good"], every_s=0.0, vitals=watchdog)
        previews.start()
        previews(
            Frame("bad", 0, 0, 0, 0, np.zeros((0, 0, 3), np.uint8))
        )  # OpenCV and division both refuse it
        end = time.monotonic() + 30
        while deaths != [("previews", "failed"), ("previews", "recovered")] or not made:
            previews(frame("good"))
            time.sleep(0.01)
            assert time.monotonic() < end
        previews.stop()
    assert set(made) == {"good"}


def test_pictures_are_never_journalled() -> None:
    with Journal() as journal, pytest.raises(ValueError, match="journalled"):
        Hub(journal).publish_threadsafe("marker", "cam", {}, picture=b"jpeg")


async def test_a_mirror_image_is_turned_back_as_the_landmarks_are() -> None:
    hub = Hub(Journal())
    hub.attach()
    reader = hub.subscribe(PREVIEWS)
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, :160] = 255
    show(Previews(hub, ["cam"], mirrored=["cam"]), Frame("cam", 0, 0, 0, 0, image))
    hub.flush()
    record = await reader.next()
    assert isinstance(record, Record)
    shown = cv2.imdecode(np.frombuffer(decode_picture(record.payload).picture, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown[:, :150].mean() < 5
    assert shown[:, 170:].mean() > 250
