"""Other people's ELAN files: origins, several media, tiers of other names and kinds, vocabularies."""

import pytest

from mellm.engine.export.corrections import Reading, parse_tiers, read_corrections, read_markers
from mellm.stream.errors import RunError, UsageError

SLOTS = {"s1": 400, "s2": 800, "s3": 2000, "s4": 2600, "s5": 450, "s6": 700, "s7": None}


def tier(name, *bodies, parent=""):
    link = f' PARENT_REF="{parent}"' if parent else ""
    inside = "".join(f"<ANNOTATION>{b}</ANNOTATION>" for b in bodies)
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="x"{link}>{inside}</TIER>'


def span(name, start, end, value="", word=""):
    link = f' CVE_REF="{word}"' if word else ""
    return (
        f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{end}"{link}>'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>"
    )


def note(name, of, value):
    return (
        f'<REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{of}">'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION>"
    )


def medium(name, origin=None, mime="video/mp4"):
    at = "" if origin is None else f' TIME_ORIGIN="{origin}"'
    return f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/{name}" MIME_TYPE="{mime}"{at}/>'


VOCABULARY = (
    '<CONTROLLED_VOCABULARY CV_ID="v"><CV_ENTRY_ML CVE_ID="w1"><CVE_VALUE LANG_REF="eng">4+7</CVE_VALUE>'
    "</CV_ENTRY_ML></CONTROLLED_VOCABULARY>"
)


@pytest.fixture
def write(tmp_path):
    def make(*tiers, media=(), bom=False):
        slots = "".join(
            f'<TIME_SLOT TIME_SLOT_ID="{n}"' + ("/>" if at is None else f' TIME_VALUE="{at}"/>')
            for n, at in SLOTS.items()
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\r\n<ANNOTATION_DOCUMENT><HEADER>'
            + "".join(media)
            + f"</HEADER><TIME_ORDER>{slots}</TIME_ORDER>{''.join(tiers)}{VOCABULARY}</ANNOTATION_DOCUMENT>"
        )
        path = tmp_path / "other.eaf"
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
        return path

    return make


EXPRESSION = tier("expression", span("a1", "s1", "s2"), span("a2", "s3", "s4"))


def times(path, **how):
    return [(i.onset_ms, i.offset_ms) for i in read_corrections(path, Reading(**how))]


@pytest.mark.parametrize("bom", [False, True])
def test_the_origin_of_the_medium_is_added(write, bom):
    path = write(EXPRESSION, media=[medium("talk.mp4", 500)], bom=bom)
    assert times(path) == [(900, 1300), (2500, 3100)]


def test_of_several_media_the_recording_of_the_run_counts(write):
    media = [medium("talk.wav", 40, "audio/x-wav"), medium("left.mp4", 500), medium("Right%20one.mp4", -100)]
    path = write(EXPRESSION, media=media)
    notes = []
    assert times(path, media="right one.mp4") == [(300, 700), (1900, 2500)]
    assert times(path, notes=notes) == [(900, 1300), (2500, 3100)]
    assert "left.mp4 (500 ms)" in notes[0]


def test_tiers_of_other_names(write):
    path = write(
        tier("ME", span("a1", "s1", "s2"), span("a2", "s3", "s4")),
        tier("AU", note("n1", "a1", "R12"), parent="ME"),
        tier("speech", span("x", "s1", "s4", "hello")),
    )
    with pytest.raises(RunError, match="tiers: ME, AU, speech") as refused:
        read_corrections(path)
    assert "--tier expression=NAME" in refused.value.remedy
    notes = []
    how = Reading(tiers=parse_tiers(["expression=ME", "units=AU"]), notes=notes)
    found = read_corrections(path, how)
    assert [i.units for i in found] == [{(12, "right")}, None]
    assert notes == ["tiers not read: speech (choose with --tier KIND=NAME)"]
    with pytest.raises(RunError, match="no tier 'FACS'"):
        read_corrections(path, Reading(tiers={"expression": "ME", "units": "FACS"}))


def test_independent_tiers_belong_together_by_overlap(write):
    path = write(
        EXPRESSION,
        tier("AU", span("u1", "s5", "s6", "4"), span("u2", "s5", "s2", "7"), span("u3", "s2", "s3", "1")),
    )
    notes = []
    found = read_corrections(path, Reading(tiers={"units": "AU"}, notes=notes))
    assert found[0].units == {(4, "both"), (7, "both")}
    assert "'AU' at 800 ms ('1') lies in no interval" in notes[0]


def test_notes_of_notes_are_followed_up(write):
    path = write(
        EXPRESSION,
        tier("coder", note("n1", "a2", "anna"), parent="expression"),
        tier("AU", note("n2", "n1", "1+2"), parent="coder"),
    )
    found = read_corrections(path, Reading(tiers={"units": "AU"}))
    assert found[1].units == {(1, "both"), (2, "both")}


def test_units_coded_in_time_are_intervals_themselves_and_words_come_from_the_vocabulary(write):
    path = write(tier("AU", span("a1", "s1", "s2", "", "w1"), span("a2", "s3", "s4", "12")))
    found = read_corrections(path, Reading(tiers={"units": "AU"}))
    assert [(i.onset_ms, i.units) for i in found] == [
        (400, {(4, "both"), (7, "both")}),
        (2000, {(12, "both")}),
    ]


def test_slots_that_were_never_aligned_lie_between_their_neighbours(write, tmp_path):
    path = write(tier("expression", span("a1", "s2", "b")))
    text = path.read_text().replace(
        '<TIME_SLOT TIME_SLOT_ID="s3"', '<TIME_SLOT TIME_SLOT_ID="b"/><TIME_SLOT TIME_SLOT_ID="s3"'
    )
    path.write_text(text)
    assert times(path) == [(800, 1400)]


def test_markers_of_another_tier(write):
    path = write(tier("Fragen", span("m", "s1", "s2", "question 1")), media=[medium("talk.mp4", 500)])
    with pytest.raises(RunError, match="tiers: Fragen"):
        read_markers(path)
    (found,) = read_markers(path, Reading(tiers={"markers": "Fragen"}))
    assert (found.t_ms, found.label) == (900, "question 1")


@pytest.mark.parametrize("pair", ["AU", "unit=AU", "units="])
def test_bad_tiers(pair):
    with pytest.raises(UsageError, match="KIND=NAME"):
        parse_tiers([pair])


@pytest.mark.parametrize(
    ("name", "text", "ms"),
    [
        ("a.csv", "time_s,label\n20.5,q\n", 20_500),
        ("a.csv", "sep=;\r\ntime_s;label\r\n20,5;q\r\n", 20_500),
        ("a.csv", "\ufeffsep=\t\ntime_s\tlabel\n20,5\tq\n", 20_500),
        ("a.csv", "time_s;label\n1.234,5;q\n", 1_234_500),
        ("a.csv", 'time_s,label\n"20,5",q\n', 20_500),
        ("a.csv", "time,label\n00:05,q\n", 5000),
        ("a.csv", "Time;Comment\n0:00:05,25;q\n", 5250),
        ("a.csv", "time_s,label\n0:00:05.250,q\n", 5250),
        ("a.csv", "time_ms,label\n01:00,q\n", 60_000),
        ("a.tsv", "Begin Time - ss.msec\tLabel\n1.5\tq\n", 1500),
        ("a.txt", "Begin Time - hh:mm:ss.ms\tEnd Time - msec\tAnnotation\n00:00:01.500\t2000\tq\n", 1500),
        ("a.tsv", "Begin Time - msec\tlabel\n1500\tq\n", 1500),
        ("a.csv", "frame,label\n75,q\n", 1500),
        ("a.csv", "onset_frame;label\n75;q\n", 1500),
    ],
)
def test_times_as_spreadsheets_and_people_write_them(tmp_path, name, text, ms):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    (found,) = read_markers(path, Reading(fps=50.0))
    assert found.t_ms == pytest.approx(ms)
    path.write_bytes(text.lstrip("\ufeff").encode("utf-16"))
    assert read_markers(path, Reading(fps=50.0))[0].t_ms == pytest.approx(ms)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,label\n5,q\n", "time_ms or time_s"),
        ("frame,label\n5,q\n", "--fps"),
        ("time_s,label\n1:75,q\n", "'1:75' is not a valid time"),
        ("time_s,label\n-1,q\n", "'-1' is not a valid time"),
        ("time_s,when\n1,q\n", "no column label"),
    ],
)
def test_times_that_are_none_are_named_with_the_remedy(tmp_path, text, said):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(RunError) as refused:
        read_markers(path)
    assert said in str(refused.value)
