from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.regions import COUNT, INDEX  # noqa: E402
from mellm.detectors.signals import FEATURES  # noqa: E402
from mellm.detectors.stepmodel import (  # noqa: E402
    APEX,
    AU0,
    MACRO,
    ME,
    OUTPUTS,
    SHIPPED,
    SPOT_AUS,
    TO_OFFSET,
    TO_ONSET,
    OnnxStepModel,
)
from mellm.stream.errors import ModelOutputInvalid, UsageError  # noqa: E402
from mellm.training.spotter import dataset, evaluate  # noqa: E402
from mellm.training.spotter import train as training  # noqa: E402
from mellm.training.spotter.evaluate import Interval  # noqa: E402
from mellm.training.spotter.fit import _schedule  # noqa: E402
from mellm.training.spotter.laid import draw_bank  # noqa: E402
from mellm.training.spotter.losses import losses  # noqa: E402
from mellm.training.spotter.pools import Pool  # noqa: E402
from mellm.training.spotter.records import Record  # noqa: E402
from mellm.training.spotter.train import TrainOptions, train  # noqa: E402
from mellm.training.synth.simulator import SimOptions, Truth  # noqa: E402

GRID = np.arange(20, 200) * 0.02


def test_targets_mark_a_micro_expression_and_only_that() -> None:
    rows = dataset.targets(GRID, [Truth(1.0, 1.2, 1.4, (4, 7, 23), 2.0), Truth(2.0, 2.4, 3.2, (12,), 5.0)])
    inside = (GRID >= 1.0 - 1e-9) & (GRID <= 1.4 + 1e-9)
    assert np.array_equal(rows[:, ME] == 1, inside)
    assert GRID[rows[:, APEX].argmax()] == pytest.approx(1.2)
    assert np.array_equal(rows[:, MACRO] == 1, (GRID >= 2.0 - 1e-9) & (GRID <= 3.2 + 1e-9))
    k = np.searchsorted(GRID, 1.1 - 1e-9)
    assert rows[k, TO_ONSET] == pytest.approx(0.1)
    assert rows[k, TO_OFFSET] == pytest.approx(0.3)
    assert {u for i, u in enumerate(SPOT_AUS) if rows[k, AU0 + i]} == {4, 7}  # the network has no AU 23
    assert not rows[~inside, AU0:OUTPUTS].any()


def test_an_invisible_expression_hardly_counts() -> None:
    rows = dataset.targets(GRID, [Truth(1.0, 1.2, 1.4, (4,), 0.3)])
    weight = rows[:, dataset.WEIGHT]
    assert weight[np.searchsorted(GRID, 1.2 - 1e-9)] == pytest.approx(0.05)
    assert weight[-1] == 1


def test_mirroring_swaps_sides_and_turns_x_and_is_its_own_inverse() -> None:
    x = np.random.default_rng(0).normal(size=FEATURES).astype(np.float32)
    mirrored = x[dataset.MIRROR_ORDER] * dataset.MIRROR_SIGN
    right, left, middle = INDEX["lip_corner_R"], INDEX["lip_corner_L"], INDEX["chin"]
    assert mirrored[2 * left] == -x[2 * right]
    assert mirrored[2 * left + 1] == x[2 * right + 1]
    assert mirrored[2 * middle] == -x[2 * middle]
    assert mirrored[2 * COUNT + 2] == x[2 * COUNT + 2]  # scale
    assert np.array_equal(mirrored[dataset.MIRROR_ORDER] * dataset.MIRROR_SIGN, x)


def test_a_perfect_answer_costs_less_than_a_wrong_one() -> None:
    rows = torch.from_numpy(dataset.targets(GRID, [Truth(1.0, 1.2, 1.4, (4,), 2.0)]))[None]
    perfect = rows[..., :OUTPUTS].clone()
    logits = [i for i in range(OUTPUTS) if i not in (TO_ONSET, TO_OFFSET)]
    perfect[..., logits] = torch.logit(perfect[..., logits].clamp(1e-3, 1 - 1e-3))
    good = sum(losses(perfect, rows).values())
    bad = sum(losses(torch.zeros_like(perfect), rows).values())
    assert float(good) < 0.2 * float(bad)


def test_spots_are_matched_one_to_one_by_the_best_overlap() -> None:
    truth = [evaluate.Interval(1.0, 1.2, 1.4, (4,), 2.0), evaluate.Interval(3.0, 3.1, 3.2, (12,), 1.5)]
    spots = [
        evaluate.Interval(1.02, 1.2, 1.4, (4,)),
        evaluate.Interval(1.1, 1.22, 1.5, (4,)),
        evaluate.Interval(5.0, 5.1, 5.3),
    ]
    assert evaluate.match(truth, spots) == [(0, 0)]
    scores = evaluate.score([(truth, spots)], minutes=0.5)
    assert (scores.hits, scores.truths, scores.spots) == (1, 2, 3)
    assert scores.f1 == pytest.approx(0.4)
    assert scores.false_per_minute == pytest.approx(4)
    assert scores.apex_mae_ms == pytest.approx(0, abs=1e-6)
    assert scores.au_f1 == 1
    assert len(scores.recall_by_size) == len(evaluate.size_names())


def test_iou_counts_both_end_frames() -> None:
    a, b = evaluate.Interval(0.0, 0.02, 0.04), evaluate.Interval(0.04, 0.06, 0.08)
    assert a.iou(a) == 1
    assert a.iou(b) == pytest.approx(1 / 5)


def test_the_decoder_reads_perfect_outputs_without_error() -> None:
    rows = dataset.targets(GRID, [Truth(1.0, 1.2, 1.4, (4, 7), 2.0)])[:, :OUTPUTS]
    logits = [i for i in range(OUTPUTS) if i not in (TO_ONSET, TO_OFFSET)]
    p = np.clip(rows[:, logits], 1e-3, 1 - 1e-3)
    rows[:, logits] = np.log(p / (1 - p))
    delayed = np.concatenate([np.tile(rows[:1], (evaluate.DELAY, 1)), rows])
    grid = np.concatenate([GRID, GRID[-1] + 0.02 * np.arange(1, evaluate.DELAY + 1)])
    [spot] = evaluate.decode(evaluate.steps(delayed, grid), evaluate.SpottingOptions(threshold=0.5))
    found = evaluate.Interval.of_spot(spot)
    assert (found.onset_s, found.apex_s, found.offset_s) == pytest.approx((1.0, 1.2, 1.4), abs=0.011)
    assert found.aus == (4, 7)


@pytest.fixture
def options(tmp_path: Path, shared_data: Path) -> TrainOptions:
    if not (shared_data / "face-model" / "head_f16.npz").exists():
        pytest.skip("no face model in the shared data")
    return TrainOptions(
        clips=6,
        validation=3,
        iterations=6,
        batch=4,
        rendered=0,
        captured=0,
        lively=0,
        stills=0,
        filmed=0,
        laid=0,
        pretrain=0,
        restart=0,
        crop_s=2.0,
        run=tmp_path / "run",
        output=tmp_path / "model" / "spotter.onnx",
        workers=1,
        checkpoint_every=2,
        sim=SimOptions(duration_s=5.0),
    )


def test_a_run_writes_a_model_and_its_record(options: TrainOptions) -> None:
    stages = set()
    result = train(options, lambda stage, done, total: stages.add(stage))
    assert result.replaced
    assert result.model == options.output
    record = json.loads(options.output.with_suffix(".json").read_text())
    assert record["sha256"] == result.sha256
    assert record["clips"] == 6
    assert "synthetic" in record["trained_on"]
    assert stages == {"simulate", "simulate validation", "train"}


def test_a_stopped_run_goes_on_from_its_checkpoint(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "train":
            seen.append(done)
            if done == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, stop)
    assert not options.output.exists()
    made = {p: p.stat().st_mtime_ns for p in (options.run / "clips").iterdir()}
    seen.clear()
    train(options, lambda stage, done, total: seen.append(done) if stage == "train" else None)
    assert seen == [5, 6]
    assert made == {p: p.stat().st_mtime_ns for p in (options.run / "clips").iterdir()}


def test_the_same_seed_gives_the_same_model(options: TrainOptions, tmp_path: Path) -> None:
    first = train(options)
    second = train(replace(options, run=tmp_path / "again", output=tmp_path / "again" / "spotter.onnx"))
    assert first.sha256 == second.sha256
    assert first.metrics == second.metrics


def test_clips_of_another_simulation_are_not_taken(options: TrainOptions) -> None:
    train(options)
    with pytest.raises(UsageError, match="other options"):
        train(replace(options, sim=replace(options.sim, hard=0.0)))


def test_a_loss_that_is_no_number_stops_the_run_and_spoils_nothing(options: TrainOptions) -> None:
    train(options)
    good = options.output.read_bytes()
    with pytest.raises(ModelOutputInvalid, match="loss"):
        train(replace(options, rate=1e30, force=True))
    assert options.output.read_bytes() == good
    assert all(torch.isfinite(v).all() for v in torch.load(options.run / "checkpoint.pt")["net"].values())


def test_a_worse_model_does_not_replace_a_better_one(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(options)
    before = options.output.read_bytes()
    monkeypatch.setattr(training, "_f1_of", lambda *_: 2.0)
    other = replace(options, seed=5)
    result = train(other)
    assert not result.replaced
    assert options.output.read_bytes() == before
    assert result.model.exists()
    assert result.model != options.output
    assert train(replace(other, force=True)).replaced


def test_options_that_cannot_be_obeyed_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        TrainOptions(clips=0)
    with pytest.raises(UsageError, match="crop_s"):
        TrainOptions(crop_s=60.0)


def test_the_model_goes_into_the_run_folder_unless_it_is_to_be_installed(tmp_path: Path) -> None:
    assert TrainOptions(run=tmp_path).output == tmp_path / "spotter.onnx"
    assert TrainOptions(run=tmp_path, output=tmp_path / "mine.onnx").output == tmp_path / "mine.onnx"
    assert TrainOptions(run=tmp_path, install=True).output.resolve() == SHIPPED.resolve()
    with pytest.raises(UsageError, match="--output or --install"):
        TrainOptions(install=True, output=tmp_path / "mine.onnx")


def test_the_rate_starts_over_at_half_its_height() -> None:
    o = TrainOptions(iterations=1000, restart=600, pretrain=300)
    rates = [_schedule(o, i) for i in range(1000)]
    assert max(rates[:600]) == pytest.approx(o.rate)
    assert max(rates[600:]) == pytest.approx(o.rate / 2)
    assert rates[599] < 0.02 * o.rate
    assert rates[999] < 0.02 * o.rate
    once = [_schedule(replace(o, restart=0), i) for i in range(1000)]
    assert np.argmin(once[100:]) == 899


def _people() -> list[Record]:
    """Noise for signals: four people of four folds who talk, and one on whose pixels something was laid."""
    out = []
    for k, fold in enumerate(("A", "B", "C", "D", "A")):
        rng = np.random.default_rng(k)
        grid = 0.34 + 0.02 * np.arange(300)
        features = rng.normal(0, 0.3, (300, FEATURES)).astype(np.float32)
        truths = (Interval(2.0, 2.2, 2.4, (4,), 3.0),) if k == 4 else ()
        name = f"tv0-{k}" if truths else f"free-{k}"
        facts = {"fold": fold, "file": f"{k}.mp4"}
        out.append(
            Record(name, f"p{k}", grid, features, truths, 6.0, 30, 90, 180, 180, (), ("talking",), facts)
        )
    return out


def test_the_whole_recipe_from_an_empty_folder_stopped_anywhere(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People by folds: interrupted in the middle of a fold, the same command ends in the same file."""
    people = _people()
    monkeypatch.setattr(
        training, "recorded", lambda o, names, progress=None: people[:4] if "free" in names else []
    )
    monkeypatch.setattr(training, "measured", lambda o, progress=None: {"filmed": people[4:]})
    monkeypatch.setattr(training, "bank", lambda seed, folder, count: draw_bank(seed, 4, 2, 4.0))
    whole = replace(
        options,
        laid=4,
        filmed=1,
        pretrain=2,
        restart=4,
        iterations=6,
        checkpoint_every=1,
        precision="float32",
    )

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "train without fold C" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(whole, stop)
    assert not whole.output.exists()
    kept = (whole.run / "checkpoint-A.pt").stat().st_mtime_ns
    stages: dict[str, list[int]] = {}
    result = train(whole, lambda stage, done, total: stages.setdefault(stage, []).append(done))
    assert result.replaced
    assert "train without fold A" not in stages
    assert stages["train without fold C"] == [6]
    assert stages["train without fold D"] == [3, 4, 5, 6]
    assert (whole.run / "checkpoint-A.pt").stat().st_mtime_ns == kept
    assert sorted(p.name for p in (whole.run / "folds").glob("*.onnx")) == [f"fold-{f}.onnx" for f in "ABCD"]
    # all four answer together
    model = OnnxStepModel(whole.output)
    parts = [OnnxStepModel(whole.run / "folds" / f"fold-{f}.onnx") for f in "ABCD"]
    x = people[0].features[0]
    mean = np.mean([p.step(x, p.start())[0] for p in parts], axis=0)
    np.testing.assert_allclose(model.step(x, model.start())[0], mean, rtol=1e-3, atol=1e-4)


def test_a_network_without_a_fold_sees_nothing_of_its_people(options: TrainOptions) -> None:
    people = _people()
    o = replace(options, laid=4)
    pools = {"simulated": Pool.of_records(people[:1])}
    bank = draw_bank(1, 2, 1, 4.0)
    a, b = (training.without(fold, o, pools, people, bank) for fold in "AB")
    assert sorted(s.person for s in a.people) == ["p1", "p2", "p3"]
    assert sorted(s.person for s in b.people) == ["p0", "p2", "p3"]
    assert "filmed" not in a.pools  # the one that was laid on pixels is of fold A
    assert len(b.pools["filmed"]) == 1
