"""Scores as tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mellm.evaluation.metrics.compat import Printed

WIDTH = 110
"""Columns of a table: a pipe is taken to be this wide."""


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print one table on standard output; numbers to the right, floats with four digits."""
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    cells = [[told(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[k]) for row in cells) for k in range(len(heads))]
    for head, right in zip(heads, numeric, strict=True):
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, WIDTH)
    console.print(table)


def told(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, float) for v in value):
        return f"[{value[0]:.4f}, {value[1]:.4f}]"
    return "–" if value is None else str(value)


def _is_number(text: str) -> bool:
    return text == "–" or text.lstrip("-[").replace(".", "", 1)[:1].isdecimal()


def result(kind: str, values: Mapping[str, Any], ranges: Mapping[str, Any], drawn: str) -> None:
    """Print scores: one table of single values, then one for each group of like ones (classes, units, sub-tasks)."""
    singles = [(name, value) for name, value in values.items() if _is_single(value)]
    if drawn:
        heads = ("score", "value", f"95 % over {drawn}")
        show(kind, heads, [(name, value, ranges.get(name)) for name, value in singles])
    else:
        show(kind, ("score", "value"), singles)
    _groups("", values)


def compat(printed: Sequence[Printed]) -> None:
    """Print what other scorers would have printed, and why."""
    if not printed:
        click.echo("no other scorer is known for this")
    for one in printed:
        numbers = "  ".join(f"{name} {told(value)}" for name, value in one.values.items())
        click.echo(f"{one.scorer}: {numbers or 'nothing'}")
        click.echo(textwrap.fill(one.why, WIDTH, initial_indent="  ", subsequent_indent="  "))


def _groups(path: str, values: Mapping[str, Any]) -> None:
    alike = {name: v for name, v in values.items() if isinstance(v, Mapping) and v}
    flat = {name: v for name, v in alike.items() if all(_is_single(x) for x in v.values())}
    shapes = {tuple(v) for v in flat.values()}
    if len(flat) > 1 and len(shapes) == 1:
        show(
            path, (path.rpartition(" ")[2], *shapes.pop()), [(name, *v.values()) for name, v in flat.items()]
        )
        alike = {name: v for name, v in alike.items() if name not in flat}
    for name, v in alike.items():
        inner = f"{path} {name}".strip()
        if singles := [(key, x) for key, x in v.items() if _is_single(x)]:
            show(inner, ("", "value"), singles)
        _groups(inner, v)


def _is_single(value: Any) -> bool:
    return value is None or isinstance(value, int | float | str)
