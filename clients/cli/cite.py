"""``mellm cite``: what a paper says about how a run was made."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN…")
@click.option("--json", "as_json", is_flag=True, help="Print every fact as one JSON object a run.")
def cite(runs: tuple[Path, ...], as_json: bool) -> None:
    """Print a methods paragraph about the folder RUN, ready to paste: date, versions, thresholds, error rates.

    Several runs that were made alike, or the folder of a study, give one paragraph.
    """
    from mellm.engine.export.citing import rows, together
    from mellm.engine.results.run_folder import run_folders
    from mellm.engine.results.run_reader import read_run

    found = [read_run(folder) for path in runs for folder in run_folders(path)]
    if as_json:
        for run in found:
            click.echo(json.dumps(dict(rows(run)), ensure_ascii=False))
        return
    for paragraph in together(found):
        click.echo(paragraph)
