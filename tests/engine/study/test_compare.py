import numpy as np
import pytest

from mellm.engine.study import compare, tables
from tests.engine.study.made import THIRTY, study


def compared(path, lines, **over):
    plan = study(path, lines, **over)
    return compare.compare(tables.load(plan, path / "study"), draws=500)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("thirty"), THIRTY)


def test_rates_are_of_judged_minutes(thirty):
    calm, stress = thirty.conditions
    assert (calm.name, calm.recordings, calm.subjects) == ("calm", 15, 15)
    assert calm.judged_min["either"] == pytest.approx(15 * 22 / 60)
    assert calm.rate == pytest.approx(calm.found / calm.judged_min["either"])
    assert calm.interval[0] < calm.rate < calm.interval[1]
    assert stress.rate > calm.rate


def test_people_in_both_conditions_are_drawn_into_both(thirty):
    (pair,) = thirty.differences
    assert (pair.both, pair.first, pair.second) == (15, "calm", "stress")
    assert pair.interval[0] < pair.value < pair.interval[1]
    # each person has one more under stress but every third, two less: the paired interval is that of these differences
    each = np.array(
        [thirty.conditions[0].rates[s] - thirty.conditions[1].rates[s] for s in thirty.conditions[0].rates]
    )
    half = 1.96 * each.std() / np.sqrt(len(each))
    assert pair.interval[1] - pair.interval[0] == pytest.approx(2 * half, rel=0.25)


def test_the_same_study_gives_the_same_interval(tmp_path, thirty):
    assert compared(tmp_path, THIRTY) == thirty


def test_a_difference_in_what_could_be_judged_is_warned_of(tmp_path, thirty):
    assert thirty.warnings == ()
    other = compared(tmp_path, THIRTY, judged={"stress": 0.5})
    (warning,) = other.warnings
    assert "calm and stress differ in how much of the time with a face could be judged" in warning
    assert "at least one half 66 % and 33 %, upper half 63 % and 31 %" in warning


def test_too_few_people_have_no_interval(tmp_path):
    made = compared(tmp_path, [("a.mp4", "p-1", "calm", 3), ("b.mp4", "p-2", "calm", 1)])
    assert made.conditions[0].interval is None
    assert made.conditions[0].rate == pytest.approx(4 / (44 / 60))
    assert made.warnings == ("calm: 2 subjects - too few for an interval.",)


def test_nothing_analysed_is_nothing_compared():
    assert compare.compare([]) == compare.Comparison((), (), (), False)


def test_rows_are_conditions_and_then_pairs(thirty):
    rows = compare.rows(thirty)
    assert [row.get("compared_with") for row in rows] == [None, None, "stress"]
    assert all(set(row) <= set(compare.COLUMNS) for row in rows)
