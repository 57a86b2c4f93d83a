"""Grey from the decoder's luma, colours only on demand."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mellm.stream.frames import Frame, Pixels
from mellm.stream.sources import open_source
from mellm.stream.sources.decoded import DecodedPicture
from mellm.stream.sources.decoder import AvSource
from mellm.stream.sources.orientation import Orientation
from tests.stream.videos import make_video


def frames(path: Path) -> list[Frame]:
    with open_source(str(path), id="a", live=False) as source:
        return [item for item in iter(source.read, None) if isinstance(item, Frame)]


def gray_of(bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.float64)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv444p"])
def test_luma_is_the_grey_of_the_colours(tmp_path: Path, pixels: str) -> None:
    path = make_video(tmp_path / "a.mp4", frames=4, size=(66, 50), pixels=pixels)
    for frame in frames(path):
        assert isinstance(frame.picture, DecodedPicture)
        assert frame.picture.gray.shape == (50, 66)
        away = frame.picture.gray - gray_of(frame.image)
        # saturated colours clip when they are made, luma does not
        assert np.median(np.abs(away)) <= 3
        assert np.corrcoef(frame.picture.gray.ravel(), gray_of(frame.image).ravel())[0, 1] > 0.99


def test_no_colours_are_made_of_pictures_that_nobody_looks_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    pixels = AvSource._pixels

    def counted(self: AvSource, frame: av.VideoFrame, *rest: object) -> NDArray[np.uint8]:
        made.append(frame)
        return pixels(self, frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(AvSource, "_pixels", counted)
    found = frames(make_video(tmp_path / "a.mp4", frames=6))
    assert len(found) == 6
    assert found[0].picture.small.shape == (12, 16)
    assert not made
    assert found[2].image is found[2].image
    assert len(made) == 1


def test_a_format_without_a_luma_plane_is_made_at_once(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.gif", frames=3)
    assert all(isinstance(frame.picture, Pixels) for frame in frames(path))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_luma_is_turned_as_colours_are(transposed: bool, columns: bool, rows: bool) -> None:
    decoded = av.VideoFrame.from_ndarray(
        np.random.default_rng(1).integers(16, 235, (72, 64), np.uint8), "yuv420p"
    )
    turn = Orientation(transposed, columns, rows)
    picture = DecodedPicture(decoded, turn, False, lambda: turn.apply(decoded.to_ndarray(format="bgr24")))
    assert picture.shape == picture.bgr.shape
    assert picture.gray.shape == picture.shape[:2]
    assert np.corrcoef(picture.gray.ravel(), gray_of(picture.bgr).ravel())[0, 1] > 0.8


def test_a_mirrored_picture_is_mirrored_in_all_its_forms() -> None:
    image = np.random.default_rng(2).integers(0, 255, (40, 60, 3), np.uint8)
    picture = Pixels(image).mirrored()
    np.testing.assert_array_equal(picture.bgr, image[:, ::-1])
    np.testing.assert_array_equal(picture.gray, gray_of(np.ascontiguousarray(image[:, ::-1])))
    assert picture.small.shape == (10, 15)
