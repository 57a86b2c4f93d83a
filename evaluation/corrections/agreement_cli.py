"""``mellm agree``: coders and the engine, held against each other in one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from mellm.engine.export.corrections import read_corrections
from mellm.engine.results import corrections
from mellm.engine.results.run_reader import Run, read_run, with_corrections
from mellm.evaluation.corrections.agreement import Agreement, Coding, agree, of_run
from mellm.evaluation.corrections.cli import reading
from mellm.evaluation.corrections.score import ANCHORING
from mellm.stream.errors import UsageError


def show(
    run: Path,
    files: tuple[Path, ...],
    *,
    source: str | None,
    iou: float,
    tiers: tuple[str, ...],
    fps: float | None,
    as_json: bool,
) -> None:
    """Print the table; see ``mellm agree``.

    :param fps: rate of times that are frame numbers
    :raises UsageError: a coder is not known, or their recording is not
    :raises RunError: a file cannot be read
    """
    raw = read_run(run, corrected=False)
    part = raw if source is None else raw.only(source)
    notes: list[str] = []
    if not files and not (run / corrections.FILE).is_file():
        raise UsageError(f"{run} was not corrected", remedy="name the file of a coder")
    codings = [of_run(part, "engine")]
    names = _names(files)
    codings += [_coding(file, names[file], raw, source, tiers, fps, notes) for file in files]
    if not files:
        whole = read_run(run)
        codings.append(of_run(whole if source is None else whole.only(source), "corrected"))
    for note in dict.fromkeys(notes):
        click.echo(f"mellm: note: {note}", err=True)
    found = agree(codings, iou)
    if as_json:
        for each in found:
            click.echo(json.dumps(each.as_dict(), ensure_ascii=False))
        return
    for line in _table(found):
        click.echo(line)
    click.echo(f"\n{ANCHORING}", err=True)


def _coding(
    file: Path,
    name: str,
    run: Run,
    source: str | None,
    tiers: tuple[str, ...],
    fps: float | None,
    notes: list[str],
) -> Coding:
    if file.suffix.lower() == ".json":
        whole = with_corrections(run, corrections.read(file))
        return of_run(whole if source is None else whole.only(source), name)
    only = source or (run.sources[0] if len(run.sources) == 1 else None)
    intervals = read_corrections(file, reading(run, source, tiers, fps, notes))
    if only is None and any(i.source is None for i in intervals):
        raise UsageError(
            f"{file} does not say which of {', '.join(run.sources)} it is about",
            remedy="name the recording with --source",
        )
    kept = [i for i in intervals if i.verdict != "reject" and i.source in (None, only or i.source)]
    # an .eaf names no recording, and the run does
    return Coding(name, tuple(replace(i, source=only or i.source) for i in kept))


def _names(files: tuple[Path, ...]) -> dict[Path, str]:
    stems = [f.stem for f in files]
    return {f: f.stem if stems.count(f.stem) == 1 else f.name for f in files}


def _table(found: list[Agreement]) -> list[str]:
    head = ("", "both", "only 1st", "only 2nd", "F1", "kappa (units)", "n", "alpha (class)", "n")
    rows = [
        (
            f"{each.names[0]} - {each.names[1]}",
            str(each.both),
            str(each.first),
            str(each.second),
            f"{each.f1:.2f}",
            _number(each.kappa),
            str(each.coded),
            _number(each.alpha),
            str(each.classed),
        )
        for each in found
    ]
    wide = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]).rstrip()

    return [line(row) for row in (head, *rows)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
