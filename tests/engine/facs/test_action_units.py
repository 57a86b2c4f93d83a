"""Action units: notation, words, and what they say about emotion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.detectors.stepmodel import SPOT_AUS
from mellm.engine.facs import action_units as facs
from mellm.engine.facs.action_units import UNITS, Coded, coarse_emotion, notation, parse
from mellm.engine.facs.tables import DATA_SETS
from mellm.stream.errors import UsageError


def test_every_unit_the_spotter_knows_has_words() -> None:
    assert tuple(UNITS) == SPOT_AUS


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", ()),
        ("4", (Coded(4),)),
        ("AU4", (Coded(4),)),
        ("L12A+R14B", (Coded(12, "left", "A"), Coded(14, "right", "B"))),
        ("4+7?", (Coded(4), Coded(7, doubtful=True))),
        ("1, 2 ; l AU 12c", (Coded(1), Coded(2), Coded(12, "left", "C"))),
    ],
)
def test_notation(text: str, units: tuple[Coded, ...]) -> None:
    assert parse(text) == units


@pytest.mark.parametrize("text", ["smile", "L", "4F", "4 7", "123", "-4", "L+4"])
def test_what_is_no_unit_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is not a valid action unit"):
        parse(text)


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["left", "right", "both"])), max_size=6))
def test_notation_and_back(units: list[tuple[int, str]]) -> None:
    assert [(c.au, c.side) for c in parse(notation(units))] == units  # type: ignore[arg-type]


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert all(isinstance(c, Coded) for c in parse(text))
    except UsageError:
        pass


@pytest.mark.parametrize(
    ("text", "coarse", "least"),
    [
        ("6+12", "positive", 0.85),
        ("12", "positive", 0.5),
        ("4", "negative", 0.9),
        ("4+7", "negative", 0.95),
        ("9+10", "negative", 0.8),
        ("15+17", "negative", 0.85),
        ("1+2", "surprise", 0.9),
        ("1+2+5", "surprise", 0.9),
    ],
)
def test_units_that_settle_the_class(text: str, coarse: str, least: float) -> None:
    emotion = coarse_emotion((coded.au, 1.0) for coded in parse(text))
    assert emotion is not None
    assert emotion.coarse == coarse
    assert emotion.scores[coarse] >= least


def test_units_that_do_not_settle_it_leave_it_open() -> None:
    emotion = coarse_emotion([(5, 1.0)])
    assert emotion is not None
    assert max(emotion.scores.values()) < 0.6


def test_a_doubtful_unit_weighs_less() -> None:
    sure, doubtful = coarse_emotion([(12, 1.0), (6, 1.0)]), coarse_emotion([(12, 1.0), (6, 0.3)])
    assert sure is not None
    assert doubtful is not None
    assert sure.scores["positive"] > doubtful.scores["positive"]


def test_no_known_unit_is_no_emotion() -> None:
    assert coarse_emotion([]) is None
    assert coarse_emotion([(43, 1.0)]) is None
    assert coarse_emotion([(12, 0.0)]) is None


@given(st.dictionaries(st.sampled_from(SPOT_AUS), st.floats(0.01, 1), min_size=1))
def test_scores_are_shares(units: dict[int, float]) -> None:
    emotion = coarse_emotion(units.items())
    assert emotion is not None
    assert sum(emotion.scores.values()) == pytest.approx(1, abs=1e-3)
    assert emotion.scores[emotion.coarse] == max(emotion.scores.values())


def test_tables_hold_shares_of_counted_clips() -> None:
    for data in DATA_SETS.values():
        for row in data.emotions.values():
            assert row.clips > 0
            assert all(0 < share <= 1 and au in UNITS for au, share in row.shares.items())
    for _, _, shares in facs._rows():
        assert set(shares) == set(UNITS)
        assert all(facs.RARE <= share < 1 for share in shares.values())
