"""Counts, what is missing, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.evaluation.datasets import load
from mellm.evaluation.datasets.inspect import inspect, ranges
from tests.evaluation.datasets import made
from tests.evaluation.datasets.made import book, pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    book(tmp_path / "CASME2-coding-20140508.xlsx", made.CASME2)
    pictures(tmp_path / "CASME2-RAW/sub01/EP02_01f", [f"img{k}.jpg" for k in (*range(46, 57), 60, 86)])
    return tmp_path


def test_ranges() -> None:
    assert [ranges(()), ranges((4,)), ranges((1, 2, 3, 7, 9, 10))] == ["", "4", "1-3, 7, 9-10"]


def test_counts_stand_beside_the_published_ones(root: Path) -> None:
    counts = {each.what: each for each in inspect(load("casme2", root)).counts}
    assert (counts["micro-expressions"].found, counts["micro-expressions"].published) == (5, 255)
    assert counts["micro-expressions"].differs
    assert (counts["emotion fear"].found, counts["emotion fear"].published) == (0, 2)
    assert "macro-expressions" not in counts


def test_what_each_clip_lacks(root: Path) -> None:
    lacks = {lack.clip: lack.words() for lack in inspect(load("casme2", root)).lacks}
    assert lacks["EP02_01f"] == "no pictures 57-59, 61-85"
    assert lacks["EP12_01f"] == "apex unknown; no folder with pictures"
    without = {lack.clip: lack.words() for lack in inspect(load("casme2", root), pictures=False).lacks}
    assert without == {"EP12_01f": "apex unknown"}


def test_a_whole_clip_lacks_nothing(tmp_path: Path) -> None:
    book(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", made.SAMM[:-1])
    pictures(tmp_path / "SAMM/006/006_1_2", [f"006_{k:05d}.jpg" for k in range(5562, 5633)])
    found = inspect(load("samm", tmp_path))
    assert found.lacks == ()
    assert found.frame_rates == {"200": 1}


def test_the_verb_tells_it_to_people_and_to_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dataset", "inspect", "casme2", str(root)]) == 0
    text = capsys.readouterr().out
    assert "published 255   differs" in text
    assert "row 4 ApexFrame: /" in text
    assert "sub01 EP02_01f: no pictures 57-59, 61-85" in text
    assert run(["dataset", "inspect", "casme2", str(root), "--json", "--apex-policy", "midpoint"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["counts"][0] == {
        "what": "micro-expressions",
        "found": 5,
        "published": 255,
        "differs": True,
    }
    assert plain["rules"]["apex-filled"]
    assert {each["rule"] for each in plain["repairs"]} >= {"apex-unknown", "apex-filled"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["casme9", "."], "known are casme"),
        (["casme2", "nowhere"], "is not a folder"),
        (["casme2", "."], "no annotation file of CASME II"),
        (["casme2", ".", "--offset-policy", "x"], "offset policy"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["dataset", "inspect", *arguments]) == 3
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
