"""``mellm eval spotting``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mellm.evaluation.metrics.spotting import SpottingScore
from mellm.evaluation.metrics.table import Table
from mellm.evaluation.spotting import data, report, tune
from mellm.evaluation.spotting.baselines import Form
from mellm.evaluation.spotting.page import marked, publish, ranged, two, write
from mellm.evaluation.spotting.report import Report
from mellm.evaluation.spotting.rivals import PublishedDecoder
from mellm.evaluation.spotting.systems import BaselineSystem, ModelSystem, System, load_model
from mellm.stream.errors import ModelCorrupt, ModelMissing, RunError
from mellm.training.spotter import sets
from mellm.training.spotter.records import Record

_PATH = click.Path(path_type=Path)
FOLDS = Path("runs/spotter/folds")


class _Spotting(click.Command):
    """With ``--dataset`` it is ``mellm eval spotting-datasets``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **more: Any
    ) -> click.Context:
        if any(arg == "--dataset" or arg.startswith("--dataset=") for arg in args):
            from mellm.evaluation.dataset_runs.cli import spotting as of_data_sets

            return of_data_sets.make_context(info_name, args, parent, **more)
        return super().make_context(info_name, args, parent, **more)


@click.command(cls=_Spotting)
@click.option(
    "--dataset",
    metavar="NAME",
    expose_value=False,
    help="A data set that you hold: see `spotting-datasets --help`.",
)
@click.option("--set", "names", multiple=True, metavar="NAME", help="A set; may be repeated [the test sets].")
@click.option(
    "--model", type=_PATH, help="Another spotter (.onnx, its .json beside it) next to the shipped one."
)
@click.option("--before", type=_PATH, help="An earlier spotter for comparison.")
@click.option(
    "--rival", "rivals", type=_PATH, multiple=True, help="Another recipe's spotter; may be repeated."
)
@click.option("--folds", type=_PATH, help=f"Networks by fold for filmed people [{FOLDS} if there].")
@click.option(
    "--root", type=_PATH, default=Path("runs/spotting-sets"), show_default=True, help="Folder of sets."
)
@click.option("--build/--no-build", default=True, show_default=True, help="Make the clips that are missing.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Of the building.")
@click.option("--out", type=_PATH, help="Write report.json, report.md and plots there.")
@click.option(
    "--page", type=_PATH, help="Put the report between the marks of this page, e.g. docs/results/spotting.md."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--tune", "tuning", is_flag=True, help="Choose SpottingOptions on validation sets instead.")
def spotting(
    names: tuple[str, ...],
    model: Path | None,
    before: Path | None,
    rivals: tuple[Path, ...],
    folds: Path | None,
    root: Path,
    build: bool,
    workers: int,
    out: Path | None,
    page: Path | None,
    as_json: bool,
    tuning: bool,
) -> None:
    """Score spotters side by side on the same clips: F1, false alarms, moments, latency.

    \b
    Test sets:        talking free stills drawn rendered50 rendered30 foreign
    More:             rates (frame rates and face widths)
    Validation sets:  val-rendered val-stills val-drawn val-talking val-free

    The shipped network, --model, --before and each --rival run beside a training-free baseline and the published
    whole-video decoder (on our score, and on raw flow), all in a causal and a whole-video form.
    People of `talking` and `free` are judged by the networks of --folds that never saw them. Sets that are missing are
    made first, from `mellm.training.spotter.sets` (hours for all on two cores; with --no-build what is there is used).

    Truth is synthetic: expressions are rendered, or laid on real pictures. On data sets that you hold:
    `mellm eval spotting --dataset NAME --root DIR --out DIR` (options: `mellm eval spotting-datasets --help`).
    """
    chosen = names or (sets.VALIDATION_SETS if tuning else sets.TEST_SETS)
    if tuning:
        data.require_validation(chosen)
    wanted = {name: data.wanted(name) for name in chosen}  # an unknown name is told before models are read
    spotters = _networks(model, before, folds)
    if out:
        _writable(out)
    if page:
        marked(page)
    found = {
        name: data.load_set(name, root, build=build, workers=workers, progress=_building) for name in chosen
    }
    if tuning:
        _tune(spotters[1] if model else spotters[0], found, as_json)
        return
    ours = spotters[1] if model else spotters[0]
    forms: tuple[Form, ...] = ("causal", "whole")
    every: list[System] = [
        *spotters,
        *(load_model(f"rival: {path.stem}", path) for path in rivals),
        *(BaselineSystem(form) for form in forms),
        *(
            PublishedDecoder("score", form, model_of=ours.network, seen=ours.seen_in_training)
            for form in forms
        ),
        *(PublishedDecoder("flow", form) for form in forms),
    ]
    made = report.evaluate(found, every, wanted=wanted, progress=lambda name, who: tell(f"{name}: {who}"))
    written = write(made, out) if out else []
    written += publish(made, page) if page else []
    for path in written:
        tell(f"wrote {path}")
    _show(made, as_json)


def _networks(model: Path | None, before: Path | None, folds: Path | None) -> list[ModelSystem]:
    """The shipped network, another one, an earlier one. Folds go with the newest: the other one if there is one."""
    if folds is not None and not any(folds.glob("fold-*.onnx")):
        raise ModelMissing(f"no fold-*.onnx in {folds}", remedy="train them with `mellm train spotter`")
    given = folds is not None
    if folds is None and any(FOLDS.glob("fold-*.onnx")):
        folds = FOLDS
    try:
        return _loaded(model, before, folds)
    except ModelCorrupt as error:
        if given or folds is None:
            raise
        tell(f"networks of the folds ignored: {error.message}")
        return _loaded(model, before, None)


def _loaded(model: Path | None, before: Path | None, folds: Path | None) -> list[ModelSystem]:
    out = [load_model("shipped", None, folds=None if model else folds)]
    if model:
        out.append(load_model("model", model, folds=folds))
    if before:
        out.append(load_model("before", before))
    return out


def _writable(out: Path) -> None:
    """Find out before an hour of work, not after it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".mellm-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"cannot write into {out}: {error.strerror or error}", remedy="name another folder with --out"
        ) from error


def tell(text: str) -> None:
    """One line on standard error."""
    click.echo(text, err=True)


def _building(name: str, done: int, total: int) -> None:
    if done < total:
        tell(f"{name}: {done} of {total} clips made")


def _show(made: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(made.to_json()))
        return
    rows = []
    for part in made.sets:
        for k, r in enumerate(part.results):
            known = part.facts.truths > 0
            apex, late = r.errors.get("apex"), r.latency
            rows.append(
                (
                    f"{part.name} ({part.facts.truths})" if k == 0 else "",
                    r.spotter + (" †" if r.seen_in_training else ""),
                    ranged(r.ratios.f1) if known else "–",
                    two(r.ratios.precision.value) if known else "–",
                    two(r.ratios.recall.value) if known else "–",
                    ranged(r.false_per_minute, 1),
                    f"{apex.mean:.0f}" if apex else "–",
                    (f"{late.p50:.0f} / {late.p95:.0f}" if late.spots else "–") if late else "at the end",
                )
            )
    notes = []
    for part in made.sets:
        for e in part.equal:
            a, b = e.at_ours[1:], e.at_baseline[1:]
            verdict = "at least twice" if e.holds else "LESS THAN TWICE"
            notes.append(
                f"{part.name}: {e.ours} against {e.baseline}: F1 at {e.at_ours[0]:.1f} false / min "
                f"{two(a[0])} : {two(a[1])}, at {e.at_baseline[0]:.1f} {two(b[0])} : {two(b[1])} – {verdict}"
            )
    if any(r.seen_in_training for part in made.sets for r in part.results):
        notes.append(
            "† some of these people were in its training: give the networks of the folds with --folds"
        )
    title = (
        "IoU ≥ .5, one to one, pooled; [95 % intervals]; apex: mean error; late: p50 / p95 after the offset"
    )
    heads = ("set", "spotter", "F1", "P", "R", "false / min", "apex ms", "late ms")
    Table("spotting", title, heads, rows, notes, right=range(2, 8)).show()


def _tune(system: ModelSystem, found: Mapping[str, Sequence[Record]], as_json: bool) -> None:
    def plain(scores: Mapping[str, tuple[SpottingScore, float]]) -> dict[str, dict[str, float]]:
        return {
            key: {
                "f1": round(s.f1, 4),
                "precision": round(s.precision, 4),
                "recall": round(s.recall, 4),
                "false_per_minute": round(rate, 3),
            }
            for key, (s, rate) in scores.items()
        }

    tuned = tune.model(system, found)
    before, after, options = plain(tuned.before), plain(tuned.after), asdict(tuned.options)
    if as_json:
        whole = {"spotter": system.name, "options": options, "tried": tuned.tried}
        click.echo(json.dumps({**whole, "before": before, "after": after}))
        return
    click.echo(f"{system.name}: {tuned.tried} sets of options tried")
    for key, value in options.items():
        click.echo(f"  {key:13} {value if value is not None else 'follows the threshold'}")
    for key, now in after.items():
        was = before[key]
        click.echo(
            f"  {key:13} F1 {was['f1']:.3f} → {now['f1']:.3f}  P {now['precision']:.2f}  R {now['recall']:.2f}"
            f"  false / min {was['false_per_minute']:.1f} → {now['false_per_minute']:.1f}"
        )
