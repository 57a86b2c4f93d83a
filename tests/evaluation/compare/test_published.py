"""Published rows: that they are those that were published, and say so."""

from __future__ import annotations

import pytest

from mellm.evaluation.compare import published
from mellm.evaluation.compare.types import Published
from mellm.evaluation.metrics.mme import TASKS


@pytest.mark.parametrize(
    ("model", "perception", "cognition", "total"),
    [
        ("Gemini Pro", 1496.57, 436.79, 1933.4),
        ("GPT-4V", 1409.43, 517.14, 1926.6),
        ("Sphinx", 1560.15, 310.0, 1870.2),
    ],
)
def test_the_sub_tasks_add_up_to_the_sums_that_were_published_with_them(model, perception, cognition, total):
    scores = published.mme(model)
    assert scores is not None
    assert set(TASKS) < set(scores)
    assert (scores["perception"], scores["cognition"]) == (perception, cognition)
    assert round(scores["total"], 1) == pytest.approx(total, abs=0.051)
    assert all(0 <= scores[task] <= 200 for task in TASKS)


def test_a_model_is_found_however_its_name_is_written():
    assert published.mme("gpt 4v") == published.mme("GPT-4V")
    assert published.mme("gemini-pro") == published.mme("Gemini Pro")
    assert published.mme("gemini") is None


def test_rows_say_that_they_were_not_run_and_where_they_are_from():
    gpt, ours = published.mme_rows(
        [
            Published("GPT-4V (2023)", "GPT-4V"),
            Published("unknown"),
            Published("ours", scores={"OCR": 100.0, "total": 1500.0}, source="a note"),
        ],
        ("celebrity", "OCR", "total"),
    )
    assert (gpt.name, gpt.cells, gpt.published) == ("GPT-4V (2023)", (0.0, 185.0, 1926.57), True)
    assert gpt.note.startswith("published, not run: arXiv 2312.12436")
    assert "refuses" in gpt.note
    assert (ours.cells, ours.note) == ((None, 100.0, 1500.0), "published, not run: a note")


def test_a_sum_is_made_of_all_its_parts_or_not_at_all():
    scores = published.mme("Sphinx")
    assert scores is not None
    lacking = {task: scores[task] for task in TASKS if task != "OCR"}
    assert "perception" not in published.with_sums(lacking)
    assert "total" not in published.with_sums(lacking)
    assert published.with_sums(lacking)["cognition"] == 310


def test_other_tables_have_published_rows_only_where_the_file_gives_their_numbers():
    (row,) = published.rows(
        [Published("GPT-4V", "GPT-4V"), Published("a team", scores={"UF1": 0.4}, source="a paper")],
        ("UF1", "UAR"),
    )
    assert (row.name, row.cells, row.published) == ("a team", (0.4, None), True)


def test_all_three_stand_beside_a_run_of_mme():
    assert [row.name for row in published.mme_rows(published.defaults(), ("total",))] == [
        "Gemini Pro",
        "GPT-4V",
        "Sphinx",
    ]
