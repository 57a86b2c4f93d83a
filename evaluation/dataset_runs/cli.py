"""``mellm eval spotting-datasets``, ``mellm eval recognition`` and ``mellm eval understanding``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from mellm.detectors.spotting import OnnxStepModel, SpottingOptions
from mellm.engine.analysis.pipeline_factory import evidence_builder
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
from mellm.evaluation.dataset_runs import loop as work
from mellm.evaluation.dataset_runs.describing import Asker
from mellm.evaluation.dataset_runs.folder import EvalFolder
from mellm.evaluation.dataset_runs.inputs import Held
from mellm.evaluation.dataset_runs.judging import Rule
from mellm.evaluation.dataset_runs.progress import Bar
from mellm.evaluation.dataset_runs.recordings import recordings
from mellm.evaluation.dataset_runs.spotter import LEVELS, Parts
from mellm.evaluation.datasets import APEX_POLICIES, OFFSET_POLICIES, Clip
from mellm.evaluation.metrics.table import Table

Command = TypeVar("Command", bound=Callable[..., Any])
Protocol = Literal["loso", "lodo"]
_PATH = click.Path(path_type=Path)

_SHARED = (
    click.option("--dataset", "names", multiple=True, required=True, metavar="NAME[=DIR]",
                 help="A data set; may be repeated."),
    click.option("--root", "roots", multiple=True, metavar="DIR", help="Its folder, in the order of --dataset."),
    click.option("--out", type=_PATH, required=True, metavar="DIR", help="Run folder to write or to go on in."),
    click.option("--fps", "rates", multiple=True, metavar="[NAME=]RATE",
                 help="Frames a second instead of the release's."),
    click.option("--apex-policy", default="unknown", type=click.Choice(list(APEX_POLICIES)),
                 help="For unknown apexes [unknown]."),
    click.option("--offset-policy", default="unknown", type=click.Choice(list(OFFSET_POLICIES)),
                 help="For unknown offsets [unknown]."),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first of each data set: a trial."),
    click.option("--retry", is_flag=True, help="Do rows again that ended in an error."),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--describer", "kind", default="nano", type=click.Choice(["nano", "rules", "openai"]),
                 help="Who describes [nano]."),
    click.option("--base-url", metavar="URL", help="Of the openai describer, up to /v1."),
    click.option("--model", help="Of the openai describer."),
    click.option("--profile", default="generic", help="Of the openai describer [generic]."),
)  # fmt: skip
_CHOOSING = (
    click.option("--tune", type=click.Choice(["loso", "lodo"]),
                 help="Choose on the training part of folds that leave a subject (or a data set) out [nothing]."),
    click.option("--draws", type=click.IntRange(0), default=1000, help="Bootstrap samples over subjects [1000]."),
)  # fmt: skip


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all three verbs are asked with."""

    names: tuple[str, ...]
    roots: tuple[str, ...]
    out: Path
    rates: tuple[str, ...]
    apex_policy: str
    offset_policy: str
    limit: int | None
    retry: bool
    as_json: bool
    kind: str
    base_url: str | None
    model: str | None
    profile: str

    def held(self) -> list[Held]:
        """The data sets.

        :raises UsageError: see :mod:`mellm.evaluation.dataset_runs.inputs`
        :raises DatasetError: likewise
        """
        places = inputs.pairs(self.names, self.roots)
        rates = inputs.rates(self.rates, list(places))
        return inputs.hold(places, rates, apex_policy=self.apex_policy, offset_policy=self.offset_policy)

    def describer(self) -> Describer:
        """Who describes."""
        return create(self.kind, base_url=self.base_url, model=self.model, profile=self.profile)

    def facts(self, describer: Describer) -> dict[str, Any]:
        """Who described, for the settings of the rows."""
        return inputs.describer_facts(describer, self.kind, self.base_url)

    @contextmanager
    def folder(
        self, kind: str, decides: dict[str, Any], held: Sequence[Held], what: str
    ) -> Iterator[tuple[EvalFolder, Bar]]:
        """The run folder and a bar, both open."""
        facts = {h.name: {"annotation": h.annotation(), "fps": h.fps} for h in held}
        with EvalFolder.create(self.out, kind, decides, facts) as folder, Bar(what) as bar:
            yield folder, bar

    @contextmanager
    def described(
        self, what: str, held: Sequence[Held], clips: Sequence[Clip]
    ) -> Iterator[tuple[EvalFolder, work.Done]]:
        """Rows of all clips; the folder stays open while they are scored."""
        describer = self.describer()
        decides = {"describer": self.facts(describer), "faces": inputs.face_models()}
        try:
            asker = Asker(describer, describing.analyzer("cpu"))
            with self.folder(what, decides, held, "clips") as (folder, bar):
                yield folder, work.describe_all(clips, folder, asker, retry=self.retry, progress=bar)
        finally:
            describer.close()

    def scoring(self, **how: Any) -> dict[str, Any]:
        """How rows were scored, for the report."""
        return how if self.limit is None else {**how, "limit": self.limit}

    def show(self, made: Sequence[Table], done: work.Done) -> None:
        """The first tables, or the report."""
        if self.as_json:
            report = json.loads((self.out / output.REPORT).read_text(encoding="utf-8"))
            click.echo(json.dumps(report, ensure_ascii=False))
            return
        for table in made[:2]:
            table.show()
        went_on = f", {done.skipped} were there" if done.skipped else ""
        click.echo(
            f"{done.made} rows made{went_on}, {done.failed} failed; {self.out / 'tables.md'}", err=True
        )


@click.command()
@_options(*_SHARED, *_CHOOSING)
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
def spotting(
    tune: Protocol | None,
    draws: int,
    iou: float,
    long_truth: Literal["keep", "exclude"],
    bare: bool,
    describe: bool,
    **shared: Any,
) -> None:
    """Run the spotter over the recordings of data sets that you hold, causally, and score it by the challenge rule.

    Each recording becomes a line of rows.jsonl; the same command goes on where it stopped. tables.md, tables/, plots,
    matches.csv and report.json say what came out and which data chose each threshold.
    """
    asked = Shared(**shared)
    held = asked.held()
    step, options = OnnxStepModel(), SpottingOptions()
    parts = Parts(lambda: describing.analyzer("cpu"), step, options)
    decides: dict[str, Any] = {
        "spotter": inputs.face_models(),
        "options": {name: getattr(options, name) for name in options.__slots__},
        "apex_policy": asked.apex_policy,
        "offset_policy": asked.offset_policy,
    }
    describer = asked.describer() if describe else None
    if describer is not None:
        decides["describer"] = asked.facts(describer)
        parts = Parts(parts.analyzer, step, options, evidence_builder(describer.recipe))
    some = [r for h in held for r in recordings(h.data, fps=h.fps, bare=bare)[: asked.limit]]
    try:
        with asked.folder("spotting", decides, held, "recordings") as (folder, bar):
            asker = Asker(describer, describing.analyzer("cpu")) if describer is not None else None
            done = work.spot_all(some, folder, parts, asker=asker, retry=asked.retry, progress=bar)
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
            scoring = asked.scoring(iou=iou, long_truth=long_truth, tune=tune, levels=list(LEVELS))
            made = output.spotting(result, output.about(folder, held, done, scoring), asked.out)
    finally:
        if describer is not None:
            describer.close()
    asked.show(made, done)


@click.command()
@_options(*_SHARED, *_CHOOSING)
@click.option(
    "--classes",
    type=click.Choice(["coarse", "composite"]),
    default="coarse",
    help="Truth: the data set's coarse class, or the composite one of MEGC 2019 [coarse].",
)
def recognise(
    tune: Protocol | None, draws: int, classes: Literal["coarse", "composite"], **shared: Any
) -> None:
    """Describe the annotated onset–apex pairs of data sets, and score the coarse (and fine) class: UF1 and UAR."""
    asked = Shared(**shared)
    held = asked.held()
    clips = [clip for h in held for clip in h.data.clips[: asked.limit]]
    with asked.described("recognition", held, clips) as (folder, done):
        answers = recognition.answered(clips, folder.rows, classes)
        result = recognition.evaluate(answers, tune=tune, draws=draws)
        about = output.about(folder, held, done, asked.scoring(classes=classes, tune=tune))
        made = output.recognition(result, folder.rows, about, asked.out)
    asked.show(made, done)


@click.command()
@_options(*_SHARED)
@click.option(
    "--questions",
    "file",
    type=_PATH,
    metavar="FILE",
    help="The challenge's JSON lines [made from the annotation].",
)
def understand(file: Path | None, **shared: Any) -> None:
    """Describe the annotated pairs of data sets, and score action units and the challenge's questions (ME-VQA)."""
    asked = Shared(**shared)
    held = asked.held()
    clips = [clip for h in held for clip in h.data.clips[: asked.limit]]
    wanted, others = questions.read(file, clips) if file else (questions.generated(clips), 0)
    with asked.described("understanding", held, clips) as (folder, done):
        result = understanding.evaluate(clips, folder.rows, wanted)
        whose = str(file) if file else "made from the annotation"
        scoring = asked.scoring(questions=whose, of_other_clips=others)
        made = output.understanding(result, folder.rows, output.about(folder, held, done, scoring), asked.out)
    asked.show(made, done)
