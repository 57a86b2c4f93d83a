"""``mellm eval corrections``: a run against what a person made of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mellm.engine.export.corrections import Reading, parse_tiers, read_corrections
from mellm.engine.results.run_reader import Run, read_run, recording
from mellm.evaluation.corrections.score import ANCHORING, CorrectionScore, score
from mellm.evaluation.metrics.moments import NAMES
from mellm.stream.clock import clock

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_PATH)
@click.argument("file", type=_PATH)
@click.option("--source", metavar="NAME", help="Which recording of RUN the file is about.")
@click.option(
    "--iou",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Least overlap of a kept expression.",
)
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="KIND=NAME",
    help="Name of a tier in an .eaf file; kinds: expression, apex, units, emotion, text.",
)
@click.option("--fps", type=float, metavar="RATE", help="Rate of times that are frame numbers [of the run].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path,
    file: Path,
    source: str | None,
    iou: float,
    tiers: tuple[str, ...],
    fps: float | None,
    as_json: bool,
) -> None:
    """Score the folder RUN against FILE: an .eaf that was corrected in ELAN, or a table (.csv, .tsv).

    \b
    ELAN   export with `mellm export RUN --to eaf`, correct, save; or a file of your own with a tier "expression"
           (or expression@track1), and if you like "action units", "emotion" and "apex" beside it; tiers of other
           names with --tier, such as --tier expression=ME --tier units=AU
    table  columns onset_ms, offset_ms (or …_s, …_frame, or ELAN's); if you like track, source, apex_ms,
           action_units (1+2+R12), emotion

    The corrections are taken to be right.
    """
    found = read_run(run, corrected=False)
    notes: list[str] = []
    scored = score(
        found, read_corrections(file, reading(found, source, tiers, fps, notes)), source=source, iou=iou
    )
    for note in dict.fromkeys(notes):
        click.echo(f"mellm: note: {note}", err=True)
    if as_json:
        click.echo(json.dumps(scored.as_dict()))
        return
    for line in _lines(scored):
        click.echo(line)
    click.echo(f"\n{ANCHORING}", err=True)


def reading(
    run: Run, source: str | None, tiers: tuple[str, ...], fps: float | None, notes: list[str]
) -> Reading:
    """How a file about this run is read.

    :param notes: filled with what was not read
    """
    name = source or (run.sources[0] if len(run.sources) == 1 else None)
    if name is None or name not in run.sources:
        return Reading(tiers=parse_tiers(tiers), fps=fps, notes=notes)
    info = run.state["sources"][name].get("source") or {}
    rate = fps or info.get("declared_fps") or info.get("measured_fps")
    return Reading(media=recording(run, name).name, tiers=parse_tiers(tiers), fps=rate, notes=notes)


def _lines(scored: CorrectionScore) -> list[str]:
    s = scored.spotting
    lines = [
        f"expressions    kept {s.tp}   removed {s.fp}   added {s.fn}",
        f"               precision {s.precision:.2f}   recall {s.recall:.2f}   F1 {s.f1:.2f}"
        f"   untouched {scored.untouched} of {s.tp}",
    ]
    if scored.moments is not None:
        errors = scored.moments.moments
        lines += [
            f"{name:<15}mean error {e.mae:.0f} ms   bias {e.bias:+.0f} ms   n {e.count}"
            for name, e in ((name, errors[name]) for name in NAMES)
            if e.count
        ]
        lines.append(f"overlap        {scored.moments.iou:.2f} on average")
    if scored.units is not None:
        u = scored.units
        side = "" if scored.sides is None else f"   same side {100 * scored.sides:.0f} %"
        lines.append(f"action units   F1 {u.binary_f1:.2f}   Jaccard {u.jaccard:.2f}   n {u.clips}{side}")
    if scored.emotions is not None:
        e = scored.emotions
        lines.append(f"class          UF1 {e.uf1:.2f}   UAR {e.uar:.2f}   accuracy {e.accuracy:.2f}")
    if scored.undescribed:
        lines.append(
            f"{scored.undescribed} kept expressions were coded and have no description: scored as naming nothing"
        )
    lines += [f"removed        {clock(r.onset_ms)}  score {r.score:.2f}" for r in scored.removed]
    lines += [f"added          {clock(i.onset_ms)}" for i in scored.added]
    return lines
