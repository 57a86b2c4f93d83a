"""``mellm eval spotting --dataset``, ``mellm eval recognition`` and ``mellm eval understanding``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from mellm.detectors.spotting import OnnxStepModel, SpottingOptions
from mellm.engine.describe import Describer, create
from mellm.evaluation.dataset_runs import (
    describing,
    inputs,
    output,
    questions,
    recognition,
    spotting_score,
    understanding,
)
from mellm.evaluation.dataset_runs import (
    loop as work,
)
from mellm.evaluation.dataset_runs.describing import Asker
from mellm.evaluation.dataset_runs.folder import EvalFolder
from mellm.evaluation.dataset_runs.inputs import Held
from mellm.evaluation.dataset_runs.judging import Rule
from mellm.evaluation.dataset_runs.progress import Bar
from mellm.evaluation.dataset_runs.recordings import recordings
from mellm.evaluation.dataset_runs.spotter import LEVELS, Parts
from mellm.evaluation.dataset_runs.tables import Table, told
from mellm.evaluation.datasets import APEX_POLICIES, OFFSET_POLICIES, Clip

Command = TypeVar("Command", bound=Callable[..., Any])
Protocol = Literal["loso", "lodo"]
_PATH = click.Path(path_type=Path)


def common(command: Command) -> Command:
    """Options that all three share."""
    for option in reversed(
        (
            click.option(
                "--dataset",
                "names",
                multiple=True,
                required=True,
                metavar="NAME[=DIR]",
                help="A data set; may be repeated.",
            ),
            click.option(
                "--root", "roots", multiple=True, metavar="DIR", help="Its folder, in the order of --dataset."
            ),
            click.option(
                "--out", type=_PATH, required=True, metavar="DIR", help="Run folder to write or to go on in."
            ),
            click.option(
                "--fps",
                multiple=True,
                metavar="[NAME=]RATE",
                help="Frames a second instead of the release's.",
            ),
            click.option(
                "--apex-policy",
                default="unknown",
                type=click.Choice(list(APEX_POLICIES)),
                help="For unknown apexes [unknown].",
            ),
            click.option(
                "--offset-policy",
                default="unknown",
                type=click.Choice(list(OFFSET_POLICIES)),
                help="For unknown offsets [unknown].",
            ),
            click.option(
                "--tune",
                type=click.Choice(["loso", "lodo"]),
                help="Choose on the training part of folds that leave a subject (or a data set) out [choose nothing].",
            ),
            click.option(
                "--limit",
                type=click.IntRange(1),
                metavar="N",
                help="Only the first of each data set: a trial.",
            ),
            click.option("--retry", is_flag=True, help="Do rows again that ended in an error."),
            click.option(
                "--draws",
                type=click.IntRange(0),
                default=1000,
                help="Bootstrap samples over subjects [1000].",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
        )
    ):
        command = option(command)
    return command


def describer_options(command: Command) -> Command:
    """Who describes."""
    for option in (
        click.option("--profile", default="generic", help="Of the openai describer [generic]."),
        click.option("--model", help="Of the openai describer."),
        click.option("--base-url", metavar="URL", help="Of the openai describer, up to /v1."),
        click.option(
            "--describer",
            "kind",
            default="nano",
            type=click.Choice(["nano", "rules", "openai"]),
            help="Who describes [nano].",
        ),
    ):
        command = option(command)
    return command


@click.command()
@common
@click.option(
    "--iou",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    help="Least intersection over union [0.5].",
)
@click.option(
    "--long-truth",
    type=click.Choice(["keep", "exclude"]),
    default="keep",
    help="Micro-expressions annotated as longer than half a second [keep].",
)
@click.option(
    "--bare", is_flag=True, help="Also recordings beside the annotated ones in which nothing is annotated."
)
@click.option("--describe", is_flag=True, help="Describe each spot as well: spot, then recognise (STRS).")
@describer_options
def spotting(
    names: tuple[str, ...],
    roots: tuple[str, ...],
    out: Path,
    fps: tuple[str, ...],
    apex_policy: str,
    offset_policy: str,
    tune: Protocol | None,
    limit: int | None,
    retry: bool,
    draws: int,
    as_json: bool,
    iou: float,
    long_truth: Literal["keep", "exclude"],
    bare: bool,
    describe: bool,
    kind: str,
    base_url: str | None,
    model: str | None,
    profile: str,
) -> None:
    """Run the spotter over the recordings of data sets that you hold, causally, and score it by the challenge rule.

    Each recording becomes a line of rows.jsonl; the same command goes on where it stopped. tables.md, tables/, plots,
    matches.csv and report.json say what came out and which data chose each threshold.
    """
    held = _held(names, roots, fps, apex_policy, offset_policy)
    step, options = OnnxStepModel(), SpottingOptions()
    parts = Parts(lambda: describing.analyzer("cpu"), step, options)
    decides: dict[str, Any] = {
        "spotter": inputs.face_models(),
        "options": {name: getattr(options, name) for name in options.__slots__},
        "apex_policy": apex_policy,
        "offset_policy": offset_policy,
    }
    describer = None
    if describe:
        describer = create(kind, base_url=base_url, model=model, profile=profile)
        decides["describer"] = inputs.describer_facts(describer, kind, base_url)
        parts = Parts(parts.analyzer, step, options, _evidence(describer))
    some = [r for h in held for r in recordings(h.data, fps=h.fps, bare=bare)[:limit]]
    try:
        with EvalFolder.create(out, "spotting", decides, _decides(held)) as folder, Bar("recordings") as bar:
            asker = Asker(describer, describing.analyzer("cpu")) if describer is not None else None
            done = work.spot_all(some, folder, parts, asker=asker, retry=retry, progress=bar)
            result = spotting_score.evaluate(
                some,
                folder.rows,
                work.read_levels(folder),
                shipped=parts.level,
                rule=Rule(iou, long_truth),
                tune=tune,
                described=describe,
                draws=draws,
            )
            scoring = {
                "iou": iou,
                "long_truth": long_truth,
                "tune": tune,
                "levels": list(LEVELS),
                **_trial(limit),
            }
            made = output.spotting(result, output.about(folder, held, done, scoring), out)
    finally:
        if describer is not None:
            describer.close()
    _show(made, done, out, as_json)


@click.command()
@common
@click.option(
    "--classes",
    type=click.Choice(["coarse", "composite"]),
    default="coarse",
    help="Truth: the data set's coarse class, or the composite one of MEGC 2019 [coarse].",
)
@describer_options
def recognise(
    names: tuple[str, ...],
    roots: tuple[str, ...],
    out: Path,
    fps: tuple[str, ...],
    apex_policy: str,
    offset_policy: str,
    tune: Protocol | None,
    limit: int | None,
    retry: bool,
    draws: int,
    as_json: bool,
    classes: Literal["coarse", "composite"],
    kind: str,
    base_url: str | None,
    model: str | None,
    profile: str,
) -> None:
    """Describe the annotated onset–apex pairs of data sets, and score the coarse (and fine) class: UF1 and UAR."""
    held = _held(names, roots, fps, apex_policy, offset_policy)
    clips = [clip for h in held for clip in h.data.clips[:limit]]
    with _described(out, "recognition", held, clips, retry, kind, base_url, model, profile) as (folder, done):
        answers = recognition.answered(clips, folder.rows, classes)
        result = recognition.evaluate(answers, tune=tune, draws=draws)
        scoring = {"classes": classes, "tune": tune, **_trial(limit)}
        made = output.recognition(result, folder.rows, output.about(folder, held, done, scoring), out)
    _show(made, done, out, as_json)


@click.command()
@common
@click.option(
    "--questions",
    "file",
    type=_PATH,
    metavar="FILE",
    help="The challenge's JSON lines [made from the annotation].",
)
@describer_options
def understand(
    names: tuple[str, ...],
    roots: tuple[str, ...],
    out: Path,
    fps: tuple[str, ...],
    apex_policy: str,
    offset_policy: str,
    tune: Protocol | None,
    limit: int | None,
    retry: bool,
    draws: int,
    as_json: bool,
    file: Path | None,
    kind: str,
    base_url: str | None,
    model: str | None,
    profile: str,
) -> None:
    """Describe the annotated pairs of data sets, and score action units and the challenge's questions (ME-VQA)."""
    if tune:
        raise click.UsageError("nothing is chosen here: --tune belongs to spotting and recognition")
    held = _held(names, roots, fps, apex_policy, offset_policy)
    clips = [clip for h in held for clip in h.data.clips[:limit]]
    asked, others = questions.read(file, clips) if file else (questions.generated(clips), 0)
    with _described(out, "understanding", held, clips, retry, kind, base_url, model, profile) as (
        folder,
        done,
    ):
        result = understanding.evaluate(clips, folder.rows, asked)
        scoring = {
            "questions": str(file) if file else "made from the annotation",
            "of_other_clips": others,
            **_trial(limit),
        }
        made = output.understanding(result, folder.rows, output.about(folder, held, done, scoring), out)
    _show(made, done, out, as_json)


@contextmanager
def _described(
    out: Path,
    what: str,
    held: Sequence[Held],
    clips: Sequence[Clip],
    retry: bool,
    kind: str,
    base_url: str | None,
    model: str | None,
    profile: str,
) -> Any:
    """Rows of all clips; the folder stays open while they are scored."""
    describer = create(kind, base_url=base_url, model=model, profile=profile)
    decides = {
        "describer": inputs.describer_facts(describer, kind, base_url),
        "faces": inputs.face_models(),
    }
    try:
        asker = Asker(describer, describing.analyzer("cpu"))
        with EvalFolder.create(out, what, decides, _decides(held)) as folder, Bar("clips") as bar:
            yield folder, work.describe_all(clips, folder, asker, retry=retry, progress=bar)
    finally:
        describer.close()


def _held(
    names: Sequence[str], roots: Sequence[str], fps: Sequence[str], apex_policy: str, offset_policy: str
) -> list[Held]:
    places = inputs.pairs(names, roots)
    rates = inputs.rates(fps, list(places))
    return inputs.hold(places, rates, apex_policy=apex_policy, offset_policy=offset_policy)


def _decides(held: Sequence[Held]) -> dict[str, dict[str, Any]]:
    """Of each data set, what decides its rows."""
    return {h.name: {"annotation": h.annotation(), "fps": h.fps} for h in held}


def _evidence(describer: Describer) -> Callable[[Any], Any]:
    from mellm.engine.analysis.pipeline_factory import evidence_builder

    return evidence_builder(describer.recipe)


def _trial(limit: int | None) -> dict[str, int]:
    return {} if limit is None else {"limit": limit}


def _show(made: Sequence[Table], done: work.Done, out: Path, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps(json.loads((out / output.REPORT).read_text(encoding="utf-8")), ensure_ascii=False)
        )
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as Drawn

    console = Console()
    console.width = max(console.width, 100)
    for table in made[:2]:
        drawn = Drawn(title=table.title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        for column, head in enumerate(table.heads):
            drawn.add_column(head, justify="right" if table.numeric(column) else "left")
        for row in table.rows:
            drawn.add_row(*(told(cell, table.digits) for cell in row))
        console.print(drawn)
        for note in table.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
    went_on = f", {done.skipped} were there" if done.skipped else ""
    click.echo(f"{done.made} rows made{went_on}, {done.failed} failed; {out / 'tables.md'}", err=True)


KINDS = {"spotting": spotting, "recognition": recognise, "understanding": understand}


def main(arguments: list[str]) -> int:
    """Called by the command line with the kind first; errors are the caller's to print."""
    kind, *rest = arguments
    code = KINDS[kind].main(rest, prog_name=f"mellm eval {kind}", standalone_mode=False)
    return code if isinstance(code, int) else 0
