"""Train the spotter from nothing: draw, film, measure, fit, choose the threshold, export.

``mellm train spotter --help`` lists the options. A run folder holds the corpora and a checkpoint; the same
command goes on where it was stopped. The model goes into the run folder, with ``--install`` in the place of the shipped
one; a model that is there already is replaced in one rename, and only by one whose validation score is higher
(``--force`` replaces it anyway).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from mellm.detectors.stepmodel import OnnxStepModel, StepModel
from mellm.stream.errors import ModelError, ModelMissing, UsageError
from mellm.training.spotter import card, sets
from mellm.training.spotter.dataset import CorpusSpec, generate
from mellm.training.spotter.export import export
from mellm.training.spotter.fit import Trainer
from mellm.training.spotter.laid import Bank, bank, stretches_of
from mellm.training.spotter.net import Ensemble, SpotterNet
from mellm.training.spotter.options import (
    CAPTURED_SEED_OFFSET,
    LATE,
    LIVELY_SEED_OFFSET,
    MEASURED,
    VALIDATION_SEED_OFFSET,
    Progress,
    TrainOptions,
)
from mellm.training.spotter.people import FOLDS
from mellm.training.spotter.pools import Pool
from mellm.training.spotter.records import Record, load
from mellm.training.spotter.validation import Case, Scored, choose_threshold, score_at
from mellm.training.synth.lively import LivelyOptions
from mellm.training.synth.mocap import CapturedOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run ended in.

    :param replaced: whether ``model`` was written; it is not when the old one is better
    :param metrics: scores on validation clips at ``threshold``
    """

    model: Path
    sha256: str
    threshold: float
    metrics: dict[str, float | None]
    replaced: bool
    seconds: float


def _device(options: TrainOptions) -> str:
    if options.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device here", remedy="use --device auto or cpu")
    return options.device


def measured(options: TrainOptions, progress: Progress | None = None) -> dict[str, list[Record]]:
    """Measured clips of each kind, made where they are missing."""
    found: dict[str, list[Record]] = {}
    for kind, name in MEASURED.items():
        limit = int(getattr(options, kind))
        if not limit:
            continue
        try:
            folder = sets.build(
                name,
                options.measured,
                workers=options.workers,
                limit=limit,
                progress=partial(progress, f"measure {kind}") if progress else None,
            )
        except ModelMissing as error:
            log.warning("training continues without %s: %s", kind, error)
            continue
        wanted = [folder / f"{c.name}.npz" for c in sets.clips(name)[:limit]]
        found[kind] = [load(p) for p in wanted if p.exists()]
    return found


def recorded(options: TrainOptions, names: Sequence[str], progress: Progress | None = None) -> list[Record]:
    """Records of whole sets, made where they are missing; those that cannot be made here are left out, and said."""
    out: list[Record] = []
    for name in names:
        try:
            tell = partial(progress, f"measure {name}") if progress else None
            sets.build(name, options.measured, workers=options.workers, progress=tell)
            out += sets.load(name, options.measured)
        except ModelMissing as error:
            log.warning("training continues without %s: %s", name, error)
    return out


def train(options: TrainOptions, progress: Progress | None = None) -> TrainResult:
    """Run the whole recipe.

    :raises UsageError: on settings that cannot be obeyed
    """
    began = time.monotonic()
    torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)
    device = _device(options)

    def report(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total) if progress else None

    spec = CorpusSpec(options.clips, options.seed, options.sim)
    held = CorpusSpec(
        options.validation, options.seed + VALIDATION_SEED_OFFSET, replace(options.sim, split="val")
    )
    corpus = generate(spec, options.run / "clips", options.workers, report("simulate"))
    simulated = generate(held, options.run / "clips", options.workers, report("simulate validation"))
    pools = {"simulated": Pool.of_corpus(corpus, device)}
    for kind, offset, count, habits in (
        ("captured", CAPTURED_SEED_OFFSET, options.captured, CapturedOptions()),
        ("lively", LIVELY_SEED_OFFSET, options.lively, LivelyOptions()),
    ):
        if not count:
            continue
        try:
            made = generate(
                CorpusSpec(count, options.seed + offset, habits),
                options.run / "clips",
                options.workers,
                report(f"simulate {kind}"),
            )
        except ModelMissing as error:
            log.warning("training continues without %s: %s", kind, error)
            continue
        pools[kind] = Pool.of_corpus(made, device)
    pixels = measured(options, progress)
    filmed = pixels.pop("filmed", [])
    for kind, found in pixels.items():
        pool = Pool.of_records(found, device=device)
        if pool is not None:
            pools[kind] = pool
    people = recorded(options, ("free", "train-free"), progress) if options.laid else []
    seen = recorded(options, sets.VALIDATION_SETS, progress) if people or options.stills else []
    expressions = bank(options.seed, options.run / "clips", options.laid) if people else None
    hours = {kind: round(pool.seconds / 3600, 2) for kind, pool in pools.items()}
    hours["recordings"] = round(sum(r.seconds for r in people) / 3600, 2)
    log.info("hours of material: %s", hours)
    net = (
        _members(options, pools, [*people, *filmed], expressions, progress)
        if people
        else _fitted(Trainer(options, pools), progress)
    )
    candidate = options.run / "candidate.onnx"
    export(net, candidate, version=options.version, threshold=0.5, record={})
    scored = [*Scored.of_corpus(simulated), *map(Scored.of_record, seen)]
    model = OnnxStepModel(candidate)
    threshold, scores = choose_threshold(model, scored, unseen(options, people))
    metrics = scores.flat()
    parts = _by_kind(model, scored, threshold)
    seconds = time.monotonic() - began
    old = None if options.force else _f1_of(options.output, scored)
    better = old is None or scores.f1 > old
    target = options.output if better else options.run / f"worse-{options.output.name}"
    record = {
        "trained_on": "synthetic micro-expressions: simulated, rendered, and laid on real photographs and recordings; "
        "no micro-expression data set",
        "command": options.command,
        "seed": options.seed,
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "hours": hours,
        "clips": options.clips,
        "iterations": options.iterations,
        "validation": {"clips": len(scored), **metrics},
        "validation_parts": parts,
        "torch": torch.__version__.split("+")[0],
        "options": json.loads(json.dumps({"augment": asdict(options.augment), "sim": asdict(options.sim)})),
    }
    digest = export(net, target, version=options.version, threshold=threshold, record=record)
    card.write(target, record, threshold)
    if not better:
        log.warning("the model at %s scores %.3f and stays; this one is %s", options.output, old, target)
    return TrainResult(target, digest, threshold, metrics, better, seconds)


def unseen(options: TrainOptions, people: Sequence[Record], leave_out: str = "") -> list[Case]:
    """Talkers of the folds as they are, each with the network that never saw him or her.

    :param leave_out: a fold that is left out: the threshold with which its people are tested must not come from them
    """
    out: list[Case] = []
    for fold in FOLDS:
        talkers = [
            r for r in people if r.facts.get("fold") == fold and not r.truths and "talking" in r.groups
        ]
        if talkers and fold != leave_out:
            own = OnnxStepModel(options.run / "folds" / f"fold-{fold}.onnx")
            out += [(own, Scored.of_record(r)) for r in talkers if r.name.startswith("free")]
    return out


def _fitted(trainer: Trainer, progress: Progress | None, until: int | None = None) -> SpotterNet:
    if trainer.resume():
        log.info("resumed at iteration %d", trainer.iteration)
    trainer.fit(progress, until)
    return trainer.result()


def _members(
    options: TrainOptions,
    pools: Mapping[str, Pool],
    people: Sequence[Record],
    expressions: Bank | None,
    progress: Progress | None,
) -> Ensemble:
    """One network for each fold of filmed people that never saw them; all of them together.

    They have the iterations before people come in in common. Each is also kept by itself, so that people can be judged
    by the one that never saw them.

    :param people: recordings as they are, and (those with truths) with expressions laid on their pixels
    """
    common = Trainer(options, {kind: pool for kind, pool in pools.items() if kind not in LATE})
    common.path = options.run / "common.pt"
    _fitted(common, progress, options.pretrain)
    members = []
    for fold in FOLDS:
        trainer = without(fold, options, pools, people, expressions)
        if not trainer.resume():
            trainer.resume(common.path)
        trainer.fit(partial(_report_progress, progress, fold) if progress else None)
        members.append(trainer.result())
        target = options.run / "folds" / f"fold-{fold}.onnx"
        export(members[-1], target, version=options.version, threshold=0.5, record={"without_fold": fold})
    return Ensemble(members).eval()


def without(
    fold: str,
    options: TrainOptions,
    pools: Mapping[str, Pool],
    people: Sequence[Record],
    expressions: Bank | None,
) -> Trainer:
    """The trainer of the network that never sees the people of ``fold``."""
    others = [r for r in people if r.facts.get("fold") != fold]
    as_they_are = stretches_of(r for r in others if not r.truths)
    device = str(next(iter(pools.values())).features.device)
    filmed = Pool.of_records((r for r in others if r.truths), device=device, seen=True)
    trainer = Trainer(options, {**pools, **({"filmed": filmed} if filmed else {})}, as_they_are, expressions)
    trainer.path = options.run / f"checkpoint-{fold}.pt"
    return trainer


def _report_progress(progress: Progress, fold: str, _: str, done: int, total: int) -> None:
    progress(f"train without fold {fold}", done, total)


def _by_kind(
    model: StepModel, scored: Sequence[Scored], threshold: float
) -> dict[str, dict[str, float | None]]:
    kinds = sorted({s.kind for s in scored})
    return {k: score_at(model, [s for s in scored if s.kind == k], threshold).flat() for k in kinds}


def _f1_of(path: Path, validation: Sequence[Scored]) -> float | None:
    """F1 of the model at ``path`` on these validation clips, at its own threshold; ``None`` without one."""
    try:
        model = OnnxStepModel(path)
    except ModelError:
        return None
    return score_at(model, validation, model.threshold).f1


if __name__ == "__main__":
    from mellm.training.spotter.cli import main

    raise SystemExit(main())
