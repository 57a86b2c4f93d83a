"""``mellm analyze FOLDER --study TABLE``: with a face that is always there, so that nothing waits for face networks."""

import csv
import json
import shutil

import pytest

import mellm
from mellm.clients.cli import run
from mellm.clients.cli import study as verb
from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.engine.analysis import pipeline_factory
from mellm.engine.study import work
from mellm.stream.errors import ModelMissing
from tests.engine.moving import FOUND, sheet, video
from tests.stream.videos import make_video

TABLE = "recording;subject;condition;consent;Age\na.mp4;p-1;calm;ref-1;31\nb.mp4;p-2;stress;ref-2;29\n"


@pytest.fixture(autouse=True)
def face(monkeypatch):
    landmarks = sheet().landmarks()
    monkeypatch.setattr(FakeFaceAnalyzer, "providers", {}, raising=False)
    monkeypatch.setattr(
        pipeline_factory, "FaceAnalyzer", lambda options: FakeFaceAnalyzer(lambda frame: landmarks)
    )
    monkeypatch.setattr(pipeline_factory, "open_spotter", lambda *arguments: mellm.FakeStepModel())
    # a report reads the recording again, with the true networks
    monkeypatch.setattr(verb, "report_with_faces", verb.report_without_faces)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return video(tmp_path_factory.mktemp("clip") / "a.mp4")


@pytest.fixture
def folder(tmp_path, clip):
    """Two recordings and a table with a byte order mark and semicolons, as a spreadsheet saves it."""
    path = tmp_path / "recordings"
    path.mkdir()
    shutil.copy(clip, path / "a.mp4")
    shutil.copy(clip, path / "b.mp4")
    (tmp_path / "study.csv").write_text(TABLE, encoding="utf-8-sig")
    return path


def command(folder, *more):
    out = folder.parent / "study"
    table = folder.parent / "study.csv"
    given = ["analyze", folder, "--study", table, "--out", out, "--describer", "scripted", *more]
    return [str(each) for each in given]


def rows(folder, name):
    with (folder.parent / "study" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_a_run_each_and_tables_of_all(folder, capsys):
    assert run(command(folder, "--purpose", "research")) == 0
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == ["a.mp4", "b.mp4"]
    assert f"a.mp4: {FOUND} expressions; 00:03 analysed in" in out
    assert "1 of 2 recordings, about " in err
    assert "2 of 2 recordings\n" in err
    assert [
        (r["recording"], r["subject"], r["Age"], r["expressions"]) for r in rows(folder, "recordings.csv")
    ] == [
        ("a.mp4", "p-1", "31", str(FOUND)),
        ("b.mp4", "p-2", "29", str(FOUND)),
    ]
    assert len(rows(folder, "expressions.csv")) == 2 * FOUND
    assert {r["condition"] for r in rows(folder, "conditions.csv")} == {"calm", "stress"}
    study = folder.parent / "study"
    assert "p-1" in (study / "index.html").read_text()
    assert study.stat().st_mode & 0o077 == 0
    state = json.loads((study / "runs" / "a" / "run.json").read_text())
    assert (state["settings"]["consent"], state["about"]["subject"], state["about"]["more"]) == (
        "ref-1",
        "p-1",
        {"Age": "31"},
    )
    assert "p-1" in (study / "runs" / "a" / "report.html").read_text()

    # once more: nothing is analysed, and what the table says now is what is told
    (folder.parent / "study.csv").write_text(TABLE.replace("calm", "quiet"))
    before = (study / "runs" / "a" / "expressions.jsonl").stat().st_mtime_ns
    assert run(command(folder, "--purpose", "research")) == 0
    assert "a.mp4: 4 expressions; already analysed" in capsys.readouterr().out
    assert (study / "runs" / "a" / "expressions.jsonl").stat().st_mtime_ns == before
    assert rows(folder, "recordings.csv")[0]["condition"] == "quiet"

    # other settings, another consent, another file: each is refused by name
    assert run(command(folder, "--purpose", "research", "--threshold", "0.9")) == 6
    assert "other settings (spotting)" in capsys.readouterr().err
    (folder.parent / "study.csv").write_text(TABLE.replace("ref-1", "ref-9"))
    (folder / "b.mp4").write_bytes((folder / "b.mp4").read_bytes() + b"0")
    assert run(command(folder, "--purpose", "research")) == 6
    err = capsys.readouterr().err
    assert "a.mp4 was analysed under 'ref-1'" in err
    assert "b.mp4 has changed since it was analysed" in err


def test_a_recording_that_cannot_be_read_keeps_no_other_back(folder, capsys):
    (folder / "a.mp4").write_bytes(b"no video")
    assert run(command(folder, "--json")) == 3
    out, err = capsys.readouterr()
    assert [(r["recording"], r["state"]) for r in map(json.loads, out.splitlines())] == [
        ("a.mp4", "failed"),
        ("b.mp4", "done"),
    ]
    assert "mellm: error: a.mp4: " in err
    failed, done = rows(folder, "recordings.csv")
    assert (failed["state"], done["state"]) == ("failed", "done")
    assert failed["error"]


def test_a_stopped_study_goes_on(folder, capsys, monkeypatch):
    real, count = work._analyse, 0

    def stopped(entry, *rest):
        nonlocal count
        count += 1
        if entry.name == "b.mp4" and count == 2:
            raise KeyboardInterrupt
        return real(entry, *rest)

    monkeypatch.setattr(work, "_analyse", stopped)
    assert run(command(folder)) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert [r["state"] for r in rows(folder, "recordings.csv")] == ["done", "not analysed"]
    assert run(command(folder)) == 0
    assert "a.mp4: 4 expressions; already analysed" in capsys.readouterr().out
    assert count == 3


def test_what_no_recording_can_do_without_is_said_once(folder, capsys, monkeypatch):
    def missing(*arguments):
        raise ModelMissing("the spotter is not there", remedy="pull it")

    monkeypatch.setattr(pipeline_factory, "open_spotter", missing)
    assert run(command(folder, "--spotter", "none.onnx")) == 4
    assert capsys.readouterr().err.count("the spotter is not there") == 1
    assert [r["state"] for r in rows(folder, "recordings.csv")] == ["not analysed"] * 2


def test_what_was_erased_is_not_made_again(folder, capsys):
    assert run(command(folder)) == 0
    study = folder.parent / "study"
    assert run(["purge", "--subject", "ref-1", "--run", str(study), "--audit", str(study / "a.jsonl")]) == 0
    assert sorted(p.name for p in study.glob("*.csv")) == []
    assert not (study / "index.html").exists()
    assert not (study / "runs" / "a" / "report.html").exists()
    capsys.readouterr()
    assert run(command(folder)) == 6
    assert "the results of a.mp4 were erased — remove the line" in capsys.readouterr().err
    first, second = rows(folder, "recordings.csv")
    assert (first["expressions"], second["expressions"]) == ("0", str(FOUND))


def test_a_watched_folder_takes_what_comes(folder, clip, capsys, monkeypatch):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 1:
            (folder.parent / "study.csv").write_text(TABLE + "c.mp4;p-3;calm;ref-3;40\n")
            shutil.copy(clip, folder / "c.mp4")
        elif len(looks) == 2:
            (folder.parent / "study.csv").write_text(TABLE + "c.mp4;;\n")  # somebody is writing
        elif len(looks) == 3:
            (folder.parent / "study.csv").write_text(TABLE + "c.mp4;p-3;calm;ref-3;40\n")
        elif len(looks) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(verb.study, "__kwdefaults__", {**verb.study.__kwdefaults__, "sleep": sleep})
    assert run(command(folder, "--watch-folder")) == 0
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == ["a.mp4", "b.mp4", "c.mp4"]
    assert "column subject: it is empty" in err
    assert looks[:2] == [verb.POLL_S] * 2  # the first two were fresh: looked at twice before they were read
    assert [r["recording"] for r in rows(folder, "recordings.csv")] == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--consent", "x"), "--consent does not apply with --study"),
        (("--markers", "q.csv"), "--markers does not apply with --study"),
        (("--purpose", "clinical"), "line 2, column consent"),
    ],
)
def test_what_the_table_says_is_not_said_twice(folder, capsys, more, told):
    (folder.parent / "study.csv").write_text("recording,subject\na.mp4,p-1\n")
    assert run(command(folder, *more)) == 2
    assert told in capsys.readouterr().err
    assert not (folder.parent / "study").exists()


def test_flags_of_a_study_want_one(folder, capsys):
    assert run(["analyze", str(folder / "a.mp4"), "--out", str(folder / "run"), "--jobs", "2"]) == 2
    assert "--jobs is about a study" in capsys.readouterr().err


def test_a_folder_of_recordings_without_a_table_says_what_to_do(folder, capsys):
    assert run(["analyze", str(folder), "--out", str(folder.parent / "run")]) == 2
    assert "--study" in capsys.readouterr().err


def test_a_folder_that_is_no_study_stays_untouched(folder, capsys):
    (folder.parent / "study").mkdir()
    (folder.parent / "study" / "thesis.txt").write_text("mine")
    assert run(command(folder)) == 6
    assert [p.name for p in (folder.parent / "study").iterdir()] == ["thesis.txt"]


def test_several_at_a_time_give_what_one_after_the_other_gives(models, tmp_path, capsys):
    """Processes of their own load the true networks; these recordings hold no face."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_video(folder / name, frames=10)
    (tmp_path / "study.csv").write_text("recording,subject\na.mp4,p-1\nb.mp4,p-2\n")
    assert run(command(folder, "--jobs", "2", "--no-faces")) == 0
    out, _ = capsys.readouterr()
    assert sorted(line.partition(":")[0] for line in out.splitlines()) == ["a.mp4", "b.mp4"]
    assert [r["expressions"] for r in rows(folder, "recordings.csv")] == ["0", "0"]
    assert [r["recording"] for r in rows(folder, "expressions.csv")] == ["a.mp4", "b.mp4"]


def test_an_estimate_follows_what_was_measured(folder):
    from mellm.engine.study.plan import read

    plan = read(folder.parent / "study.csv", folder)
    estimate = work.Estimate({"a.mp4": 60.0, "b.mp4": 30.0})
    assert estimate.left_s is None
    estimate.ended(work.Finished(plan.entries[0], "done", media_s=60.0, wall_s=120.0))
    assert estimate.left_s == 60.0
    estimate.ended(work.Finished(plan.entries[1], "failed"))
    assert estimate.left_s == 0.0
