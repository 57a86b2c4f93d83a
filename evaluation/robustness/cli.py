"""``mellm eval robustness``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from mellm.evaluation.robustness import axes as known
from mellm.evaluation.robustness import describe, report, scenes, spot
from mellm.evaluation.robustness.rows import Rows

BEGIN, END = "<!-- results: mellm eval robustness --of {} -->", "<!-- end of results: {} -->"


@click.command()
@click.option(
    "--of",
    "what",
    type=click.Choice(["describe", "spot"]),
    default="describe",
    help="Describers, or the spotter [describe].",
)
@click.option(
    "--axis", "names", multiple=True, metavar="NAME", help="An axis of damage; may be repeated [all]."
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    type=click.Choice(scenes.SETS),
    help="Of describers: drawn people, or photographs [both].",
)
@click.option(
    "--people", type=click.IntRange(1), default=12, help="Test people of each set; clips of the spotter [12]."
)
@click.option(
    "--clips",
    type=click.Path(path_type=Path),
    default=Path("runs/clips50"),
    help="Rendered clips of the spotter [runs/clips50].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/robustness"),
    help="Folder of rows and results [runs/robustness].",
)
@click.option(
    "--page", type=click.Path(path_type=Path), help="Put the tables between the marks of this page."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the curves as a picture.")
@click.option("--draws", type=click.IntRange(1), default=1000, help="Bootstrap samples over people [1000].")
@click.option("--json", "as_json", is_flag=True, help="Print the curves as JSON.")
def robustness(
    what: Literal["describe", "spot"],
    names: tuple[str, ...],
    sets: tuple[str, ...],
    people: int,
    clips: Path,
    out: Path,
    page: Path | None,
    plot: Path | None,
    draws: int,
    as_json: bool,
) -> None:
    """How scores fall as pictures get worse: noise, compression, blur, head motion, frame rate, moments that are off.

    The same people and moments at every level, so that a change is told from chance with few people. A stopped run
    goes on where it stopped. Truth is synthetic: expressions are rendered, or laid on photographs of test people.
    """
    axes = known.of(what, names)

    def tell(text: str) -> None:
        click.echo(text, err=True)

    if what == "spot":
        from mellm.evaluation.spotting.systems import load_model

        shipped = load_model("shipped", None)
        rows = Rows(out / "spot.jsonl", f"spotter at {shipped.level:g}, every {spot.EVERY}")
        spot.measure(spot.clips(clips, people), axes, rows, lambda: load_model("shipped", None), tell)
        found = report.curves(rows, "spot", spot.SET, [""], axes, draws)
    else:
        rows = Rows(out / "describe.jsonl", describe.key())
        asked = describe.readers()
        found = []
        for name in sets or scenes.SETS:
            some = [a for a in axes if name == "rendered" or a.name in known.PHOTOGRAPHED]
            describe.measure(scenes.people(name, people), some, rows, name, asked, tell)
            found += report.curves(rows, "describe", name, list(asked), some, draws)
    if plot is not None and found:
        tell(f"wrote {report.plot(found, plot)}")
    text = report.markdown(found)
    if page is not None:
        from mellm.evaluation.metrics import marks

        marks.put(page, text, BEGIN.format(what), END.format(what))
    click.echo(json.dumps([curve.as_dict() for curve in found]) if as_json else text)
