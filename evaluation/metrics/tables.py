"""Scores as tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from mellm.evaluation.metrics.table import WIDTH, Table, format_cell

if TYPE_CHECKING:
    from mellm.evaluation.metrics.compat import Printed


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print one table on standard output; numbers to the right, floats with four digits."""
    Table("", title, heads, list(rows), digits=4).show()


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
        numbers = "  ".join(f"{name} {format_cell(value, 4)}" for name, value in one.values.items())
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
