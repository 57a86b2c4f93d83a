from __future__ import annotations

import pytest

from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.evaluation.metrics.files import Record
from mellm.evaluation.metrics.joining import join, listed, repeated


def rows(*values: dict[str, object]) -> list[Record]:
    return [Record("x.csv", number, value) for number, value in enumerate(values, 2)]


def test_rows_meet_by_all_columns_that_both_sides_have() -> None:
    true = rows({"subject": 1, "id": "a", "x": 1}, {"subject": 2, "id": "a", "x": 2})
    predicted = rows({"subject": "2", "id": "a"}, {"subject": "9", "id": "a"})
    found, notes = join(predicted, true)
    assert [(t.values["x"], p and p.line) for t, p in found] == [(1, None), (2, 2)]
    assert notes == [
        "1 true rows without a prediction, counted wrong: 1 a",
        "1 predictions without a true row, ignored: 9 a",
    ]


def test_a_column_that_one_row_lacks_tells_nothing_apart() -> None:
    true = rows({"subject": 1, "id": "a"})
    assert join(rows({"subject": "", "id": "a"}), true)[0][0][1] is not None


def test_what_cannot_be_joined() -> None:
    with pytest.raises(RowError, match=r"x\.csv, line 3: 'a' occurs twice, first in line 2"):
        join(rows(), rows({"id": "a"}, {"id": "a"}))
    with pytest.raises(MetricsError, match="no name"):
        join(rows({"id": 1}), rows({"clip": 1}))
    with pytest.raises(MetricsError, match="no rows"):
        join(rows({"id": 1}), [])


def test_long_lists_are_cut() -> None:
    assert listed(["a", ("b", 1), "c", "d", "e"]) == "a, b 1, c and 2 more"
    assert repeated([1, 2, 1, 1], "rows") == ["2 rows repeat another one, each counted: 1"]
    assert repeated([1, 2], "rows") == []
