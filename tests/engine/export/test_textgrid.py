"""TextGrids, read back by praatio."""

from itertools import pairwise

import pytest

from mellm.engine.export.textgrid import to_textgrid
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import HOSTILE, RECORDS, record, run_folder


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    textgrid = pytest.importorskip("praatio.textgrid")
    path = tmp_path_factory.mktemp("grid")
    overlapping = record("f" * 16, (80, 84, 90))
    run = read_run(run_folder(path / "run", (*RECORDS, overlapping)))
    (path / "talk.TextGrid").write_text(to_textgrid(run), encoding="utf-8")
    return textgrid.openTextgrid(str(path / "talk.TextGrid"), includeEmptyIntervals=True), run


def test_each_face_has_its_tiers_and_the_recording_its_markers(grid):
    found, _ = grid
    kinds = ("expression", "action units", "class", "description", "apex")
    assert found.tierNames == (*(f"{kind}@track{n}" for n in (1, 2) for kind in kinds), "markers")
    assert [(p.time, p.label) for p in found.getTier("markers").entries] == [(3.0, "question 1 <b>")]


def test_intervals_are_those_of_the_run_and_leave_no_hole(grid):
    found, run = grid
    entries = found.getTier("expression@track1").entries
    assert (entries[0].start, entries[-1].end) == (0.0, 30.0)
    assert all(a.end == b.start for a, b in pairwise(entries))
    named = [e for e in entries if e.label]
    mine = sorted((r for r in run.expressions if r.track == 1), key=lambda r: r.onset_ms)
    assert [e.end for e in named] == pytest.approx([r.offset_ms / 1000 for r in mine], abs=1e-6)
    # two overlap: the later one begins where the earlier one ends
    assert named[1].start == named[0].end
    units = [e.label for e in found.getTier("action units@track1").entries if e.label]
    assert units[:2] == ["1+2", "R12"]


def test_hostile_words_stay_words(grid):
    found, _ = grid
    said = [e.label for e in found.getTier("description@track1").entries]
    assert HOSTILE in said
