"""Pictures of a report; lines differ in dash as well as in colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mellm.evaluation.plotting import COLOURS, save, style
from mellm.evaluation.spotting.measures import Point

if TYPE_CHECKING:
    from mellm.evaluation.spotting.measures import Recall, Result
    from mellm.evaluation.spotting.report import Report, SetReport

_BLUE, _ORANGE, _GREEN, _PINK, _SKY, _ = COLOURS
_NETWORKS = ((_BLUE, "-", "o"), (_ORANGE, "--", "s"), (_SKY, (0, (5, 1)), "v"))
_OTHERS = ((_GREEN, "-.", "^"), (_PINK, ":", "D"))
_DECODERS = (("#7F7F7F", "-", "P"), ("#7F7F7F", ":", "X"), ("#8C564B", "-", "<"), ("#8C564B", ":", ">"))


LEAST = 0.05
"""Rates under this are drawn at the left edge."""


class _Style(NamedTuple):
    colour: str
    dash: Any
    marker: str


def draw(report: Report, out: Path) -> list[Path]:
    """Write the plots of a report as PNG files into a folder that exists; returns those that had something to show.

    :raises MissingExtra: matplotlib is not installed
    """
    names = list(report.spotters)
    styles = _styles(report)
    with_truth = [s for s in report.sets if s.facts.truths]
    todo: list[tuple[str, Sequence[SetReport], Callable[..., None], str]] = [
        ("precision-recall", with_truth, _precision_recall, ""),
        ("f1-at-false-alarms", with_truth, _f1_at_false_alarms, ""),
        ("recall-by-pixels", with_truth, _bins("peak_px", "peak motion, pixels (below: expressions)"), ""),
        (
            "recall-by-face-width",
            with_truth,
            _bins("peak_face", "peak motion, % of face width (below: expressions)"),
            "",
        ),
        ("recall-by-unit", with_truth, _units, "wide"),
        (
            "f1-by-frame-rate",
            _varied(with_truth, "fps", " fps"),
            _parts("fps", " fps", "frames a second"),
            "",
        ),
        (
            "f1-by-face-width",
            _varied(with_truth, "group", " px"),
            _parts("group", " px", "face width, pixels"),
            "",
        ),
        ("moments", [s for s in with_truth if any(r.errors for r in s.results)], _errors, ""),
        ("false-alarms", report.sets, _false_alarms, "one"),
    ]
    written = []
    with style() as new:
        for name, sets, paint, shape in todo:
            if not sets:
                continue
            figure = new()
            if shape == "one":
                figure.set_size_inches(8.4, 1.3 + 0.26 * len(sets) * len(names))
                paint(figure.subplots(), sets, styles)
            else:
                columns = 1 if shape == "wide" else {1: 1, 2: 2, 4: 2}.get(len(sets), 3)
                rows = -(-len(sets) // columns)
                figure.set_size_inches(
                    (9.6, 2.5 * rows) if shape == "wide" else (4.1 * columns + 0.2, 3.3 * rows + 0.5)
                )
                axes = figure.subplots(rows, columns, squeeze=False).ravel()
                for ax, part in zip(axes, sets, strict=False):
                    paint(ax, part, styles)
                    ax.set_title(f"{part.name} ({part.facts.truths} expressions)", loc="left")
                for ax in axes[len(sets) :]:
                    ax.set_axis_off()
                handles, labels = axes[0].get_legend_handles_labels()
                figure.legend(
                    handles,
                    labels,
                    loc="outside lower center",
                    ncols=4 if shape == "wide" else min(4, 2 * columns),
                )
            written.append(save(figure, out / f"{name}.png"))
    return written


def _styles(report: Report) -> dict[str, _Style]:
    """A baseline looks the same however many networks stand beside it."""
    out: dict[str, _Style] = {}
    kinds = (("network", _NETWORKS), ("training-free", _OTHERS), ("published decoder", _DECODERS))
    for kind, styles in kinds:
        names = [name for name, facts in report.spotters.items() if facts["kind"] == kind]
        out |= {name: _Style(*styles[k % len(styles)]) for k, name in enumerate(names)}
    return out


def _curves(
    ax: Any, part: SetReport, styles: dict[str, _Style], at: Callable[[Any], tuple[float, float]]
) -> None:
    """A line through the thresholds of each spotter, and a mark at the one in use."""
    for r in part.results:
        s = styles[r.spotter]
        points = [at(p) for p in sorted(r.curve, key=lambda p: p.level) if p.recall > 0]
        ax.plot([x for x, _ in points], [y for _, y in points], color=s.colour, ls=s.dash, label=r.spotter)
        if r.score.tp:
            used = Point(r.level, r.score.precision, r.score.recall, r.score.f1, r.false_per_minute.value)
            ax.plot(*at(used), s.marker, color=s.colour, ms=8, mec="white")


def _precision_recall(ax: Any, part: SetReport, styles: dict[str, _Style]) -> None:
    _curves(ax, part, styles, lambda p: (p.recall, p.precision))
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
    for f1 in (0.2, 0.4, 0.6, 0.8):  # lines of equal F1, for orientation
        recall = [f1 / 2 + (1 - f1 / 2) * k / 50 for k in range(1, 51)]
        ax.plot(recall, [f1 * x / (2 * x - f1) for x in recall], color="#BBBBBB", lw=0.7, zorder=0)
        ax.text(0.995, f1 / (2 - f1) + 0.01, f"F1 {f1:g}", color="#888888", fontsize=7, ha="right")


def _f1_at_false_alarms(ax: Any, part: SetReport, styles: dict[str, _Style]) -> None:
    """F1 against false alarms a minute; none at all is drawn at the left edge."""
    _curves(ax, part, styles, lambda p: (max(p.false_per_minute, LEAST), p.f1))
    ax.set(ylim=(0, 1), xlabel="false alarms a minute", ylabel="F1")
    _rates(ax)


def _rates(ax: Any) -> None:
    """An axis of rates, logarithmic from the left edge on, which stands for none."""
    ax.set(xscale="log", xlim=(LEAST, 200))
    ax.set_xticks([LEAST, 0.1, 1, 10, 100], ["0", "0.1", "1", "10", "100"])
    ax.minorticks_off()


def _bins(key: str, label: str) -> Callable[..., None]:
    def paint(ax: Any, part: SetReport, styles: dict[str, _Style]) -> None:
        _recall_bars(
            ax,
            [r for r in part.results if r.recalls[key]],
            key,
            styles,
            lambda row: row.label.rsplit(" ", 1)[0],
        )
        ax.set(xlabel=label, ylabel="recall")

    return paint


def _varied(sets: Sequence[SetReport], key: str, unit: str) -> list[SetReport]:
    """Sets with several values of something that their clips are labelled with."""
    return [s for s in sets if s.results and sum(p.label.endswith(unit) for p in s.results[0].parts[key]) > 1]


def _parts(key: str, unit: str, label: str) -> Callable[..., None]:
    def paint(ax: Any, part: SetReport, styles: dict[str, _Style]) -> None:
        for r in part.results:
            s = styles[r.spotter]
            shown = [p for p in r.parts[key] if p.label.endswith(unit)]
            ax.plot(
                [p.score.f1 for p in shown], color=s.colour, ls=s.dash, marker=s.marker, ms=6, label=r.spotter
            )
            ax.set_xticks(
                range(len(shown)), [f"{p.label.removesuffix(unit)}\n{p.truths}" for p in shown], fontsize=8
            )
        ax.set(xlabel=f"{label} (below: expressions)", ylabel="F1", ylim=(-0.03, 1.03))
        ax.grid(axis="x", visible=False)

    return paint


def _units(ax: Any, part: SetReport, styles: dict[str, _Style]) -> None:
    _recall_bars(ax, part.results, "unit", styles, lambda row: row.label)
    ax.set(xlabel="action unit (below: expressions that hold it)", ylabel="recall")


def _recall_bars(
    ax: Any, results: Sequence[Result], key: str, styles: dict[str, _Style], name: Callable[[Recall], str]
) -> None:
    """Points with their intervals, side by side in each bin; the count of expressions under the bin's name."""
    rows = results[0].recalls[key] if results else ()
    step = 0.7 / max(1, len(results))
    for k, r in enumerate(results):
        s = styles[r.spotter]
        known = [(i, row.recall) for i, row in enumerate(r.recalls[key]) if row.truths]
        x = [i + step * (k - (len(results) - 1) / 2) for i, _ in known]
        y = [e.value for _, e in known]
        spread = [[e.value - e.low for _, e in known], [e.high - e.value for _, e in known]]
        ax.errorbar(x, y, spread, fmt=s.marker, color=s.colour, ms=5, elinewidth=1.1, label=r.spotter)
    ax.set_xticks(range(len(rows)), [f"{name(row)}\n{row.truths}" for row in rows], fontsize=8)
    ax.set(ylim=(-0.03, 1.03), xlim=(-0.6, len(rows) - 0.4))
    ax.grid(axis="x", visible=False)


def _errors(ax: Any, part: SetReport, styles: dict[str, _Style]) -> None:
    """Median as a tick, mean as a marker, 95th percentile as the end of the line."""
    moments = ("onset", "apex", "offset")
    shown = [r for r in part.results if r.errors]
    step = 0.7 / max(1, len(shown))
    for k, r in enumerate(shown):
        s = styles[r.spotter]
        x = [i + step * (k - (len(shown) - 1) / 2) for i in range(3)]
        found = [r.errors[m] for m in moments]
        ax.vlines(x, [min(e.median, e.mean) for e in found], [e.p95 for e in found], color=s.colour, lw=1.2)
        ax.plot(x, [e.median for e in found], "_", color=s.colour, ms=9, mew=1.8)
        ax.plot(x, [e.mean for e in found], s.marker, color=s.colour, ls="none", ms=6, label=r.spotter)
    ax.set_xticks(range(3), moments)
    ax.set(
        ylabel="absolute error, ms",
        ylim=(0, None),
        xlabel="marker: mean, bar: median, line: to the 95th percentile",
    )
    ax.grid(axis="x", visible=False)


def _false_alarms(ax: Any, sets: Sequence[SetReport], styles: dict[str, _Style]) -> None:
    """Rates with exact intervals on a logarithmic axis; none at all is drawn at the left edge."""
    y, ticks = 0.0, []
    told: set[str] = set()
    for part in sets:
        first = y
        for r in part.results:
            s = styles[r.spotter]
            e = r.false_per_minute
            ax.plot([max(e.low, LEAST), max(e.high, LEAST)], [y, y], color=s.colour, lw=1.4)
            ax.plot(
                max(e.value, LEAST),
                y,
                s.marker,
                color=s.colour,
                ms=6,
                label=None if r.spotter in told else r.spotter,
            )
            told.add(r.spotter)
            y += 1
        ticks.append(((first + y - 1) / 2, f"{part.name}\n{part.facts.seen_s / 60:.1f} min"))
        y += 0.7
    ax.axvline(1, color="#888888", lw=0.8)
    ax.set(xlabel="false alarms a minute with a face (95 % interval)", ylim=(y - 0.7, -0.7))
    _rates(ax)
    ax.set_yticks([t for t, _ in ticks], [name for _, name in ticks])
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 if len(sets) > 2 else -0.3), ncols=4)
