"""Overload in simulated time: no thread, no clock, no machine that is too slow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from mellm.engine.analysis.overload import (
    FLOOR_FPS,
    FULL,
    PATIENCE_S,
    SETTLE_S,
    STUBBORN_S,
    Load,
    Overload,
    Service,
    ServiceChanged,
)
from mellm.engine.analysis.pipeline import Spotted
from mellm.engine.analysis.wire_events import events_of
from mellm.stream.capture.buffer import MediaBuffer
from mellm.stream.capture.intake import Intake
from mellm.stream.frames import Frame, Gap, Item
from mellm.stream.protocol.schema import document
from tests.engine.moving import FOUND, SECONDS, chain, frames
from tests.stream.spoken import validator

LOOK_S = 0.05


@dataclass
class Camera:
    """One source and the thread that analyses it, in simulated time.

    :param costs: item and faces → seconds of its analysis
    :param crowded: whether others are in its way
    """

    name: str
    frames: Iterable[Frame]
    overload: Overload
    costs: Callable[[int], float]
    take: Callable[[Item], object] = lambda item: None
    faces: int = 1
    crowded: bool = False
    changes: list[tuple[float, Service]] = field(default_factory=list)
    captured: int = 0
    analysed: int = 0
    gaps: int = 0

    def __post_init__(self) -> None:
        self.buffer = MediaBuffer("newest")
        self.intake = Intake(self.name, self.buffer)
        self.service = FULL
        self.free_at = self.looked_at = self.worked = 0.0
        self.overload.begins(self.name)
        self.feed = iter(self.frames)
        self.coming = next(self.feed, None)

    def until(self, now: float) -> None:
        """Let time pass to ``now``."""
        while self.coming is not None and self.coming.pts_ns / 1e9 <= now:
            self.work(self.coming.pts_ns / 1e9)
            self.captured += 1
            if self.intake.takes(self.coming):
                self.buffer.put(self.coming)
            self.coming = next(self.feed, None)
        self.work(now)

    def work(self, now: float) -> None:
        while self.free_at <= now:
            self.look(self.free_at)
            item = self.buffer.get(0.0)
            if item is None:
                self.free_at = now + 1e-9  # it waits for the next one
                return
            self.take(item)
            if isinstance(item, Gap):
                self.gaps += 1
                continue
            self.analysed += 1
            cost = self.costs(self.service.faces or self.faces)
            self.free_at += cost
            self.worked += cost

    def look(self, now: float) -> None:
        if now < self.looked_at + LOOK_S:
            return
        busy, self.worked, self.looked_at = self.worked / (now - self.looked_at), 0.0, now
        faces = self.service.faces or self.faces
        starved = 0.5 if self.crowded else 0.0
        lost = self.buffer.overflowed
        load = Load(self.buffer.lag_s, self.intake.fps, busy, starved, faces, lost)
        service = self.overload.look(self.name, load, now)
        if service != self.service:
            self.service = service
            self.changes.append((now, service))
            self.intake.lower(service.keep_every if service.on else 0)

    def check(self) -> None:
        dropped = self.buffer.overflowed + sum(self.intake.dropped.values())
        assert self.captured == self.analysed + dropped + len(self.buffer)


def play(cameras: list[Camera], seconds: float, step_s: float = 0.01) -> None:
    for tick in range(1, round(seconds / step_s) + 1):
        for camera in cameras:
            camera.until(tick * step_s)
    for camera in cameras:
        camera.check()


def blank(fps: float, seconds: float = 1e9, name: str = "s") -> Iterable[Frame]:
    image = next(iter(frames())).image[:1, :1]
    return (
        Frame(name, 0, i, round(i * 1e9 / fps), 0, image) for i in range(min(10**9, round(seconds * fps)))
    )


def alone(fps: float, capacity: float, faces: int = 1, **more: object) -> Camera:
    """A camera whose analysis takes so many one-faced frames a second."""
    return Camera("s", blank(fps), Overload({"s": 0}), lambda n: n / capacity, faces=faces, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("fps", [30, 60, 200])
def test_what_fits_is_left_alone(fps: float) -> None:
    camera = alone(fps, fps * 1.1)
    play([camera], 10)
    assert camera.changes == []
    assert camera.analysed >= camera.captured - 2


@pytest.mark.parametrize(
    ("fps", "capacity", "rate"),
    [(200, 110, 100), (200, 55, 50), (200, 27, 25), (50, 30, 25), (60, 32, 30)],
)
def test_the_rate_is_halved_until_it_fits_and_no_frame_is_dropped_at_random(
    fps: float, capacity: float, rate: float
) -> None:
    seen: list[int] = []
    camera = alone(
        fps, capacity, take=lambda item: seen.append(item.pts_ns) if isinstance(item, Frame) else None
    )
    play([camera], 8)
    assert camera.gaps == camera.buffer.overflowed == 0
    assert fps / camera.service.keep_every == rate
    assert fps / camera.service.keep_every >= FLOOR_FPS
    apart = {round((b - a) / 1e6, 3) for a, b in itertools.pairwise(seen) if b > 5e9}
    assert apart == {round(1e3 * camera.service.keep_every / fps, 3)}
    assert [s.keep_every for _, s in camera.changes] == [2**n for n in range(1, len(camera.changes) + 1)]


@pytest.mark.parametrize("too_much", [2, 4])
def test_at_overload_expressions_are_found_as_in_the_same_clip_at_the_lower_rate(too_much: int) -> None:
    """Frames of a moving face at 100 a second, analysed at a half or a quarter of that."""
    fps, seconds = 100, (3 if too_much > 2 else 2) * SECONDS  # one may be missed while the rate goes down
    found: list[Spotted] = []
    made = chain("s")

    def take(item: Item) -> None:
        found.extend(o for o in made.push(item) if isinstance(o, Spotted))

    overload = Overload({"s": 0})
    camera = Camera("s", frames(fps, seconds), overload, lambda n: 1.02 * too_much / fps, take)
    play([camera], seconds + 2)
    found.extend(o for o in made.finish() if isinstance(o, Spotted))
    rate = fps / camera.service.keep_every
    same = chain("s")
    every = (item for i, item in enumerate(frames(fps, seconds)) if i % camera.service.keep_every == 0)
    wanted = [o for item in every for o in same.push(item) if isinstance(o, Spotted)]
    wanted += [o for o in same.finish() if isinstance(o, Spotted)]
    assert rate >= FLOOR_FPS
    assert camera.gaps == 0
    assert len(wanted) == round(seconds / SECONDS) * FOUND
    hits = sum(
        any(abs(a.expression.apex.pts_ns - b.expression.apex.pts_ns) < 60e6 for b in found) for a in wanted
    )
    assert hits >= 0.9 * len(wanted)
    assert {one.expression.track for one in found} == {1}


def test_then_one_face_then_stretches_and_everything_comes_back() -> None:
    slow = [True]
    camera = Camera("s", blank(30), Overload({"s": 0}), lambda n: n / 40 if slow[0] else 0.001, faces=3)
    play([camera], 6)
    assert [s for _, s in camera.changes] == [Service(faces=1)]
    camera.costs = lambda n: 1 / 15
    play_from(camera, 6, 14)
    assert camera.changes[1][1] == Service(faces=1, gaps=True)
    assert camera.changes[1][0] - 6 >= STUBBORN_S
    assert camera.gaps > 0
    camera.costs = lambda n: 0.001
    play_from(camera, 14, 40)
    assert [s for _, s in camera.changes[2:]] == [Service(faces=1), FULL]
    assert camera.changes[2][0] - 14 >= PATIENCE_S


def play_from(camera: Camera, start: float, end: float) -> None:
    for tick in range(round(start * 100) + 1, round(end * 100) + 1):
        camera.until(tick / 100)
    camera.check()


def test_what_was_given_back_too_early_is_given_back_later_each_time() -> None:
    """Busy with half of the rate looks like room for all of it, and is not."""
    camera = alone(50, 49.0)
    camera.costs = lambda n: 1 / 80 if camera.service.keep_every > 1 else 1 / 40
    play([camera], 120)
    given_back = [at for at, s in camera.changes if s == FULL]
    waits = [b - a for a, b in itertools.pairwise(given_back)]
    assert len(waits) >= 2
    assert all(b > 1.5 * a for a, b in itertools.pairwise(waits))


def four(priorities: dict[str, int], capacity: float) -> list[Camera]:
    """Four cameras at 30 frames a second on a machine that takes ``capacity`` of them, shared by those that are on."""
    overload = Overload(priorities)
    cameras: list[Camera] = []

    def costs(faces: int) -> float:
        return sum(c.service.on for c in cameras) / (30 * capacity)

    cameras += [Camera(name, blank(30, name=name), overload, costs, crowded=True) for name in priorities]
    return cameras


def test_the_least_important_sources_are_set_aside_and_the_others_lose_nothing_more() -> None:
    cameras = four({"a": 0, "b": 5, "c": 0, "d": 1}, 2.2)
    play(cameras, 20)
    assert [c.name for c in cameras if not c.service.on] == ["a", "c"]  # of equals the last ones go first
    (first, _), (then, _) = sorted(c.changes[0] for c in cameras if not c.service.on)[:2]
    assert then - first >= SETTLE_S
    before = {c.name: (c.gaps, c.captured, c.analysed) for c in cameras}
    play_between(cameras, 20, 24)
    for camera in cameras:
        gaps, captured, analysed = before[camera.name]
        if camera.service.on:
            assert camera.gaps == gaps
            assert camera.analysed - analysed >= camera.captured - captured - 2
        else:
            assert camera.analysed == analysed


def play_between(cameras: list[Camera], start: float, end: float) -> None:
    for tick in range(round(start * 100) + 1, round(end * 100) + 1):
        for camera in cameras:
            camera.until(tick / 100)
    for camera in cameras:
        camera.check()


def test_a_source_that_was_set_aside_comes_back_when_others_have_ended() -> None:
    cameras = four({"a": 1, "b": 0}, 1.1)
    play(cameras, 40)
    assert [c.service.on for c in cameras] == [True, False]
    assert len(cameras[1].changes) == 1  # no room for it: it is not tried
    cameras[0].overload.ended("a")
    cameras[1].until(50)
    assert cameras[1].service.on
    cameras[1].until(51)
    assert cameras[1].gaps >= 1


def test_others_are_left_alone_where_they_are_not_in_the_way() -> None:
    """One thread that cannot keep up on a machine with idle processors."""
    overload = Overload({"a": 0, "b": 0})
    slow = Camera("a", blank(30), overload, lambda n: 1 / 20)
    fine = Camera("b", blank(200), overload, lambda n: 1 / 400)
    play([slow, fine], 12)
    assert fine.changes == []
    assert slow.changes[-1][1].gaps


def test_a_backlog_that_shrinks_is_no_overload() -> None:
    """What waited while networks were loaded, or the disk stood still, is worked off."""
    camera = alone(200, 500)
    camera.free_at = 0.9
    play([camera], 5)
    assert camera.changes == []


@pytest.mark.parametrize(
    ("before", "after", "reason", "words"),
    [
        (FULL, Service(2), "overload", "200 frames a second → 100 frames a second - lower the camera's rate"),
        (Service(8), Service(8, faces=1), "overload", "25 frames a second → 25 frames a second, one face -"),
        (FULL, Service(on=False), "overload", "→ set aside - "),
        (Service(8), Service(8, gaps=True), "overload", "with stretches missing"),
        (Service(on=False), FULL, "recovered", "set aside → 200 frames a second"),
        (Service(4), Service(2), "recovered", "50 frames a second → 100 frames a second"),
    ],
)
def test_each_step_is_told_with_its_remedy(before: Service, after: Service, reason: str, words: str) -> None:
    (told,) = events_of(ServiceChanged(before, after, 200.0, 1))
    assert (told.type, told.t_ns) == ("source.degraded", 1)
    data = told.data
    assert words in data["message"]
    assert ("mellm bench --plan" in data["message"]) == (reason == "overload")
    assert data["reason"] == reason
    assert data["degraded"] == (after != FULL)
    event = {
        "type": "source.degraded",
        "id": "x",
        "seq": 1,
        "epoch": "e",
        "source": "cam",
        "time": "2026-11-29T00:00:00.000000Z",
        "data": {**data, "t_ns": "1", "t_ms": 0.0},
    }
    assert document()["$defs"]["source.degraded"]
    assert [each.message for each in validator("source.degraded").iter_errors(event)] == []


def test_equal_priorities_keep_the_first_sources() -> None:
    overload = Overload({"first": 0, "second": 0, "not begun": 0})
    for name in ("first", "second"):
        overload.begins(name)
    now, load = 0.0, Load(0.0, 30, 1.0, 0.5)
    kept = {"first": True, "second": True}
    while all(kept.values()):
        now += LOOK_S
        load = replace(load, lag_s=load.lag_s + 0.01)
        kept = {name: overload.look(name, load, now).on for name in kept}
        assert now < 60
    assert kept["first"]
    overload.begins("second")  # a session of it begins anew
    assert overload.look("second", Load(0.0), now) == FULL
