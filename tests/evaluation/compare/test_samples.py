"""What is shown of a run: which questions, and how small their pictures."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.evaluation.compare.samples import PICTURES, SIDE, SMALL_SIDE, gather, picture, spaced
from mellm.evaluation.compare.types import TaskResult
from tests.evaluation.compare.made import NAMES, Mme, Suite, answer, png


def result(task) -> TaskResult:
    return TaskResult(
        task, {n: {q.id: answer(n, q, k) for k, q in enumerate(task.questions())} for n in NAMES}, ()
    )


def test_all_samples_of_a_small_task_are_shown_with_all_answers():
    shown = gather(result(Suite()))
    assert [sample.asked[0].id for sample in shown.samples] == [f"s{k}" for k in range(6)]
    assert (shown.questions, shown.shown) == (6, 6)
    first = shown.samples[1]
    assert (first.domain, first.subtask) == ("Advanced Cognition", "sub-task 1")
    assert first.asked[0].points == ("names the disc", "names its colour")
    assert list(first.asked[0].answers) == list(NAMES)
    assert shown.states["Advanced Cognition", "sub-task 1"][NAMES[1]] == {"refused": 1}
    assert shown.samples[5].pictures == ()


def test_of_a_large_sub_task_some_are_shown_evenly_and_all_are_counted():
    shown = gather(result(Mme(images=100)), most=24)
    assert shown.questions == 200
    at = [int(sample.asked[0].id.split("/")[1]) for sample in shown.samples]
    assert at == list(range(0, 100, 8))
    assert all(
        len(sample.asked) == 2 for sample in shown.samples
    )  # both questions about a picture stay together
    assert sum(shown.states["", "count"][NAMES[0]].values()) == 200


def test_of_many_pictures_some_are_shown_and_small():
    (sample,) = [s for s in gather(result(Suite())).samples if s.left_out]
    assert (len(sample.pictures), sample.left_out) == (PICTURES, 2)
    assert all(max(p.width, p.height) <= SMALL_SIDE for p in sample.pictures)


@given(st.integers(1, 60), st.integers(2, 12))
def test_spaced_pictures_keep_their_order_and_both_ends(count, most):
    pictures = [bytes([k]) for k in range(count)]
    chosen = spaced(pictures, most)
    assert len(chosen) == min(count, most)
    assert (chosen[0], chosen[-1]) == (pictures[0], pictures[-1])
    assert chosen == sorted(set(chosen))


def decoded(url: str | None) -> np.ndarray:
    assert url is not None
    raw = base64.b64decode(url.split(",", 1)[1])
    return cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)


def test_a_large_picture_is_made_smaller_and_looks_the_same():
    raw = png(100, 2000, 1000)
    small = picture(raw)
    assert (small.width, small.height) == (SIDE, SIDE // 2)
    assert small.url is not None
    assert small.url.startswith("data:image/webp;base64,")
    assert abs(decoded(small.url)[5, 5].astype(int) - (100, 190, 130)).max() < 12
    assert abs(decoded(small.url)[SIDE // 4, SIDE // 2].astype(int) - (60, 60, 220)).max() < 20


def test_a_small_drawing_stays_as_it_is_and_a_photo_loses_what_its_camera_wrote():
    raw = png(10)
    assert base64.b64decode(str(picture(raw).url).split(",")[1]) == raw
    jpeg = cv2.imencode(".jpg", decoded(picture(raw).url))[1].tobytes()
    noted = jpeg[:2] + b"\xff\xfe\x00\x0fGPS 48.1,11.5" + jpeg[2:]
    url = picture(noted).url
    assert url is not None
    assert b"GPS" not in base64.b64decode(url.split(",")[1])


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_deep_and_transparent_pictures(shape, kind):
    image = np.zeros((shape[0] * 20, shape[1] * 20, *shape[2:]), kind)
    pixel = decoded(picture(cv2.imencode(".png", image)[1].tobytes()).url)[0, 0]
    assert pixel.tolist() == ([0, 0, 0] if len(shape) == 2 else [255, 255, 255])


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"GIF89a", "neither PNG"),
        (png(1)[:60], "decoded"),
        (b"\x89PNG\r\n\x1a\n", "no size"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8) + (60_000).to_bytes(4, "big") * 2, "too large"),
    ],
)
def test_a_picture_that_cannot_be_shown_says_why(raw, why):
    found = picture(raw)
    assert found.url is None
    assert why in found.why
