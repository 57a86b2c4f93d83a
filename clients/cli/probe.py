"""``mellm probe``: what a source says of itself, and what it really delivers."""

from __future__ import annotations

import json

import click

from mellm.clients.cli.common import json_flag


@click.command()
@click.argument("uri")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60), default=2.0, metavar="S", help="How long to look [2]."
)
@click.option("--fps", type=float, metavar="RATE", help="Frame rate of image folders.")
@json_flag
def probe(uri: str, seconds: float, fps: float | None, as_json: bool) -> None:
    """Show codec, size, rotation, declared and measured frame rate, gaps and repaired stamps of URI."""
    from dataclasses import asdict

    from mellm.stream.sources import probe as look

    report = asdict(look(uri, seconds=seconds, fps=fps))
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, default=str))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in report.items():
        table.add_row(name.replace("_", " "), _said(value))
    Console().print(table)


def _said(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)
