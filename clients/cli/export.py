"""``mellm export``: a run for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clients.exporters.runs import Run

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_PATH)
@click.option(
    "--to", required=True, type=click.Choice(["csv", "jsonl", "eaf", "vtt", "srt"]), help="Format to write."
)
@click.option("--out", metavar="PATH", help="File, or folder (one file a recording) [standard output].")
@click.option("--source", metavar="NAME", help="Of several recordings in the run, this one [all].")
@click.option(
    "--markers", type=_PATH, help="Outside events: a table with time_s or time_ms and label, or an .eaf file."
)
def export(run: Path, to: str, out: str | None, source: str | None, markers: Path | None) -> None:
    """Write the folder RUN of `mellm analyze` for other programs.

    \b
    csv    one row for each expression; columns AU01 … as py-feat names them
    jsonl  the lines of expressions.jsonl
    eaf    ELAN: tiers for each face (expression, apex, action units, emotion, description), and markers
    vtt    WebVTT captions
    srt    SubRip captions

    Corrections made in ELAN or in a table are scored with `mellm eval corrections`.
    """
    from clients.exporters import formats

    chosen = load(run, source, markers)
    if out is None:
        click.echo(formats.render(chosen, to), nl=False)
        return
    target = Path(out)
    if out.endswith("/"):
        target.mkdir(parents=True, exist_ok=True)
    for path, part in formats.files(chosen, to, target):
        formats.write(path, formats.render(part, to, beside=path.parent))
        click.echo(f"wrote {path}", err=True)


def load(run: Path, source: str | None, markers: Path | None) -> Run:
    """The run that the flags name, with the markers."""
    from clients.exporters.corrections import read_markers
    from clients.exporters.runs import read_run

    found = read_run(run)
    if markers is not None:
        found = found.with_markers(read_markers(markers))
    return found if source is None else found.only(source)
