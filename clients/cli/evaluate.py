"""``mellm eval``: needs the extras ``train`` and ``eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import json_flag
from mellm.clients.cli.forward import forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mellm.evaluation.spotting.contenders import Contender, ModelContender
    from mellm.evaluation.spotting.report import Report
    from mellm.evaluation.spotting.tune import Tuned
    from mellm.training.spotter.records import Record

_PATH = click.Path(path_type=Path)
FOLDS = Path("runs/spotter/folds")
WIDTH = 112
"""Columns of the table of scores: a pipe is taken to be this wide."""


@click.group(name="eval")
def evaluate() -> None:
    """Measure the project against known truth (extras `train` and `eval`)."""


class _OfDataSets(click.Command):
    """With ``--dataset`` the verb is another one, whose options live beside its code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(arg == "--dataset" or arg.startswith("--dataset=") for arg in args):
            ctx.meta["dataset"] = list(args)
            return []
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if "dataset" not in ctx.meta:
            return super().invoke(ctx)
        try:
            from mellm.evaluation.dataset_runs.cli import main
        except ImportError as error:
            from mellm.stream.errors import MissingExtra

            raise MissingExtra(
                f"the evaluation needs {error.name}", remedy="pip install 'mellm-live[cpu,train,eval]'"
            ) from error
        return main(["spotting", *ctx.meta["dataset"]])


@evaluate.command(cls=_OfDataSets)
@click.option(
    "--dataset", metavar="NAME", expose_value=False, help="A data set that you hold; with --help: how."
)
@click.option("--set", "names", multiple=True, metavar="NAME", help="A set; may be repeated [the test sets].")
@click.option(
    "--model", type=_PATH, help="Another spotter (.onnx, its .json beside it) next to the shipped one."
)
@click.option("--before", type=_PATH, help="An earlier spotter for comparison.")
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
@json_flag
@click.option("--tune", is_flag=True, help="Choose SpottingOptions on validation sets instead.")
def spotting(
    names: tuple[str, ...],
    model: Path | None,
    before: Path | None,
    folds: Path | None,
    root: Path,
    build: bool,
    workers: int,
    out: Path | None,
    page: Path | None,
    as_json: bool,
    tune: bool,
) -> None:
    """Score spotters side by side on the same clips: F1, false alarms, moments, latency.

    \b
    Test sets:        rendered50 rendered30 stills talking free
    More:             rates (frame rates and face widths)
    Validation sets:  val-rendered val-stills (names that begin with val-)

    The shipped network, --model and --before run beside a training-free baseline in a causal and a whole-video form.
    People of `talking` and `free` are judged by the networks of --folds that never saw them. Sets that are missing are
    made first, from `mellm.training.spotter.sets` (hours for all on two cores; with --no-build what is there is used).

    Truth is synthetic: expressions are rendered, or laid on real pictures. On data sets that you hold:
    `mellm eval spotting --dataset NAME --root DIR --out DIR` (`--dataset x --help` shows its options).
    """
    try:
        from mellm.evaluation.spotting import contenders, data, report
        from mellm.training.spotter import sets
    except ImportError as error:
        from mellm.stream.errors import MissingExtra

        raise MissingExtra(
            f"the evaluation needs {error.name}", remedy="pip install 'mellm-live[cpu,train,eval]'"
        ) from error

    chosen = names or (sets.VALIDATION_SETS if tune else sets.TEST_SETS)
    if tune:
        data.require_validation(chosen)
    wanted = {name: data.wanted(name) for name in chosen}  # an unknown name is told before models are read
    tell = _teller()
    spotters = _networks(model, before, folds, tell)
    if out:
        _writable(out)
    if page:
        report.marked(page)
    found = {
        name: data.load_set(name, root, build=build, workers=workers, progress=_building(tell))
        for name in chosen
    }
    if tune:
        _tune(spotters[1] if model else spotters[0], found, as_json)
        return
    every: list[Contender] = [
        *spotters,
        contenders.BaselineContender("causal"),
        contenders.BaselineContender("whole"),
    ]
    made = report.evaluate(found, every, wanted=wanted, progress=lambda name, who: tell(f"{name}: {who}"))
    written = report.write(made, out) if out else []
    written += report.publish(made, page) if page else []
    for path in written:
        tell(f"wrote {path}")
    _show(made, as_json)


def _networks(
    model: Path | None, before: Path | None, folds: Path | None, tell: Callable[[str], None]
) -> list[ModelContender]:
    """The shipped network, another one, an earlier one. Folds go with the newest: the other one if there is one."""
    from mellm.stream.errors import ModelCorrupt, ModelMissing

    if folds is not None and not any(folds.glob("fold-*.onnx")):
        raise ModelMissing(
            f"no fold-*.onnx in {folds}", remedy="train them with `mellm train spotter --cross-validate`"
        )
    given = folds is not None
    if folds is None and any(FOLDS.glob("fold-*.onnx")):
        folds = FOLDS
    try:
        return _loaded(model, before, folds)
    except ModelCorrupt as error:
        if given or folds is None:
            raise
        tell(f"networks of the folds left aside: {error.message}")
        return _loaded(model, before, None)


def _loaded(model: Path | None, before: Path | None, folds: Path | None) -> list[ModelContender]:
    from mellm.evaluation.spotting.contenders import load_model

    out = [load_model("shipped", None, folds=None if model else folds)]
    if model:
        out.append(load_model("model", model, folds=folds))
    if before:
        out.append(load_model("before", before))
    return out


def _writable(out: Path) -> None:
    """Find out before an hour of work, not after it."""
    from mellm.stream.errors import RunError

    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".mellm-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"cannot write into {out}: {error.strerror or error}", remedy="name another folder with --out"
        ) from error


def _teller() -> Callable[[str], None]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    return lambda text: console.print(text, markup=False)


def _building(tell: Callable[[str], None]) -> Callable[[str, int, int], None]:
    def progress(name: str, done: int, total: int) -> None:
        if done < total:
            tell(f"{name}: {done} of {total} clips made")

    return progress


def _show(report: Report, as_json: bool) -> None:
    import json

    if as_json:
        click.echo(json.dumps(report.to_json()))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from mellm.evaluation.spotting.page import ranged, two

    table = Table(
        title="IoU ≥ .5, one to one, pooled; [95 % intervals]; apex: mean error; late: p50 / p95 after the offset",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for head in ("set", "spotter", "F1", "P", "R", "false / min", "apex ms", "late ms"):
        table.add_column(head, justify="left" if head in ("set", "spotter") else "right", no_wrap=True)
    for part in report.sets:
        for k, r in enumerate(part.results):
            known = part.facts.truths > 0
            apex, late = r.errors.get("apex"), r.latency
            table.add_row(
                f"{part.name} ({part.facts.truths})" if k == 0 else "",
                r.spotter + (" †" if r.seen_in_training else ""),
                ranged(r.ratios.f1) if known else "–",
                two(r.ratios.precision.value) if known else "–",
                two(r.ratios.recall.value) if known else "–",
                ranged(r.false_per_minute, 1),
                f"{apex.mean:.0f}" if apex else "–",
                (f"{late.p50:.0f} / {late.p95:.0f}" if late.spots else "–") if late else "at the end",
                end_section=k == len(part.results) - 1,
            )
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    for part in report.sets:
        for e in part.equal:
            a, b = e.at_ours[1:], e.at_baseline[1:]
            verdict = "at least twice" if e.holds else "LESS THAN TWICE"
            console.print(
                f"{part.name}: {e.ours} against {e.baseline}: F1 at {e.at_ours[0]:.1f} false / min "
                f"{two(a[0])} : {two(a[1])}, at {e.at_baseline[0]:.1f} {two(b[0])} : {two(b[1])} – {verdict}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    if any(r.seen_in_training for part in report.sets for r in part.results):
        console.print(
            "† some of these people were in its training: give the networks of the folds with --folds"
        )


def _tune(contender: ModelContender, found: Mapping[str, Sequence[Record]], as_json: bool) -> None:
    from dataclasses import asdict

    from mellm.evaluation.spotting import tune

    _tell_tuned(contender.name, tune.model(contender, found), as_json, asdict)


def _tell_tuned(name: str, tuned: Tuned, as_json: bool, asdict: Callable[[Any], dict[str, Any]]) -> None:
    import json

    def plain(scores: dict[str, Any]) -> dict[str, Any]:
        return {
            key: {
                "f1": round(s.f1, 4),
                "precision": round(s.precision, 4),
                "recall": round(s.recall, 4),
                "false_per_minute": round(rate, 3),
            }
            for key, (s, rate) in scores.items()
        }

    whole = {
        "spotter": name,
        "options": asdict(tuned.options),
        "tried": tuned.tried,
        "before": plain(tuned.before),
        "after": plain(tuned.after),
    }
    if as_json:
        click.echo(json.dumps(whole))
        return
    click.echo(f"{name}: {tuned.tried} sets of options tried")
    for key, value in asdict(tuned.options).items():
        click.echo(f"  {key:13} {value if value is not None else 'follows the threshold'}")
    for key, after in plain(tuned.after).items():
        earlier = plain(tuned.before)[key]
        click.echo(
            f"  {key:13} F1 {earlier['f1']:.3f} → {after['f1']:.3f}  P {after['precision']:.2f}"
            f"  R {after['recall']:.2f}"
            f"  false / min {earlier['false_per_minute']:.1f} → {after['false_per_minute']:.1f}"
        )


@evaluate.command()
@click.option("--set", "names", multiple=True, metavar="NAME", help="rendered, stills or clips [all].")
@click.option(
    "--describer", "kinds", multiple=True, metavar="NAME", help="rules, nano, openai [rules, nano]."
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
@json_flag
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
    import json

    from mellm.stream.errors import MissingExtra

    try:
        from mellm.evaluation import marks
        from mellm.evaluation.describing import cases, readers, report
    except ImportError as error:
        raise MissingExtra(
            f"evaluating needs {error.name}", remedy="pip install 'mellm-live[train,eval]'"
        ) from error
    from mellm.detectors.stepmodel import OnnxStepModel
    from mellm.engine.describe import create

    asked: dict[str, readers.Reader] = {}
    for kind in kinds or ("rules", "nano"):
        if kind == "nano":
            asked |= {
                "nano": readers.nano(folder),
                "nano, unconstrained": readers.nano(folder, constrained=False),
            }
        else:
            asked[kind] = readers.of_describer(create(kind, base_url=base_url, model=model, profile=profile))
    results = {}
    for name in names or cases.SETS:
        examples = cases.load(name, pairs, clips=clips, signals=root / "rendered50", model=OnnxStepModel())
        told = name == "clips" and not kinds
        more = (
            {"rules, with the spotter": readers.rules_with_opinion, "spotter": readers.spotter}
            if told
            else {}
        )
        results[name] = report.compare(examples, {**asked, **more})
    if page is not None:
        marks.put(page, report.table(results), report.BEGIN)
    click.echo(json.dumps(report.plain(results), indent=1) if as_json else report.table(results))


forward(
    evaluate, "metrics", "mellm.evaluation.metrics.cli", "Score files by challenge metrics.", extra="eval"
)
forward(
    evaluate,
    "corrections",
    "mellm.evaluation.corrections.cli",
    "Score a run against corrections made in ELAN or a table.",
    extra="eval",
)
forward(
    evaluate,
    "recognition",
    "mellm.evaluation.dataset_runs.cli",
    "Score classes on data sets.",
    "recognition",
    extra="eval",
)
forward(
    evaluate,
    "understanding",
    "mellm.evaluation.dataset_runs.cli",
    "Score units and questions.",
    "understanding",
    extra="eval",
)
forward(
    evaluate, "robustness", "mellm.evaluation.robustness.cli", "Show how scores fall as pictures get worse."
)
