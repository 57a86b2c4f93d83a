"""Tables of the report: what is put where, and how numbers are written."""

from __future__ import annotations

import math

from mellm.evaluation.compare.layout import (
    change_grid,
    format_cell,
    measure_grid,
    money,
    refusal_grid,
    score_grid,
    seconds,
)
from mellm.evaluation.compare.samples import Shown
from mellm.evaluation.compare.types import Row, Table
from tests.evaluation.compare.made import NAMES, finished

WIDE = tuple(f"task {k}" for k in range(9))


def test_a_wide_table_is_turned_and_marks_its_best_cells():
    table = Table(
        "t", "T", WIDE, (Row("a", (*range(8), 1.0)), Row("b", (*range(8), 2.0), published=True, note="n"))
    )
    across, down = score_grid("x", table, turn=False), score_grid("x", table)
    assert across.heads == ("", *WIDE)
    assert across.best == {(1, 9)}
    assert down.heads == ("", "a", "b")
    assert down.rows[8] == ("task 8", 1.0, 2.0)
    assert down.best == {(8, 2)}  # equal columns and counts have no best
    assert down.published == {"b"}
    assert down.notes == ("b: n.",)


def test_where_less_is_better_the_least_is_marked():
    table = Table("t", "T", ("error",), (Row("a", (1.0,)), Row("b", (2.0,)), Row("c", (math.nan,))), False)
    assert score_grid("x", table).best == {(0, 1)}
    assert [row[1] for row in score_grid("x", table).text_rows()] == ["1.00", "2.00", "–"]


def test_what_prints_alike_is_equally_good():
    table = Table("t", "T", ("s",), (Row("a", (0.501,)), Row("b", (0.5,)), Row("c", (0.2,))))
    assert score_grid("x", table).best == {(0, 1), (1, 1)}


def test_cost_latency_refusals_length_and_style_of_everybody():
    results = finished()
    grid = measure_grid(results.entries, "suite")
    rows = {row[0]: dict(zip(grid.heads[1:], row[1:], strict=True)) for row in grid.text_rows()}
    gemini = rows[NAMES[1]]
    assert (gemini["answered"], gemini["refused"], gemini["failed"], gemini["cut short"]) == (
        "4",
        "1",
        "1",
        "1",
    )
    assert gemini["latency p50, s"] == "0.95"
    # (50 + 4 · 300) tokens in at 0.5, 4 · 40 out at 2.0 a million
    assert gemini["cost, USD"] == f"{(1250 * 0.5 + 160 * 2.0) / 1e6:.4f}"
    assert rows[NAMES[0]]["step by step"] == "17%"
    assert rows[NAMES[2]]["cost, USD"] == "–"
    assert grid.notes == ("gemini <b>: phrase 1, timeout 1.", "mellm-nano: no evidence 3.")


def test_turned_twice_is_as_before():
    grid = measure_grid(finished().entries)
    turned = grid.turned()
    assert turned.turned().rows == grid.rows
    assert list(zip(*list(turned.text_rows()), strict=True))[1:] == [row[1:] for row in grid.text_rows()]
    assert turned.heads == ("", *NAMES)


def test_refusals_are_shares_of_what_was_asked():
    shown = Shown(
        "t",
        9,
        (),
        {
            ("D", "s"): {"a": {"refused": 1, "answered": 3, "unsupported": 4}, "b": {"unsupported": 8}},
            ("D", "t"): {"a": {"answered": 1}},
        },
    )
    grid = refusal_grid(shown)
    assert list(grid.text_rows()) == [("D · s", "25%", "–")]


def test_changes_say_what_was_before():
    grid = change_grid(finished())
    assert [row[2:] for row in grid.text_rows()] == [
        ("count", "98.00", "101.00", "+3.00"),
        ("OCR", "–", "109.00", "–"),
    ]
    assert grid.rows[0][1] == "mme: MME, official rule"


def test_numbers_are_written_for_people():
    assert [format_cell(value) for value in (1234, 0.5, None, " ", "x")] == ["1,234", "0.50", "–", "–", "x"]
    assert [seconds(value) for value in (0.0123, 3.456)] == ["0.012", "3.46"]
    assert [money(value) for value in (0.00123, 1234.5)] == ["0.0012", "1,234.50"]
