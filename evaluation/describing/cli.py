"""``mellm eval describing``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mellm.detectors.stepmodel import OnnxStepModel
from mellm.engine.describe import create
from mellm.evaluation.describing import cases, report, systems
from mellm.evaluation.metrics import marks

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--set", "names", multiple=True, metavar="NAME", help="rendered, stills or clips [all].")
@click.option(
    "--describer",
    "kinds",
    multiple=True,
    metavar="NAME",
    help="ensemble, rules, nano, openai [ensemble, rules, nano].",
)
@click.option("--base-url", help="Of the openai describer.")
@click.option("--model", help="Of the openai describer.")
@click.option("--profile", default="generic", show_default=True, help="Of the openai describer.")
@click.option("--folder", type=_PATH, help="Another folder of the embedded model [the shipped one].")
@click.option("--pairs", type=_PATH, default=Path("runs/pairs"), show_default=True, help="Stored test pairs.")
@click.option("--clips", type=_PATH, default=Path("runs/clips50"), show_default=True, help="Rendered videos.")
@click.option(
    "--root",
    type=_PATH,
    default=Path("runs/spotting-sets"),
    show_default=True,
    help="Their measured signals.",
)
@click.option("--page", type=_PATH, help="Put the table between the marks of this page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def describing(
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    base_url: str | None,
    model: str | None,
    profile: str,
    folder: Path | None,
    pairs: Path,
    clips: Path,
    root: Path,
    page: Path | None,
    as_json: bool,
) -> None:
    """Score describers against known units, on pairs that no describer was trained on."""
    asked: dict[str, systems.System] = {}
    for kind in kinds or ("ensemble", "rules", "nano"):
        if kind == "nano":
            asked |= {
                "nano": systems.nano(folder),
                "nano, unconstrained": systems.nano(folder, constrained=False),
            }
        else:
            asked[kind] = systems.of_describer(create(kind, base_url=base_url, model=model, profile=profile))
    looking = dict(asked)
    asked |= {systems.PRIOR: systems.prior_only}
    for name, system in looking.items():
        if "," not in name:
            asked |= {
                f"{name}, blank map": systems.blank(system),
                f"{name}, other maps": systems.shuffled(system),
            }
    results = {}
    for name in names or cases.SETS:
        examples = cases.load(name, pairs, clips=clips, signals=root / "rendered50", model=OnnxStepModel())
        told = name == "clips" and not kinds
        more = (
            {"rules, with the spotter": systems.rules_with_opinion, "spotter": systems.spotter}
            if told
            else {}
        )
        results[name] = report.compare(examples, {**asked, **more})
    if page is not None:
        marks.put(page, report.table(results), report.BEGIN)
    click.echo(json.dumps(report.plain(results), indent=1) if as_json else report.table(results))
    for name, who in report.no_better_than_labels(results):
        click.echo(
            f"mellm: warning: on {name}, {who} is not better than the most likely answer: "
            "it has learnt the labels, not the faces",
            err=True,
        )
