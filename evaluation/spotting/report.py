"""All spotters on all sets: one object, one JSON file, one page of Markdown."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.metrics.spotting import SpottingScore
from evaluation.spotting.contenders import Contender
from evaluation.spotting.data import seen_s
from evaluation.spotting.measures import Distractor, Part, Point, Recall, Result, best_within, result
from evaluation.spotting.stats import Estimate
from stream.errors import UsageError
from training.spotter.records import Record

FORMAT = "mellm-eval-spotting/1"
TWICE = 2.0
"""How many times the baseline's F1 ours must reach at equal false alarms."""


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What a set holds. ``wanted``: clips of its recipe; ``seen_s``: seconds in which a face could be analysed."""

    clips: int
    wanted: int
    subjects: int
    truths: int
    seconds: float
    seen_s: float


@dataclass(frozen=True, slots=True)
class Equal:
    """Ours against a causal baseline on one set, with the same false alarms allowed to both.

    ``at_ours``: at our false alarms a minute, our F1 and the baseline's best; ``at_baseline``: at the baseline's, our
    best and its F1. ``ratio`` is ``None`` where the baseline finds nothing.
    """

    ours: str
    baseline: str
    at_ours: tuple[float, float, float]
    at_baseline: tuple[float, float, float]

    @property
    def ratios(self) -> tuple[float | None, float | None]:
        """Ours over the baseline's, at either number of false alarms."""
        (_, a, b), (_, c, d) = self.at_ours, self.at_baseline
        return a / b if b else None, c / d if d else None

    @property
    def holds(self) -> bool:
        """Whether ours reaches :data:`TWICE` the baseline's both ways."""
        (_, a, b), (_, c, d) = self.at_ours, self.at_baseline
        return a > 0 and c > 0 and a >= TWICE * b and c >= TWICE * d


@dataclass(frozen=True, slots=True)
class SetReport:
    """One set: what it holds, a result for each spotter, and comparisons at equal false alarms."""

    name: str
    facts: SetFacts
    results: tuple[Result, ...]
    equal: tuple[Equal, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The evaluation. ``spotters``: name → what it is."""

    date: str
    machine: dict[str, str]
    spotters: dict[str, dict[str, Any]]
    sets: tuple[SetReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is not a finite number is ``null``."""
        plain: dict[str, Any] = {"format": FORMAT, **_plain(self)}
        return plain


def evaluate(
    sets: Mapping[str, Sequence[Record]],
    contenders: Sequence[Contender],
    *,
    wanted: Mapping[str, int] | None = None,
    progress: Callable[[str, str], None] | None = None,
) -> Report:
    """Run every spotter on every set.

    :param wanted: clips that the recipe of a set asks for, where that is known
    """
    reports = []
    for name, records in sets.items():
        results = []
        for contender in contenders:
            if progress:
                progress(name, contender.name)
            results.append(result(contender, records))
        facts = SetFacts(
            len(records),
            (wanted or {}).get(name, len(records)),
            len({r.subject for r in records}),
            sum(len(r.truths) for r in records),
            sum(r.seconds for r in records),
            sum(seen_s(r) for r in records),
        )
        kinds = {c.name: c.facts()["kind"] for c in contenders}
        reports.append(SetReport(name, facts, tuple(results), _equal(results, kinds)))
    return Report(
        datetime.now(UTC).date().isoformat(),
        {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "onnxruntime": version("onnxruntime"),
            "cpu": f"{os.cpu_count()}-core {platform.machine()}",
        },
        {c.name: c.facts() for c in contenders},
        tuple(reports),
    )


def _equal(results: Sequence[Result], kinds: Mapping[str, str]) -> tuple[Equal, ...]:
    if not any(r.score.tp + r.score.fn for r in results):
        return ()
    networks = [r for r in results if kinds[r.spotter] == "network"]
    others = [r for r in results if kinds[r.spotter] == "training-free"]
    return tuple(equal(ours, other) for ours in networks for other in others)


def equal(ours: Result, baseline: Result) -> Equal:
    """The comparison of :class:`Equal` from two curves."""

    def best(points: Sequence[Point], rate: float) -> float:
        found = best_within(points, rate)
        return found.f1 if found else 0.0

    mine, its = ours.false_per_minute.value, baseline.false_per_minute.value
    return Equal(
        ours.spotter,
        baseline.spotter,
        (mine, ours.ratios.f1.value, best(baseline.curve, mine)),
        (its, best(ours.curve, its), baseline.ratios.f1.value),
    )


def write(report: Report, out: Path) -> list[Path]:
    """``report.json``, ``report.md`` and the plots into a folder; returns what was written."""
    from evaluation.spotting import plots

    out.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw(report, out)
    whole = {
        out / "report.json": json.dumps(report.to_json(), indent=1) + "\n",
        out / "report.md": markdown(report, [p.name for p in pictures]),
    }
    for path, text in whole.items():
        part = path.with_suffix(".part")
        part.write_text(text)
        os.replace(part, path)
    return [*whole, *pictures]


BEGIN, END = "<!-- results: written by mellm eval spotting --page -->", "<!-- end of results -->"


def publish(report: Report, page: Path) -> list[Path]:
    """Put the report between the marks of a page of Markdown, its plots into ``img/spotting`` beside the page.

    :raises UsageError: the page is not there or has no marks
    """
    from evaluation.spotting import plots

    marked(page)
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    pictures = page.parent / "img" / "spotting"
    pictures.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(report, pictures)
    text = markdown(report, [str(p.relative_to(page.parent)) for p in drawn])
    part = page.with_suffix(".part")
    part.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    os.replace(part, page)
    return [page, *drawn]


def marked(page: Path) -> None:
    """:raises UsageError: the page is not there or has no place for results"""
    text = page.read_text() if page.is_file() else ""
    if BEGIN not in text or END not in text.partition(BEGIN)[2]:
        raise UsageError(
            f"{page} has no place for results", remedy=f"put these two lines into it: {BEGIN} and {END}"
        )


def _plain(value: Any) -> Any:
    """Dataclasses and named tuples as dictionaries, NaN and infinity as ``None``."""
    if isinstance(value, SpottingScore):
        return {"tp": value.tp, "fp": value.fp, "fn": value.fn}
    if isinstance(value, Equal):
        return {**asdict(value), "ratios": value.ratios, "holds": value.holds}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


# --- Markdown -------------------------------------------------------------------------------------------------------


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


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
    return _table(["set", "clips", "people", "expressions", "seconds", "with a face"], rows)


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
    text = _table(
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
    return _table([*head, "twice both ways"], rows) if rows else "No set with expressions, or no baseline."


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
        _table(head, rows)
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
    return _table(["set", "bin" if key != "unit" else "unit", "expressions", *names], rows) if rows else ""


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
    table = _table(["set", "clips of", "clips", "seconds", "expressions", *report.spotters], rows)
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
    table = _table(["set", "at", "of the time", "expressions", *report.spotters], rows)
    return (
        f"{table}\n\nExpressions found there · false alarms there (a minute of it). An event of several kinds at once "
        "counts under each; `none`: away from all of them. Real recordings have no list of events."
    )


def _distractor(d: Distractor) -> str:
    return f"{d.found if d.truths else '–'} · {d.false_alarms} ({d.false_per_minute:.1f})"
