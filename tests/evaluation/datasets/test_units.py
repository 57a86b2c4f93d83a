import re
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mellm.evaluation.datasets.units import FACS, Unit, parse_units


@pytest.mark.parametrize(
    ("text", "sure", "possible"),
    [
        ("L12A+R14B", "L12A R14B", ""),
        ("ref(12/14)", "", "12 14"),
        ("4+7?", "4", "7"),
        ("12A or 14A", "", "12A 14A"),
        ("4，7", "4 7", ""),
        ("４＋７", "4 7", ""),
        ("AU4, AU7", "4 7", ""),
        ("au 4", "4", ""),
        ("T23+B25", "T23 B25", ""),
        ("12B", "12B", ""),
        ("l12", "L12", ""),
        ("12R", "R12", ""),
        ("12(A/B)", "12", ""),
        ("12(B)", "12B", ""),
        ("12A/B", "12", ""),
        ("12A/12B", "12", ""),
        ("L12/R12", "12", ""),
        ("1+2/4+5", "1 5", "2 4"),
        ("(4)", "", "4"),
        ("4+(7", "4", "7"),
        ("4)+7", "4", "7"),
        ("4(k)", "4", ""),
        ("double 45", "45", ""),
        ("80 (big swallow)", "80", ""),
        ("glare", "", ""),
        ("4 soft focus", "4", ""),
        ("all of the above", "", ""),
        ("Chewing, 12", "12", ""),
        ("12 14", "12 14", ""),
        ("4-7", "", "4 7"),
        ("not 12", "", ""),
        ("maybe 12", "", "12"),
        ("wrinkled 12", "", "12"),
        ("frame 12", "", ""),
        ("1214", "", ""),
        ("4.7", "", ""),
        ("4.0", "4", ""),
        ("99", "", ""),
        ("EP12_01", "", ""),
        ("4²+7", "7", ""),
        ("4½", "", ""),
        ("①", "", ""),
        ("4\u20447", "", "4 7"),
        ("?", "", ""),
        ("", "", ""),
        (4, "4", ""),
        (4.0, "4", ""),
        (4.7, "", ""),
        (None, "", ""),
        (True, "", ""),
        (datetime(2014, 1, 2), "", ""),
    ],
)
def test_reads_what_occurs(text: object, sure: str, possible: str) -> None:
    units = parse_units(text)

    assert {str(unit) for unit in units.sure} == set(sure.split())
    assert {str(unit) for unit in units.possible} == set(possible.split())


def test_a_question_mark_of_samm_doubts_the_offset_only() -> None:
    assert parse_units("4+7?", question="offset").numbers == {4, 7}


def test_what_is_not_read_is_kept() -> None:
    assert parse_units("4+1214, glare").unread == ("1214", "glare")


def test_numbers_and_text() -> None:
    units = parse_units("4+7?")

    assert (units.numbers, units.possible_numbers, str(units)) == ({4}, {7}, "4 (7)")
    assert sorted([Unit(12, "R"), Unit(4)])[0] == Unit(4)


@given(st.text(alphabet="0123456789LRABEau+/,，?()ref or-.k \n²½①⁴４⁄", max_size=30) | st.text(max_size=30))
@example("4²")
@example("1⁄2")
def test_no_unit_is_made_up(text: str) -> None:
    """Every unit is one of FACS, and its number stands in the text with no further digit beside it."""
    units = parse_units(text)
    written = {int(digits) for digits in re.findall(r"(?<![²½①⁴])\d+(?![²½①⁴])", text)}

    assert {unit.number for unit in units.sure | units.possible} <= written & FACS
    assert not units.numbers & {unit.number for unit in units.possible}


UNITS = st.builds(
    Unit, st.sampled_from(sorted(FACS)), st.sampled_from(["", "L", "R"]), st.sampled_from("ABCDE")
)


@given(
    st.lists(UNITS, min_size=1, max_size=6, unique_by=lambda unit: unit.number),
    st.lists(st.sampled_from(["glare", "soft focus", "Chewing", "asymmetric"]), max_size=2),
    st.sampled_from(["+", ",", "，", ", ", " + ", "、", "\n", "＋"]),
)
def test_what_was_written_is_read_and_no_more(units: list[Unit], words: list[str], between: str) -> None:
    read = parse_units(between.join([*map(str, units), *words]))

    assert (read.sure, read.possible) == (frozenset(units), frozenset())


@given(st.lists(UNITS, min_size=2, max_size=4, unique_by=lambda unit: unit.number), st.booleans())
def test_alternatives_are_possible_and_none_is_sure(units: list[Unit], spelled: bool) -> None:
    text = " or ".join(map(str, units)) if spelled else f"ref({'/'.join(map(str, units))})"

    read = parse_units(text)

    assert (read.sure, read.possible) == (frozenset(), frozenset(units))
