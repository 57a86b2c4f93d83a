"""Whether what a live source shows can be judged, at this moment: for whoever sets camera, chair and light."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, Literal, TypeAlias

from mellm.detectors.quality import MAX_YAW, MIN_FPS, MIN_WIDTH, WARN_FPS
from mellm.detectors.types import Face, Quality
from mellm.stream.frames import Picture

GOOD_WIDTH: Final = 150.0
"""Pixels; narrower faces lose weak expressions."""

GOOD_YAW: Final = 15.0
DARK: Final = 50.0
BRIGHT: Final = 215.0
"""Mean grey value of a face that is hard to see."""

EVERY_NS: Final = 200_000_000
KEPT: Final = 10
"""Looks that are remembered: two seconds."""

GONE_NS: Final = 1_500_000_000
"""Without a face for so long, none is there."""

Level: TypeAlias = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that matters.

    :param name: ``face``, ``rate``, ``turn`` or ``light``
    :param text: what is measured, and what to change where it is not good
    """

    name: str
    level: Level
    text: str


def of_width(width: float | None) -> Check:
    """How wide the face is, pixels; ``None`` for no face."""
    if width is None:
        return Check("face", "bad", "no face found: let it be seen from the front, upright and lit")
    if width < MIN_WIDTH:
        return Check("face", "bad", f"face {width:.0f} px wide: come closer, it needs {MIN_WIDTH:.0f}")
    if width < GOOD_WIDTH:
        return Check("face", "warn", f"face {width:.0f} px wide: weak expressions may be missed, come closer")
    return Check("face", "ok", f"face {width:.0f} px wide")


def of_rate(fps: float) -> Check:
    """Frames a second that arrive."""
    if fps <= 0:
        return Check("rate", "warn", "frame rate not measured yet")
    if fps < MIN_FPS:
        return Check(
            "rate",
            "bad",
            f"{fps:.0f} frames a second: at least {MIN_FPS:.0f} are needed; more light helps many cameras",
        )
    if fps < WARN_FPS:
        return Check(
            "rate", "warn", f"{fps:.0f} frames a second: short expressions may be missed, 50 are better"
        )
    return Check("rate", "ok", f"{fps:.0f} frames a second")


def of_turn(yaw: float | None) -> Check:
    """How far the head is turned, degrees; ``None`` for no face."""
    if yaw is None:
        return Check("turn", "bad", "head not seen")
    if abs(yaw) > MAX_YAW:
        return Check("turn", "bad", f"head turned by {abs(yaw):.0f}°: look towards the camera")
    if abs(yaw) > GOOD_YAW:
        return Check("turn", "warn", f"head turned by {abs(yaw):.0f}°: one side is hard to see")
    return Check("turn", "ok", "head towards the camera")


def of_light(light: float | None) -> Check:
    """Mean grey value of the face, 0 to 255; ``None`` for no face."""
    if light is None:
        return Check("light", "bad", "light on the face not known")
    if light < DARK:
        return Check("light", "warn", "face too dark: put a light in front of it")
    if light > BRIGHT:
        return Check("light", "warn", "face too bright: less light, or another exposure")
    return Check("light", "ok", "light good")


@dataclass(slots=True)
class SetupCheck:
    """Looks at the largest face a few times a second. Of the source's thread."""

    _looks: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=KEPT))
    _next_ns: int | None = None
    _seen_ns: int | None = None
    _now_ns: int = 0

    def look(self, t_ns: int, picture: Picture, faces: tuple[tuple[Face, Quality], ...]) -> None:
        """A frame, and the faces that were measured in it."""
        self._now_ns = t_ns
        if self._next_ns is not None and self._seen_ns is not None and self._seen_ns <= t_ns < self._next_ns:
            return
        if not faces:
            return
        self._next_ns, self._seen_ns = t_ns + EVERY_NS, t_ns
        face, quality = max(faces, key=lambda each: each[1].face_width)
        x, y, w, h = (round(v) for v in face.box)
        part = picture.part(slice(max(0, y), max(0, y + h)), slice(max(0, x), max(0, x + w)))
        self._looks.append((quality.face_width, quality.yaw, float(part.mean()) if part.size else 0.0))

    def nothing(self, t_ns: int) -> None:
        """A frame without a face."""
        self._now_ns = t_ns
        if self._seen_ns is None or t_ns - self._seen_ns > GONE_NS:
            self._looks.clear()

    def report(self, fps: float) -> dict[str, Any]:
        """As it stands in ``stats``.

        :param fps: frames a second that arrive
        """
        width, yaw, light = (
            (median(each) for each in zip(*self._looks, strict=True)) if self._looks else (None,) * 3
        )
        checks = (of_width(width), of_turn(yaw), of_light(light), of_rate(fps))
        shown = [
            {"name": c.name, "level": c.level, "text": c.text}
            for c in checks
            if width is not None or c.name in ("face", "rate")
        ]
        return {"ready": all(c.level != "bad" for c in checks), "checks": shown}
