import json

import pytest

from mellm.engine.results import corrections
from mellm.engine.results.corrections import Correction, Corrections, Mark, mark_of, was_added
from mellm.engine.results.run_reader import read_run
from mellm.stream.errors import RunError
from tests.engine.export.made import run_folder

WHEN = "2026-11-29T10:00:00Z"
LATER = "2026-11-29T11:00:00Z"
BROWS, SMILE = "a" * 16, "b" * 16


def item(verdict, id=None, **over):
    return Correction(verdict, "coder-a", WHEN, id, **over)


ALL = Corrections(
    (
        item("accept", BROWS),
        item("correct", SMILE, onset_s=3.3, units=frozenset({(14, "left")}), emotion="negative"),
        item("reject", "c" * 16, comment="a blink"),
        item("correct", "d" * 16, emotion="contempt", units=frozenset()),
        item("add", onset_s=20.0, offset_s=20.4, units=frozenset({(4, "both")})),
    ),
    "run-1",
)


@pytest.fixture
def corrected(tmp_path):
    folder = run_folder(tmp_path / "run")
    corrections.write(folder / corrections.FILE, ALL)
    return folder


def test_a_file_reads_back_as_it_was_written(corrected):
    assert corrections.read(corrected / corrections.FILE) == ALL


def test_a_corrected_run_has_what_the_person_decided(corrected):
    run = read_run(corrected)
    by_id = {r.id: r for r in run.expressions}
    assert [r.id for r in run.rejected] == ["c" * 16]
    assert mark_of(run.rejected[0]) == Mark("reject", "coder-a", WHEN, "a blink")
    assert mark_of(by_id[BROWS]) == Mark("accept", "coder-a", WHEN)

    smile = by_id[SMILE]
    assert (smile.onset_ms, smile.onset_frame) == (3300.0, 99)
    assert smile.text == "Coded by a person: the lip corner tightens (left side)."
    assert smile.emotion.coarse == "negative"
    assert mark_of(smile).changes == {
        "onset_ms": ("3336.67", "3300"),
        "units": ("R12", "L14"),
        "class": ("positive", "negative"),
    }

    coded = by_id["d" * 16]
    assert (coded.state, coded.action_units, coded.emotion) == ("described", (), None)
    assert mark_of(coded).emotion == "contempt"

    added = run.expressions[-2]
    assert was_added(added)
    assert not was_added(smile)
    assert (added.source, added.track, added.apex_ms, added.onset_frame) == ("talk", 1, 20200.0, 599)
    assert [u.au for u in added.action_units] == [4]
    assert [r.onset_ms for r in run.expressions] == sorted(r.onset_ms for r in run.expressions)


def test_what_the_engine_found_is_still_there(corrected):
    assert {r.id for r in read_run(corrected, corrected=False).expressions} >= {"c" * 16}
    assert not read_run(corrected, corrected=False).rejected


def test_a_part_of_a_run_has_its_own_rejections(tmp_path):
    folder = run_folder(tmp_path / "run", sources=("one",))
    corrections.write(folder / corrections.FILE, Corrections((item("reject", BROWS),)))
    assert [r.id for r in read_run(folder).only("one").rejected] == [BROWS]


def test_the_last_decision_holds():
    files = Corrections((item("reject", BROWS),)).plus(
        [item("reject", BROWS), Correction("accept", "b", LATER, BROWS)]
    )
    assert len(files.items) == 2
    assert files.holding()[BROWS].verdict == "accept"


def test_an_addition_can_be_corrected_and_rejected(tmp_path):
    run = read_run(run_folder(tmp_path / "run"))
    first = item("add", "mine", source="talk", onset_s=20.0, offset_s=20.4)
    better = item("correct", "mine", units=frozenset({(4, "both")}))
    rates = {"talk": 30.0}
    stand, _ = corrections.apply(run.expressions, Corrections((first, better)), rates)
    (added,) = (r for r in stand if r.id == "mine")
    assert (was_added(added), [u.au for u in added.action_units]) == (True, [4])
    stand, rejected = corrections.apply(
        run.expressions, Corrections((first, better, item("reject", "mine"))), rates
    )
    assert stand == run.expressions
    assert rejected == ()


def test_an_addition_without_an_id_of_its_own_can_be_moved(tmp_path):
    run = read_run(run_folder(tmp_path / "run"))
    first = item("add", source="talk", onset_s=20.0, offset_s=20.4)
    moved = item("correct", first.key, onset_s=19.9)
    stand, _ = corrections.apply(run.expressions, Corrections((first, moved)), {"talk": 30.0})
    (added,) = (r for r in stand if was_added(r))
    assert (added.id, added.onset_ms, added.offset_ms) == (first.key, 19900.0, 20400.0)


def test_the_file_is_its_owners_only(tmp_path):
    path = tmp_path / "c.json"
    corrections.write(path, ALL)
    assert path.stat().st_mode & 0o077 == 0


def test_times_that_only_moved_keep_the_apex_inside(tmp_path):
    run = read_run(run_folder(tmp_path / "run"))
    decided = item("correct", BROWS, onset_s=3.0, offset_s=3.2)
    (moved, *_), _ = corrections.apply(run.expressions, Corrections((decided,)), {"talk": 30.0})
    assert (moved.onset_ms, moved.apex_ms, moved.offset_ms) == (3000.0, 3000.0, 3200.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"verdict": "maybe"}, "item 1 has the verdict 'maybe'"),
        ({"who": " "}, "item 1 has no who"),
        ({"when": "yesterday"}, "has the when 'yesterday'"),
        ({"when": "2026-11-29T10:00:00"}, "has the when"),
        ({"id": None}, "has no id"),
        ({"id": 7}, "has a id that is not a text"),
        ({"units": "smile"}, "has units that cannot be read"),
        ({"onset_s": "2"}, "has the onset_s '2'"),
        ({"onset_s": -1}, "has the onset_s -1"),
        ({"onset_s": 2.0, "offset_s": 1.0}, "has times out of order"),
        ({"track": 1.5}, "has the track 1.5"),
        ({"flag": 1}, "has an unknown field 'flag'"),
        ({"verdict": "add"}, "without onset_s and offset_s"),
    ],
)
def test_an_item_that_cannot_be_obeyed_is_named(tmp_path, change, told):
    good = item("accept", BROWS).to_json()
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"format": corrections.FORMAT, "items": [{**good, **change}]}))
    with pytest.raises(RunError, match=told):
        corrections.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "mellm-corrections/1"}', "[" * 100_000])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"c\.json"):
        corrections.read(path)


@pytest.mark.parametrize(
    ("decided", "told"),
    [
        (item("accept", "9" * 16), "expression '9999999999999999'"),
        (item("add", source="other", onset_s=1.0, offset_s=2.0), "is of 'other'"),
        (item("correct", BROWS, apex_s=9.0), "times out of order"),
    ],
)
def test_corrections_of_another_run_are_refused(tmp_path, decided, told):
    folder = run_folder(tmp_path / "run")
    corrections.write(folder / corrections.FILE, Corrections((decided,)))
    with pytest.raises(RunError, match=told):
        read_run(folder)


def test_an_addition_has_to_name_one_of_several_recordings(tmp_path):
    run = read_run(run_folder(tmp_path / "run", sources=("one",)))
    with pytest.raises(RunError, match="names no recording"):
        corrections.apply(
            run.expressions,
            Corrections((item("add", onset_s=1.0, offset_s=2.0),)),
            {"one": 30.0, "two": 30.0},
        )
