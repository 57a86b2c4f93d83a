"""``mellm eval describing``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mellm.detectors.stepmodel import OnnxStepModel
from mellm.engine.describe import create
from mellm.engine.describe.ensemble import load as load_weights
from mellm.engine.describe.ensemble import weights
from mellm.evaluation.describing import cases, on_spots, report, stability, systems
from mellm.evaluation.metrics import marks
from mellm.evaluation.metrics.priors import PRIOR
from mellm.training.readings.changed import FOLDER
from mellm.training.readings.observed import load as load_observed

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
@click.option(
    "--spots",
    type=_PATH,
    metavar="DIR",
    help="Score on the product's own spots of test people instead, as mellm.training.readings.observed kept them.",
)
@click.option(
    "--stability",
    "stability_of",
    type=_PATH,
    metavar="DIR",
    help="Compare what is said of the same moments under seven harmless changes instead; kept there as well.",
)
@click.option("--weights", "weights_file", type=_PATH, help="Of the ensemble, with the two options above.")
@click.option("--diagram", type=_PATH, help="With --spots: write the reliability diagram there.")
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
    spots: Path | None,
    stability_of: Path | None,
    weights_file: Path | None,
    diagram: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Score describers against known units, on pairs that no describer was trained on."""
    if spots is not None or stability_of is not None:
        _kept(spots, stability_of, weights_file, diagram, page, as_json)
        return
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
    asked |= {PRIOR: systems.prior_only}
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


def _kept(
    spots: Path | None,
    stability_of: Path | None,
    weights_file: Path | None,
    diagram: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Score what was kept of spots."""
    w = weights() if weights_file is None else load_weights(weights_file)
    told: dict[str, object] = {}
    tables = []
    if spots is not None:
        found = load_observed(spots, ["test"])
        scores, fits = on_spots.rows(found, w), on_spots.calibration(found, w)
        told |= on_spots.plain(scores, fits)
        tables.append((on_spots.BEGIN, f"{on_spots.table(scores)}\n\n{on_spots.calibration_table(fits)}"))
        if diagram is not None:
            on_spots.diagram(fits, diagram)
    if stability_of is not None:
        steady = stability.results(load_observed(stability_of, [FOLDER]), w)
        told |= {"stability": stability.plain(steady)}
        tables.append((stability.BEGIN, stability.table(steady)))
    for begin, text in tables:
        if page is not None:
            marks.put(page, text, begin)
    click.echo(json.dumps(told, indent=1) if as_json else "\n\n".join(text for _, text in tables))
