"""``mellm eval metrics``: scores of files, and what other scorers would have made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mellm.evaluation.metrics.inputs import Files
from mellm.evaluation.metrics.mme import PARSERS
from mellm.evaluation.metrics.scorers import KINDS, Options, Result
from mellm.stream.errors import UsageError

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("path", type=_PATH, required=False)
@click.option("--pred", "predicted", type=_PATH, help="Predictions; of mme the folder of text files.")
@click.option("--truth", "true", type=_PATH, help="The truth.")
@click.option("--cases", type=_PATH, help="One file with both sides, instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--bootstrap", "draws", type=click.IntRange(0), default=0, help="Draws of the intervals [none]."
)
@click.option("--compat", is_flag=True, help="Also tell what other scorers would print, and why.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Bootstrap samples: seed of their random numbers."
)
@click.option("--iou", type=float, default=0.5, show_default=True, help="Least overlap: spotting, strs.")
@click.option("--fps", type=float, help="Tell the errors of moments in milliseconds.")
@click.option(
    "--parser", type=click.Choice(list(PARSERS)), default="official", show_default=True, help="Of mme."
)
@click.option("--units", metavar="1,2,4", help="Judge these action units only [those of the truth].")
def command(
    kind: str,
    path: Path | None,
    predicted: Path | None,
    true: Path | None,
    cases: Path | None,
    as_json: bool,
    draws: int,
    compat: bool,
    seed: int,
    iou: float,
    fps: float | None,
    parser: str,
    units: str | None,
) -> None:
    """Score predictions against truth: JSON, JSON lines or CSV (UTF-8).

    \b
    spotting     rows subject, video, onset, offset on each side, or --cases
                 {"videos": [{"video", "pred": [[on, off], ...], "gt": [...]}]}
    recognition  labels: {"gt": [...], "pred": [...]}, lists, or rows id, label
    strs         rows subject, video, onset, offset, emotion on each side
    moments      rows id, onset, apex, offset on each side
    units        rows id, action_units ("4+7", [4, 7]), or two lists
    vqa          rows of the challenge's JSON lines; answers beside or in a second file
    mme          a folder of official text files: mellm eval metrics mme FOLDER

    Definitions, shapes and what other scorers do differently: docs/metrics.md.
    """
    if path is not None and (predicted is not None or cases is not None):
        raise UsageError(f"both {path} and an option name the file", remedy="give one of them")
    files = Files(predicted if path is None else path, true, cases)
    options = Options(iou, fps, parser, draws, seed, _units(units), compat)
    result = KINDS[kind](files, options)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(json.dumps(_plain(kind, result), ensure_ascii=False, allow_nan=False))
    else:
        from mellm.evaluation.metrics import tables

        tables.result(kind, result.values, result.ranges, result.drawn)
        if result.compat is not None:
            tables.compat(result.compat)


def _units(given: str | None) -> frozenset[int] | None:
    if given is None:
        return None
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words):
        raise UsageError(f"--units {given!r}", remedy="write 1,2,4")
    return frozenset(map(int, words))


def _plain(kind: str, result: Result) -> dict[str, Any]:
    out = {"kind": kind, **result.values, "notes": list(result.notes)}
    if result.drawn:
        out["bootstrap"] = {"over": result.drawn, "of": result.units_drawn, "intervals": dict(result.ranges)}
    if result.compat is not None:
        out["compat"] = [printed.as_dict() for printed in result.compat]
    return out
