import unicodedata

import pytest

from mellm.engine.study.plan import read
from mellm.stream.errors import UsageError

HEAD = "recording,subject,session,condition,consent,notes"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "recordings"
    (path / "day2").mkdir(parents=True)
    for name in ("p01.mp4", "p02.mov", "day2/p01.mp4", "day2/Ünal.mkv", ".hidden.mp4", "notes.txt"):
        (path / name).write_bytes(b"x")
    return path


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "study.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_each_line_says_of_whom_a_recording_is(tmp_path, folder):
    text = (
        f"{HEAD},age,Group\np02.mov,p-2,1,stress,ref-2,calm day,31,a\nday2\\p01.mp4,p-1,2,calm,ref-1,,30,b\n"
    )
    plan = read(table(tmp_path, text), folder)
    first, second = plan.entries
    assert (first.name, first.id, first.consent) == ("p02.mov", "p02", "ref-2")
    assert (first.about.subject, first.about.condition, first.about.notes) == ("p-2", "stress", "calm day")
    assert first.about.more == {"age": "31", "Group": "a"}
    assert (second.name, second.id) == ("day2/p01.mp4", "day2-p01")
    assert plan.more == ("age", "Group")
    assert plan.unlisted == ("day2/Ünal.mkv", "p01.mp4")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_spreadsheets_save_is_read(tmp_path, folder, encoding, mark):
    text = "Recording;Subject;Condition\r\nday2/Ünal.mkv;p-3;ruhig\r\n".replace(";", mark)
    (entry,) = read(table(tmp_path, text, encoding), folder).entries
    assert (entry.name, entry.about.condition) == ("day2/Ünal.mkv", "ruhig")
    assert entry.id == "day2-Ünal"


def test_accents_are_the_same_however_they_are_encoded(tmp_path, folder):
    (folder / "day2" / "Ünal.mkv").rename(folder / "day2" / unicodedata.normalize("NFD", "Ünal.mkv"))
    (entry,) = read(table(tmp_path, "recording,subject\nÜnal.mkv,p-3\n"), folder).entries
    assert entry.path.is_file()


def test_a_name_without_its_ending_is_enough_where_it_is_one_only(tmp_path, folder):
    (entry,) = read(table(tmp_path, "recording,subject\np02,p-2\n"), folder).entries
    assert entry.name == "p02.mov"


def test_recordings_that_differ_by_their_ending_alone_have_their_own_folders(tmp_path, folder):
    (folder / "p02.mp4").write_bytes(b"x")
    plan = read(table(tmp_path, "recording,subject\np02.mov,a\np02.mp4,a\n"), folder)
    assert [e.id for e in plan.entries] == ["p02.mov", "p02.mp4"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "recording,subject\np09.mp4,a\n",
            r"line 2, column recording: 'p09\.mp4' is not in .* — did you mean",
        ),
        ("recording,subject\n\nday3/x.avi,a\n", r"line 3, column recording"),
        ("recording,subject\nÜnal,a\np01,b\n", r"line 3, column recording: .*|several are called so"),
        (
            "recording,subject\np02.mov,a\np02.mov,b\n",
            r"line 3, column recording: p02\.mov is already in .*line 2",
        ),
        ("recording,subject\np02.mov,a\np02,b\n", r"line 3, column recording: p02\.mov is already in"),
        ("recording,subject\n,a\n", "line 2, column recording: it is empty"),
        ("recording,subject\np02.mov,\n", "line 2, column subject: it is empty"),
        ("recording,condition\np02.mov,a\n", "no column 'subject'.*the first line is: recording,subject"),
        ("file,who\np02.mov,a\n", "no column 'recording'"),
        ("recording,subject,conditon\np02.mov,a,b\n", "unknown column 'conditon' — did you mean 'condition'"),
        ("recording,subject,subject\np02.mov,a,b\n", "two columns are called 'subject'"),
        ("recording,subject,notes\np02.mov,a,one, two\n", "line 2 .*more cells than headings"),
        ("recording,subject\n", "has no lines under its headings"),
        (f"recording,subject,consent\np02.mov,a,{'x' * 300}\n", "line 2, column consent"),
    ],
)
def test_a_line_that_cannot_be_obeyed_is_named_with_its_column_and_the_remedy(tmp_path, folder, text, told):
    with pytest.raises(UsageError, match=told):
        read(table(tmp_path, text), folder)


def test_a_table_in_another_encoding_says_which_line_and_what_to_do(tmp_path, folder):
    path = table(tmp_path, "recording,subject,notes\np02.mov,a,für\n", "cp1252")
    with pytest.raises(UsageError, match=r"line 2: not UTF-8 .*CSV UTF-8"):
        read(path, folder)


def test_consent_is_asked_for_where_the_purpose_needs_it(tmp_path, folder):
    path = table(tmp_path, "recording,subject\np02.mov,a\n")
    assert read(path, folder).entries[0].consent is None
    with pytest.raises(UsageError, match="line 2, column consent: it is empty"):
        read(path, folder, consent_needed=True)


def test_a_watched_folder_may_still_wait_for_recordings(tmp_path, folder):
    path = table(tmp_path, "recording,subject\np02.mov,a\nlater.mp4,b\n")
    assert [e.name for e in read(path, folder, waiting=True).entries] == ["p02.mov"]


def test_what_is_no_folder_is_said(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        read(table(tmp_path, "recording,subject\na,b\n"), tmp_path / "none")
