"""``mellm probe``: what a source says of itself, what it really delivers, and whether that will do."""

from __future__ import annotations

import json
from typing import Any

import click

from mellm.clients.cli.common import json_flag, opening_flags, source_options
from mellm.stream.errors import MissingExtra, ModelError


def _types() -> str:
    from mellm.stream.sources.formats import SUFFIXES

    return ", ".join(SUFFIXES)


class _Command(click.Command):
    """Its help lists what can be read, from the code that reads it."""

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(context, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(f"Recordings: {_types()}, or a folder of pictures.")


@click.command(cls=_Command)
@click.argument("uri")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60), default=2.0, metavar="S", help="How long to look [2]."
)
@click.option("--fps", type=float, metavar="RATE", help="Frame rate of image folders and raw streams.")
@opening_flags
@json_flag
def probe(uri: str, seconds: float, fps: float | None, as_json: bool, **flags: Any) -> None:
    """Show what URI says of itself and what it delivers, and whether a face in it can be judged.

    The last line is the verdict: width of the face, frame rate without repeated pictures, light, compression, the share
    that can be judged.
    """
    from dataclasses import asdict

    from mellm.engine.analysis.verdict import Looker
    from mellm.stream.sources import SourceOptions
    from mellm.stream.sources import probe as look

    looker, missing = None, ""
    try:
        from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer

        looker = Looker(FaceAnalyzer(AnalyzerOptions()))
    except (MissingExtra, ModelError) as error:
        missing = str(error)
    options = SourceOptions(**source_options(flags))
    report = look(
        uri, seconds=seconds, fps=fps, options=options, look=None if looker is None else looker.push
    )
    verdict = None if looker is None else looker.verdict(report, uri)
    if as_json:
        whole = {**asdict(report), "verdict": None if verdict is None else asdict(verdict)}
        click.echo(json.dumps(whole, ensure_ascii=False, default=str))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in asdict(report).items():
        if name != "remarks":
            table.add_row(name.replace("_", " "), _cell(value))
    Console().print(table)
    for remark in report.remarks:
        click.echo(f"note: {remark}")
    click.echo(verdict.text if verdict is not None else f"No verdict: {missing}")


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)
