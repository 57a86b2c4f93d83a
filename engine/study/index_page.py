"""The page of a study: one file with the table, the conditions and a small timeline of each recording."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final
from xml.sax.saxutils import escape

from mellm.detectors.sensitivity import BARS, LARGEST
from mellm.engine.export import citing, judged_band, statistics, words
from mellm.engine.export.report import CLASSES, MARKS
from mellm.engine.governance.purpose import NOTICE
from mellm.engine.results import run_reader as runs
from mellm.engine.results.expressions import DISCLAIMER, ExpressionRecord
from mellm.engine.results.run_folder import RUNS
from mellm.engine.study.compare import DRAWS, Comparison, Condition, label
from mellm.engine.study.plan import Plan
from mellm.engine.study.tables import Recording
from mellm.stream.clock import clock

WIDTH, BAND, TOP = 1000, 8, 44
"""Of a small timeline, in units of its picture."""

HEADS: Final = (
    ("Recording", True),
    ("Subject", True),
    ("Session", True),
    ("Condition", True),
    ("Analysed", False),
    ("Judged, upper face", False),
    ("Judged, lower face", False),
    ("Expressions", False),
    ("A judged minute", False),
    ("Frames not judged", False),
    ("Gaps", False),
    ("Frames a second", False),
    ("Smallest motion found, upper / lower", False),
    ("Checked", True),
)


def to_html(
    title: str, plan: Plan, study: Sequence[Recording], comparison: Comparison, *, report: str
) -> str:
    """The page.

    :param report: file name of the report in each run folder; the page links to those that are there
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    page = files("mellm.engine.study") / "page"
    script = (page / "study.js").read_text(encoding="utf-8")
    css = (files("mellm.engine.export") / "page" / "report.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        (page / "study.html.j2").read_text(encoding="utf-8")
    )
    done = [each.run for each in study if each.is_done and each.run is not None]
    links = {each.entry.name: _href(each, report) for each in study}
    plot = plotted(comparison.conditions, comparison.unit)
    return template.render(
        title=title,
        notice=f"{NOTICE} In short: {DISCLAIMER}",
        css=Markup(css + (page / "study.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        tiles=_tiles(study, comparison),
        unlisted=plan.unlisted,
        warnings=comparison.warnings,
        plot=Markup(plot),
        unit=comparison.unit,
        known=comparison.known,
        bar=f"{statistics.BAR:g}",
        bars=[f"{bar:g}" for bar in BARS],
        draws=DRAWS,
        differences=[
            {
                "names": f"{label(d.first)} − {label(d.second)}",
                "value": "–" if d.value is None else f"{d.value:+.2f}",
                "interval": "–" if d.interval is None else f"{d.interval[0]:+.2f} to {d.interval[1]:+.2f}",
                "both": d.both,
            }
            for d in comparison.differences
        ],
        heads=[{"name": name, "text": text} for name, text in HEADS],
        rows=[_row(each, links[each.entry.name]) for each in study],
        classes=[{"css": css, "name": name, "mark": mark} for css, name, mark in CLASSES],
        many=[_small(each, links[each.entry.name]) | {"svg": Markup(_timeline(each))} for each in study],
        methods=citing.together(done) if done else ["Nothing has been analysed yet."],
    )


def _href(each: Recording, report: str) -> str:
    there = each.is_done and each.run is not None and (each.run.path / report).is_file()
    return f"{RUNS}/{each.entry.id}/{report}" if there else ""


def _tiles(study: Sequence[Recording], comparison: Comparison) -> list[dict[str, str]]:
    done = [each.run for each in study if each.is_done and each.run is not None]
    left = len(study) - len(done)
    lower, upper, face, length = 0.0, 0.0, 0.0, 0.0
    for run in done:
        time = runs.judged(run, run.sources[0])
        upper += time.upper_s.get(statistics.BAR, 0.0)
        lower += time.lower_s.get(statistics.BAR, 0.0)
        face += time.face_s
        length += runs.duration_ms(run, run.sources[0])
    found = sum(len(statistics.counted(run.expressions)) for run in done)
    subjects = {each.entry.about.subject for each in study}
    empty = sum(not statistics.counted(run.expressions) for run in done)
    tiles = [
        (
            "Recordings",
            f"{len(done)} of {len(study)}" if left else str(len(done)),
            f"{left} not analysed" if left else "",
        ),
        ("Subjects", str(len(subjects)), ""),
        ("Analysed", clock(length, 0), "min:s"),
        ("Face usable", clock(1000 * face, 0), "min:s, over all faces"),
    ]
    if comparison.known:
        tiles.append(("Upper face judged", clock(1000 * upper, 0), f"lower face {clock(1000 * lower, 0)}"))
    tiles.append(("Expressions", str(found), f"none in {empty} of {len(done)} recordings"))
    return [{"name": name, "value": value, "more": more} for name, value, more in tiles]


def _cell(
    text: str, n: float | None = None, more: str = "", css: str = "", *, words: bool = False
) -> dict[str, Any]:
    return {
        "text": text,
        "n": None if words else "" if n is None else n,
        "more": more,
        "css": css or ("says" if words else ""),
    }


def _row(each: Recording, href: str) -> dict[str, Any]:
    about = each.entry.about
    first = [_cell(text, words=True) for text in (about.subject, about.session, about.condition)]
    if not each.is_done or each.run is None:
        blank = [_cell("") for _ in HEADS[5:-1]]
        state = _cell("failed" if each.run is not None else "not yet", css="failed")
        return {
            "name": each.entry.name,
            "href": "",
            "cells": [*first, state, *blank, _cell(each.error, css="text", words=True)],
        }
    run, source = each.run, each.source
    summary = run.state["sources"][source]
    counts, info = summary.get("counts") or {}, summary.get("source") or {}
    time, rate = runs.judged(run, source), statistics.judged_rate(run)
    refused = counts.get("faces_refused") or {}
    holes, fps = runs.gaps(run), info.get("effective_fps") or info.get("measured_fps")
    upper, lower = time.upper_s.get(statistics.BAR), time.lower_s.get(statistics.BAR)
    ends = rate.interval
    why = ", ".join(f"{words.reason(code)} {n}" for code, n in refused.items())
    cells = [
        *first,
        _cell(clock(runs.duration_ms(run, source), 0), runs.duration_ms(run, source)),
        *(
            _cell("not known" if s is None else clock(1000 * s, 0), s, _share(s, time.face_s))
            for s in (upper, lower)
        ),
        _cell(str(len(statistics.counted(run.expressions))), len(statistics.counted(run.expressions))),
        _cell(
            "–" if rate.per_minute is None else f"{rate.per_minute:.1f}",
            rate.per_minute,
            "" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f}",
        ),
        _cell(str(sum(refused.values())), sum(refused.values()), why),
        _cell(
            str(len(holes)),
            len(holes),
            f"{sum(g.to_ms - g.from_ms for g in holes) / 1000:.1f} s" if holes else "",
        ),
        _cell("–" if fps is None else f"{fps:.0f}", fps),
        _cell(f"{_percent(time.upper)} / {_percent(time.lower)}" if time.known else "not known", time.upper),
        _cell(", ".join(sorted({c.who for c in run.corrections.items})) or "no", words=True),
    ]
    return {"name": each.entry.name, "href": href, "cells": cells}


def _share(part: float | None, whole: float) -> str:
    return "" if part is None or whole < 1 else f"{100 * part / whole:.0f} % of the face time"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %" if value < LARGEST else f"over {LARGEST:g} %"


def _small(each: Recording, href: str) -> dict[str, Any]:
    about = each.entry.about
    told = [about.subject, about.session and f"session {about.session}", about.condition]
    length = "" if each.run is None else clock(runs.duration_ms(each.run, each.source), 0)
    if each.is_done and each.run is not None:
        found = len(statistics.counted(each.run.expressions))
        told.append(f"{found} expression{'' if found == 1 else 's'}")
    return {
        "name": each.entry.name,
        "href": href,
        "told": " · ".join(t for t in told if t),
        "length": length,
        "error": each.error,
    }


def _timeline(each: Recording) -> str:
    """Marks over two bands of judged time, of all faces together."""
    if not each.is_done or each.run is None:
        return ""
    run, source = each.run, each.source
    length = max(1.0, runs.duration_ms(run, source))

    def at(ms: float) -> float:
        return round(WIDTH * min(1.0, max(0.0, ms / length)), 2)

    parts = []
    for spans in runs.faces(run).values():
        parts += [_rect("seen", at(s.from_ms), at(s.to_ms), TOP - 3, 3) for s in spans]
    bands = judged_band.bands(run.path, source, length)
    for track in sorted(bands)[:1]:  # the face that was there first; the report shows all
        for band in bands[track]:
            placed = f"translate(0 {TOP + 2}) scale({WIDTH / float(band['width']):.4f} {BAND})"
            parts.append(f'<path class="{band["level"]}" transform="{placed}" d="{band["path"]}"/>')
    for span in (*runs.gaps(run), *runs.still_pictures(run)):
        parts.append(_rect("blind", at(span.from_ms), at(span.to_ms), 0, TOP + 2 + 2 * BAND))
    for record in run.expressions:
        high = 8 + 30 * min(1.0, max(0.0, record.score))
        middle = at((record.onset_ms + record.offset_ms) / 2)
        told = escape(f"{clock(record.onset_ms)} {words.headline(record)}")
        box = f'x="{middle - 4:.2f}" y="{TOP - 3 - high:.1f}" width="8" height="{high:.1f}" rx="1"'
        parts.append(f'<rect class="{_css(record)}" {box}><title>{told}</title></rect>')
    count = len(run.expressions)
    said = escape(f"{each.entry.name}: {count} expression{'' if count == 1 else 's'}", {'"': "&quot;"})
    return (
        f'<svg viewBox="0 0 {WIDTH} {TOP + 2 + 2 * BAND}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f"{''.join(parts)}</svg>"
    )


def _css(record: ExpressionRecord) -> str:
    if not record.is_counted:
        return "large"
    named = words.coarse(record)
    return named if named in MARKS else "none"


def _rect(css: str, left: float, right: float, top: float, high: float) -> str:
    return f'<rect class="{css}" x="{left}" y="{top}" width="{max(1.0, right - left):.2f}" height="{high}"/>'


ROW, LEFT, RIGHT = 46, 170, 24


def plotted(conditions: Sequence[Condition], unit: str) -> str:
    """Rates of the conditions as an SVG picture; empty where there is none."""
    shown = [c for c in conditions if c.rate is not None]
    if not shown:
        return ""
    values = [v for c in shown for v in (c.rate, *(c.interval or ()), *c.rates.values()) if v is not None]
    step = _step(max(values))
    most = step * max(1, -(-max(values) // step))
    wide, deep = 640, ROW * len(shown) + 40

    def x(value: float) -> float:
        return float(round(LEFT + (wide - LEFT - RIGHT) * value / most, 1))

    parts = []
    for k in range(round(most / step) + 1):
        parts.append(f'<line x1="{x(k * step)}" x2="{x(k * step)}" y1="8" y2="{deep - 32}"/>')
        parts.append(
            f'<text class="soft" x="{x(k * step)}" y="{deep - 14}" text-anchor="middle">{k * step:g}</text>'
        )
    for n, each in enumerate(shown):
        y = 8 + ROW * n + ROW / 2
        name = label(each.name)
        short = name if len(name) <= 20 else name[:19] + "…"
        parts.append(f'<text x="{LEFT - 12}" y="{y - 2}" text-anchor="end">{escape(short)}</text>')
        parts.append(
            f'<text class="soft" x="{LEFT - 12}" y="{y + 14}" text-anchor="end">'
            f"{each.subjects} subject{'' if each.subjects == 1 else 's'}, {each.judged_min['either']:.1f} min</text>"
        )
        if each.interval is not None:
            low, high = each.interval
            parts.append(f'<line class="range" x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}"/>')
        for k, (subject, rate) in enumerate(each.rates.items()):
            if rate is not None:
                lift = 8 * (k % 3 - 1)  # apart from each other, where rates are alike
                told = f"<title>{escape(subject)}: {rate:.2f}</title>"
                parts.append(f'<circle class="who" cx="{x(rate)}" cy="{y + lift}" r="4">{told}</circle>')
        assert each.rate is not None
        parts.append(
            f'<circle class="mean" cx="{x(each.rate)}" cy="{y}" r="6"><title>{each.rate:.2f}</title></circle>'
        )
    told = ", ".join(f"{label(c.name)} {c.rate:.2f}" for c in shown)
    said = escape(f"Expressions a {unit}: {told}", {'"': "&quot;"})
    return (
        f'<svg class="plot" viewBox="0 0 {wide} {deep}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    )


def _step(most: float) -> float:
    """Distance of the lines of the axis: 1, 2 or 5 times a power of ten, four to eight of them."""
    power: float = 10.0 ** math.floor(math.log10(max(most, 1e-3) / 6))
    return next(float(factor * power) for factor in (1, 2, 5, 10) if most <= 6 * factor * power)
