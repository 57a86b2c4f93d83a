"""What is compared: a spotter with a threshold, whatever it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from mellm.detectors.spotting import SpottingOptions
from mellm.detectors.stepmodel import OnnxStepModel, StepModel
from mellm.evaluation.spotting import baselines
from mellm.evaluation.spotting.baselines import BaselineOptions, Curve, Form
from mellm.evaluation.spotting.stats import percentiles
from mellm.stream.errors import ModelCorrupt
from mellm.training.spotter import records
from mellm.training.spotter.people import FOLDS
from mellm.training.spotter.records import Published, Record
from mellm.training.spotter.replay import Replay

MODEL_LEVELS = tuple(round(0.04 * k, 2) for k in range(1, 25))
"""Thresholds that a model's curve of precision over recall goes through."""


class System(Protocol):
    """A spotter under test. ``causal``: it speaks while the clip runs, and never takes anything back."""

    @property
    def name(self) -> str: ...

    @property
    def causal(self) -> bool: ...

    @property
    def level(self) -> float:
        """The threshold it is used with."""
        ...

    @property
    def levels(self) -> tuple[float, ...]:
        """Thresholds for a curve, rising; the lowest finds most."""
        ...

    def spots(self, record: Record, level: float | None = None) -> list[Published]:
        """What it publishes on a clip, at :attr:`level` if none is given."""
        ...

    def facts(self) -> dict[str, Any]:
        """What it is, for the report."""
        ...

    def seen_in_training(self, record: Record) -> bool:
        """Whether the network that judges this clip may have been trained on the person in it."""
        ...


class ModelSystem:
    """A network with the product's decoder.

    :param folds: networks by fold; a clip of a person of a fold is judged by the one that never saw that person
    :param trained_on_video: whether the main network was trained on the people of the folds
    """

    causal = True

    def __init__(
        self,
        name: str,
        model: StepModel,
        options: SpottingOptions | None = None,
        *,
        folds: Mapping[str, StepModel] | None = None,
        trained_on_video: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.options = options or SpottingOptions()
        self._model, self._folds = model, dict(folds or {})
        self._trained_on_video = trained_on_video
        self._facts = dict(facts or {})
        self._tapes: dict[int, tuple[Record, Replay]] = {}
        self.level, self.levels = self.options.levels(model.threshold)[0], MODEL_LEVELS

    def _fold(self, record: Record) -> StepModel | None:
        return self._folds.get(str(record.facts.get("fold", "")))

    def network(self, record: Record) -> StepModel:
        """The network that judges this clip."""
        return self._fold(record) or self._model

    def spots(self, record: Record, level: float | None = None) -> list[Published]:
        chosen = self.level if level is None else level
        release = self.options.release if level is None else None  # elsewhere it follows the threshold
        return self.decode(record, replace(self.options, threshold=chosen, release=release))

    def decode(self, record: Record, options: SpottingOptions) -> list[Published]:
        """With other options; the network runs once on each record."""
        _, tape = self._tapes.setdefault(id(record), (record, Replay(self.network(record))))
        tape.rewind()
        return records.spot(record, tape, options)

    def compute_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of a step of the network, milliseconds of wall time on this machine."""
        p50, p95 = percentiles([s for _, tape in self._tapes.values() for s in tape.step_s])
        return 1e3 * p50, 1e3 * p95

    def seen_in_training(self, record: Record) -> bool:
        fold = record.facts.get("fold")
        return fold in FOLDS and self._trained_on_video and self._fold(record) is None

    def facts(self) -> dict[str, Any]:
        told = {k: v for k, v in asdict(self.options).items() if v is not None}
        return {
            "kind": "network",
            **self._facts,
            "options": {**told, "threshold": self.level},
            "folds": sorted(self._folds),
        }


class BaselineSystem:
    """The training-free baseline in one of its forms."""

    def __init__(self, form: Form, options: BaselineOptions | None = None) -> None:
        self.form = form
        self.name = f"baseline ({'causal' if form == 'causal' else 'whole video'})"
        self.causal = form == "causal"
        self.options = options or baselines.TUNED[form]
        self.level, self.levels = self.options.level, baselines.LEVELS[form]
        self._curves: dict[int, tuple[Record, list[Curve]]] = {}

    def spots(self, record: Record, level: float | None = None) -> list[Published]:
        if id(record) not in self._curves:
            self._curves[id(record)] = record, baselines.curves(record, self.form, self.options)
        options = self.options if level is None else replace(self.options, level=level)
        return baselines.at_level(self._curves[id(record)][1], self.form, options)

    def facts(self) -> dict[str, Any]:
        return {"kind": "training-free", "options": asdict(self.options)}

    def seen_in_training(self, record: Record) -> bool:
        return False


def load_model(
    name: str, path: Path | None = None, *, folds: Path | None = None, options: SpottingOptions | None = None
) -> ModelSystem:
    """A network from its file, with the networks of the folds if there are any.

    :param path: ``None`` is the shipped one
    :param folds: folder with ``fold-A.onnx`` …
    :raises ModelMissing: as below
    :raises ModelCorrupt: as :class:`mellm.detectors.stepmodel.OnnxStepModel`, and for a fold of
        another version than the network's
    """
    model = OnnxStepModel(path)
    record = _record(model.path)
    parts: dict[str, StepModel] = {}
    for file in sorted(folds.glob("fold-*.onnx")) if folds else []:
        part = OnnxStepModel(file)
        if part.version != model.version:
            raise ModelCorrupt(
                f"{file.name} is version {part.version}, {model.path.name} is {model.version}",
                remedy="train the folds anew with `mellm train spotter`, or name another folder with --folds",
            )
        parts[file.stem.removeprefix("fold-")] = part
    facts = {"version": model.version, "sha256": model.sha256, "trained_on": record.get("trained_on", "")}
    on_video = "recordings" in str(record.get("trained_on", ""))
    return ModelSystem(name, model, options, folds=parts, trained_on_video=on_video, facts=facts)


def _record(path: Path) -> dict[str, Any]:
    found = json.loads(path.with_suffix(".json").read_text())
    return found if isinstance(found, dict) else {}
