"""Pictures of an evaluation: light ground, colours that colour-blind people tell apart (Okabe and Ito 2008)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mellm.evaluation.dataset_runs.recognition import Recognition
from mellm.evaluation.dataset_runs.spotting_score import Spotting
from mellm.evaluation.dataset_runs.understanding import Understanding
from mellm.evaluation.metrics.recognition import OTHER
from mellm.stream.errors import MissingExtra, RunError

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS: Final = "os^DvP"
_RC: Final[dict[Any, Any]] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.size": 9.5,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 130,
}
Draw = Callable[[Any], None]


def spotting(result: Spotting, out: Path) -> list[Path]:
    """``precision-recall.png``, ``false-alarms.png`` and, where something matched, ``moments.png``.

    :raises MissingExtra: matplotlib is not installed; :raises RunError: they cannot be written
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
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"plots need {error.name}", remedy="pip install 'mellm-live[eval]'") from error
    written = []
    with matplotlib.rc_context(_RC):
        for name, size, draw in todo:
            figure = Figure(figsize=size, layout="constrained")
            draw(figure)
            path = out / "plots" / f"{name}.png"
            try:
                path.parent.mkdir(exist_ok=True)
                figure.savefig(path)
            except OSError as error:
                raise RunError(f"{path} cannot be written ({error.strerror})") from error
            written.append(path)
    return written


def _precision_recall(figure: Any, result: Spotting) -> None:
    axes = figure.add_subplot()
    for k, (name, levels) in enumerate(result.curve.items()):
        points = [
            (s.spotting.recall, s.spotting.precision)
            for s in levels.values()
            if s.spotting.tp + s.spotting.fp
        ]
        style = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        axes.plot(*zip(*points, strict=True) if points else ([], []), markersize=4, label=name, **style)
        used = result.scores[name]["micro"].spotting
        axes.plot(
            [used.recall], [used.precision], markersize=12, markerfacecolor="none", markeredgewidth=2, **style
        )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="Micro-expressions")
    axes.legend(title="ring: threshold in use", loc="best")


def _false_alarms(figure: Any, result: Spotting) -> None:
    axes = figure.add_subplot()
    for k, (name, levels) in enumerate(result.curve.items()):
        style = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        axes.plot(
            [s.false_per_minute for s in levels.values()],
            [s.spotting.recall for s in levels.values()],
            markersize=4,
            label=name,
            **style,
        )
        used = result.scores[name]["micro"]
        axes.plot(
            [used.false_per_minute],
            [used.spotting.recall],
            markersize=12,
            markerfacecolor="none",
            markeredgewidth=2,
            **style,
        )
    axes.set(ylim=(0, 1.02), xlabel="false alarms in a minute", ylabel="recall", title="Micro-expressions")
    axes.set_xlim(left=0)
    axes.legend(title="ring: threshold in use", loc="best")


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
            color=[COLOURS[k % 6] for k in range(len(names))],
            label=names,
        )
        axes.axvline(0, color="#222222", linewidth=1)
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
                    color="white" if shares[y][x] > 0.55 else "#222222",
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
            color=COLOURS[k % 6],
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
