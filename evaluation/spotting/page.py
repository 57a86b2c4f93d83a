"""The report as files and as a page of Markdown: what to read first comes first, long tables are folded away."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

from mellm.evaluation.metrics import marks
from mellm.evaluation.metrics.table import pipes
from mellm.evaluation.spotting.measures import Distractor, Part, Recall
from mellm.evaluation.spotting.report import Report
from mellm.evaluation.spotting.stats import Estimate
from mellm.stream import files


def write(report: Report, out: Path) -> list[Path]:
    """``report.json``, ``report.md`` and the plots into a folder; returns what was written."""
    from mellm.evaluation.spotting import plots

    out.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw(report, out)
    whole = {
        out / "report.json": json.dumps(report.to_json(), indent=1) + "\n",
        out / "report.md": markdown(report, [p.name for p in pictures]),
    }
    for path, text in whole.items():
        files.write(path, text)
    return [*whole, *pictures]


BEGIN, END = "<!-- results: written by mellm eval spotting --page -->", marks.END


def publish(report: Report, page: Path) -> list[Path]:
    """Put the report between the marks of a page of Markdown, its plots into ``img/spotting`` beside the page.

    :raises UsageError: the page is not there or has no marks
    """
    from mellm.evaluation.spotting import plots

    marked(page)
    pictures = page.parent / "img" / "spotting"
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(report, pictures)
    text = markdown(report, [str(p.relative_to(page.parent)) for p in drawn])
    marks.put(page, text, BEGIN)
    return [page, *drawn]


def marked(page: Path) -> None:
    """:raises UsageError: the page is not there or has no place for results"""
    marks.marked(page, BEGIN)


def markdown(report: Report, pictures: Iterable[str] = ()) -> str:
    """The report as a page; tables first, then plots."""
    m = report.machine
    parts = [
        f"Measured {report.date} on a {m['cpu']} CPU, Python {m['python']}, numpy {m['numpy']}, "
        f"onnxruntime {m['onnxruntime']}. Square brackets are 95 % intervals.",
        _spotters(report),
        "### Sets\n\n" + _sets(report),
        "### Scores\n\n" + _scores(report),
        "### At equal false alarms\n\n" + _equals(report),
        "### Moments, latency\n\n" + _moments(report),
    ]
    for title, key in (
        ("size over the face's own motion", "own_motion"),
        ("peak motion in pixels", "peak_px"),
        ("peak motion over face width", "peak_face"),
        ("action unit", "unit"),
    ):
        table = _recalls(report, key)
        parts.append(table and _folded(f"Recall by {title}", table, fold=key == "unit"))
    for title, key in (("frame rate", "fps"), ("kind of clip", "group"), ("filmed person", "person")):
        table = _parts(report, key)
        parts.append(table and _folded(f"Scores by {title}", table, fold=True))
    table = _distractors(report)
    parts.append(table and _folded("Distractors", table, fold=True))
    shown = [f"![{Path(name).stem.replace('-', ' ')}]({name})" for name in pictures]
    return "\n\n".join(p for p in [*parts, *shown] if p) + "\n"


def _folded(title: str, table: str, *, fold: bool) -> str:
    """A titled table; a long one is folded away."""
    if not fold:
        return f"### {title}\n\n{table}"
    return f"<details><summary>{title}</summary>\n\n{table}\n\n</details>"


def two(value: float | None) -> str:
    """.72, 1.00, – for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.2f}".removeprefix("0") if value < 1 else f"{value:.2f}"


def ranged(e: Estimate, digits: int = 2) -> str:
    """A number with its interval."""
    if digits == 2:
        return f"{two(e.value)} [{two(e.low)}, {two(e.high)}]"
    return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


def _spotters(report: Report) -> str:
    lines = []
    for name, facts in report.spotters.items():
        what = (
            f"version {facts['version']}, SHA-256 `{facts['sha256'][:12]}`"
            if "sha256" in facts
            else facts["kind"]
        )
        options = ", ".join(f"{k} {v:g}" for k, v in facts["options"].items() if isinstance(v, int | float))
        folds = (
            f"; filmed people judged by the networks {', '.join(facts['folds'])} that never saw them"
            if facts.get("folds")
            else ""
        )
        lines.append(f"- **{name}**: {what}; {options}{folds}")
    return "\n".join(lines)


def _sets(report: Report) -> str:
    rows = [
        [
            s.name,
            str(f.clips) if f.clips == f.wanted else f"{f.clips} of {f.wanted}",
            str(f.subjects),
            str(f.truths),
            f"{f.seconds:.0f}",
            f"{f.seen_s:.0f}",
        ]
        for s in report.sets
        for f in [s.facts]
    ]
    return pipes(["set", "clips", "people", "expressions", "seconds", "with a face"], rows)


def _scores(report: Report) -> str:
    rows = []
    for s in report.sets:
        for r in s.results:
            mark = " †" if r.seen_in_training else ""
            known = s.facts.truths > 0
            rows.append(
                [
                    s.name,
                    r.spotter + mark,
                    f"{r.level:g}",
                    ranged(r.ratios.f1) if known else "–",
                    ranged(r.ratios.precision) if known else "–",
                    ranged(r.ratios.recall) if known else "–",
                    f"{r.score.tp} / {r.score.fp} / {r.score.fn}",
                    ranged(r.false_per_minute, 1),
                    two(r.unit_f1),
                ]
            )
    text = pipes(
        [
            "set",
            "spotter",
            "threshold",
            "F1",
            "precision",
            "recall",
            "right / false / missed",
            "false a minute",
            "unit F1",
        ],
        rows,
    )
    if any(r.seen_in_training for s in report.sets for r in s.results):
        text += "\n\n† some of these people were in its training."
    return text


def _equals(report: Report) -> str:
    rows = [
        [
            s.name,
            e.ours,
            e.baseline,
            f"{e.at_ours[0]:.1f}",
            f"{two(e.at_ours[1])} : {two(e.at_ours[2])}",
            f"{e.at_baseline[0]:.1f}",
            f"{two(e.at_baseline[1])} : {two(e.at_baseline[2])}",
            "yes" if e.holds else "**no**",
        ]
        for s in report.sets
        for e in s.equal
    ]
    head = [
        "set",
        "ours",
        "baseline",
        "our false / min",
        "F1 ours : its best",
        "its false / min",
        "F1 our best : its",
    ]
    return pipes([*head, "twice both ways"], rows) if rows else "No set with expressions, or no baseline."


def _moments(report: Report) -> str:
    rows = []
    for s in report.sets:
        for r in s.results:
            if not r.score.tp + r.score.fp:
                continue
            cells = []
            for name in ("onset", "apex", "offset"):
                e = r.errors.get(name)
                cells.append(f"{e.mean:.0f} / {e.median:.0f} ({e.bias:+.0f})" if e else "–")
            late = r.latency
            media = (
                f"{late.p50:.0f} / {late.p95:.0f}"
                if late and late.spots
                else "at the end"
                if not late
                else "–"
            )
            step = (
                f"{late.step_p50:.2f} / {late.step_p95:.2f}" if late and math.isfinite(late.step_p50) else "–"
            )
            rows.append([s.name, r.spotter, *cells, media, step])
    head = [
        "set",
        "spotter",
        "onset ms",
        "apex ms",
        "offset ms",
        "published after the offset, ms",
        "network step, ms",
    ]
    return (
        pipes(head, rows)
        + "\n\nErrors: mean / median of the absolute error (mean of the signed one). Latency in media time "
        "and the network's wall time: 50th / 95th percentile. Face, landmarks and flow come on top: see `mellm bench`."
    )


def _recalls(report: Report, key: str) -> str:
    sets = [s for s in report.sets if s.facts.truths]
    rows = []
    for s in sets:
        for k, row in enumerate(s.results[0].recalls[key] if s.results else ()):
            if row.truths:
                rows.append(
                    [s.name, row.label, str(row.truths), *(_recall(r.recalls[key][k]) for r in s.results)]
                )
    names = [r.spotter for r in sets[0].results] if sets else []
    return pipes(["set", "bin" if key != "unit" else "unit", "expressions", *names], rows) if rows else ""


def _recall(row: Recall) -> str:
    return ranged(row.recall) if row.truths else "–"


def _parts(report: Report, key: str) -> str:
    rows = []
    for s in report.sets:
        parts: tuple[Part, ...] = s.results[0].parts[key] if s.results else ()
        for k, p in enumerate(parts):
            cells = [_part(r.parts[key][k]) for r in s.results]
            rows.append([s.name, p.label, str(p.clips), f"{p.seconds:.0f}", str(p.truths), *cells])
    if not rows:
        return ""
    table = pipes(["set", "clips of", "clips", "seconds", "expressions", *report.spotters], rows)
    return f"{table}\n\nF1 · false alarms a minute."


def _part(part: Part) -> str:
    rate = f"{part.false_per_minute.value:.1f}"
    return f"{two(part.score.f1)} · {rate}" if part.truths else rate


def _distractors(report: Report) -> str:
    rows = []
    for s in report.sets:
        for k, d in enumerate(s.results[0].distractors if s.results else ()):
            cells = [_distractor(r.distractors[k]) for r in s.results]
            rows.append([s.name, d.kind, f"{100 * d.time_share:.0f} %", str(d.truths), *cells])
    if not rows:
        return ""
    table = pipes(["set", "at", "of the time", "expressions", *report.spotters], rows)
    return (
        f"{table}\n\nExpressions found there · false alarms there (a minute of it). An event of several kinds at once "
        "counts under each; `none`: away from all of them. Real recordings have no list of events."
    )


def _distractor(d: Distractor) -> str:
    return f"{d.found if d.truths else '–'} · {d.false_alarms} ({d.false_per_minute:.1f})"
