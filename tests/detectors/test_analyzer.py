"""The analyzer with scripted networks: who is where is known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.detectors.analyzer import PATIENCE, AnalyzerOptions, FaceAnalyzer, FaceUpdate, FakeFaceAnalyzer
from mellm.detectors.faces import Detection
from mellm.detectors.landmarks import Roi
from mellm.detectors.types import F32, U8
from mellm.stream.frames import Frame
from tests.detectors.test_tracks import mesh

MS = 1_000_000


@dataclass
class Scene:
    """People as (x, width) on one line. The landmark network sees who is within half a face of its centre."""

    people: list[tuple[float, float]]
    seen: list[str] = field(default_factory=list)

    def detect(self, image: U8) -> list[Detection]:
        self.seen.append("detect")
        points = np.array([(-0.2, -0.2), (0.2, -0.2), (0, 0), (0, 0.3), (-0.5, 0), (0.5, 0)])
        return [
            Detection((x - w / 2, 100 - w / 2, w, w), (points * w + (x, 100)).astype(np.float32), 0.9)
            for x, w in self.people
        ]

    def place(self, image: U8, roi: Roi) -> tuple[F32, float]:
        self.seen.append("place")
        for x, width in self.people:
            if abs(x - roi.x) < width / 2:
                return mesh(x, 100, width), 0.99
        return mesh(roi.x, 100, 50), 0.01

    def analyzer(self, **options: float) -> FaceAnalyzer:
        return FaceAnalyzer(
            AnalyzerOptions(**({"hold_ms": 64} | options)),  # type: ignore[arg-type]
            detect=self.detect,
            place=self.place,
        )


IMAGE = np.zeros((200, 400, 3), np.uint8)


def frame(index: int, fps: float = 30, segment: int = 0) -> Frame:
    return Frame("cam", segment, index, round(index * 1e9 / fps), 0, IMAGE)


def play(analyzer: FaceAnalyzer, start: int, count: int, fps: float = 30) -> list[FaceUpdate]:
    return [analyzer.push(frame(i, fps)) for i in range(start, start + count)]


@pytest.mark.parametrize(("fps", "looks"), [(15, 15), (25, 13), (30, 15), (50, 13), (200, 16)])
def test_looks_15_times_a_second_of_media_time_at_any_rate(fps: float, looks: int) -> None:
    scene = Scene([(100, 80)])
    updates = play(scene.analyzer(), 0, round(fps), fps)
    assert sum(bool(u.refreshed) for u in updates) == looks
    assert all(len(u.faces) == 1 for u in updates)
    assert scene.seen.count("detect") == 1


def test_landmarks_are_held_between_looks() -> None:
    updates = play(Scene([(100, 80)]).analyzer(), 0, 4)
    assert [u.refreshed for u in updates] == [(1,), (), (1,), ()]
    assert updates[1].faces[0] is updates[0].faces[0]


def test_new_faces_are_looked_for_each_second() -> None:
    scene = Scene([(100, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 5)
    scene.people.append((300, 80))
    updates = play(analyzer, 5, 30)
    assert [(i + 5, u.appeared) for i, u in enumerate(updates) if u.appeared] == [(30, (2,))]


def test_while_nobody_is_there_it_looks_ten_times_a_second() -> None:
    scene = Scene([])
    play(scene.analyzer(), 0, 31)
    assert scene.seen == ["detect"] * 11


def test_a_face_out_of_sight_is_not_reported_and_then_lost() -> None:
    scene = Scene([(100, 80), (300, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 2)
    del scene.people[0]
    updates = play(analyzer, 2, 10)
    assert all([f.track for f in u.faces] == [2] for u in updates)
    assert [(i, u.lost) for i, u in enumerate(updates) if u.lost] == [(2 * (PATIENCE - 1), (1,))]


def test_a_face_hidden_for_one_look_keeps_its_id() -> None:
    scene = Scene([(100, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 2)
    hidden, scene.people = scene.people, []
    assert not any(u.faces or u.lost for u in play(analyzer, 2, 2))
    scene.people = hidden
    (back,) = play(analyzer, 4, 1)
    assert [f.track for f in back.faces] == [1]
    assert not back.appeared


def test_a_fast_face_is_found_again_by_the_detector() -> None:
    scene = Scene([(100, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 2)
    scene.people = [(150, 80)]  # 0.6 of its width: out of the landmark network's sight
    (update,) = play(analyzer, 2, 1)
    assert [f.track for f in update.faces] == [1]
    assert update.faces[0].box[0] == pytest.approx(110)


def test_somebody_elsewhere_is_somebody_else() -> None:
    scene = Scene([(100, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 2)
    scene.people = [(300, 80)]
    updates = play(analyzer, 2, 10)
    assert updates[0].appeared == (2,)
    assert [u.lost for u in updates if u.lost] == [(1,)]


def test_a_detection_without_presence_is_no_face() -> None:
    scene = Scene([(100, 80)])
    analyzer = FaceAnalyzer(detect=scene.detect, place=lambda image, roi: (mesh(), 0.4))
    assert not any(u.faces or u.appeared for u in play(analyzer, 0, 40))


def test_the_largest_faces_come_first_and_small_ones_are_left_out() -> None:
    scene = Scene([(50, 20), (100, 30), (200, 40), (300, 60)])
    (update,) = play(scene.analyzer(max_faces=2), 0, 1)
    assert [round(f.box[2]) for f in update.faces] == [60, 40]
    (update,) = play(scene.analyzer(max_faces=9), 0, 1)
    assert len(update.faces) == 3  # 20 px is under the width


def test_a_much_larger_face_takes_the_place_of_the_smallest() -> None:
    scene = Scene([(100, 40), (200, 50)])
    analyzer = scene.analyzer(max_faces=2)
    play(analyzer, 0, 29)
    scene.people.append((330, 100))
    update = play(analyzer, 29, 2)[-1]
    assert (update.appeared, update.lost) == ((3,), (2,))  # the largest came first: the smaller is track 2
    assert sorted(f.track for f in update.faces) == [1, 3]


def test_of_two_tracks_that_meet_on_one_face_the_older_stays() -> None:
    scene = Scene([(100, 80), (190, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 2)
    scene.people = [(145, 92)]  # both see it
    (update,) = play(analyzer, 2, 1)
    assert update.lost == (2,)
    assert [f.track for f in update.faces] == [1]


def test_a_face_that_is_where_it_was_keeps_its_id_over_missing_frames() -> None:
    scene = Scene([(100, 80), (300, 60)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 3)
    analyzer.reset()  # a gap of two seconds, to the frame
    assert analyzer.push(frame(62)).appeared == (1, 2)
    scene.people.reverse()
    update = analyzer.push(frame(63, segment=1))  # whoever is found first
    assert (update.lost, sorted(f.track for f in update.faces)) == ((), [1, 2])
    assert {f.track: round(f.box[0] + f.box[2] / 2) for f in update.faces} == {1: 100, 2: 300}


@pytest.mark.parametrize(
    ("people", "at", "ids"),
    [
        ([(190, 80)], 10, (2,)),  # elsewhere
        ([(100, 30)], 10, (2,)),  # of another size
        ([(100, 80)], 63, (2,)),  # after more than two seconds
        ([(100, 80), (300, 60)], 10, (1, 2)),
        ([(100, 80)], 1, (2,)),  # time went back
    ],
)
def test_whoever_comes_after_missing_frames_and_is_not_where_a_face_was_is_somebody_else(
    people: list[tuple[float, float]], at: int, ids: tuple[int, ...]
) -> None:
    scene = Scene([(100, 80)])
    analyzer = scene.analyzer()
    play(analyzer, 0, 3)
    scene.people = people
    assert analyzer.push(frame(at, segment=1)).appeared == ids
    analyzer.reset()
    analyzer.reset()  # of nothing new
    assert analyzer.push(frame(at + 1, segment=1)).appeared == ids


def test_fewer_faces_are_followed_for_a_while_and_the_largest_goes_on() -> None:
    scene = Scene([(100, 60), (300, 80)])
    analyzer = scene.analyzer()
    assert len(play(analyzer, 0, 3)[-1].faces) == 2
    analyzer.limit(1)
    update = analyzer.push(frame(3))
    assert (len(update.lost), [round(f.box[2]) for f in update.faces]) == (1, [80])
    assert all(len(u.faces) == 1 for u in play(analyzer, 4, 40))
    analyzer.limit(None)
    updates = play(analyzer, 44, 40)
    assert len(updates[-1].faces) == 2
    assert [id for u in updates for id in u.appeared] == [3]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 400), st.integers(30, 120)), max_size=4), min_size=1, max_size=12
    )
)
def test_tracks_are_born_once_and_die_once_and_two_runs_agree(
    scenes: list[list[tuple[float, float]]],
) -> None:
    def run() -> list[FaceUpdate]:
        scene = Scene([])
        analyzer = scene.analyzer()
        updates = []
        for i, people in enumerate(scenes):
            scene.people = people
            updates += play(analyzer, 3 * i, 3, fps=15)
        return updates

    born: list[int] = []
    dead: list[int] = []
    updates = run()
    for update in updates:
        born += update.appeared
        dead += update.lost
        seen = [f.track for f in update.faces]
        assert len(seen) == len(set(seen)) <= 4
        assert set(seen) <= set(born) - set(dead)
    assert born == sorted(set(born))
    assert len(dead) == len(set(dead))
    assert set(dead) <= set(born)
    again = run()
    assert [(u.appeared, u.lost, [f.box for f in u.faces]) for u in updates] == [
        (u.appeared, u.lost, [f.box for f in u.faces]) for u in again
    ]


def test_the_shipped_fake_comes_and_goes_like_the_real_one() -> None:
    points = mesh()[:68]
    fake = FakeFaceAnalyzer(lambda f: None if f.index == 1 else points)
    assert fake.push(frame(0)).appeared == (1,)
    assert fake.push(frame(1)).lost == (1,)
    assert fake.push(frame(2)).appeared == (2,)
    update = fake.push(frame(3, segment=1))
    assert (update.lost, update.appeared) == ((), (2,))
    assert update.faces[0].landmarks is points
    fake.reset()
    assert fake.push(frame(4, segment=1)).appeared == (2,)
    fake.reset()
    assert fake.push(frame(99, segment=1)).appeared == (3,)


def test_the_portrait_has_one_face_in_the_right_place(analyzer: FaceAnalyzer, portrait: U8) -> None:
    updates = [analyzer.push(Frame("still", 0, i, i * 33 * MS, 0, portrait)) for i in range(5)]
    assert [u.appeared for u in updates] == [(1,), (), (), (), ()]
    (face,) = updates[-1].faces
    x, y, w, h = face.box
    assert (x + w / 2, y + h / 2) == pytest.approx((222, 120), abs=15)
    assert 85 < w < 125
    assert face.score > 0.9
    assert face.landmarks.shape == (68, 2)


def test_the_provider_in_use_is_told(networks: object) -> None:
    analyzer = FaceAnalyzer(AnalyzerOptions(device="cpu"))
    assert analyzer.providers == dict.fromkeys(["face_detector", "face_landmarks"], "CPUExecutionProvider")
    assert Scene([]).analyzer().providers == {}


def test_two_people_in_one_picture(analyzer: FaceAnalyzer, portrait: U8) -> None:
    both = np.hstack([portrait[:256], portrait[:256, ::-1]])
    (face, other) = analyzer.push(Frame("still", 0, 0, 0, 0, np.ascontiguousarray(both))).faces
    assert abs(face.box[0] - other.box[0]) > 400


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 900, 3), (480, 640, 3)])
def test_pictures_without_a_face(analyzer: FaceAnalyzer, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    for image in (noise, np.zeros_like(noise)):
        assert not analyzer.push(Frame("still", 0, 0, 0, 0, image)).faces
        analyzer.reset()
