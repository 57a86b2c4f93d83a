"""Corrections scored against the run they were made from."""

import json
from dataclasses import replace

import pytest

from mellm.clients.cli import run as command
from mellm.engine.export.corrections import Interval, read_corrections
from mellm.engine.export.eaf import to_eaf
from mellm.engine.export.tables import to_csv
from mellm.engine.results.run_reader import read_run
from mellm.evaluation.corrections.score import score
from mellm.stream.errors import UsageError
from tests.engine.export.made import RECORDS, run_folder


@pytest.fixture
def run(tmp_path):
    return read_run(run_folder(tmp_path / "run"))


def as_drawn(run):
    """The run's own expressions, as somebody who agrees with everything would hand them back."""
    return [
        Interval(
            r.onset_ms,
            r.offset_ms,
            r.track,
            apex_ms=r.apex_ms,
            units=frozenset((u.au, u.side) for u in r.action_units) if r.description else None,
            emotion=r.emotion.coarse if r.emotion else None,
        )
        for r in run.expressions
    ]


def test_whoever_agrees_gives_full_marks(run):
    found = score(run, as_drawn(run))
    assert (found.spotting.tp, found.spotting.fp, found.spotting.fn) == (5, 0, 0)
    assert found.untouched == 5
    assert all(e.mae == 0 for e in found.moments.moments.values())
    assert found.units.binary_f1 == found.sides == found.emotions.uf1 == 1


def test_what_was_removed_added_and_moved_is_told_apart(run):
    first, second, _, fourth, fifth = as_drawn(run)
    found = score(
        run,
        [
            replace(first, onset_ms=first.onset_ms + 40, apex_ms=None),
            replace(second, units=frozenset({(12, "left"), (6, "both")}), emotion="negative"),
            fourth,
            replace(fifth, units=None, emotion=None),
            Interval(20_000, 20_300, 1, units=frozenset()),
        ],
    )
    assert (found.spotting.tp, found.spotting.fp, found.spotting.fn) == (4, 1, 1)
    assert [r.id for r in found.removed] == ["c" * 16]
    assert [i.onset_ms for i in found.added] == [20_000]
    assert found.untouched == 3
    onset = found.moments.moments["onset"]
    assert (onset.count, onset.bias, onset.mae) == (4, -10, 10)
    assert found.moments.moments["apex"].unknown == 1
    assert found.moments.unit == "ms"
    # AU6 was missed; AU12 was seen on the wrong side
    assert found.units.units[6].shown.recall == 0
    assert found.sides == pytest.approx(2 / 3)
    assert found.emotions.accuracy == 0.5


def test_another_face_is_another_expression(run):
    drawn = as_drawn(run)
    swapped = [replace(i, track=3 - i.track) for i in drawn]
    assert score(run, swapped).spotting.tp == 2  # those two at the same time, of both faces
    nobody = [replace(i, track=None) for i in drawn]
    assert score(run, nobody).spotting.tp == 5


def test_a_coded_expression_without_a_description_counts_as_naming_nothing(run):
    drawn = as_drawn(run)
    drawn[3] = replace(drawn[3], units=frozenset({(4, "both")}))
    found = score(run, drawn)
    assert found.undescribed == 1
    assert found.units.unparsable == 1
    assert found.units.units[4].shown.recall == 0.5


def test_nobody_kept_anything(run):
    found = score(run, [])
    assert (found.spotting.tp, found.spotting.fp, found.spotting.fn) == (0, 5, 0)
    assert found.moments is found.units is found.emotions is None
    assert json.dumps(found.as_dict())


def test_two_recordings_need_a_name(tmp_path):
    run = read_run(run_folder(tmp_path / "run", sources=("left", "right")))
    drawn = [Interval(r["onset_ms"], r["offset_ms"], r["track"]) for r in RECORDS]
    with pytest.raises(UsageError, match="--source"):
        score(run, drawn)
    assert score(run, drawn, source="left").spotting.f1 == 1
    with pytest.raises(UsageError, match="no source 'middle'"):
        score(run, drawn, source="middle")


@pytest.mark.parametrize(("name", "make"), [("talk.eaf", to_eaf), ("talk.csv", to_csv)])
def test_an_export_that_nobody_touched_scores_full_marks(run, tmp_path, capsys, name, make):
    path = tmp_path / name
    path.write_text(make(run), encoding="utf-8")
    assert score(run, read_corrections(path)).untouched == 5
    assert command(["eval", "corrections", str(run.path), str(path)]) == 0
    out, err = capsys.readouterr()
    assert "kept 5   removed 0   added 0" in out
    assert "F1 1.00   untouched 5 of 5" in out
    assert "without the proposals first" in err


def test_json_and_errors_of_the_verb(run, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("onset_ms,offset_ms,action_units\n2369.033,2736.067,1+2\n50000,50300,12\n")
    assert command(["eval", "corrections", str(run.path), str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kept"], told["removed"], told["added"]) == (1, 4, 1)
    assert told["added_ms"] == [[50000.0, 50300.0]]
    assert command(["eval", "corrections", str(run.path), str(tmp_path / "none.csv")]) == 6
    assert command(["eval", "corrections", str(run.path), str(path), "--iou", "2"]) == 2
