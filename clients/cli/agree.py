"""``mellm agree``: coders and the engine, held against each other in one table."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_PATH)
@click.argument("files", nargs=-1, type=_PATH, metavar="[FILE]…")
@click.option("--source", metavar="NAME", help="Which recording of RUN the files are about.")
@click.option(
    "--iou",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Least overlap of an expression that two have.",
)
@click.option("--tier", "tiers", multiple=True, metavar="KIND=NAME", help="Name of a tier in an .eaf file.")
@click.option("--fps", type=float, metavar="RATE", help="Rate of times that are frame numbers [of the run].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row, with kappa of each unit.")
def agree(
    run: Path,
    files: tuple[Path, ...],
    source: str | None,
    iou: float,
    tiers: tuple[str, ...],
    fps: float | None,
    as_json: bool,
) -> None:
    """Show how far the engine (folder RUN) and coders agree, every two of them: F1 of what was found, Cohen's kappa
    on action units, Krippendorff's alpha on classes.

    FILE is one coder's: an .eaf, a table, or a file of corrections. Without one, the corrections that were applied to
    RUN are taken.
    """
    from mellm.evaluation.corrections.agreement_cli import show

    show(run, files, source=source, iou=iou, tiers=tiers, fps=fps, as_json=as_json)
