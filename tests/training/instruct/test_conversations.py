"""Questions and answers on measured motion that is made up: one table row at a time."""

import re

import numpy as np
import pytest

from mellm.detectors import regions
from mellm.engine.describe.au_templates import templates
from mellm.engine.describe.base import Recipe
from mellm.engine.describe.parse import parse_prose
from mellm.engine.evidence import roi29
from mellm.engine.evidence.region_motion import direction
from mellm.engine.types import Evidence, RegionMotion
from mellm.training.instruct import conversations, names, phrases
from mellm.training.instruct.conversations import TASKS, Turn, converse, table_numbers
from mellm.training.instruct.pairs import Pair, UnitTruth
from mellm.training.instruct.phrases import LANGUAGES, Language
from mellm.training.instruct.reading import read

BLANK = np.zeros((368, 320), np.uint8)


def pair(kind="expression", units=(), **more):
    return Pair(
        id="made-up", subject="nobody", split="train", source="rendered", kind=kind,
        units=tuple(UnitTruth(au, side, 0.5) for au, side in units), peak=2.0, duration_ms=300,
        onset=BLANK, apex=BLANK, landmarks=np.zeros((68, 2), np.float32),
        **({"talks": False, "emotion": None, "coarse": None} | more),
    )  # fmt: skip


def evidence(*units, recipe: Recipe = "live", extra=None, scale=0.6):
    """The motion that the templates have for units, with other regions (name → dx, dy) laid over it."""
    known = templates()
    motion = np.zeros((regions.COUNT, 2))
    for au, side in units:
        columns = [i for i in known.columns(au) if side == "both" or known.units[i][1] in (side, "both")]
        motion += scale * known.motion[:, columns].sum(1).reshape(-1, 2)
    for name, vector in (extra or {}).items():
        motion[regions.INDEX[name]] = vector
    rows = dict(zip(regions.NAMES, motion, strict=True))
    if recipe == "mellm-v3":
        moved = {row: v for name, v in rows.items() for row in names.published(name)}
        landmarks = np.random.default_rng(0).uniform(100, 300, (68, 2)).astype(np.float32)
        rows = {name: moved.get(name, np.zeros(2)) for name in roi29.boxes(landmarks)}
    table = tuple(
        RegionMotion(name, dx, dy, 1.14 * float(np.hypot(dx, dy)), 2.0, direction(np.array([[dx, dy]])))
        for name, (dx, dy) in rows.items()
    )
    peak = max(float(np.hypot(r.dx, r.dy)) for r in table)
    stats = {"noise_iod": 0.05, "floor_iod": 0.6, "peak_iod": peak}
    return Evidence(
        np.zeros((8, 8, 3), np.uint8), table, stats, recipe, "motion_floor" if peak < 0.6 else None
    )


def talk(one, seen, language: Language = "en", tasks=TASKS) -> dict[str, list[Turn]]:
    turns, _ = converse(one, seen, np.random.default_rng(2), language, tasks)
    return {task: [t for t in turns if t.task == task] for task in TASKS}


SMILE = pair(units=[(12, "left")], emotion="happiness", coarse="positive")
SEEN = evidence((12, "left"))


def test_the_question_forms_of_the_challenge():
    said = talk(SMILE, SEEN)
    assert [t.question for t in said["units"]] == ["What is the action unit?"]
    assert said["units"][0].answer == "lip corner puller"
    assert said["coarse"][0].answer == "positive"
    assert said["fine"][0].answer == "happiness"
    assert said["combined"][0].answer == (
        "The action unit present is: lip corner puller. Therefore, the fine-grained expression class is happiness, "
        "and the coarse expression class is positive."
    )
    assert [t.answer for t in said["side"]] == ["left"]
    assert sorted(t.answer for t in said["shown"]) == ["no", "yes"]


def test_several_units_are_asked_for_in_the_plural_and_sides_only_where_there_is_one():
    two = pair(units=[(4, "both"), (1, "both")], emotion="sadness", coarse="negative")
    said = talk(two, evidence((1, "both"), (4, "both")))
    assert said["units"][0].question == "What are the action units?"
    assert said["units"][0].answer == "inner brow raiser, brow lowerer"
    assert said["side"] == []


def test_units_that_are_not_there_are_near_those_that_are():
    two = pair(units=[(6, "both"), (12, "both")])
    for turn in talk(two, evidence((6, "both"), (12, "both")))["shown"]:
        (asked,) = (au for au in names.CONFUSED if names.unit(au, "en") in turn.question)
        assert turn.answer == ("yes" if asked in (6, 12) else "no")
        assert turn.answer == "yes" or asked in {*names.CONFUSED[6], *names.CONFUSED[12]}


@pytest.mark.parametrize("recipe", ["live", "mellm-v1", "mellm-v3"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "units",
    [[(4, "both")], [(12, "right")], [(1, "left"), (2, "left"), (5, "both")], [(9, "both"), (10, "both")]],
)
def test_descriptions_are_read_back_as_they_were_meant(units, recipe: Recipe, language: Language):
    one = pair(units=units, emotion="disgust", coarse="negative")
    (turn,) = talk(one, evidence(*units, recipe=recipe), language)["describe"]
    parsed = parse_prose(turn.answer)
    assert [(u.au, u.side) for u in parsed.action_units] == units
    assert parsed.emotion is not None
    assert parsed.emotion.coarse == "negative"
    numbers = re.findall(r"(\d+\.\d\d)(?=(?: and [\d.]+)? px|和?[\d.]*像素)", turn.answer)
    assert set(numbers) <= table_numbers(turn.question)
    assert bool(numbers) == (recipe != "mellm-v1")
    assert turn.picture == (recipe != "mellm-v3")


def test_a_unit_whose_regions_do_not_move_is_marked():
    one = pair(units=[(5, "both"), (17, "both")], coarse="negative")
    seen = evidence((17, "both"))
    assert read(seen, [(5, "both"), (17, "both")]).marks == ["unmoved:AU5"]
    said = talk(one, seen)
    assert re.search(
        r"AU5 \(upper lid raiser\), with little certainty: .* hardly moves", said["describe"][0].answer
    )
    assert not any("upper lid raiser" in t.question for t in said["shown"])


def test_a_unit_whose_regions_move_the_other_way_is_marked():
    seen = evidence(extra={"lip_corner_L": (0.0, 1.5), "lip_corner_R": (0.0, 1.5)})
    reading = read(seen, [(12, "both")])
    assert [u.state for u in reading.units] == ["contrary"]


def test_motion_that_no_unit_explains_is_marked():
    seen = evidence((5, "both"), extra={"chin": (0.0, 1.4)})
    assert read(seen, [(5, "both")]).marks == ["unexplained:chin"]
    (turn,) = talk(pair(units=[(5, "both")], coarse="surprise"), seen)["describe"]
    assert "These units do not explain the motion of the chin." in turn.answer


def test_a_unit_explains_no_more_of_a_region_than_it_moves_it():
    """The fit of head motion lets a chin seem to move with brows: that much is explained, a dropping jaw is not."""
    brows = evidence((1, "both"), (2, "both"))
    assert read(brows, [(1, "both"), (2, "both")]).marks == []
    talking = evidence((1, "both"), (2, "both"), extra={"chin": (0.0, 4.0), "lower_lip": (0.0, 3.5)})
    assert read(talking, [(1, "both"), (2, "both")]).marks == ["unexplained:chin", "unexplained:lower_lip"]


def test_a_label_that_the_units_do_not_suggest_is_marked():
    odd = pair(units=[(4, "both")], emotion="happiness", coarse="positive")
    (turn,) = talk(odd, evidence((4, "both")))["describe"]
    assert "Fine class: happiness, which the units alone do not suggest." in turn.answer
    assert turn.answer.endswith("Micro-expression: positive.")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["still", "head", "blink", "gaze", "speech"])
def test_whatever_is_asked_about_a_negative_the_answer_abstains(kind, language: Language):
    where = {"blink": "upper_lid_L", "gaze": "upper_lid_R", "speech": "lower_lip", "head": "cheek_L"}.get(
        kind
    )
    seen = evidence(extra={where: (0.0, 2.0)} if where else None)
    turns, _ = converse(pair(kind), seen, np.random.default_rng(0), language)
    assert [t.task for t in turns] == list(conversations.NO_EXPRESSION)
    for turn in turns:
        assert turn.abstain
        assert any(said in turn.answer for said in phrases.ABSTENTIONS[language][kind])
        assert not re.search(r"AU\s?\d", turn.answer)


def test_a_cause_that_the_motion_does_not_show_is_not_named():
    said = talk(pair("blink"), evidence(extra={"chin": (0.0, 1.0)}))
    assert said["coarse"][0].answer in phrases.ABSTENTIONS["en"]["other"]
    unseen = talk(pair("gaze"), evidence())
    assert unseen["coarse"][0].answer in phrases.ABSTENTIONS["en"]["still"]


def test_an_expression_under_the_floor_is_not_described():
    turns, _ = converse(SMILE, evidence((12, "left"), scale=0.02), np.random.default_rng(0))
    assert turns
    assert all(t.abstain for t in turns)


def test_units_that_are_not_read_from_motion_are_named_and_nothing_is_said_of_their_motion():
    one = pair(units=[(4, "both"), (38, "both")], coarse="negative")
    seen = evidence((4, "both"), extra={"nose_wing_L": (2.0, 0.0)})
    reading = read(seen, [(4, "both"), (38, "both")])
    assert [u.state for u in reading.units] == ["seen", "untold"]
    assert reading.marks == []
    said = talk(one, seen)
    assert said["units"][0].answer == "brow lowerer, nostril dilator"
    assert '"au":38' not in said["json"][0].answer


def test_without_an_emotion_nothing_is_asked_about_it():
    said = talk(pair(units=[(4, "both")]), evidence((4, "both")))
    assert said["coarse"] == said["fine"] == said["combined"] == []
    assert said["describe"][0].answer.endswith("Micro-expression: negative.")
