"""``mellm compare``: needs the extra ``eval``."""

from __future__ import annotations

from pathlib import Path

import click

from mellm.clients.cli.common import json_flag

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_PATH)
@click.option("--out", type=_PATH, help="Folder of report, answers and history [runs/compare/NAME].")
@click.option("--only", multiple=True, metavar="NAME", help="This system; may be repeated [all].")
@click.option("--dry-run", is_flag=True, help="Show what would be sent and cost; send nothing.")
@click.option("--cached", is_flag=True, help="Ask no endpoint; use the answers that are there.")
@json_flag
def compare(
    file: Path, out: Path | None, only: tuple[str, ...], dry_run: bool, cached: bool, as_json: bool
) -> int:
    """Put the same questions to many multimodal models and report their answers side by side.

    FILE (TOML) lists systems and tasks: docs/how-to/compare-models.md. API keys come from the environment. Answers
    are kept in the folder of --out: the same command continues where a run stopped, and asks nothing twice.

    Exit code 5: an endpoint was asked no more before the end (wrong key, no such model, away); the report is there.
    """
    from mellm.evaluation.compare import cli

    return cli.run(file, out, only=only, dry=dry_run, send=not cached, as_json=as_json)
