"""Motion maps: the published recipe to the pixel, and ours on motion that is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mellm.detectors.patches import CROP_EYES, CROP_H, CROP_IOD, CROP_W
from mellm.detectors.types import F32, U8
from mellm.engine.evidence import motion_map
from mellm.engine.evidence.motion_map import build
from mellm.stream.errors import FaceError, UsageError
from tests.engine.faces import LANDMARKS, moved, skin


def independent_v1(onset: U8, apex: U8, nose: tuple[float, float]) -> U8:
    """The published procedure, written down once more with other tools: whole-number nose, OpenCV polar."""
    flow = cv2.optflow.createOptFlow_DualTVL1().calc(onset, apex, None)
    x, y = int(nose[0]), int(nose[1])
    rows, columns = (
        range(max(y - 5, 0), min(y + 6, flow.shape[0])),
        range(max(x - 5, 0), min(x + 6, flow.shape[1])),
    )
    head = np.mean([flow[r, c] for r in rows for c in columns], axis=0)
    size, angle = cv2.cartToPolar(flow[..., 0] - head[0], flow[..., 1] - head[1], angleInDegrees=True)
    hsv = np.full((*onset.shape, 3), 255, np.uint8)
    hsv[..., 0] = np.mod(np.round(angle / 30) * 30, 360) / 2
    hsv[..., 2] = cv2.normalize(size, None, 0, 255, cv2.NORM_MINMAX)
    colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    colour[size <= np.percentile(size, 0)] = 0
    return cv2.add(cv2.merge([onset] * 3), colour)


@pytest.mark.parametrize("nose", [(80.7, 105.2), (2.9, 3.4)])
def test_v1_is_the_published_procedure(nose: tuple[float, float]) -> None:
    onset, apex = skin(), moved("lip_corner_L", (1.2, -1.0), head=(0.7, -0.4))
    ours = build(onset, apex, None, "mellm-v1", nose)
    theirs = independent_v1(onset, apex, nose)
    off = np.abs(ours.motion_map.astype(int) - theirs.astype(int)).max(2)
    assert (off <= 2).mean() >= 0.995
    assert ours.regions == ()
    assert ours.refused is None


def test_v1_takes_the_nose_from_the_landmarks() -> None:
    onset, apex = skin(), moved("chin", (0, 1.5))
    tip = (float(LANDMARKS[30, 0]), float(LANDMARKS[30, 1]))
    with_face = build(onset, apex, LANDMARKS, "mellm-v1")
    assert np.array_equal(with_face.motion_map, build(onset, apex, None, "mellm-v1", tip).motion_map)
    assert len(with_face.regions) == 31


def test_v1_without_a_face_is_the_plain_picture() -> None:
    onset = skin()
    evidence = build(onset, moved("chin", (0, 1)), None, "mellm-v1")
    assert evidence.refused == "no_face"
    assert np.array_equal(evidence.motion_map, cv2.merge([onset] * 3))


def test_v1_of_two_equal_pictures_adds_nothing() -> None:
    onset = skin()
    evidence = build(onset, onset.copy(), LANDMARKS, "mellm-v1")
    assert np.array_equal(evidence.motion_map, cv2.merge([onset] * 3))
    assert evidence.refused == "motion_floor"


def colour_share(picture: U8, at: F32, reach: int = 8) -> float:
    """Mean saturation-weighted brightness round a point, 0…1."""
    x, y = (int(v) for v in at)
    patch = picture[y - reach : y + reach, x - reach : x + reach].astype(float)
    return float((patch.max(2) - patch.min(2)).mean() / 255)


def test_live_shows_motion_on_an_absolute_scale() -> None:
    onset = skin()
    corner = LANDMARKS[54] * 2 + 0.5
    shown = [
        colour_share(build(onset, moved("lip_corner_L", (size, 0)), LANDMARKS, "live").motion_map, corner)
        for size in (0.0, 0.6, 1.2, 2.4)
    ]
    assert shown[0] < 0.01
    assert shown == sorted(shown)
    assert shown[3] > 0.5
    assert shown[1] < 0.6 * shown[3]


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.8, 6.0])
def test_more_motion_is_never_darker_and_noise_never_lit(noise: float) -> None:
    moved = np.linspace(0, 30, 121, dtype=np.float32)  # 1/100 of the eye distance
    ramp = np.stack([moved, np.zeros_like(moved)], -1)[None]
    strength = motion_map._strength(ramp, 100.0, noise)[0]
    assert (np.diff(strength) >= 0).all()
    assert not strength[moved <= 2 * noise].any()
    assert strength[-1] == 1


def test_live_hue_is_direction() -> None:
    for vector, channel in (((2.4, 0.0), 2), ((-1.2, -2.0), 0)):  # right is red, up-left is blue
        picture = build(skin(), moved("lip_corner_L", vector), LANDMARKS, "live").motion_map
        x, y = (LANDMARKS[54] * 2).astype(int)
        assert picture[y, x].argmax() == channel


def test_live_takes_head_motion_out() -> None:
    turned = build(skin(), moved("chin", (0, 0), head=(1.5, -1.0)), LANDMARKS, "live")
    assert turned.refused == "motion_floor"
    assert turned.flow_stats["median_px"] > 2  # it was there: twice 1.8 pixels
    assert turned.flow_stats["head_shift_x"] == pytest.approx(100 * 1.5 / CROP_IOD, rel=0.1)
    assert colour_share(turned.motion_map, LANDMARKS[57] * 2, 30) < 0.03


def test_live_of_a_whole_frame_is_cropped_to_the_face() -> None:
    frame = cv2.copyMakeBorder(skin(), 40, 60, 200, 90, cv2.BORDER_CONSTANT, value=90)
    apex = cv2.copyMakeBorder(moved("brow_inner_R", (0, -2)), 40, 60, 200, 90, cv2.BORDER_CONSTANT, value=90)
    landmarks = LANDMARKS + np.float32([200, 40])
    evidence = build(frame, apex, landmarks, "live")
    assert evidence.motion_map.shape == (368, 320, 3)
    strongest = max(evidence.regions, key=lambda r: np.hypot(r.dx, r.dy))
    assert strongest.region == "brow_inner_R"
    assert strongest.direction.startswith("up ")


def test_live_needs_a_face_or_a_nose() -> None:
    with pytest.raises(FaceError, match="neither a face nor a nose"):
        build(skin(), skin(), None, "live")
    evidence = build(skin(), moved("chin", (0, 2)), None, "live", nose=(80, 105))
    assert evidence.regions == ()
    assert colour_share(evidence.motion_map, LANDMARKS[8] - (0, 4)) > 0.3


def test_v3_has_29_regions_in_pixels_of_its_own_frame() -> None:
    evidence = build(skin(), moved("lip_corner_R", (0, -1.5)), LANDMARKS, "mellm-v3")
    assert evidence.motion_map.shape == (480, 400, 3)
    assert len(evidence.regions) == 29
    rows = {r.region: r for r in evidence.regions}
    # in the published names left is the picture's left, which is the subject's right
    assert max(rows.values(), key=lambda r: r.mean_px).region == "Left Mouth Corner"
    assert rows["Left Mouth Corner"].direction.startswith("up (")
    assert rows["Left Mouth Corner"].mean_px == pytest.approx(1.5 * 141 / 57, rel=0.35)
    with pytest.raises(FaceError):
        build(skin(), skin(), None, "mellm-v3")


@pytest.mark.parametrize("recipe", ["live", "mellm-v1", "mellm-v3"])
def test_statistics_are_those_of_the_raw_flow(recipe: str) -> None:
    stats = build(skin(), moved("chin", (0, 1.5), head=(1.0, 0.0)), LANDMARKS, recipe).flow_stats  # type: ignore[arg-type]
    assert stats["peak_px"] >= stats["p95_px"] >= stats["median_px"] > 0.7
    assert stats["peak_iod"] > stats["floor_iod"] >= motion_map.FLOOR


@pytest.mark.parametrize(
    ("onset", "apex", "landmarks", "recipe", "message"),
    [
        (skin(), skin()[:, :-2], LANDMARKS, "live", "onset is 160×184 and apex is 158×184"),
        (np.dstack([skin()] * 3), skin(), LANDMARKS, "live", "takes grey pictures"),
        (skin().astype(np.float32), skin(), LANDMARKS, "live", "takes grey pictures"),
        (skin()[:8, :8], skin()[:8, :8], None, "mellm-v1", "too small"),
        (skin(), skin(), LANDMARKS[:5], "live", "68×2"),
        (skin(), skin(), LANDMARKS * np.nan, "live", "68×2"),
        (skin(), skin(), LANDMARKS, "mellm-v9", "unknown recipe"),
    ],
)
def test_what_cannot_be_used_is_named(
    onset: U8, apex: U8, landmarks: F32 | None, recipe: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(onset, apex, landmarks, recipe)  # type: ignore[arg-type]


def test_the_standard_crop_is_not_resampled() -> None:
    zoomed = cv2.resize(skin(), (320, 368))
    points = ((LANDMARKS + 0.5) * 2 - 0.5).astype(np.float32)
    evidence = build(zoomed, zoomed, points, "live")
    assert evidence.motion_map.shape == (368, 320, 3)
    assert evidence.flow_stats["peak_px"] < 0.02
    assert CROP_EYES == (80.0, 64.0)
    assert (CROP_W, CROP_H) == (160, 184)
