"""From rows to curves: scores, changes that are told from chance, tables, the picture, and a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mellm.evaluation.robustness import axes, report
from mellm.evaluation.robustness.rows import Row, Rows

NOISE = axes.of("describe", ["noise"])


def pair(number: int, units: list[int], said: list[int] | None, coarse: str | None = None) -> dict[str, Any]:
    told = None if said is None else {"units": said, "coarse": coarse}
    truth = "negative" if units else None
    return {
        "id": f"p{number}",
        "units": units,
        "coarse": truth,
        "iod": 60,
        "lost": False,
        "refused": None,
        "told": {"nano": told},
    }


def filled(path: Path, people: int = 6) -> Rows:
    """Everybody is read right undamaged; with noise, less and less."""
    rows = Rows(path, "key")
    for person in range(people):
        for level in (0, *NOISE[0].levels):
            right = level < 10
            items = [
                pair(0, [4], [4] if right else [12], "negative" if right else "positive"),
                pair(1, [1, 2], [1, 2] if level < 20 else None, "negative"),
                pair(2, [], None),
            ]
            axis = "noise" if level else "none"
            rows.add(Row("key", "describe", "rendered", f"s{person}", axis, float(level), items, 0.5))
    return rows


def test_a_curve_begins_undamaged_and_tells_a_fall_from_chance(tmp_path: Path) -> None:
    (curve,) = report.curves(filled(tmp_path / "r.jsonl"), "describe", "rendered", ["nano"], NOISE, 200)
    f1 = [point.values["f1"].value for point in curve.points]
    assert f1[:3] == [1, 1, 1]
    assert f1[3] == pytest.approx(2 / 3)
    assert f1[4] == 0
    assert [point.worse("f1") for point in curve.points] == [False, False, False, True, True]
    assert curve.points[4].values["silent"].value == 0.5
    assert curve.points[4].values["abstains"].value == 1
    assert curve.points[0].people == 6
    text = report.markdown([curve])
    assert "**sensor noise**" in text
    assert "| nano | 10 | **0.67 [0.67, 0.67]**" in text
    picture = report.plot([curve], tmp_path / "plot" / "curves.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert curve.as_dict()["points"][3]["changes"]["f1"][0] == pytest.approx(-1 / 3)


def test_an_axis_without_all_its_rows_is_left_out(tmp_path: Path) -> None:
    rows = filled(tmp_path / "r.jsonl")
    assert report.curves(rows, "describe", "rendered", ["nano"], axes.of("describe", ["blur"]), 10) == []
    assert report.curves(rows, "describe", "stills", ["nano"], NOISE, 10) == []


def test_rows_survive_a_kill_and_other_recipes_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"format": "mellm-rob')
    again = Rows(path, "key")
    assert again.get("describe", "rendered", "s1", "noise", 20) is not None
    assert again.cpu_s == 5.0
    again.add(Row("key", "describe", "rendered", "s9", "none", 0.0, [], 0.0))
    assert Rows(path, "key").get("describe", "rendered", "s9", "none", 0) is not None
    assert Rows(path, "another key").where("describe", "rendered", "none", 0.0) == []


def test_spots_are_counted_by_clip(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "s.jsonl", "key")
    (axis,) = axes.of("spot", ["blur"])
    for clip in range(4):
        for level in (0, *axis.levels):
            item = {
                "clip": f"c{clip}",
                "tp": 3 - (level > 1),
                "fp": 0,
                "fn": level > 1,
                "seconds": 8,
                "seen_s": 8,
                "apex_ms": [10.0],
            }
            rows.add(
                Row("key", "spot", "clips", f"c{clip}", "blur" if level else "none", float(level), [item])
            )
    (curve,) = report.curves(rows, "spot", "clips", [""], [axis], 50)
    assert [round(p.values["recall"].value, 2) for p in curve.points] == [1, 1, 0.67, 0.67]
    assert curve.points[0].values["apex_ms"].value == 10
