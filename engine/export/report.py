"""One self-contained page about a run: opens from disk, asks no network, shows whatever a model said as text."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any, Final

from mellm.detectors.sensitivity import BARS, LARGEST, SHARE
from mellm.engine.export import citing, judged_band, statistics, words
from mellm.engine.export.report_media import SCRIPTS, page_data
from mellm.engine.governance.purpose import NOTICE
from mellm.engine.results import run_reader as runs
from mellm.engine.results.expressions import DISCLAIMER, ExpressionRecord, quality_json
from mellm.engine.results.run_reader import Run, Span
from mellm.stream.clock import clock

CLASSES = (
    ("negative", "negative", "−"),
    ("positive", "positive", "+"),
    ("surprise", "surprise", "!"),
    ("none", "no class", "·"),
    ("large", "larger than a micro-expression", "×"),
)
"""Coarse class, its words, and the mark that tells it without colour."""

MARKS = {css: mark for css, _, mark in CLASSES}
TICKS = 10
"""Ticks of the axis before the script has drawn its own, and on paper."""

WANTED_FPS = 50
"""A recording with fewer frames a second is called slow; a camera of 50 measures a little less."""

KEYS: Final = (
    (("n", "p"), "next, previous expression"),
    (("space",), "play, pause"),
    (("l",), "loop from onset to offset"),
    (("1", "2", "3", "4"), "speed 1, ½, ¼, ⅛"),
    ((",", "."), "one frame back, forward (or the arrow keys)"),
    (("a", "r"), "accept, reject"),
    (("c",), "correct: change times, units or class, then Enter"),
    (("m",), "comment"),
    (("i",), "add an expression that was missed, at the time of the video"),
    (("u",), "take the last decision about this expression back"),
    (("s",), "save the corrections"),
    (("e",), "fold the evidence in or out"),
    (("?",), "these keys"),
)
"""Keys of ``page/js/keys.js``, with what they do; a test compares them."""

Pictures = Mapping[str, tuple[str, str]]
"""Expression id → onset and apex as ``data:`` addresses."""


def to_html(
    run: Run,
    *,
    faces: Pictures | None = None,
    motion_map: Callable[[Run, ExpressionRecord], str | None] = lambda run, record: None,
    face_size: tuple[int, int] = (240, 276),
    beside: Path | None = None,
) -> str:
    """The page.

    :param faces: pictures of onset and apex, see :func:`mellm.engine.export.pictures.faces`; ``None`` where they are
        not wanted
    :param motion_map: the map of an expression as a ``data:`` address
    :param face_size: width and height of the pictures, pixels
    :param beside: folder that the page will lie in, from which it finds the video; by default the run folder
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    page = files("mellm.engine.export") / "page"
    script = "".join((page / "js" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        (page / "report.html.j2").read_text(encoding="utf-8")
    )
    rows = [_expression(run, record, n, faces or {}, motion_map) for n, record in enumerate(_by_time(run))]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shown = {e["id"] for e in rows if e["onset"]}
    data = page_data(run, beside, _key)
    curves = {one["id"] for one in data["recordings"] if one["curves"]}
    return template.render(
        data=data,
        curves=bool(curves),
        keys=KEYS,
        title=", ".join(_name(run, source) for source in run.sources) or run.path.name,
        notice=f"{NOTICE} In short: {DISCLAIMER}",
        # our own files, and no run's: they are not escaped
        css=Markup((page / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        tiles=_tiles(run),
        total=len(rows),
        rate=statistics.judged_rate(run),
        base=statistics.base_rate(run),
        bar=f"{statistics.BAR:g}",
        found_with=round(100 * SHARE),
        bars=[f"{bar:g}" for bar in BARS],
        blank=_blank(run),
        classes=[{"css": css, "name": name, "mark": mark} for css, name, mark in CLASSES],
        recordings=[
            _recording(part, source, n) | {"curves": source in curves}
            for n, (source, part) in enumerate(run.each())
        ],
        expressions=rows,
        face_width=face_size[0],
        face_height=face_size[1],
        missing_faces=_missing(len(rows) - len(shown), faces),
        published=_published(run),
        units=statistics.unit_rows(run.expressions),
        described=statistics.states(run.expressions)["described"],
        settings=_settings(run),
    )


def _by_time(run: Run) -> list[ExpressionRecord]:
    place = {source: n for n, source in enumerate(run.sources)}
    return sorted(run.expressions, key=lambda r: (place.get(r.source, 0), r.onset_ms, r.track))


def _name(run: Run, source: str) -> str:
    return PurePath(str(run.state["sources"][source].get("path") or source)).name


def _key(record: ExpressionRecord) -> str:
    """An anchor; ids are hexadecimal, unless somebody made the run by hand."""
    return "e-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in record.id)


def _css(record: ExpressionRecord) -> str:
    if not record.is_counted:
        return "large"
    named = words.coarse(record)
    return named if named in MARKS else "none"


def _expression(
    run: Run,
    record: ExpressionRecord,
    order: int,
    faces: Pictures,
    motion_map: Callable[[Run, ExpressionRecord], str | None],
) -> dict[str, Any]:
    share, named = words.probability(record), words.coarse(record)
    quality = {} if record.quality is None else quality_json(record.quality)
    onset, apex = faces.get(record.id, ("", ""))
    scores = {} if record.emotion is None else record.emotion.scores
    described = record.state == "described"
    description = record.description
    fallback = None if description is None else description.fallback
    return {
        "id": record.id,
        "key": _key(record),
        "order": order,
        "at": clock(record.onset_ms),
        "source": record.source,
        "track": record.track,
        "length": f"{record.duration_ms:.0f}",
        "score": record.score,
        "score_text": f"{record.score:.2f}",
        "share": f"{100 * min(1.0, max(0.0, record.score)):.1f}",
        "units": words.facs(record).replace("+", " + ") or ("none named" if described else "–"),
        "class": f"{named} {share:.2f}"
        if named and share is not None
        else words.headline(record)
        if not described
        else "–",
        "css": _css(record),
        "mark": MARKS[_css(record)],
        "quality": ", ".join(
            [words.verdict(quality.get("verdict")), *map(words.reason, quality.get("reasons") or [])]
        ),
        "text": words.text(record),
        "probabilities": " · ".join(f"{name} {value:.2f}" for name, value in scores.items()),
        "agreement": words.agreement(record),
        "model": ("" if description is None else description.model)
        + (f" (stood in for {fallback.model}: {words.reason(fallback.reason)})" if fallback else ""),
        "onset": onset,
        "apex": apex,
        "map": motion_map(run, record),
        "onset_at": clock(record.onset_ms),
        "apex_at": clock(record.apex_ms),
        "offset_at": clock(record.offset_ms),
        "measures": _measures(quality, record.sensitivity),
    }


def _measures(quality: Mapping[str, Any], said: tuple[float, float] | None) -> str:
    parts = (
        ("fps", "{:.0f} frames a second"),
        ("face_width", "face {:.0f} px wide"),
        ("yaw", "yaw {:.0f}°"),
        ("pitch", "pitch {:.0f}°"),
        ("motion", "largest motion {:.1f} % of the eye distance"),
    )
    shown = [said.format(quality[name]) for name, said in parts if name in quality]
    if said is not None:
        shown.append(
            f"just before it, motions of {_percent_said(said[0])} (upper face) and {_percent_said(said[1])} "
            "(lower face) would have been found"
        )
    return " · ".join(shown)


def _tiles(run: Run) -> list[dict[str, str]]:
    total_ms = sum(runs.duration_ms(run, source) for source in run.sources)
    rate = statistics.judged_rate(run)
    face_s = sum(runs.judged(run, source).face_s for source in run.sources)
    found = statistics.counted(run.expressions)
    count, large = len(found), len(run.expressions) - len(found)
    states = statistics.states(found)
    classes = statistics.emotions(found)
    why = statistics.why_undescribed(found)
    tracks = {(r.source, r.track) for r in found}
    followed = sum(int(s.get("counts", {}).get("tracks", 0)) for s in run.state["sources"].values())
    rest = count - states["described"]
    tiles = [
        (
            "Analysed",
            clock(total_ms, 0),
            f"{len(run.sources)} recordings" if len(run.sources) > 1 else "min:s",
        ),
        ("Face usable", clock(1000 * face_s, 0), "min:s, over all faces"),
        *([("Could be judged", clock(1000 * rate.seconds, 0), _halves(run))] if rate.known else []),
        ("Expressions", str(count), _rate(rate)),
        ("Described", str(states["described"]), _listed(classes)),
        ("Without description", str(rest), _listed(why)),
        *([("Larger motions", str(large), "not counted: larger than a micro-expression")] if large else []),
        ("Faces followed", str(followed), f"{len(tracks)} of them with expressions"),
    ]
    return [{"name": name, "value": value, "more": more} for name, value, more in tiles]


def _rate(rate: statistics.JudgedRate) -> str:
    if rate.per_minute is None:
        return "too little could be judged for a rate" if rate.known else ""
    rest = f"; {rate.elsewhere} at moments that count as hidden" if rate.elsewhere else ""
    return f"{rate.per_minute:.1f} a {rate.unit}{rest}"


def _halves(run: Run) -> str:
    times = [runs.judged(run, source) for source in run.sources]
    upper, lower = (
        sum(s.get(statistics.BAR, 0.0) for s in halves)
        for halves in zip(*((t.upper_s, t.lower_s) for t in times), strict=True)
    )
    return f"upper face {clock(1000 * upper, 0)}, lower face {clock(1000 * lower, 0)}"


def _blank(run: Run) -> str:
    """Why nothing could be judged at all; empty where something could. It is said before anything else."""
    rate = statistics.judged_rate(run)
    if rate.seconds >= 1:
        return ""
    refused: Counter[str] = Counter()
    with_face = 0
    for source in run.sources:
        counts = run.state["sources"][source].get("counts") or {}
        refused.update(counts.get("faces_refused") or {})
        with_face += int(counts.get("frames_with_face", 0))
    if refused:
        why = ", ".join(f"{words.reason(code)} in {n} frames" for code, n in refused.most_common())
        return f"Nothing could be judged: a face was visible in {with_face} frames, but not usable ({why})."
    if not with_face:
        return "Nothing could be judged: no face was found."
    if not rate.known:
        return "Nothing could be judged: the face was never visible long enough without a break."
    return (
        f"Nothing could be judged: the face moved so much by itself that a motion of {statistics.BAR:g} % of the eye "
        "distance would have been found at no moment."
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} {name}" for name, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))
    )


def _recording(run: Run, source: str, number: int) -> dict[str, Any]:
    length = max(runs.duration_ms(run, source), 1.0)
    seen = runs.faces(run)
    tracks = sorted({*seen, *(r.track for r in run.expressions)})
    bands = judged_band.bands(run.path, source, length)
    blind = sorted([*runs.gaps(run), *runs.still_pictures(run)], key=lambda s: (s.from_ms, s.to_ms))
    summary = run.state["sources"][source]
    return {
        "id": source,
        "key": f"timeline-{number}",
        "ms": length,
        "markers": [
            {"left": _percent(m.t_ms, length), "at": clock(m.t_ms), "label": " ".join(m.label.split())}
            for m in run.markers
            if m.t_ms <= length
        ],
        "lanes": [
            {
                "track": track,
                "seen": [_bar(s, length) for s in seen.get(track, [])],
                "bands": bands.get(track, []),
                "marks": [_mark(r, length) for r in run.expressions if r.track == track],
            }
            for track in tracks
        ],
        "blind": [
            _bar(s, length)
            | {
                "at": clock(s.from_ms),
                "to": clock(s.to_ms),
                "seconds": f"{(s.to_ms - s.from_ms) / 1000:.2f}",
                "what": words.reason(s.what),
            }
            for s in blind
        ],
        "ticks": [
            {"left": _percent(length * k / TICKS, length), "at": clock(length * k / TICKS, 0)}
            for k in range(TICKS)
        ],
        "quality": _quality(run, source, summary),
        "problems": [*_problems(summary), *_lowered(run), *runs.problems(run)],
    }


def _mark(record: ExpressionRecord, length: float) -> dict[str, str]:
    span = Span(record.onset_ms, record.offset_ms, "")
    return _bar(span, length) | {
        "css": _css(record),
        "mark": MARKS[_css(record)],
        "href": _key(record),
        "at": clock(record.onset_ms),
        "said": words.headline(record),
        "score": f"{record.score:.2f}",
        # the lowest score that is spotted at all still has to be seen and hit
        "height": f"{20 + 46 * min(1.0, max(0.0, record.score)):.0f}",
    }


def _bar(span: Span, length: float) -> dict[str, str]:
    return {
        "left": _percent(span.from_ms, length),
        "width": _percent(max(0.0, span.to_ms - span.from_ms), length),
    }


def _percent(part: float, whole: float) -> str:
    return f"{100 * min(1.0, max(0.0, part / whole)):.4f}"


def _quality(run: Run, source: str, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    time = runs.judged(run, source)
    info, counts = summary.get("source") or {}, summary.get("counts") or {}
    captured = int(counts.get("captured", 0))

    def share(n: int) -> str:
        return f"{n} ({100 * n / captured:.1f} %)" if captured else str(n)

    refused = counts.get("faces_refused") or {}
    rows = [
        (
            "Picture",
            f"{info['width']} × {info['height']} pixels, {info.get('codec') or info['kind']}" if info else "",
        ),
        ("Frame rate", _rates(info)),
        ("Frames read", str(captured)),
        ("Frames analysed", share(int(counts.get("analysed", 0)))),
        ("Frames skipped", _reasons(counts.get("frames_dropped")) or "none"),
        ("Gaps", _reasons(counts.get("gaps")) or "none"),
        ("Time stamps repaired", str(counts.get("repaired_stamps", 0))),
        ("Time stamps guessed", str(counts.get("guessed_stamps", 0))),
        ("Frames with a face", share(int(counts.get("frames_with_face", 0)))),
        ("Faces not judged", _refused(refused) or "none"),
        ("Time with a usable face", f"{time.face_s:.1f} s"),
        *(
            (f"Could be judged, motions of {bar:g} %", _judged(time, bar))
            for bar in (BARS if time.known else ())
        ),
        (
            "Smallest motion that would be found (median)",
            f"upper face {_percent_said(time.upper)}, lower face {_percent_said(time.lower)}"
            if time.known
            else "",
        ),
        (
            "Speed of the analysis",
            f"{summary['real_time_factor']} × real time" if summary.get("real_time_factor") else "",
        ),
    ]
    return [(name, value) for name, value in rows if value]


def _judged(time: runs.Judged, bar: float) -> str:
    def share(seconds: Mapping[float, float]) -> str:
        found = seconds.get(bar, 0.0)
        return f"{found:.1f} s ({100 * found / time.face_s:.0f} %)" if time.face_s else f"{found:.1f} s"

    return f"upper face {share(time.upper_s)}, lower face {share(time.lower_s)}"


def _percent_said(value: float | None) -> str:
    """A sensitivity for people."""
    if value is None:
        return "not known"
    return f"{value:.1f} %" if value < LARGEST else f"{LARGEST:g} % or more"


def _rates(info: Mapping[str, Any]) -> str:
    found = [
        f"{info[key]:.2f} a second {said}"
        for key, said in (("measured_fps", "measured"), ("declared_fps", "declared"))
        if info.get(key)
    ]
    return ", ".join(found)


def _refused(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{words.reason(code)} in {n} frame{'' if n == 1 else 's'}" for code, n in sorted(counts.items())
    )


def _reasons(counts: Mapping[str, int] | None) -> str:
    return ", ".join(f"{count} × {words.reason(code)}" for code, count in sorted((counts or {}).items()))


def _lowered(run: Run) -> list[str]:
    """Where the machine was too slow."""
    return [
        f"{clock(span.from_ms)} to {clock(span.to_ms)}: frames came faster than they could be measured; analysed: "
        f"{span.what}. Short and small expressions may be missing there."
        for span in runs.lowered(run)
    ]


def _problems(summary: Mapping[str, Any]) -> list[str]:
    found = []
    if summary.get("state") == "failed":
        found.append(
            f"The analysis ended early: {(summary.get('error') or {}).get('message', 'unknown error')}"
        )
    if summary.get("ended_early"):
        found.append(f"The recording ended early: {summary['ended_early']}")
    found += [remark[:1].upper() + remark[1:] for remark in summary.get("remarks") or ()]
    info = summary.get("source") or {}
    rate = info.get("effective_fps") or info.get("measured_fps") or 0
    if 0 < rate < WANTED_FPS - 1:
        found.append(
            f"At {rate:.0f} frames a second many micro-expressions last a few frames only: some are missed, "
            f"and times are coarse. {WANTED_FPS} or more are recommended."
        )
    return found


SPOTTING: Final = {
    "threshold": "Smallest score of an expression",
    "release": "Score that ends an expression",
    "min_ms": "Shortest expression (ms)",
    "max_ms": "Longest expression (ms)",
    "tolerance_ms": "Tolerance of the longest (ms)",
    "merge_gap_ms": "Merge expressions closer than (ms)",
    "macro_veto": "No expression where an ordinary one is likelier than",
    "patience_ms": "Publish at the latest after (ms)",
}


def _settings(run: Run) -> list[tuple[str, str]]:
    settings, facts = run.state.get("settings") or {}, run.state.get("facts") or {}
    spotting = facts.get("spotting") or settings.get("spotting") or {}
    machine = facts.get("machine") or {}
    providers = sorted(
        {p for s in run.state["sources"].values() for p in (s.get("providers") or {}).values()}
    )
    rows: list[tuple[str, Any]] = [
        *citing.rows(run),
        ("Describer", " · ".join(str(v) for v in (settings.get("describer"), settings.get("profile")) if v)),
        *(
            (SPOTTING.get(name, name.replace("_", " ")), value)
            for name, value in spotting.items()
            if value is not None
        ),
        ("Most faces followed", settings.get("max_faces")),
        ("Version", f"mellm-live {facts['mellm']}" if "mellm" in facts else None),
        *((f"Model: {m['name']}", f"{m['file']}, SHA-256 {m['sha256']}") for m in facts.get("models") or []),
        ("Ran on", ", ".join(providers)),
        ("Machine", f"{machine['system']} {machine['arch']}, {machine['cpus']} cores" if machine else None),
        ("Python", facts.get("python")),
        ("Libraries", _versions(facts.get("libraries") or {})),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries.items())


def _published(run: Run) -> str:
    profile = str((run.state.get("settings") or {}).get("profile") or "")
    return profile.partition("/")[0] if profile.startswith("mellm-v1") else ""


def _missing(count: int, faces: Pictures | None) -> str:
    if not count:
        return ""
    if faces is None:
        return "Pictures of faces were left out."
    return (
        f"{count} of the expressions have no picture of the face: no recording was found, or no face in it."
    )
