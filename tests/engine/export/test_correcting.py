"""What a person corrected in ELAN, a table or the report, applied to a run."""

import csv
import io
from xml.etree import ElementTree as ET

import pytest

from mellm.engine.export import eaf, tables
from mellm.engine.export.correcting import correct, decisions
from mellm.engine.export.corrections import Reading
from mellm.engine.results import corrections
from mellm.engine.results.corrections import Correction, Corrections, mark_of
from mellm.engine.results.run_reader import read_run
from mellm.stream.errors import RunError, UsageError
from tests.engine.export.made import run_folder

WHEN = "2026-11-29T10:00:00Z"


@pytest.fixture
def run(tmp_path):
    return read_run(run_folder(tmp_path / "run"))


def applied(run, path, *, partial=False):
    """The run corrected by a file, from the folder again."""
    found = decisions(
        path,
        read_run(run.path),
        Reading(),
        by=None if path.suffix == ".json" else "coder-a",
        when=WHEN,
        source=None,
        partial=partial,
    )
    correct(read_run(run.path, corrected=False), found)
    return read_run(run.path)


def verdicts(run):
    return {r.id[0]: m.verdict for r in (*run.expressions, *run.rejected) if (m := mark_of(r)) is not None}


def table(run, path, change=lambda rows: rows):
    rows = change(list(csv.DictReader(io.StringIO(tables.to_csv(run)))))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, tables.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_that_nobody_changed_accepts_everything(run, tmp_path):
    after = applied(run, table(run, tmp_path / "t.csv"))
    assert verdicts(after) == dict.fromkeys("abcde", "accept")
    assert [(r.onset_ns, r.text) for r in after.expressions] == [
        (r.onset_ns, r.text) for r in run.expressions
    ]


def test_a_table_that_was_corrected_in_a_spreadsheet(run, tmp_path):
    def change(rows):
        rows[0]["action_units"] = "1+2+4"
        rows[1]["verdict"] = "Reject"
        rows[1]["comment"] = "speech"
        rows[3]["onset_ms"] = "13000,5"
        added = {
            "source": "talk",
            "track": "1",
            "onset_ms": "21000",
            "offset_ms": "21300",
            "emotion": "Disgust",
        }
        return [*rows[:2], *rows[3:], added]

    after = applied(run, table(run, tmp_path / "t.csv", change))
    assert verdicts(after) | {"added": "add"} == {
        "a": "correct",
        "b": "reject",
        "c": "reject",
        "d": "correct",
        "e": "accept",
        "added": "add",
        after.expressions[-2].id[0]: "add",
    }
    by_id = {r.id: r for r in after.expressions}
    assert [u.au for u in by_id["a" * 16].action_units] == [1, 2, 4]
    assert by_id["a" * 16].emotion.coarse == "surprise"
    assert by_id["d" * 16].onset_ms == 13000.5
    assert [mark_of(r).comment for r in after.rejected if r.id[0] == "b"] == ["speech"]
    assert mark_of(after.expressions[-2]).emotion == "disgust"


def test_what_a_file_does_not_hold_stays_where_it_is_partial(run, tmp_path):
    after = applied(run, table(run, tmp_path / "t.csv", lambda rows: rows[:1]), partial=True)
    assert verdicts(after) == {"a": "accept"}
    assert len(after.expressions) == 5


def test_a_second_look_keeps_what_was_corrected_in_the_first(run, tmp_path):
    def first(rows):
        rows[0]["action_units"] = "4"
        return rows

    once = applied(run, table(run, tmp_path / "1.csv", first))

    def second(rows):
        rows[0]["offset_ms"] = "3000"
        return rows

    twice = applied(run, table(once, tmp_path / "2.csv", second))
    mended = next(r for r in twice.expressions if r.id[0] == "a")
    assert ([u.au for u in mended.action_units], mended.offset_ms) == ([4], 3000.0)
    thrice = applied(run, table(twice, tmp_path / "3.csv"))
    assert [r.onset_ns for r in thrice.expressions] == [r.onset_ns for r in twice.expressions]
    assert [r.action_units for r in thrice.expressions] == [r.action_units for r in twice.expressions]


def test_an_elan_file_that_was_corrected(run, tmp_path):
    document = ET.fromstring(eaf.to_eaf(run))
    slots = {s.attrib["TIME_SLOT_ID"]: s for s in document.iter("TIME_SLOT")}
    tier = next(t for t in document.iter("TIER") if t.attrib["TIER_ID"] == "expression@track1")
    dragged = tier[0][0]
    slots[dragged.attrib["TIME_SLOT_REF1"]].set("TIME_VALUE", "2300")
    gone = tier[1]
    name = gone[0].attrib["ANNOTATION_ID"]
    tier.remove(gone)
    for other in document.iter("TIER"):
        for each in list(other):
            if each[0].get("ANNOTATION_REF") == name:
                other.remove(each)
    path = tmp_path / "talk.eaf"
    path.write_text(ET.tostring(document, encoding="unicode"))
    after = applied(run, path)
    assert verdicts(after) == {"a": "correct", "b": "reject", "c": "accept", "d": "accept", "e": "accept"}
    assert mark_of(after.expressions[0]).changes == {"onset_ms": ("2369.03", "2300")}
    assert mark_of(after.expressions[0]).by == "coder-a"


def test_the_reports_own_file_says_who_decided(run, tmp_path):
    path = tmp_path / "c.json"
    corrections.write(path, Corrections((Correction("reject", "coder-b", WHEN, "a" * 16),)))
    found = decisions(path, run, Reading(), by=None, when="x", source=None, partial=False)
    assert [(c.who, c.verdict) for c in found] == [("coder-b", "reject")]


def test_a_second_coder_begins_with_what_the_first_one_left(run, tmp_path):
    """The report of a corrected run shows the corrected values, and its file holds only what is otherwise."""

    def by(who, **said):
        path = tmp_path / f"{who}.json"
        item = Correction(said.pop("verdict", "correct"), who, WHEN, "a" * 16, **said)
        corrections.write(path, Corrections((item,)))
        return applied(run, path).expressions[0]

    by("ann", units=frozenset({(4, "both")}), emotion="disgust")
    second = by("bob", offset_s=2.9)
    assert ([u.au for u in second.action_units], second.offset_ms) == ([4], 2900.0)
    assert (mark_of(second).emotion, mark_of(second).by) == ("disgust", "bob")
    third = by("cid", verdict="accept")
    assert ([u.au for u in third.action_units], third.offset_ms, mark_of(third).by) == ([4], 2900.0, "cid")
    assert by("dan", verdict="reject").id != "a" * 16


def test_a_change_of_mind_within_one_file_goes_back_to_what_the_engine_found(run, tmp_path):
    path = tmp_path / "c.json"
    first = Correction("correct", "ann", WHEN, "a" * 16, units=frozenset({(4, "both")}))
    corrections.write(path, Corrections((first,)))
    applied(run, path)
    corrections.write(
        path, Corrections((first, Correction("accept", "ann", "2026-11-29T11:00:00Z", "a" * 16)))
    )
    assert [u.au for u in applied(run, path).expressions[0].action_units] == [1, 2]


def test_every_export_shows_the_corrected_run(run, tmp_path):
    path = tmp_path / "c.json"
    decided = Correction(
        "correct", "coder-b", WHEN, "a" * 16, units=frozenset({(4, "both")}), comment="frown"
    )
    corrections.write(path, Corrections((decided, Correction("reject", "coder-b", WHEN, "b" * 16))))
    after = applied(run, path)
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(after))))
    assert (rows[0]["action_units"], rows[0]["corrected_by"], rows[0]["changed"]) == (
        "4",
        "coder-b",
        "units: 1+2 -> 4",
    )
    assert "b" * 16 not in eaf.to_eaf(after)
    changes = list(csv.DictReader(io.StringIO(tables.to_changes(after))))
    assert [(c["verdict"], c["field"], c["before"], c["after"], c["by"], c["at"]) for c in changes] == [
        ("correct", "units", "1+2", "4", "coder-b", WHEN),
        ("reject", "", "", "", "coder-b", WHEN),
    ]


def test_nothing_is_written_where_the_corrections_are_of_another_run(run, tmp_path):
    path = tmp_path / "c.json"
    corrections.write(path, Corrections((Correction("reject", "coder-b", WHEN, "9" * 16),)))
    with pytest.raises(RunError, match="9999"):
        applied(run, path)
    assert not (run.path / corrections.FILE).exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: [{**rows[0], "verdict": "maybe"}], "line 2: 'maybe' is not a verdict"),
        (lambda rows: [rows[0], rows[0]], "two rows have the id"),
    ],
)
def test_a_table_that_cannot_be_obeyed(run, tmp_path, change, told):
    with pytest.raises(RunError, match=told):
        applied(run, table(run, tmp_path / "t.csv", change))


def test_somebody_has_to_be_named(run, tmp_path):
    path = table(run, tmp_path / "t.csv")
    with pytest.raises(UsageError, match="--by NAME"):
        decisions(path, run, Reading(), by=None, when=WHEN, source=None, partial=False)


def test_flags_that_would_be_ignored_are_refused(run, tmp_path):
    path = tmp_path / "c.json"
    corrections.write(path, Corrections(()))
    for by, partial in (("ann", False), (None, True)):
        with pytest.raises(UsageError, match="does not apply"):
            decisions(path, run, Reading(), by=by, when=WHEN, source=None, partial=partial)
