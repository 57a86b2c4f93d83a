"""A compact live view for terminals: lines scroll, and below them stands what is going on now.

Where output goes to a file or a pipe there is no view, only the lines.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

SPARKS: Final = " ▁▂▃▄▅▆▇█"
SCORES_SHOWN: Final = 40
"""Newest scores of a source, ten a second: four seconds."""
LIVE_TYPES: Final = ("score", "stats")
"""Events that the view needs besides those that are told as lines."""


@dataclass(slots=True)
class Row:
    """What is known of one source now."""

    state: str = "waiting"
    scores: deque[float] = field(default_factory=lambda: deque([0.0] * SCORES_SHOWN, SCORES_SHOWN))
    faces: set[int] = field(default_factory=set)
    latest: dict[int, float] = field(default_factory=dict)
    fps: float = 0.0
    late_ms: float = 0.0
    captured: int = 0
    dropped: int = 0
    waiting: int = 0
    lowered: str = ""

    def scored(self, track: int, score: float) -> None:
        """Several faces share one line: it shows the highest of them."""
        self.latest[track] = score
        if track == min(self.latest):
            self.scores.append(max(self.latest.values()))

    def spark(self) -> str:
        """The scores as blocks, oldest first."""
        top = len(SPARKS) - 1
        return "".join(SPARKS[min(top, round(score * top))] for score in self.scores)


class Board:
    """Sums up events. Thread-safe; draws itself with rich."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._ends: Counter[str] = Counter()

    def observe(self, kind: str, source: str, data: Mapping[str, Any]) -> None:
        """Learn from an event."""
        family, _, name = kind.partition(".")
        with self._lock:
            if family == "expression":
                self._ends[name] += 1
                return
            if not source:
                return
            row = self._rows.setdefault(source, Row())
            if kind == "score":
                row.scored(int(data["track"]), float(data["me"]))
            elif kind == "stats":
                row.fps, row.late_ms = data.get("fps", 0.0), data.get("score_p95_ms", 0.0)
                row.captured, row.waiting = data.get("captured", 0), data.get("waiting", 0)
                row.dropped = sum(dict(data.get("dropped") or {}).values())
            elif kind == "face.appeared":
                row.faces.add(data["track"])
            elif kind == "face.lost":
                row.faces.discard(data["track"])
                row.latest.pop(data["track"], None)
            elif kind == "source.picture":
                row.state = "online" if data["state"] == "live" else str(data["state"])
            elif kind == "source.degraded":
                row.lowered = _lowered(data["to"]) if data["degraded"] else ""
            elif family == "source" and name in ("online", "offline", "reconnecting", "ended"):
                row.state = name

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        colours = {"online": "green", "ended": "dim", "waiting": "dim"}
        table = Table.grid(padding=(0, 1))
        for _ in range(3):
            table.add_column(no_wrap=True)
        for _ in range(4):
            table.add_column(no_wrap=True, justify="right")
        with self._lock:
            for source, row in self._rows.items():
                share = row.dropped / row.captured if row.captured else 0.0
                faces = f"{len(row.faces)} face" + ("" if len(row.faces) == 1 else "s")
                table.add_row(
                    Text(source, "bold"),
                    Text(row.lowered or row.state, colours.get(row.lowered or row.state, "yellow")),
                    Text(row.spark(), "cyan"),
                    faces,
                    f"{row.fps:.0f} fps",
                    Text(f"{share:.1%} dropped", "yellow" if share > 0.01 else "dim"),
                    f"{row.late_ms:.0f} ms late",
                )
            ends = dict(self._ends)
        pending = ends.get("spotted", 0) - sum(count for name, count in ends.items() if name != "spotted")
        words = [f"{ends.get(name, 0)} {name}" for name in ("spotted", "described", "abstained", "dropped")]
        if pending > 0:
            words.append(f"{pending} waiting for a description")
        return Group(Text("─" * 40, "dim"), table, Text(" · ".join(words), "dim"))


def _lowered(to: Mapping[str, Any]) -> str:
    """Why less is analysed than arrives, in a word or two."""
    if not to["fps"]:
        return "set aside"
    return "overloaded" if to["gaps"] else f"only {to['fps']:.0f} fps" + (", 1 face" if to["faces"] else "")


class Screen:
    """Prints lines; in a terminal with the board below them.

    :param enabled: ``None`` to look whether standard output and error are one terminal
    """

    def __init__(
        self, *, enabled: bool | None = None, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self.enabled = self._out.isatty() and self._err.isatty() if enabled is None else enabled
        self.board = Board()
        self._live: Live | None = None
        self._console: Console | None = None

    def __enter__(self) -> Self:
        if self.enabled:
            from rich.console import Console
            from rich.live import Live

            self._console = Console(file=self._out, highlight=False, markup=False, soft_wrap=True)
            self._live = Live(
                self.board,
                console=self._console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=True,
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def data(self, text: str) -> None:
        """A line of results, to standard output.

        :raises BrokenPipeError: nobody reads it
        """
        self._line(text, self._out)

    def talk(self, text: str) -> None:
        """A line about what happens, to standard error."""
        self._line(text, self._err)

    def _line(self, text: str, where: TextIO) -> None:
        if self._live is not None and self._console is not None:
            self._console.print(text, style="dim" if where is self._err else None)
        else:
            where.write(text + "\n")
            where.flush()
