import json
import re
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.describe.parse import parse_json
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Side
from mellm.training.instruct import answers, phrases
from mellm.training.instruct.phrases import LANGUAGES, Language, Quiet

units = st.lists(
    st.tuples(st.sampled_from(sorted(facs.UNITS)), st.sampled_from(["left", "right", "both"])), min_size=1
)


def pair(kind: str, *found: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(kind=kind, units=found)


@given(units, st.sampled_from(LANGUAGES), st.integers(0, 9))
def test_text_names_exactly_the_listed_units(
    found: list[tuple[int, Side]], language: Language, seed: int
) -> None:
    line = answers.compose(found, np.random.default_rng(seed), language)
    told = json.loads(line)
    listed = [u["au"] for u in told["action_units"]]
    assert listed == sorted({au for au, _ in found})
    assert [int(n) for n in re.findall(r"AU(\d+)", told["text"])] == listed
    assert sum(told["emotion"].values()) == pytest.approx(1)
    one_sided = [u["side"] for u in told["action_units"] if u["side"] != "both"]
    sides = {"en": ("left", "right"), "zh": ("左侧", "右侧")}[language]
    assert sum(told["text"].count(s) for s in sides) == len(one_sided)
    assert list(told) == ["abstain", "action_units", "emotion", "text"]
    assert not re.search(r"[,:{\[] ", line.split(',"text":')[0])


@given(units)
def test_the_profile_reads_what_was_written(found: list[tuple[int, Side]]) -> None:
    line = answers.compose(found, np.random.default_rng(0))
    parsed = parse_json(line)
    assert parsed.problem is None
    assert [(u.au, u.side) for u in parsed.action_units] == answers.listed(found)
    exact = facs.coarse_emotion((au, 1.0) for au, _ in found)
    assert exact is not None
    assert parsed.emotion is not None
    assert all(abs(parsed.emotion.scores[c] - exact.scores[c]) < 0.011 for c in facs.COARSE)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [k for k in get_args(Quiet) if k != "faint"])
def test_negatives_abstain_and_say_why(kind: str, language: Language) -> None:
    told = json.loads(answers.json_answer(pair(kind), np.random.default_rng(1), language))
    assert told["abstain"] is True
    assert told["action_units"] == []
    assert told["emotion"] is None
    assert told["text"] in phrases.ABSTENTIONS[language][kind]


def test_an_expression_under_the_floor_is_not_described() -> None:
    seen = pair("expression", SimpleNamespace(au=12, side="left"))
    rng = np.random.default_rng(0)
    assert json.loads(answers.json_answer(seen, rng))["action_units"] == [{"au": 12, "side": "left"}]
    assert json.loads(answers.json_answer(seen, rng, faint=True))["abstain"] is True


def test_both_sides_together_are_both_and_a_chin_has_no_side() -> None:
    assert answers.listed([(12, "left"), (12, "right"), (17, "left"), (38, "both")]) == [
        (12, "both"),
        (17, "both"),
    ]


def test_no_answer_for_units_that_motion_does_not_show() -> None:
    with pytest.raises(ValueError, match="without any unit"):
        answers.json_answer(pair("expression", SimpleNamespace(au=38, side="both")), np.random.default_rng(0))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_drawn_answer_is_made_of_the_vocabulary(language: Language) -> None:
    known = set(answers.vocabulary(language))
    assert len(known) == len(answers.vocabulary(language))
    drawn = list(answers.draw_many(200, 3, language))
    assert drawn == list(answers.draw_many(200, 3, language))
    for line in drawn:
        text = json.loads(line)["text"]
        end = re.split(r"(?<=\.) (?=This)|(?<=。)(?=这|类别)", text)
        assert end[-1] in known
        for clause in re.split(r", |，| and (?=the )", end[0].rstrip(".。")) if len(end) > 1 else ():
            assert clause in known, clause
