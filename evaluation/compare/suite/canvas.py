"""Drawing in units of a page of 100 × 75, origin at the lower left."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, Polygon, Rectangle

INCHES: Final = (4.8, 3.6)
DPI: Final = 100

Draw = Callable[["Canvas"], None]


class Canvas:
    """A page to draw on."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes

    def box(
        self, x: float, y: float, w: float, h: float, colour: str, edge: str = "black", **more: Any
    ) -> None:
        """A rectangle by its lower left corner."""
        self.axes.add_patch(Rectangle((x, y), w, h, facecolor=colour, edgecolor=edge, **more))

    def disc(self, x: float, y: float, r: float, colour: str, edge: str = "black", **more: Any) -> None:
        """A circle by its centre."""
        self.axes.add_patch(Circle((x, y), r, facecolor=colour, edgecolor=edge, **more))

    def oval(
        self, x: float, y: float, w: float, h: float, colour: str, angle: float = 0, **more: Any
    ) -> None:
        """An ellipse by its centre."""
        edge = more.pop("edge", "black")
        self.axes.add_patch(Ellipse((x, y), w, h, angle=angle, facecolor=colour, edgecolor=edge, **more))

    def shape(
        self, points: Sequence[tuple[float, float]], colour: str, edge: str = "black", **more: Any
    ) -> None:
        """A closed polygon."""
        self.axes.add_patch(Polygon(points, closed=True, facecolor=colour, edgecolor=edge, **more))

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: str = "black", width: float = 2, **more: Any
    ) -> None:
        """Straight strokes through points."""
        self.axes.plot(xs, ys, color=colour, linewidth=width, solid_capstyle="round", **more)

    def text(
        self, x: float, y: float, words: str, size: float = 14, colour: str = "black", **more: Any
    ) -> None:
        """Words round a point."""
        more = {"ha": "center", "va": "center", **more}
        self.axes.text(x, y, words, fontsize=size, color=colour, **more)

    def arrow(
        self, x0: float, y0: float, x1: float, y1: float, colour: str = "red", width: float = 2.5
    ) -> None:
        """From one point to another."""
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": width, "mutation_scale": 18}
        self.axes.annotate("", (x1, y1), (x0, y0), arrowprops=style)


@contextmanager
def page() -> Iterator[tuple[Figure, Canvas]]:
    """An empty page, white."""
    figure = Figure(figsize=INCHES, dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 75)
    axes.axis("off")
    yield figure, Canvas(axes)


def png(draw: Draw) -> bytes:
    """The finished picture, the same bytes in every run with the same matplotlib."""
    with page() as (figure, canvas):
        draw(canvas)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
        return out.getvalue()
