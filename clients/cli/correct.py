"""``mellm correct``: a run as a person left it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import click

from mellm.clients.cli.common import counted, tier_flag
from mellm.engine.results.corrections import Verdict
from mellm.stream.errors import RunError, UsageError

_PATH = click.Path(path_type=Path)
_SAID: tuple[tuple[Verdict, str], ...] = (
    ("accept", "accepted"),
    ("correct", "corrected"),
    ("reject", "rejected"),
    ("add", "added"),
)


@click.command()
@click.argument("run", type=_PATH)
@click.argument("file", type=_PATH)
@click.option(
    "--by", metavar="NAME", help="Who corrected it: initials or a pseudonym. The report's file says it."
)
@click.option("--source", metavar="NAME", help="Which recording of RUN the file is about.")
@click.option("--partial", is_flag=True, help="What FILE does not hold stays; by default it is rejected.")
@click.option("--out", type=_PATH, help="Correct a copy of RUN in this folder [RUN itself].")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@tier_flag
def correct(
    run: Path,
    file: Path,
    by: str | None,
    source: str | None,
    partial: bool,
    out: Path | None,
    dry_run: bool,
    tiers: tuple[str, ...],
) -> None:
    """Apply the corrections in FILE to the folder RUN: every export shows the corrected run from then on.

    \b
    .json  the report's own file
    .eaf   exported with `mellm export RUN --to eaf` and corrected in ELAN, or of your own
    .csv   `mellm export RUN --to csv`, corrected; `verdict` may say accept or reject

    What the engine found stays in RUN/expressions.jsonl. Who decided what and when is kept in RUN/corrections.json and
    shown by `mellm export RUN --to changes`.
    """
    from mellm.clients.cli.export import reading
    from mellm.engine.export.correcting import correct as apply
    from mellm.engine.export.correcting import decisions
    from mellm.engine.provenance import now
    from mellm.engine.results.run_reader import read_run, with_corrections

    found = read_run(run)
    if source is not None:
        found.only(source)
    how = reading(found, source, tiers)
    decided = decisions(file, found, how, by=by, when=now(), source=source, partial=partial)
    raw = read_run(run, corrected=False)
    told = Counter(each.verdict for each in decided)
    summary = (
        ", ".join(f"{told[verdict]} {said}" for verdict, said in _SAID if told[verdict]) or "nothing decided"
    )
    if dry_run:
        with_corrections(raw, found.corrections.plus(decided))
        click.echo(f"{summary}; nothing was written", err=True)
        return
    if out is not None:
        raw = read_run(_copy(run, out), corrected=False)
    after = apply(raw, decided)
    click.echo(f"{summary}; {counted(len(after.expressions), 'expression')} in {after.path}", err=True)
    if (after.path / "report.html").is_file():
        click.echo("report.html is of before: `mellm export RUN --to html` makes it anew", err=True)


def _copy(run: Path, out: Path) -> Path:
    if out.exists():
        raise UsageError(f"{out} is there already", remedy="name a new folder with --out")
    try:
        shutil.copytree(run, out)
    except (OSError, shutil.Error) as error:
        raise RunError(f"{run} cannot be copied to {out} ({error})") from error
    return out
