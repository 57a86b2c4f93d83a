from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mellm.evaluation.metrics import examples, marks
from tests import REPO

PAGE = REPO / "docs" / "why-numbers-differ.md"


def test_the_page_shows_what_the_command_writes(tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert CliRunner().invoke(examples.command, ["--page", str(copy)]).exit_code == 0
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert marks.END in copy.read_text(encoding="utf-8")


def test_every_example_shows_a_difference() -> None:
    for example in (make() for make in examples.EXAMPLES):
        differing = [p for p in example.others for k, v in p.values.items() if example.ours.get(k, v) != v]
        assert differing, example.title


def test_numbers_of_the_spotting_example_by_hand() -> None:
    # right: one of two in video 1, one of two truths in video 2, 2 of 4 frames in video 5
    ours = examples.spotting().ours
    assert (ours["tp"], ours["fp"], ours["fn"], ours["f1"]) == (3, 2, 2, pytest.approx(0.6))


def test_without_a_page_they_are_printed() -> None:
    out = CliRunner().invoke(examples.command, []).output
    assert "### One sub-task of MME" in out
    assert "| stops |" in examples.markdown(
        examples.Example("x", ["y"], {"a": 1}, [examples.Printed("z", {"a": None}, "w")], ("a",))
    )
