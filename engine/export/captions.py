"""Captions: WebVTT and SubRip, for players.

An expression lasts a third of a second, a sentence takes longer to read: a cue begins at the onset and stays for
:data:`HOLD_MS`, or until the next expression of that face. The true interval is in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mellm.engine.export import words
from mellm.engine.results.expressions import DISCLAIMER, ExpressionRecord
from mellm.engine.results.run_reader import Run
from mellm.stream.clock import clock

HOLD_MS = 3000.0
"""Shortest time a caption stays."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One caption, milliseconds of media time."""

    id: str
    from_ms: int
    to_ms: int
    lines: tuple[str, ...]


def cues(run: Run, hold_ms: float = HOLD_MS, scale: float = 1.0) -> list[Cue]:
    """Captions of expressions and markers, by time.

    :param scale: what a player shows for one second, see :func:`mellm.engine.results.run_reader.time_scale`
    """
    tracks = {r.track for r in run.expressions}
    found: list[Cue] = []
    for track in sorted(tracks):
        mine = sorted((r for r in run.expressions if r.track == track), key=lambda r: r.onset_ms)
        for record, following in zip(mine, [*mine[1:], None], strict=True):
            begin, end = scale * record.onset_ms, scale * record.offset_ms
            until = max(end, begin + hold_ms)
            if following is not None:
                until = max(end, min(until, scale * following.onset_ms))
            who = f"Face {track}: " if len(tracks) > 1 else ""
            found.append(_cue(record.id, begin, until, tuple(_answer_lines(record, who))))
    for number, marker in enumerate(run.markers, 1):
        label = " ".join(marker.label.split())
        begin = scale * marker.t_ms
        found.append(_cue(f"marker-{number}", begin, begin + hold_ms, (f"▸ {label}",)))
    return sorted(found, key=lambda cue: (cue.from_ms, cue.to_ms, cue.id))


def to_vtt(run: Run, scale: float = 1.0) -> str:
    """WebVTT; markup in a description is shown, not obeyed."""
    parts = ["WEBVTT", f"NOTE\n{DISCLAIMER}"]
    for cue in cues(run, scale=scale):
        lines = "\n".join(_vtt(line) for line in cue.lines)
        parts.append(f"{cue.id}\n{_span(cue, '.')}\n{lines}")
    return "\n\n".join(parts) + "\n"


def to_srt(run: Run, scale: float = 1.0) -> str:
    """SubRip. It knows no escapes, and players obey tags: angle brackets and braces become look-alikes."""
    parts = []
    for number, cue in enumerate(cues(run, scale=scale), 1):
        lines = "\n".join(line.translate(_SRT) for line in cue.lines)
        parts.append(f"{number}\n{_span(cue, ',')}\n{lines}")
    return "\n\n".join(parts) + ("\n" if parts else "")


_SRT = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})


def _answer_lines(record: ExpressionRecord, who: str) -> Iterator[str]:
    length = record.duration_ms
    yield f"{who}{words.headline(record)} · {length:.0f} ms"
    if words.text(record):
        yield words.text(record)


def _cue(name: str, start: float, end: float, lines: tuple[str, ...]) -> Cue:
    begin = max(0, round(start))
    # a cue must last: players refuse one that ends where it begins
    return Cue(name, begin, max(begin + 1, round(end)), lines)


def _vtt(line: str) -> str:
    return re.sub(r"[&<>]", lambda m: {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[m[0]], line)


def _span(cue: Cue, mark: str) -> str:
    return " --> ".join(clock(ms, hours=True, mark=mark) for ms in (cue.from_ms, cue.to_ms))
