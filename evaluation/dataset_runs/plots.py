"""Pictures of an evaluation on data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mellm.evaluation.dataset_runs.judging import Score
from mellm.evaluation.dataset_runs.recognition import Recognition
from mellm.evaluation.dataset_runs.spotting_score import Spotting
from mellm.evaluation.dataset_runs.understanding import Understanding
from mellm.evaluation.metrics.recognition import OTHER
from mellm.evaluation.plotting import COLOURS, INK, MARKERS, save, style

Draw = Callable[[Any], None]


def spotting(result: Spotting, out: Path) -> list[Path]:
    """``precision-recall.png``, ``false-alarms.png`` and, where something matched, ``moments.png``.

    :raises MissingExtra: matplotlib is not installed
    :raises RunError: they cannot be written
    """
    todo: list[tuple[str, tuple[float, float], Draw]] = [
        ("precision-recall", (5.2, 4.4), lambda figure: _precision_recall(figure, result)),
        ("false-alarms", (5.2, 4.0), lambda figure: _false_alarms(figure, result)),
    ]
    if any(j.pairs for j in result.judged()):
        todo.append(("moments", (8.4, 3.2), lambda figure: _moments(figure, result)))
    return _write(todo, out)


def recognition(result: Recognition, out: Path) -> list[Path]:
    """``confusion.png``, a matrix for each data set."""
    if not result.coarse:
        return []
    width = 1.0 + 3.6 * len(result.coarse)
    return _write([("confusion", (width, 3.6), lambda figure: _confusions(figure, result))], out)


def understanding(result: Understanding, out: Path) -> list[Path]:
    """``units.png``: F1 of each unit."""
    if not result.units:
        return []
    most = max(len(s.units) for s in result.units.values())
    return _write([("units", (max(5.2, 1.6 + 0.45 * most), 3.6), lambda figure: _units(figure, result))], out)


def _write(todo: list[tuple[str, tuple[float, float], Draw]], out: Path) -> list[Path]:
    written = []
    with style() as new:
        for name, size, draw in todo:
            figure = new(figsize=size)
            draw(figure)
            written.append(save(figure, out / "plots" / f"{name}.png"))
    return written


def _micro(figure: Any, result: Spotting, at: Callable[[Score], tuple[float, float]]) -> Any:
    """A line through the thresholds of each data set, and a ring at the one in use."""
    axes = figure.add_subplot()
    for k, (name, levels) in enumerate(result.curve.items()):
        points = [at(s) for s in levels.values() if s.spotting.tp + s.spotting.fp]
        look = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        axes.plot(*zip(*points, strict=True) if points else ([], []), markersize=4, label=name, **look)
        x, y = at(result.scores[name]["micro"])
        axes.plot([x], [y], markersize=12, markerfacecolor="none", markeredgewidth=2, **look)
    axes.set(ylim=(0, 1.02), title="Micro-expressions")
    axes.legend(title="ring: threshold in use", loc="best")
    return axes


def _precision_recall(figure: Any, result: Spotting) -> None:
    axes = _micro(figure, result, lambda s: (s.spotting.recall, s.spotting.precision))
    axes.set(xlim=(0, 1.02), xlabel="recall", ylabel="precision")


def _false_alarms(figure: Any, result: Spotting) -> None:
    axes = _micro(figure, result, lambda s: (s.false_per_minute, s.spotting.recall))
    axes.set(xlabel="false alarms in a minute", ylabel="recall")
    axes.set_xlim(left=0)


def _moments(figure: Any, result: Spotting) -> None:
    panels = figure.subplots(1, 3, sharey=True)
    judged = result.judged()
    names = list(result.curve)
    for axes, moment in zip(panels, ("onset", "apex", "offset"), strict=True):
        errors = [
            [
                1000 * (getattr(s, moment) - getattr(t, moment)) / j.video.fps
                for j in judged
                if j.video.dataset == name
                for t, s in j.pairs
                if getattr(t, moment) is not None
            ]
            for name in names
        ]
        reach = max((abs(e) for some in errors for e in some), default=0) or 20
        axes.hist(
            errors,
            bins=15,
            range=(-1.05 * reach, 1.05 * reach),
            color=[COLOURS[k % len(COLOURS)] for k in range(len(names))],
            label=names,
        )
        axes.axvline(0, color=INK, linewidth=1)
        axes.set(title=moment, xlabel="spotted - true, ms")
    panels[0].set_ylabel("matched micro-expressions")
    panels[-1].legend(loc="best")


def _confusions(figure: Any, result: Recognition) -> None:
    panels = figure.subplots(1, len(result.coarse), squeeze=False)[0]
    for axes, (name, scored) in zip(panels, result.coarse.items(), strict=True):
        s = scored.score
        columns = [*s.classes, OTHER]
        counts = [[s.confusion[t][p] for p in columns] for t in s.classes]
        shares = [[c / max(1, sum(row)) for c in row] for row in counts]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                axes.text(
                    x,
                    y,
                    str(count),
                    ha="center",
                    va="center",
                    color="white" if shares[y][x] > 0.55 else INK,
                )
        axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
        axes.set_yticks(range(len(s.classes)), s.classes)
        axes.grid(visible=False)
        axes.set(title=f"{name}: UF1 {s.uf1:.2f}, UAR {s.uar:.2f}", xlabel="answered")
    panels[0].set_ylabel("true")


def _units(figure: Any, result: Understanding) -> None:
    axes = figure.add_subplot()
    units = sorted({u for score in result.units.values() for u in score.units})
    width = 0.8 / len(result.units)
    for k, (name, score) in enumerate(result.units.items()):
        there = [u for u in units if u in score.units]
        axes.bar(
            [units.index(u) + (k + 0.5) * width - 0.4 for u in there],
            [score.units[u].shown.f1 for u in there],
            width,
            color=COLOURS[k % len(COLOURS)],
            label=name,
        )
    clips = {
        u: sum(
            s.units[u].shown.tp + s.units[u].shown.fn
            for n, s in result.units.items()
            if u in s.units and n != "all together"
        )
        for u in units
    }
    axes.set_xticks(range(len(units)), [f"AU{u}\n{clips[u]}" for u in units])
    axes.set(ylim=(0, 1.02), ylabel="F1", title="Action units (below: clips that show them)")
    axes.legend(loc="best")
