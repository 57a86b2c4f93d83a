"""Several readings, one answer."""

from dataclasses import replace

import numpy as np
import pytest

from mellm.engine.describe import create
from mellm.engine.describe.agreement import UNSTABLE, AgreeingDescriber, combine, overlap, several
from mellm.engine.describe.base import DescribeContext
from mellm.engine.types import ActionUnit, Description, Emotion, Evidence

SCORES = {"negative": 0.7, "positive": 0.2, "surprise": 0.1}


def said(
    *units: int, side: str = "both", abstained: str | None = None, text: str = "The brow lowers."
) -> Description:
    named = tuple(ActionUnit(au, side, 0.8) for au in units)
    emotion = None if abstained else Emotion("negative", SCORES)
    return Description("" if abstained else text, named, emotion, "one", "one/1", "1", abstained)


def evidence(**over) -> Evidence:
    return Evidence(np.zeros((8, 8, 3), np.uint8), (), {}, "live", **over)


class Speaks:
    """Answers in turn, and keeps what it was shown."""

    name, profile, recipe = "one", "one/1", "live"

    def __init__(self, *answers: Description) -> None:
        self.answers, self.shown = list(answers), []

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        self.shown.append(evidence)
        return self.answers[(len(self.shown) - 1) % len(self.answers)]

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("sets", "value"),
    [
        ([{4}, {4}], 1.0),
        ([set(), set()], 1.0),
        ([{4}, {7}], 0.0),
        ([{4}, {4, 7}, {4}], (0.5 + 1 + 0.5) / 3),
        ([{4}], 1.0),
    ],
)
def test_overlap(sets, value):
    assert overlap([frozenset(s) for s in sets]) == pytest.approx(value)


def test_units_are_those_that_most_readings_name_with_their_counts():
    told = combine([said(4, 7), *[said(4)] * 6, said(4, 7)], evidence())
    assert [(u.au, u.readings) for u in told.action_units] == [(4, 8)]
    assert told.readings == 8
    assert 0.5 < told.agreement < 1
    assert told.abstained is None
    assert told.text.endswith("Agreement: AU4 in 8 of 8 readings.")


def test_words_of_a_reading_that_says_something_else_are_not_used():
    told = combine([said(4, 7, text="Brow and lids."), *[said(4, text="The brow.")] * 7], evidence())
    assert told.text.startswith("The brow.")


def test_without_words_that_fit_it_makes_its_own():
    told = combine([said(4, 7, 1), said(4, 7, 2), said(4, 7, 5)], evidence())
    assert [u.au for u in told.action_units] == [4, 7]
    assert "(AU4) and the lids tighten (AU7), in 3 of 3 readings." in told.text
    assert "AU1" not in told.text


def test_readings_that_do_not_agree_tell_nothing():
    told = combine([said(7, 10), said(7), said(14), said(4), said(10), said(1, 4), said(7)], evidence())
    assert told.abstained == UNSTABLE
    assert (told.action_units, told.emotion, told.text) == ((), None, "")
    assert told.agreement < 0.5


def test_a_majority_that_is_silent_is_silent_for_its_reason():
    silent = said(abstained="model_abstained")
    told = combine([said(4), *[silent] * 7], evidence())
    assert told.abstained == "model_abstained"
    assert combine([replace(silent, abstained="no_unit"), silent, silent], evidence()).abstained == "no_unit"


def test_sides_of_a_mirrored_reading_change_places():
    plain = evidence(again=lambda: (evidence(mirrored=True),))
    told = AgreeingDescriber(Speaks(said(12, side="left"), said(12, side="right"))).describe(
        plain, DescribeContext()
    )
    assert [(u.au, u.side, u.readings) for u in told.action_units] == [(12, "left", 2)]


@pytest.mark.parametrize("over", [{"refused": "motion_large", "again": lambda: 1 / 0}, {}])
def test_what_is_refused_or_cannot_be_made_again_is_read_once(over):
    one = Speaks(said(4))
    told = AgreeingDescriber(one).describe(evidence(**over), DescribeContext())
    assert len(one.shown) == 1
    assert (told.readings, told.agreement) == (1, None)


def test_the_embedded_describers_read_several_times_unless_told_otherwise():
    assert isinstance(create("rules"), AgreeingDescriber)
    assert not isinstance(create("rules", several=False), AgreeingDescriber)
    assert create("rules").name == "rules"


def test_a_slow_machine_makes_do_with_fewer_readings():
    now = iter(range(100))
    shown = several(
        evidence(again=lambda: (evidence() for _ in range(7))), 6.0, clock=lambda: float(next(now))
    )
    assert len(shown) == 4
    assert len(several(evidence(again=lambda: (evidence() for _ in range(7))), 1e9)) == 8
    assert len(several(evidence(), 1e9)) == 1
