"""Sessions of live sources: the run folder is that of the same pictures as a recording."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mellm.detectors.spotting import Score
from mellm.detectors.types import Face
from mellm.engine.analysis import offline
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline import Scored
from mellm.engine.analysis.session import Begun, SessionRecorder
from mellm.engine.analysis.sessions import Saved, SessionOptions, Sessions, SessionSink, free_folder
from mellm.engine.config import SourceSettings, load
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.governance.erase import erase_run
from mellm.engine.results.run_folder import EVENTS, RunFolder
from mellm.engine.results.run_reader import faces, films, judged, read_run
from mellm.engine.results.score_series import read_series
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.errors import RunError, UsageError
from mellm.stream.frames import Frame
from mellm.stream.log.erasure import Selection
from tests import PATIENCE_S
from tests.engine.analysis.test_live import Sink
from tests.engine.moving import FOUND, chain, frames, video

FACE = Face(7, (1.0, 2.0, 30.0, 40.0), np.zeros((68, 2), np.float32), 1.0)
SETTINGS = load().model_copy(
    update={"purpose": "self-use", "sources": (SourceSettings(id="cam", uri="cam.mp4"),)}
)


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video(tmp_path_factory.mktemp("video") / "cam.mp4")


def session(recording: Path, out: Path, options: SessionOptions) -> Saved:
    """The recording as a camera, every frame of it, in a session from beginning to end."""
    sessions = Sessions(SETTINGS, options)
    runner = SourceRunner(str(recording), id="cam", options=RunnerOptions(policy="offline", must_open=True))
    engine = LiveEngine([runner], chain, ScriptedDescriber(), SessionSink(Sink(), sessions), tap=sessions)
    sessions.attach(engine)
    sessions.begin("cam", out, consent="ref-1", fresh=True)
    engine.start()
    until = time.monotonic() + PATIENCE_S
    while not engine.finished:
        assert time.monotonic() < until
        time.sleep(0.02)
    engine.stop()
    return sessions.save("cam")


@pytest.fixture(scope="module")
def kept(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "s1"
    saved = session(recording, out, SessionOptions(video=True, faces=True))
    assert (saved.path, saved.expressions) == (out, FOUND)
    return out


def test_a_session_is_the_run_of_its_recording(recording: Path, kept: Path, tmp_path: Path) -> None:
    store = RunFolder.create(tmp_path / "run", {}, {})
    offline.analyze([offline.Recording("cam", str(recording))], store, chain, ScriptedDescriber())
    store.close()
    live, whole = read_run(kept), read_run(tmp_path / "run")
    assert [r.event_data() | {"description": None} for r in live.expressions] == [
        r.event_data() | {"description": None} for r in whole.expressions
    ]
    assert len(live.expressions) == FOUND
    assert [r.description.text for r in live.expressions] == [r.description.text for r in whole.expressions]
    assert faces(live) == faces(whole)
    assert list(read_series(kept, "cam")) == list(read_series(tmp_path / "run", "cam"))
    assert judged(live, "cam") == judged(whole, "cam")
    for record in live.expressions:
        assert (kept / str(record.evidence)).read_bytes().startswith(b"\x89PNG")
    summary, other = live.state["sources"]["cam"], whole.state["sources"]["cam"]
    same = (
        "captured",
        "analysed",
        "gaps",
        "frames_with_face",
        "faces_refused",
        "tracks",
        "spotted",
        "described",
    )
    assert {n: summary["counts"][n] for n in same} == {n: other["counts"][n] for n in same}
    assert summary["media_s"] == pytest.approx(other["media_s"], abs=0.5)
    assert live.state["settings"]["consent"] == "ref-1"
    assert summary["state"] == "done"


def test_the_video_shows_every_frame_at_its_time(recording: Path, kept: Path) -> None:
    (film,) = films(read_run(kept), "cam")
    with av.open(str(film.path)) as copy, av.open(str(recording)) as original:
        times = [round(f.time * 1000) for f in copy.decode(video=0)]
        assert times == [round(f.time * 1000) for f in original.decode(video=0)]
    assert (film.from_ms, round(film.to_ms)) == (0.0, times[-1])
    # the index stands in front: browsers seek
    raw = film.path.read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")
    assert b"moof" not in raw


def test_everything_is_its_owners_only(kept: Path) -> None:
    found = {p: stat.S_IMODE(p.stat().st_mode) for p in kept.rglob("*")}
    assert {p.suffix for p in found} >= {".json", ".jsonl", ".png", ".mp4"}
    assert {p for p, mode in found.items() if mode != (0o700 if p.is_dir() else 0o600)} == set()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_withdrawal_takes_the_video_and_the_faces(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    session(recording, out, SessionOptions(video=True, faces=True))
    one = read_run(out).expressions[0]
    erase_run(out, Selection(expression=one.id), reason="purge", moment="2026-11-29T00:00:00Z")
    # a video cannot be cut: the file that shows the expression goes
    assert films(read_run(out), "cam") == []
    assert list(out.glob("video/*.mp4")) == []
    assert list(out.glob(f"evidence/{one.id}*")) == []
    assert list(out.glob("evidence/*.faces.png"))
    gone = erase_run(out, Selection(consent="ref-1"), reason="withdrawal", moment="2026-11-29T00:00:00Z")
    assert gone.sources == {"cam"}
    assert [
        p for p in out.rglob("*") if p.is_file() and p.name not in ("run.json", EVENTS, "expressions.jsonl")
    ] == []


def recorder(tmp_path: Path, begun: Begun, **options: object) -> SessionRecorder:
    return SessionRecorder(RunFolder.create(tmp_path / "s", {}, {}), begun, **options)


def test_a_session_that_begins_later_counts_from_its_beginning(tmp_path: Path) -> None:
    """Times, counts and faces of before do not stand in it."""
    before = {"captured": 100, "faces_refused": {"dark": 3}, "tracks": 1}
    one = recorder(
        tmp_path, Begun("cam", "cam", 10_000_000_000, online={"uri": "cam", "width": 4}, totals=before)
    )
    one.start()
    for at in (9_980_000_000, 10_000_000_000, 10_020_000_000):
        one.output(Scored(7, 0, 0, Score(at, 0.5, 0.1, 0.1, None), FACE))
    one.event(
        "source.gap",
        {
            "from_ns": "11000000000",
            "to_ns": "12000000000",
            "reason": "pts",
            "frames": 1,
            "t_ns": "11000000000",
        },
    )
    one.event("marker", {"label": "early", "t_ns": "9000000000"})
    one.finish(None, {"captured": 130, "faces_refused": {"dark": 3, "face_small": 2}, "tracks": 1})
    run = read_run(tmp_path / "s")
    assert [(e.type, e.data.get("t_ns")) for e in run.events] == [
        ("source.online", None),
        ("face.appeared", "0"),
        ("source.gap", "1000000000"),
    ]
    assert (run.events[2].data["from_ms"], run.events[2].data["to_ms"]) == (1000.0, 2000.0)
    (line,) = read_series(tmp_path / "s", "cam")
    assert (line.t_ms, len(line.curves["me"])) == (0.0, 2)
    counts = run.state["sources"]["cam"]["counts"]
    assert (counts["captured"], counts["faces_refused"], counts["tracks"]) == (30, {"face_small": 2}, 0)


def test_a_killed_session_can_be_read(tmp_path: Path) -> None:
    one = recorder(tmp_path, Begun("cam", "cam"))
    one.start()
    one.event("face.appeared", {"track": 1, "box": [0, 0, 1, 1], "t_ns": "0"})
    until = time.monotonic() + PATIENCE_S
    while not (tmp_path / "s" / EVENTS).read_bytes():
        assert time.monotonic() < until
        time.sleep(0.01)
    run = read_run(tmp_path / "s")  # as it lies there, nobody has ended it
    assert run.state["sources"]["cam"]["state"] == "open"
    assert list(faces(run)) == [1]
    one.finish(None, {})


def test_a_disk_that_refuses_ends_the_session_and_says_so(tmp_path: Path) -> None:
    one = recorder(tmp_path, Begun("cam", "cam"), video=True)
    one.start()
    (tmp_path / "s" / "video").write_text("in the way")
    for frame in frames(seconds=0.1):
        one.frame(frame)
    until = time.monotonic() + PATIENCE_S
    while one.problem is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(RunError):
        one.finish(None, {})
    state = json.loads((tmp_path / "s" / "run.json").read_text())["sources"]["cam"]
    assert (state["state"], state["error"]["code"]) == ("failed", RunError.code)


def test_another_size_begins_another_file(tmp_path: Path) -> None:
    one = recorder(tmp_path, Begun("cam", "cam"), video=True)
    one.start()
    for number, side in enumerate((64, 64, 96, 97)):
        one.frame(Frame("cam", 0, number, number * 40_000_000, 0, np.zeros((side, side, 3), np.uint8)))
    one.finish(None, {})
    kept = read_run(tmp_path / "s").state["sources"]["cam"]["video"]
    assert [(each["width"], each["frames"], each["from_ms"]) for each in kept] == [
        (64, 2, 0.0),
        (96, 1, 80.0),
        (97, 1, 120.0),
    ]


def test_one_session_at_a_time(tmp_path: Path) -> None:
    sessions = Sessions(SETTINGS, SessionOptions())
    runner = SourceRunner("synthetic:?seconds=1", id="cam")
    engine = LiveEngine([runner], chain, ScriptedDescriber(), Sink())
    sessions.attach(engine)
    sessions.begin("cam", tmp_path / "a", fresh=True)
    with pytest.raises(UsageError, match="has a session already"):
        sessions.begin("cam", tmp_path / "b", fresh=True)
    assert [saved.path for saved in sessions.close()] == [tmp_path / "a"]
    with pytest.raises(UsageError, match="has no session"):
        sessions.save("cam")
    engine.stop()


def test_names_of_sessions_are_never_taken_twice(tmp_path: Path) -> None:
    first = free_folder(tmp_path, "cam", "2026-11-29T10:30:00.123456Z")
    assert first.name == "cam-20261129T103000Z"
    first.mkdir()
    assert free_folder(tmp_path, "cam", "2026-11-29T10:30:00.9Z").name == "cam-20261129T103000Z-2"
