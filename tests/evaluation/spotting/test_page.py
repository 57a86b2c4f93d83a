"""The page holds every table, and its numbers read well."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")
pytest.importorskip("scipy", reason="extra `eval` is not installed")
pytest.importorskip("matplotlib", reason="extra `eval` is not installed")

from mellm.evaluation.spotting.page import markdown, two
from tests.evaluation.spotting.test_report import made


def test_the_page_holds_every_table() -> None:
    page = markdown(made(), ["precision-recall.png"])
    titles = (
        "### Sets",
        "### Scores\n",
        "equal false alarms",
        "### Moments",
        "peak motion in pixels",
        "face width",
    )
    titles += ("action unit", "frame rate", "kind of clip", "filmed person", "<summary>Distractors")
    for title in titles:
        assert title in page
    assert "| small | 2 of 3 | 2 | 2 |" in page
    assert "| small | ours | 0.5 | 1.00 [1.00, 1.00] |" in page
    assert "![precision recall](precision-recall.png)" in page
    assert "nan" not in page
    for table in page.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) <= 1


@pytest.mark.parametrize(("value", "text"), [(0.4567, ".46"), (1.0, "1.00"), (0.999, "1.00"), (None, "–")])
def test_numbers_read_well(value: float | None, text: str) -> None:
    assert two(value) == text
    assert two(float("nan")) == "–"
