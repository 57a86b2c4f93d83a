"""Whether a recording or camera will do, in the words of whoever wants to use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

from mellm.detectors.analyzer import FaceUpdate
from mellm.detectors.quality import MAX_YAW, MIN_FPS, MIN_WIDTH, WARN_FPS, assess
from mellm.detectors.types import Quality
from mellm.engine.analysis.setup_check import BRIGHT, DARK, GOOD_WIDTH, GOOD_YAW
from mellm.stream.frames import Frame
from mellm.stream.sources import ProbeReport

STRONG_BITS, SOME_BITS = 0.01, 0.03
"""Bits for a pixel of a picture: under these, compression is strong, or visible."""

LOOKS_PER_S = 10.0


class Analyzer(Protocol):
    """Finds faces; :class:`mellm.detectors.analyzer.FaceAnalyzer` does."""

    def push(self, frame: Frame) -> FaceUpdate:
        """Faces of a frame."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the look found.

    :param face_width: pixels, median of the largest face; ``None`` where no face was found
    :param yaw: degrees, median
    :param light: mean grey value of the face, 0 to 255
    :param fps: effective frames a second
    :param bits_per_pixel: of a recording, after compression
    :param judged: share of the looks at which a face was there and over the floors
    :param faces: most faces at once
    :param ready: whether an analysis makes sense
    :param text: all of it in a line
    """

    face_width: float | None
    yaw: float | None
    light: float | None
    fps: float | None
    bits_per_pixel: float | None
    judged: float
    faces: int
    ready: bool
    text: str


@dataclass(slots=True)
class Looker:
    """Looks at some of the frames of a probe. Fed by one thread."""

    analyzer: Analyzer
    looks: int = 0
    faces: int = 0
    seen: list[tuple[Quality, float]] = field(default_factory=list)
    _next_ns: int | None = None

    def push(self, frame: Frame) -> None:
        """Take the next frame."""
        if self._next_ns is not None and frame.pts_ns < self._next_ns:
            return
        self._next_ns = frame.pts_ns + round(1e9 / LOOKS_PER_S)
        self.looks += 1
        found = self.analyzer.push(frame).faces
        self.faces = max(self.faces, len(found))
        if not found:
            return
        face = max(found, key=lambda f: f.box[2])
        x, y, w, h = (round(v) for v in face.box)
        part = frame.picture.part(slice(max(0, y), y + h), slice(max(0, x), x + w))
        self.seen.append((assess(face, frame.picture, 0.0), float(part.mean()) if part.size else 0.0))

    def verdict(self, report: ProbeReport, path: str | None = None) -> Verdict:
        """Of all looks.

        :param path: of the recording, for its size
        """
        fps = report.effective_fps or report.measured_fps
        width = median(q.face_width for q, _ in self.seen) if self.seen else None
        yaw = median(q.yaw for q, _ in self.seen) if self.seen else None
        light = median(grey for _, grey in self.seen) if self.seen else None
        good = sum(q.verdict != "refused" for q, _ in self.seen)
        judged = good / self.looks if self.looks and (fps or 0) >= MIN_FPS else 0.0
        bits = _bits(report, path)
        parts = [*_words(width, yaw, light, fps, bits), f"{100 * judged:.0f} % can be judged"]
        ready = judged >= 0.5
        parts.append("ready" if ready else f"not ready: {_remedy(width, yaw, fps)}")
        return Verdict(
            face_width=None if width is None else round(width, 1),
            yaw=None if yaw is None else round(yaw, 1),
            light=None if light is None else round(light, 1),
            fps=fps,
            bits_per_pixel=None if bits is None else round(bits, 4),
            judged=round(judged, 3),
            faces=self.faces,
            ready=ready,
            text=" · ".join(parts),
        )


def _words(
    width: float | None, yaw: float | None, light: float | None, fps: float | None, bits: float | None
) -> list[str]:
    said = []
    if width is None:
        said.append("No face found")
    else:
        size = "too small" if width < MIN_WIDTH else "small, weak expressions may be missed"
        said.append(f"Face {width:.0f} px: {'good' if width >= GOOD_WIDTH else size}")
    if fps is None:
        said.append("frame rate unknown")
    else:
        low = "too low" if fps < MIN_FPS else "short expressions may be missed"
        said.append(f"{fps:.0f} fps: {'good' if fps >= WARN_FPS else low}")
    if yaw is not None and abs(yaw) > GOOD_YAW:
        said.append(
            f"turned {abs(yaw):.0f}°: {'too far' if abs(yaw) > MAX_YAW else 'one side is hard to see'}"
        )
    if light is not None:
        said.append("dark" if light < DARK else "very bright" if light > BRIGHT else "light good")
    if bits is not None and bits < SOME_BITS:
        strong = "strong compression: small movements may be lost"
        said.append(strong if bits < STRONG_BITS else "some compression")
    return said


def _remedy(width: float | None, yaw: float | None, fps: float | None) -> str:
    if fps is not None and fps < MIN_FPS:
        return f"record at {MIN_FPS:.0f} frames a second or more, best 50"
    if width is None:
        return "let the face be seen from the front, upright and lit"
    if width < MIN_WIDTH:
        return f"come closer, or record larger pictures: the face needs {MIN_WIDTH:.0f} px"
    if yaw is not None and abs(yaw) > MAX_YAW:
        return "film from the front"
    return "the face is seen too rarely"


def _bits(report: ProbeReport, path: str | None) -> float | None:
    """Bits for a pixel of a picture, sound included."""
    rate = report.measured_fps
    if path is None or report.kind != "file" or not report.duration_s or not rate or not report.width:
        return None
    try:
        size = Path(path).stat().st_size
    except OSError:
        return None
    return 8 * size / (report.duration_s * rate * report.width * report.height)
