"""Pictures of reports: light ground, colours that colour-blind people tell apart (Okabe and Ito 2008)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mellm.stream.errors import MissingExtra, RunError

INK: Final = "#222222"
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS: Final = "os^DvP"
_RC: Final[dict[Any, Any]] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.dpi": 130,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "text.color": INK,
    "grid.color": "#DDDDDD",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 9.5,
    "legend.frameon": False,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
}


@contextmanager
def style() -> Iterator[Callable[..., Any]]:
    """Within it, matplotlib draws as all our reports look. Gives the class of figures, laid out by constraints.

    :raises MissingExtra: matplotlib is not installed
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"plots need {error.name}", remedy="pip install 'mellm-live[eval]'") from error
    with matplotlib.rc_context(_RC):
        yield lambda **how: Figure(layout="constrained", **how)


def save(figure: Any, path: Path) -> Path:
    """Write a figure, without the name of the program in it.

    :raises RunError: it cannot be written
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})") from error
    return path
