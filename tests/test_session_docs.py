"""The pages on an interview and on a session with a webcam, run: each command of theirs in a folder made for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.engine.results.run_reader import films, read_run
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import media_time
from tests.engine.moving import video
from tests.test_study_docs import commands, place  # noqa: F401 - no networks, in a folder of its own


@pytest.fixture(autouse=True)
def _probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs that look for faces by themselves do so as the pipelines do."""
    from mellm.engine.analysis import pipeline_factory

    for module in ("mellm.detectors.analyzer.FaceAnalyzer", "mellm.engine.export.pictures.FaceAnalyzer"):
        monkeypatch.setattr(module, pipeline_factory.FaceAnalyzer)


def test_an_interview_from_recording_to_table(tmp_path: Path) -> None:
    video(tmp_path / "interview.mp4")
    (tmp_path / "questions.csv").write_text("time_s,label\n1.5,question 1\n")
    for words in commands("interview.md"):
        assert run(words) == 0, words
    page = (tmp_path / "runs" / "interview" / "report.html").read_text()
    assert "question 1" in page
    assert '"src": "../../interview.mp4"' in page
    assert (tmp_path / "expressions.csv").read_text().count("\n") > 4
    assert (tmp_path / "interview-annotated.mp4").is_file()


def test_a_session_with_a_webcam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = video(tmp_path / "camera.mp4")
    monkeypatch.setenv("TZ", "UTC")
    with Journal(tmp_path / "journal.db") as journal:
        at = 1_795_948_200 * 1_000_000_000  # 2026-11-29T10:30Z
        journal.append("source.gap", "cam", {**gap(), **media_time("t", 0)}, time=at + 60_000_000_000)
    done = []
    for words in commands("webcam.md"):
        # a recording in the place of the camera, which this machine need not have
        words = [str(camera) if word == "0" else word for word in words]
        if words[:2] == ["purge", "--subject"] or words[0] == "serve":
            continue
        assert run(words) == 0, words
        done.append(words[0])
    assert done.count("watch") == 3
    assert {"probe", "watch", "export"} == set(done)
    session = read_run(tmp_path / "runs" / "s2")
    assert session.expressions
    assert [film.path.is_file() for film in films(session, "watch")] == [True]
    page = (tmp_path / "runs" / "s2" / "report.html").read_text()
    assert '"src": "video/watch-001.mp4"' in page


def gap() -> dict[str, object]:
    return {**media_time("from", 0), **media_time("to", 1), "reason": "pts", "frames": 1}
