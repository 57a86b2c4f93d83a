"""What a run knows about a recording and a person should read: one sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from mellm.detectors.quality import MAX_YAW, MIN_FPS, MIN_WIDTH
from mellm.engine.analysis.pipeline import MODEL_INVALID, STILL, ChainCounts
from mellm.stream.frames import SourceInfo
from mellm.stream.sources import EndReport

FLOORS = {
    "fps_low": f"under {MIN_FPS:.0f} frames a second",
    "face_small": f"narrower than {MIN_WIDTH:.0f} pixels",
    "yaw_high": f"turned by more than {MAX_YAW:.0f}°",
}

GAPS = {
    "decode": "pictures could not be decoded",
    "pts": "a hole in the times of the pictures",
    "overflow": "pictures came too fast",
    "reconnect": "the connection was lost",
}

WARN_GUESSED = 0.01
"""Share of guessed time stamps that is warned of; over a tenth the recording is refused when it is read."""

WARN_REPEATED = 0.05


def notes(info: SourceInfo, counts: ChainCounts, end: EndReport | None) -> list[str]:
    """What is worth knowing and no reason to worry by itself."""
    return [*info.remarks, *_notes(info, counts, end)]


def _notes(info: SourceInfo, counts: ChainCounts, end: EndReport | None) -> Iterator[str]:
    if end is not None and end.repaired:
        yield f"{end.repaired} of {end.frames} time stamps were missing or wrong and were repaired"
    if end is not None and end.lost:
        yield f"{end.lost} of {end.frames + end.lost} pictures could not be decoded"
    if end is not None and end.repeated > WARN_REPEATED * end.frames:
        yield (
            f"{end.repeated} of {end.frames} pictures repeat the one before: the effective rate is "
            f"{info.effective_fps or 0:.0f} a second"
        )
    if gaps := sum(counts.gaps.values()):
        reasons = ", ".join(f"{n} × {GAPS.get(r, r)}" for r, n in sorted(counts.gaps.items()))
        yield f"{gaps} gap{'s' if gaps > 1 else ''} ({reasons}); nothing is searched across a gap"
    fps = info.measured_fps or info.declared_fps
    if (refused := sum(counts.faces_refused.values())) and fps:
        reasons = ", ".join(
            f"{FLOORS.get(r, r)}: {_long(n / fps)}" for r, n in sorted(counts.faces_refused.items())
        )
        yield f"a face was there and not judged for {_long(refused / fps)} ({reasons})"


def _long(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def warnings(counts: ChainCounts, end: EndReport | None) -> list[str]:
    """Why there may be fewer results than somebody expects, or worse ones."""
    found = [f"{counts.dropped[s]} frames show a {s} picture" for s in STILL if counts.dropped[s]]
    if invalid := counts.dropped[MODEL_INVALID] + counts.invalid_steps:
        found.append(f"a network answered with NaN {invalid} times; run `mellm models verify`")
    if end is not None and end.guessed > WARN_GUESSED * end.frames:
        found.append(
            f"the time of {end.guessed} of {end.frames} pictures is a guess: expect errors in onset, apex and offset"
        )
    if not counts.frames_with_face:
        return [*found, f"no face was seen in {counts.analysed} frames"]
    refused = {reason: count for reason, count in counts.faces_refused.items() if reason in FLOORS}
    if 2 * sum(refused.values()) < counts.frames_with_face:
        return found
    reasons = " and ".join(f"{FLOORS[reason]} ({count} times)" for reason, count in refused.items())
    return [*found, f"a face was seen in {counts.frames_with_face} frames and mostly refused: {reasons}"]
