"""Curves of a robustness run as Markdown and one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mellm.evaluation.metrics.table import pipes
from mellm.evaluation.plotting import COLOURS, save, style
from mellm.evaluation.robustness import scores
from mellm.evaluation.robustness.axes import BASE, PHOTOGRAPHED, Axis, What
from mellm.evaluation.robustness.rows import Rows
from mellm.evaluation.robustness.scores import Point

SHOWN: Final[Mapping[What, tuple[str, ...]]] = {
    "describe": ("f1", "uf1", "silent", "abstains", "lost"),
    "spot": ("f1", "recall", "false_per_minute", "apex_ms", "seen"),
}
DIGITS: Final = {"apex_ms": 0, "false_per_minute": 1}


@dataclass(frozen=True, slots=True)
class Curve:
    """One reader on one set along one axis. ``reader`` is empty for the spotter."""

    what: What
    set: str
    reader: str
    axis: Axis
    points: tuple[Point, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "what": self.what,
            "set": self.set,
            "reader": self.reader,
            "axis": self.axis.name,
            "unit": self.axis.unit,
            "points": [
                {
                    "level": p.level,
                    "people": p.people,
                    "items": p.items,
                    "values": {n: [e.value, e.low, e.high] for n, e in p.values.items()},
                    "changes": {n: [e.value, e.low, e.high] for n, e in p.changes.items()},
                }
                for p in self.points
            ],
        }


def curves(
    rows: Rows, what: What, set_: str, readers: Sequence[str], axes: Sequence[Axis], draws: int
) -> list[Curve]:
    """All curves of a set whose rows are there; axes without rows are left out."""
    base = rows.where(what, set_, BASE, 0.0)
    out = []
    for axis in axes:
        if set_ == "stills" and axis.name not in PHOTOGRAPHED:
            continue
        levels = {
            level: base if not level else rows.where(what, set_, axis.name, level) for level in axis.points
        }
        if not base or not all(levels.values()):
            continue
        for reader in readers:
            count, score = (
                (scores.spotted, scores.spotting)
                if what == "spot"
                else (lambda item, reader=reader: scores.described(item, reader), scores.describing)
            )
            points = tuple(
                scores.point(level, some, base, count, score, draws) for level, some in levels.items()
            )
            out.append(Curve(what, set_, reader, axis, points))
    return out


def markdown(found: Sequence[Curve]) -> str:
    """One table for each axis, readers below each other; a change that is told from chance is bold."""
    parts = []
    for place in dict.fromkeys((c.what, c.set, c.axis.name) for c in found):
        some = [c for c in found if (c.what, c.set, c.axis.name) == place]
        axis, names = some[0].axis, SHOWN[some[0].what]
        words = scores.SPOTTED if some[0].what == "spot" else scores.DESCRIBED
        first = some[0].points[0]
        parts.append(
            f"**{axis.title}** ({axis.unit}), {some[0].set}: {first.people} people, {first.items} items\n"
        )
        rows = [
            [curve.reader or "spotter", axis.label(point.level), *(_cell(point, name) for name in names)]
            for curve in some
            for point in curve.points
        ]
        parts.append(pipes(["", axis.unit, *(words[n] for n in names)], rows))
        parts.append("")
    return "\n".join(parts)


def _cell(point: Point, name: str) -> str:
    value = point.values[name]
    if value.value != value.value:
        return "–"
    digits = DIGITS.get(name, 2)
    text = f"{value.value:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"
    return f"**{text}**" if point.worse(name) else text


def plot(found: Sequence[Curve], path: Path, name: str = "f1") -> Path:
    """A small picture for each axis, a line for each reader and set, 95 % intervals shaded."""
    axes = list(dict.fromkeys((c.what, c.axis.name) for c in found))
    across = min(4, len(axes))
    down = -(-len(axes) // across)
    colours = {"nano": COLOURS[0], "rules": COLOURS[1], "": COLOURS[2]}
    with style() as new:
        figure = new(figsize=(3.4 * across, 2.7 * down))
        panes = figure.subplots(down, across, squeeze=False).ravel()
        for number, (what, axis_name) in enumerate(axes):
            some = [c for c in found if (c.what, c.axis.name) == (what, axis_name)]
            _pane(panes[number], some, name, colours)
            if number % across == 0:
                panes[number].set_ylabel(
                    "F1 of spots" if what == "spot" else "F1 of action units", fontsize=8
                )
        panes[0].legend(fontsize=7, loc="lower left")
        for pane in panes[len(axes) :]:
            pane.set_axis_off()
        return save(figure, path)


def _pane(pane: Any, some: Sequence[Curve], name: str, colours: Mapping[str, str]) -> None:
    for curve in some:
        xs, values = range(len(curve.points)), [p.values[name] for p in curve.points]
        look = {"color": colours[curve.reader], "ls": "--" if curve.set == "stills" else "-"}
        label = f"{curve.reader or 'spotter'}, {curve.set}"
        pane.plot(xs, [v.value for v in values], marker="o", ms=3, label=label, **look)
        lows, highs = [v.low for v in values], [v.high for v in values]
        pane.fill_between(xs, lows, highs, color=look["color"], alpha=0.12)
    axis, points = some[0].axis, some[0].points
    pane.set_xticks(range(len(points)), [axis.label(p.level) for p in points], fontsize=7)
    pane.tick_params(axis="x", rotation=45 if len(points) > 7 else 0)
    pane.set_ylim(0, 1)
    pane.set_title(axis.title, fontsize=9)
    pane.set_xlabel(axis.unit, fontsize=8)
