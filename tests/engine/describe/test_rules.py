"""The rule-based describer: units and sides from motion, words from units, and silence where there is nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.regions import COUNT, NAMES
from mellm.engine.describe import DescribeContext, create, rules
from mellm.engine.describe.au_templates import FILE, Templates, explain, load, templates
from mellm.engine.describe.rules import RulesDescriber, read_units
from mellm.engine.types import ActionUnit, Emotion, Evidence, RegionMotion, Side
from mellm.stream.errors import ModelCorrupt


def table(motion: np.ndarray) -> tuple[RegionMotion, ...]:
    return tuple(
        RegionMotion(name, float(dx), float(dy), 0.0, 0.0, "")
        for name, (dx, dy) in zip(NAMES, motion.reshape(COUNT, 2), strict=True)
    )


def motion_of(units: dict[tuple[int, Side], float], noise: float = 0.0) -> np.ndarray:
    """Motion in which each unit and side displaces its strongest region by so many hundredths of the eye distance."""
    known = templates()
    amounts = np.zeros(len(known.units))
    for (au, side), peak in units.items():
        for i in known.columns(au):
            if side in ("both", known.units[i][1]) or known.units[i][1] == "both":
                amounts[i] = peak / known.peaks[i]
    rng = np.random.default_rng(0)
    return known.motion @ amounts + noise * known.spread * rng.normal(size=known.spread.size)


def evidence(motion: np.ndarray, refused: str | None = None) -> Evidence:
    return Evidence(np.zeros((8, 8, 3), np.uint8), table(motion), {}, "live", refused)


@pytest.mark.parametrize("au", sorted({au for au, _ in templates().units} - {26}))
def test_a_unit_is_read_from_its_own_motion(au: int) -> None:
    told = read_units(table(motion_of({(au, "both"): 2.5}, noise=0.3)))
    assert (au, "both") in {(unit.au, unit.side) for unit in told}
    assert max(told, key=lambda unit: unit.score).au == au


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("au", [1, 2, 4, 9, 10, 12, 14, 15])
def test_sides_are_the_subjects_own(au: int, side: Side) -> None:
    told = {unit.au: unit.side for unit in read_units(table(motion_of({(au, side): 2.5})))}
    assert told[au] == side


def test_left_is_at_the_pictures_right() -> None:
    motion = np.zeros((COUNT, 2))
    for name in ("lip_corner_L", "cheek_L", "nasolabial_L"):
        motion[NAMES.index(name)] = (1.5, -2.0)
    assert (12, "left") in {(unit.au, unit.side) for unit in read_units(table(motion))}


def test_several_units_are_told_apart() -> None:
    told = read_units(table(motion_of({(4, "both"): 2.0, (12, "right"): 3.0}, noise=0.3)))
    assert {(4, "both"), (12, "right")} <= {(unit.au, unit.side) for unit in told}
    assert [unit.au for unit in told] == sorted(unit.au for unit in told)


def test_nothing_is_read_from_no_motion_or_another_table() -> None:
    assert read_units(table(np.zeros(2 * COUNT))) == ()
    assert read_units(table(motion_of({(4, "both"): 3.0}))[:29]) == ()
    assert read_units(()) == ()


def test_the_network_tips_a_weak_unit() -> None:
    weak = table(motion_of({(4, "both"): 0.35}))
    alone = {unit.au: unit.score for unit in read_units(weak)}
    seen = {unit.au: unit.score for unit in read_units(weak, ((4, 0.95), (12, 0.01)))}
    denied = {unit.au: unit.score for unit in read_units(weak, ((4, 0.001),))}
    assert seen[4] > alone.get(4, 0.0) >= denied.get(4, 0.0)
    for odd in (0.0, 1.0, float("nan")):
        assert all(0 <= unit.score <= 1 for unit in read_units(weak, ((4, odd),)))


@settings(max_examples=25)
@given(st.lists(st.floats(-30, 30, width=32), min_size=2 * COUNT, max_size=2 * COUNT))
def test_any_motion_gives_few_units_with_scores(values: list[float]) -> None:
    told = read_units(table(np.array(values)))
    assert len(told) <= rules.MAX_UNITS
    assert all(0 <= unit.score <= 1 for unit in told)


def test_a_smile_in_words() -> None:
    description = RulesDescriber().describe(
        evidence(motion_of({(12, "both"): 3.0, (6, "both"): 1.5})), DescribeContext()
    )
    assert description.abstained is None
    assert {unit.au for unit in description.action_units} == {6, 12}
    assert description.emotion is not None
    assert description.emotion.coarse == "positive"
    text = description.text
    assert text.startswith("The cheek rises (AU6) and the lip corner is pulled up and out (AU12).")
    assert "% of the eye distance" in text
    assert "probability" in text
    assert text.endswith("not a language model.")
    assert "llm" not in text.lower()


def test_words_say_which_side_and_how_sure() -> None:
    motion = np.zeros((COUNT, 2))
    motion[NAMES.index("lip_corner_L")] = (2.0, -0.1)
    text = rules.sentences(
        (ActionUnit(14, "left", 0.45), ActionUnit(17, "both", 0.9)),
        Emotion("negative", {"negative": 0.6, "positive": 0.3, "surprise": 0.1}),
        table(motion),
        notes=(rules.RULE_NOTE,),
    )
    assert text == (
        "Perhaps the lip corner tightens on the left (AU14) and the chin is pushed up (AU17). "
        "Largest motion: left lip corner, to the left, 2.0% of the eye distance. "
        "This leaves it open; a negative expression is likeliest (probability 0.60, positive 0.30). "
        "Rule-based reading of region motion, not a language model."
    )


def test_it_abstains_with_a_reason() -> None:
    describer = create("rules")
    still = describer.describe(evidence(np.zeros(2 * COUNT)), DescribeContext())
    refused = describer.describe(evidence(motion_of({(4, "both"): 3}), "motion_floor"), DescribeContext())
    for description, reason in ((still, "no_unit"), (refused, "motion_floor")):
        assert description.abstained == reason
        assert description.text == ""
        assert description.action_units == ()
        assert description.emotion is None
    describer.close()
    describer.close()


def test_answers_depend_on_the_evidence_alone() -> None:
    describer, motions = RulesDescriber(), [motion_of({(au, "both"): 2.0}) for au in (1, 4, 12, 17)] * 4
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda m: describer.describe(evidence(m), DescribeContext()).text, motions))
    assert told[:4] == told[4:8] == told[12:]


def test_templates_are_mirror_images() -> None:
    known = templates()
    swap = [
        NAMES.index(n[:-1] + {"L": "R", "R": "L"}[n[-1]]) if n[-2:] in ("_L", "_R") else i
        for i, n in enumerate(NAMES)
    ]
    for au in (4, 12):
        left, right = (known.motion[:, i].reshape(COUNT, 2) for i in known.columns(au))
        assert np.allclose(left[swap] * (-1, 1), right, atol=2e-3)


def test_regions_of_a_unit() -> None:
    known = templates()
    assert known.regions(12, "left")[0] in ("lip_corner_L", "cheek_L", "nasolabial_L")
    assert {name[-1] for name in known.regions(12, "right")} == {"R"}
    assert set(known.regions(4)) >= {"brow_inner_L", "brow_inner_R"}
    assert "chin" in known.regions(17)


def test_explained_amounts_are_those_put_in() -> None:
    known = templates()
    matches = {m.au: m for m in explain(motion_of({(2, "left"): 3.0}), known)}
    assert matches[2].amounts["left"] == pytest.approx(3.0, rel=0.1)
    assert matches[2].amounts["right"] < 0.2
    assert matches[2].gain == max(m.gain for m in matches.values())


@pytest.mark.parametrize(
    "change",
    [
        {"regions": ["nose"]},
        {"templates": []},
        {"spread": [[0.1, -0.1]] * COUNT},
        {"calibration": {"weights": {}, "bias": {}, "threshold": 0.5}},
        {"templates": [{"au": 4, "side": "up", "motion": [[0, 0]] * COUNT}]},
    ],
)
def test_damaged_templates_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "au_templates.json"
    path.write_text(json.dumps(json.loads(FILE.read_text()) | change))
    with pytest.raises(ModelCorrupt, match=r"au_templates\.json"):
        load(path)


def test_missing_templates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelCorrupt):
        load(tmp_path / "none.json")
    assert isinstance(load(FILE), Templates)
    assert FILE.stat().st_size < 50_000
