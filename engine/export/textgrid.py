"""Praat TextGrids (long text format): tiers for each face, and the markers.

Intervals of a tier fill the recording without a hole and do not overlap, as Praat wants it; where two expressions of a
face overlap, the later one begins where the earlier one ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mellm.engine.export import words
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run, duration_ms

Interval = tuple[float, float, str]


def to_textgrid(run: Run) -> str:
    """One recording as a TextGrid: ``expression``, ``apex``, ``action units``, ``class`` and ``description`` of each
    face, as ``expression@track1``, and ``markers``. Times in seconds of media time."""
    end = max(0.001, duration_ms(run, run.sources[0]) / 1000)
    end = max([end, *(m.t_ms / 1000 for m in run.markers)])
    tiers: list[list[str]] = []
    for track in sorted({r.track for r in run.expressions}) or [1]:
        mine = sorted((r for r in run.expressions if r.track == track), key=lambda r: r.onset_ms)
        kinds: tuple[tuple[str, Callable[[ExpressionRecord], str]], ...] = (
            ("expression", words.score),
            ("action units", words.facs),
            ("class", lambda r: words.emotion(r) or ""),
            ("description", lambda r: words.text(r) or words.headline(r)),
        )
        for name, said in kinds:
            spans = [(r.onset_ms / 1000, r.offset_ms / 1000, said(r)) for r in mine]
            tiers.append(_intervals(f"{name}@track{track}", list(_filled(spans, end)), end))
        points = [(r.apex_ms / 1000, "apex") for r in mine]
        tiers.append(_points(f"apex@track{track}", points, end))
    tiers.append(_points("markers", [(m.t_ms / 1000, m.label) for m in run.markers], end))
    head = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_n(end)}"]
    head += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    body = [
        f"    item [{n}]:\n" + "\n".join(f"        {line}" for line in tier)
        for n, tier in enumerate(tiers, 1)
    ]
    return "\n".join([*head, *body]) + "\n"


def _filled(spans: Iterable[Interval], end: float) -> Iterator[Interval]:
    at = 0.0
    for begin, stop, text in spans:
        begin, stop = max(at, begin), min(end, stop)
        if stop <= begin:
            continue
        if begin > at:
            yield at, begin, ""
        yield begin, stop, text
        at = stop
    if at < end:
        yield at, end, ""


def _intervals(name: str, spans: list[Interval], end: float) -> list[str]:
    lines = ['class = "IntervalTier"', f"name = {_quoted(name)}", "xmin = 0", f"xmax = {_n(end)}"]
    lines.append(f"intervals: size = {len(spans)}")
    for n, (begin, stop, text) in enumerate(spans, 1):
        lines += [
            f"intervals [{n}]:",
            f"    xmin = {_n(begin)}",
            f"    xmax = {_n(stop)}",
            f"    text = {_quoted(text)}",
        ]
    return lines


def _points(name: str, points: list[tuple[float, str]], end: float) -> list[str]:
    lines = ['class = "TextTier"', f"name = {_quoted(name)}", "xmin = 0", f"xmax = {_n(end)}"]
    apart = dict(sorted(points))  # one point at a time, as Praat wants it: of several the last stays
    lines.append(f"points: size = {len(apart)}")
    for n, (at, text) in enumerate(apart.items(), 1):
        lines += [f"points [{n}]:", f"    number = {_n(at)}", f"    mark = {_quoted(text)}"]
    return lines


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', '""') + '"'


def _n(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"
