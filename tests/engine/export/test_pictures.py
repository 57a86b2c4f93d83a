"""Pictures of a report, cut from a recording with a known face."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mellm.detectors.analyzer import FaceUpdate
from mellm.detectors.types import Face
from mellm.engine.export import pictures
from mellm.engine.results.run_reader import read_run
from tests.engine.export.made import record, run_folder
from tests.stream.videos import make_video

FRAMES = 60


class Two:
    """Two faces that never move, one left, one right."""

    def __init__(self):
        self.forgot = 0

    def reset(self):
        self.forgot += 1

    def push(self, frame):
        return FaceUpdate(tuple(_face(n, x) for n, x in enumerate((60.0, 220.0), 1)))


def _face(track, x):
    landmarks = np.full((68, 2), (x, 120.0), np.float32)
    landmarks[36:42] += (-20, -20)
    landmarks[42:48] += (20, -20)
    return Face(track, (x - 40, 70.0, 80.0, 90.0), landmarks, 1.0)


def decoded(address):
    head, _, data = address.partition(",")
    assert head == "data:image/webp;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def run(tmp_path):
    records = tuple(
        record(name * 16, moments, fps=50, track=track, source="talk")
        for name, moments, track in (("a", (10, 14, 20), 1), ("b", (12, 30, 31), 2), ("c", (55, 99, 99), 1))
    )
    folder = run_folder(tmp_path / "run", records)
    events = (folder / "events.jsonl").read_text()
    (folder / "events.jsonl").write_text(events.replace("[200, 10, 90, 100]", "[180, 70, 80, 90]"))
    return read_run(folder)


def test_onset_and_apex_are_cut_from_their_own_frames_and_face(run, monkeypatch):
    cut = []

    def warp(picture, matrix, size):
        cut.append((matrix, size))
        return np.zeros((size[1], size[0], 3), np.uint8)

    monkeypatch.setattr(pictures, "warp", warp)
    make_video(run.path / "talk.mp4", frames=FRAMES, fps=50)
    analyzer = Two()
    found = pictures.faces(run, analyzer=analyzer)
    assert set(found) == {"a" * 16, "b" * 16}  # the third one's apex is past the end
    assert analyzer.forgot == 3
    assert decoded(found["a" * 16][0]).shape == (pictures.HEIGHT, pictures.WIDTH, 3)
    # order of frames: onset a, onset b, apex a, apex b, onset c; both pictures of an expression are cut alike
    assert np.array_equal(cut[0][0], cut[2][0])
    assert np.array_equal(cut[1][0], cut[3][0])
    eyes = [m @ (x, 100.0, 1.0) for (m, _), x in zip(cut[:2], (60.0, 220.0), strict=True)]
    assert np.allclose(eyes[0], eyes[1], atol=0.01)
    assert eyes[0][0] == pytest.approx(pictures.WIDTH / 2, abs=1)


def test_a_recording_that_is_gone_has_no_pictures(run):
    assert pictures.faces(run, analyzer=Two()) == {}


def test_a_recording_that_is_none_is_passed_over(run, caplog):
    caplog.set_level("WARNING")
    (run.path / "talk.mp4").write_bytes(b"no video")
    assert pictures.faces(run, analyzer=Two()) == {}
    assert "no pictures of faces" in caplog.text


def test_motion_maps_come_from_the_run_folder_alone(run):
    (run.path / "evidence").mkdir()
    picture = np.full((20, 30, 3), (0, 0, 200), np.uint8)
    cv2.imwrite(str(run.path / "evidence" / "a.png"), picture)
    cv2.imwrite(str(run.path.parent / "outside.png"), picture)
    shown = pictures.motion_map(run, replace(run.expressions[0], evidence="evidence/a.png"))
    assert np.abs(decoded(shown).astype(int) - picture).max() < 12
    for name in (
        None,
        "../outside.png",
        str(run.path.parent / "outside.png"),
        "evidence/none.png",
        "run.json",
    ):
        assert pictures.motion_map(run, replace(run.expressions[0], evidence=name)) is None
