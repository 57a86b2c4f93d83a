import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.datasets.text import fold


@pytest.mark.parametrize(
    ("text", "plain"),
    [("４＋７，", "4+7,"), ("46²", "46²"), ("4½", "4½"), ("①", "①"), ("e\u0301", "é"), ("", "")],
)
def test_full_width_is_folded_and_no_digit_is_added(text: str, plain: str) -> None:
    assert fold(text) == plain


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)
