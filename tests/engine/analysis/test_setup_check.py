"""Whether what a live source shows can be judged now."""

from __future__ import annotations

import numpy as np
import pytest

from mellm.detectors.types import Face, Quality
from mellm.engine.analysis.setup_check import KEPT, SetupCheck, of_light, of_rate, of_turn, of_width
from mellm.stream.frames import Pixels
from tests.engine.moving import chain, frames

S = 1_000_000_000


def quality(width: float = 200.0, yaw: float = 0.0) -> Quality:
    numbers = {"fps": 50.0, "face_width": width, "blur": 1.0, "yaw": yaw, "pitch": 0.0, "occlusion": 0.0}
    return Quality(**numbers, motion=0.0, verdict="ok", reasons=())


def picture(grey: int) -> Pixels:
    return Pixels(np.full((100, 100, 3), grey, np.uint8))


def face(track: int = 1) -> Face:
    return Face(track, (10.0, 10.0, 40.0, 40.0), np.zeros((68, 2), np.float32), 1.0)


@pytest.mark.parametrize(
    ("check", "levels"),
    [
        (of_width, {None: "bad", 95.0: "bad", 100.0: "warn", 150.0: "ok"}),
        (of_rate, {0.0: "warn", 15.0: "bad", 30.0: "warn", 50.0: "ok"}),
        (of_turn, {None: "bad", 0.0: "ok", -14.0: "ok", -20.0: "warn", 31.0: "bad"}),
        (of_light, {None: "bad", 20.0: "warn", 120.0: "ok", 230.0: "warn"}),
    ],
)
def test_each_thing_has_three_levels_and_says_what_to_change(check, levels) -> None:
    for value, level in levels.items():
        found = check(value)
        assert found.level == level, value
        assert found.text


def test_the_largest_face_counts_and_is_forgotten_when_it_goes() -> None:
    one = SetupCheck()
    gray = picture(120)
    assert [c["name"] for c in one.report(50.0)["checks"]] == ["face", "rate"]
    for number in range(KEPT):
        one.look(number * S, gray, ((face(2), quality(80.0)), (face(), quality(200.0))))
    report = one.report(50.0)
    assert report["ready"]
    assert [c["level"] for c in report["checks"]] == ["ok"] * 4
    one.nothing(KEPT * S)  # it may have blinked
    assert one.report(50.0)["ready"]
    one.nothing((KEPT + 1) * S)
    assert not one.report(50.0)["ready"]
    assert "no face found" in one.report(50.0)["checks"][0]["text"]


def test_a_dark_face_is_told_and_judged_all_the_same() -> None:
    one = SetupCheck()
    one.look(0, picture(20), ((face(), quality()),))
    report = one.report(30.0)
    assert report["ready"]
    levels = {c["name"]: c["level"] for c in report["checks"]}
    assert levels == {"face": "ok", "turn": "ok", "light": "warn", "rate": "warn"}


def test_the_pipeline_looks_also_where_a_face_is_refused() -> None:
    pipeline = chain("cam")
    for frame in frames(fps=15, seconds=1.0):
        pipeline.push(frame)
    report = pipeline.setup.report(pipeline.rate())
    assert {c["name"] for c in report["checks"]} == {"face", "turn", "light", "rate"}
    assert not report["ready"]
    assert "15 frames a second" in next(c["text"] for c in report["checks"] if c["name"] == "rate")
