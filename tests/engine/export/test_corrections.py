"""Round trips, and files as people leave them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.export.corrections import read_corrections, read_markers
from mellm.engine.export.eaf import to_eaf
from mellm.engine.export.tables import to_csv
from mellm.engine.results.run_reader import Marker, Run, read_run
from mellm.stream.errors import RunError, UsageError
from tests.engine.export.made import RECORDS, record, run_folder, typed


def exact(record):
    return record["track"], record["onset_ms"], record["apex_ms"], record["offset_ms"], record["id"]


def read(interval):
    return interval.track, interval.onset_ms, interval.apex_ms, interval.offset_ms, interval.id


@pytest.mark.parametrize(("suffix", "make"), [(".eaf", to_eaf), (".csv", to_csv)])
def test_what_was_exported_is_read_back_exactly(made, tmp_path, suffix, make):
    path = tmp_path / f"talk{suffix}"
    path.write_text(make(made), encoding="utf-8")
    found = read_corrections(path)
    assert sorted(map(read, found)) == sorted(map(exact, RECORDS))
    by_id = {i.id: i for i in found}
    assert by_id["b" * 16].units == {(12, "right")}
    assert by_id["b" * 16].emotion == "positive"
    assert by_id["c" * 16].units is None
    assert "<script>" in by_id["b" * 16].text
    assert by_id["e" * 16].text == "=1+1"


@given(
    st.lists(
        st.tuples(st.integers(0, 10**5), st.integers(1, 30), st.integers(1, 30)), unique=True, max_size=10
    )
)
def test_elan_keeps_intervals_of_any_frame_rate(tmp_path_factory, moments):
    records = typed(
        *(record(f"{n:016x}", (a, a + b, a + b + c), fps=24000 / 1001) for n, (a, b, c) in enumerate(moments))
    )
    path = tmp_path_factory.mktemp("eaf") / "x.eaf"
    path.write_text(to_eaf(Run(path, {"sources": {"x": {}}}, records)))
    times = [(i.onset_ms, i.offset_ms) for i in read_corrections(path)]
    assert sorted(times) == sorted((r.onset_ms, r.offset_ms) for r in records)


def test_slow_motion_is_written_as_players_count_and_read_back(made, tmp_path):
    path = tmp_path / "talk.eaf"
    path.write_text(to_eaf(made, scale=4.0))
    assert 'TIME_VALUE="9476"' in path.read_text()  # 2369 ms of media time
    assert sorted(map(read, read_corrections(path))) == sorted(map(exact, RECORDS))
    assert read_markers(path)[0].t_ms == 3000
    path.write_text(path.read_text().replace(">4<", ">soon<"))
    with pytest.raises(RunError, match="time_scale is damaged"):
        read_corrections(path)


def test_an_interval_that_was_moved_in_elan_has_its_new_times(made, tmp_path):
    path = tmp_path / "talk.eaf"
    text = to_eaf(made)
    assert 'TIME_VALUE="13347"' in text
    path.write_text(text.replace('TIME_VALUE="13347"', 'TIME_VALUE="13300"'))
    moved = next(i for i in read_corrections(path) if i.onset_ms == 13_300)
    assert moved.id is None
    assert moved.offset_ms == 13_647


def test_the_property_is_not_needed(made, tmp_path):
    """Another program may drop it: then times are whole milliseconds."""
    path = tmp_path / "talk.eaf"
    lines = [line for line in to_eaf(made).splitlines() if "mellm:exact" not in line]
    path.write_text("\n".join(lines))
    found = read_corrections(path)
    assert sorted((i.track, i.onset_ms) for i in found) == sorted(
        (r["track"], round(r["onset_ms"])) for r in RECORDS
    )
    assert all(i.id is None for i in found)


def test_a_file_of_ones_own_needs_one_tier(tmp_path):
    path = tmp_path / "mine.eaf"
    path.write_text(
        '<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="100"/>'
        '<TIME_SLOT TIME_SLOT_ID="b" TIME_VALUE="300"/></TIME_ORDER><TIER TIER_ID="Expression"><ANNOTATION>'
        '<ALIGNABLE_ANNOTATION ANNOTATION_ID="x" TIME_SLOT_REF1="a" TIME_SLOT_REF2="b"><ANNOTATION_VALUE/>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
    )
    (found,) = read_corrections(path)
    assert (found.onset_ms, found.offset_ms, found.track, found.units) == (100, 300, None, None)


@pytest.mark.parametrize(
    "text",
    ["onset_ms,offset_ms,action_units\n1,2,R12A+4?\n", "onset_ms;offset_ms;action_units\n1;2;R12A+4?\n"],
)
def test_tables_of_spreadsheets_are_read(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text("\ufeff" + text, encoding="utf-8")
    (found,) = read_corrections(path)
    assert found.units == {(12, "right"), (4, "both")}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.eaf", "no xml", "no ELAN file"),
        ("a.eaf", "<html/>", "it holds html"),
        ("a.eaf", "<ANNOTATION_DOCUMENT><TIER TIER_ID='speech'/></ANNOTATION_DOCUMENT>", "tiers: speech"),
        (
            "a.eaf",
            "<ANNOTATION_DOCUMENT><TIER TIER_ID='expression'><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID='a1'/>"
            "</ANNOTATION></TIER></ANNOTATION_DOCUMENT>",
            "a1 of tier 'expression' has no times",
        ),
        ("a.csv", "start,end\n1,2\n", "'start' does not say its unit"),
        ("a.csv", "", "no column onset_ms"),
        ("a.csv", "onset_ms,offset_ms\n1,soon\n", "line 2: 'soon'"),
        ("a.csv", "onset_ms,offset_ms\n1,inf\n", "line 2: 'inf'"),
        ("a.csv", "onset_ms,offset_ms\n5,1\n", "before it begins"),
        ("a.csv", "onset_ms,offset_ms,action_units\n1,2,smile\n", "line 2: 'smile'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RunError, match=said):
        read_corrections(path)


PIECES = [
    "track1",
    "1e400",
    "NaN",
    '"',
    "[",
    "]",
    "{",
    "}",
    "=",
    "<",
    ">",
    "/",
    ",",
    ";",
    "\n",
    "-1",
    "99999999999999999999",
    "R12",
]


@given(st.data())
def test_a_damaged_file_is_read_or_refused_never_worse(made, tmp_path_factory, data):
    suffix, whole = data.draw(st.sampled_from([(".eaf", to_eaf(made)), (".csv", to_csv(made))]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole)))
        piece = data.draw(st.sampled_from(PIECES) | st.text(max_size=5))
        whole = whole[:at] + piece + whole[at + data.draw(st.integers(0, 30)) :]
    path = tmp_path_factory.mktemp("damaged") / f"talk{suffix}"
    path.write_bytes(whole.encode("utf-8", "replace"))
    try:
        found = read_corrections(path)
    except RunError:
        return
    assert all(i.onset_ms <= i.offset_ms for i in found)


@pytest.mark.parametrize("damage", ['"soon"', "NaN", "1e400", "null", "[]"])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_damaged_exact_times_are_told(made, tmp_path, damage, place):
    times = json.loads(re.search('mellm:exact">(.*?)</PROPERTY>', to_eaf(made))[1])
    whole = json.dumps(times, separators=(",", ":"))
    first = ["1", *(str(times["a" * 16][k]) for k in (1, 2, 3))]
    mended = [*first[:place], damage, *first[place + 1 :]]
    path = tmp_path / "talk.eaf"
    path.write_text(
        to_eaf(made).replace(whole, whole.replace(f"[{','.join(first)}]", f"[{','.join(mended)}]"))
    )
    with pytest.raises(RunError, match="mellm:exact is damaged"):
        read_corrections(path)


def test_entities_do_not_grow_without_bounds(tmp_path):
    lines = ["<!ENTITY a0 'aaaaaaaaaa'>", *(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))]
    path = tmp_path / "bomb.eaf"
    path.write_text(f"<!DOCTYPE x [{''.join(lines)}]><ANNOTATION_DOCUMENT>&a9;</ANNOTATION_DOCUMENT>")
    with pytest.raises(RunError, match="no ELAN file"):
        read_corrections(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="neither"):
        read_corrections(tmp_path / "a.docx")
    with pytest.raises(RunError, match="cannot be read"):
        read_corrections(tmp_path / "missing.csv")


def test_markers_come_from_tables_and_from_elan(made, tmp_path):
    table = tmp_path / "questions.csv"
    table.write_text("time_s,label\n1.5,question 1\n12,question 2\n")
    assert read_markers(table) == [Marker(1500.0, "question 1"), Marker(12_000.0, "question 2")]
    elan = tmp_path / "talk.eaf"
    elan.write_text(to_eaf(made))
    assert read_markers(elan) == [Marker(3000.0, "question 1 <b>")]
    table.write_text("label\nquestion\n")
    with pytest.raises(RunError, match="time_ms or time_s"):
        read_markers(table)


def test_markers_of_the_user_stand_beside_those_of_the_run(tmp_path):
    run = read_run(run_folder(tmp_path / "run")).with_markers([Marker(1.0, "start")])
    assert [m.label for m in run.markers] == ["start", "question 1 <b>"]
