"""The fit finds what is there, tells people apart, and its table cannot be right by accident."""

from __future__ import annotations

import json
import shutil
from math import log
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mellm.detectors.sensitivity import CONTEXT, LARGEST, HalfModel, SensitivityModel
from mellm.detectors.signals import FEATURES
from mellm.detectors.stepmodel import SHIPPED, OnnxStepModel
from mellm.stream.errors import ModelMismatch, SourceEmpty
from mellm.training.spotter import records, sensitivity
from mellm.training.spotter.records import Record
from mellm.training.spotter.sensitivity import (
    THRESHOLDS,
    Judge,
    Trial,
    cross_fit,
    fit,
    recalibrate,
    reliability,
)
from mellm.training.spotter.sensitivity_cli import command
from mellm.training.spotter.windows import BatchedNetwork

TRUE = HalfModel(1.0, 2.0, (-1.2, -0.3, -0.2, -0.3, 0.0, -0.1, 0.8, -0.7))


def trials(count: int, truth: HalfModel = TRUE, *, seed: int = 0, easier: float = 0.0) -> list[Trial]:
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        context = rng.normal(0, 0.8, len(CONTEXT))
        context[CONTEXT.index("threshold")] = 0.4
        motion = float(np.exp(rng.uniform(log(0.6), log(9))))
        hits = []
        luck = rng.random()
        for shift in THRESHOLDS:
            moved = context.copy()
            moved[CONTEXT.index("threshold")] += shift
            p = HalfModel(truth.bias + easier, truth.size, truth.weights).probability(motion, moved)
            hits.append(bool(luck < p))
        half = "upper" if k % 2 else "lower"
        out.append(
            Trial(f"p{k % 20}", "ABCD"[k % 20 % 4], "talking", half, motion, context, context, tuple(hits))
        )
    return out


def test_it_recovers_what_made_the_trials() -> None:
    made = fit(trials(4000))
    for half in (made.upper, made.lower):
        assert half.size == pytest.approx(TRUE.size, abs=0.4)
        assert half.weights[0] == pytest.approx(TRUE.weights[0], abs=0.3)
        assert half.weights[CONTEXT.index("threshold")] == pytest.approx(-0.7, abs=0.25)
        assert half.lapse <= 0.05


def test_the_table_shows_that_it_is_calibrated_and_that_another_is_not() -> None:
    found = trials(6000, seed=1)
    models = cross_fit(found)
    rng = np.random.default_rng(2)

    def at_said(model_of) -> list[Trial]:
        out = []
        for t in found:
            motion = model_of(t).half(t.half).smallest(t.context)
            hit = bool(rng.random() < TRUE.probability(motion, t.context))
            out.append(t._replace(motion=motion, found=tuple(hit for _ in THRESHOLDS)))
        return out

    right = sensitivity.total(reliability(at_said(lambda t: models[t.fold]), lambda t: t.motion))
    assert 0.76 < right.share < 0.84
    bold = SensitivityModel(
        *(HalfModel(m.bias + 1.5, m.size, m.weights) for m in (models["A"].upper, models["A"].lower))
    )
    wrong = sensitivity.total(reliability(at_said(lambda t: bold), lambda t: t.motion))
    assert wrong.share < 0.65


def test_what_is_out_of_reach_is_in_no_row() -> None:
    some = trials(400)
    rows = reliability(some, lambda t: LARGEST if t.half == "upper" else 2.5)
    assert [r.laid for r in rows if r.reported == (2.0, 3.0)] == [200]
    assert sum(r.laid for r in rows) == 200


def test_each_fold_is_fitted_without_its_people() -> None:
    some = trials(800)
    odd = [t._replace(found=tuple(not f for f in t.found)) if t.fold == "A" else t for t in some]
    assert cross_fit(odd)["A"] == fit([t for t in some if t.fold != "A"])
    assert cross_fit(odd)["B"] != cross_fit(some)["B"]


def test_pixels_move_the_model_towards_what_they_show() -> None:
    model = SensitivityModel(TRUE, TRUE)
    harder = trials(600, easier=-1.5, seed=5)
    moved = recalibrate(model, harder)
    assert moved.upper.bias == pytest.approx(TRUE.bias - 1.5, abs=0.6)
    assert recalibrate(model, harder[:10]) == model, "too few to say anything"
    context = np.zeros(len(CONTEXT))
    assert moved.upper.smallest(context) > model.upper.smallest(context)


def test_too_little_material_is_told() -> None:
    with pytest.raises(SourceEmpty, match="too few"):
        fit(trials(60))


def test_the_interval_of_a_share() -> None:
    low, high = sensitivity.wilson(8, 10)
    assert (low, high) == (pytest.approx(0.490, abs=0.002), pytest.approx(0.943, abs=0.002))
    assert sensitivity.wilson(0, 0) == (0.0, 1.0)


def person(name: str, own: float, fold: str, seconds: float = 40.0) -> Record:
    rng = np.random.default_rng(len(name))
    grid = 0.3 + 0.02 * np.arange(round(seconds / 0.02))
    features = rng.normal(0, own, (len(grid), FEATURES)).astype(np.float32)
    return Record(
        name, name, grid, features, (), seconds, 30.0, 80.0, groups=("talking",), facts={"fold": fold}
    )


def test_from_records_to_a_model_that_knows_lively_faces_hide_more() -> None:
    people = [person(f"calm{k}", 0.05, "AB"[k % 2]) for k in range(4)]
    people += [person(f"lively{k}", 0.6, "AB"[k % 2]) for k in range(4)]
    model = OnnxStepModel()
    judge = Judge(BatchedNetwork(model, model.path), {})
    made = sensitivity.collect(people, judge, sensitivity.random_size(1), rounds=1, seed=1)
    assert {t.fold for t in made} == {"A", "B"}
    fitted = fit(made)
    calm, lively = (
        np.median([fitted.half(t.half).smallest(t.context) for t in made if t.subject.startswith(kind)])
        for kind in ("calm", "lively")
    )
    assert lively > calm
    record = json.loads(json.dumps(fitted.to_record("abc")))
    assert SensitivityModel.of_record(record, "abc") == fitted


def test_the_command_writes_beside_the_network_and_what_it_wrote_is_loaded(tmp_path: Path) -> None:
    for end in (".onnx", ".json"):
        shutil.copy(SHIPPED.with_suffix(end), tmp_path / f"other{end}")
    card = json.loads((tmp_path / "other.json").read_text())
    card["sensitivity"] = {"recipe": "of long ago"}  # a record that is refused must not stop its own mending
    (tmp_path / "other.json").write_text(json.dumps(card))
    with pytest.raises(ModelMismatch):
        OnnxStepModel(tmp_path / "other.onnx")
    for k in range(6):
        records.save(
            person(f"p{k}", (0.05, 0.3)[k % 2], "AB"[k % 2]), tmp_path / "sets" / "free" / f"p{k}.npz"
        )
    asked = [
        "--model",
        tmp_path / "other.onnx",
        "--root",
        tmp_path / "sets",
        "--rounds",
        5,
        "--out",
        tmp_path / "t.json",
    ]
    result = CliRunner().invoke(command, [str(a) for a in asked], catch_exceptions=False)
    assert result.exit_code == 0
    fitted = OnnxStepModel(tmp_path / "other.onnx")
    assert fitted.sensitivity is not None
    card = json.loads((tmp_path / "other.json").read_text())
    assert card["sensitivity"]["network"] == fitted.sha256
    assert card["false_alarms"]["people"] == 6
    tables = json.loads((tmp_path / "t.json").read_text())["reliability"]
    assert tables["all"][-1]["laid"] >= tables["upper"][-1]["laid"] > 0
    assert "| **all** |" in (tmp_path / "t.md").read_text()


def test_without_material_it_says_how_to_make_some(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--root", str(tmp_path), "--dry-run"])
    assert isinstance(result.exception, SourceEmpty)
    assert "mellm.training.spotter.sets" in str(result.exception.remedy)
