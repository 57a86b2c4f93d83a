"""Known motion on given pictures: what was asked for is there, where and when it was asked for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra `train` is not installed")

from mellm.detectors import flow
from mellm.detectors.regions import INDEX, centres
from mellm.detectors.textured_plane import TEMPLATE, texture
from mellm.stream.errors import ModelMissing, UsageError
from mellm.training.synth import composite
from mellm.training.synth.composite import Film, Remake, StillClip, Traced, VideoClip
from mellm.training.synth.events import AuAction, Expression
from mellm.training.synth.rig import Rig, load_rig
from mellm.training.synth.script import Profile

CLEAN = Film(noise=0, codec="none")
LANDMARKS = (TEMPLATE * np.float32(57) + np.float32((128, 100))).astype(np.float32)


@pytest.fixture(scope="module")
def rig() -> Rig:
    try:
        return load_rig()
    except ModelMissing as error:
        pytest.skip(str(error))


def picture() -> np.ndarray:
    return np.repeat(texture(256, 256)[..., None], 3, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """Three seconds of a face that does nothing."""
    path = tmp_path_factory.mktemp("video") / "still.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width = stream.height = 256
        stream.pix_fmt = "bgr0"
        for k in range(75):
            frame = av.VideoFrame.from_ndarray(picture(), format="bgr24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return Traced(path, np.arange(75) / 25, np.repeat(LANDMARKS[None], 75, axis=0))


def region_motion(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Flow at the regions' centres, pixels."""
    gray = [cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in (a, b)]
    field = flow.create("quality")(*gray)
    return np.array([field[round(float(y)), round(float(x))] for x, y in centres(points)])


def test_a_photograph_does_what_its_script_says(rig: Rig) -> None:
    clip = StillClip(
        picture(), LANDMARKS, seed=3, seconds=8, fps=25, profile="still", face_px=128, film=CLEAN, rig=rig
    )
    frames = list(clip.pictures())
    assert len(frames) == 200
    [first, *_] = [e for e in clip.script.expressions if e.kind == "micro"]
    at = [frames[round(t * 25)] for t in (first.onset_s, first.apex_s)]
    moved = np.hypot(*region_motion(at[0], at[1], clip.landmarks).T).max()
    true = clip.peak(first) * clip._portrait.iod / 100
    assert true > 0.3
    assert 0.4 * true < moved < 2.0 * true + 0.5


def test_the_recording_moves_during_expressions_only(traced: Traced, rig: Rig) -> None:
    clip = VideoClip(traced, seed=1, per_min=40, profile=Profile(peak=(3.0, 5.0)), film=CLEAN, rig=rig)
    assert clip.expressions
    frames = list(clip.pictures())
    for e in clip.expressions:
        inside = [k for k, t in enumerate(clip.times) if e.onset_s < t < e.offset_s]
        outside = [
            k
            for k, t in enumerate(clip.times)
            if all(not x.onset_s < t < x.offset_s for x in clip.expressions)
        ]
        assert any((frames[k] != frames[0]).any() for k in inside)
        assert all((frames[k] == frames[0]).all() for k in outside)
        assert 1.0 < clip.peak(e) < 8.0
        apex = min(inside, key=lambda k: abs(clip.times[k] - e.apex_s))
        moved = np.hypot(*region_motion(frames[0], frames[apex], LANDMARKS).T)
        units = {a.au for a in e.actions}
        if units <= {4}:
            assert int(moved.argmax()) in [
                i for name, i in INDEX.items() if "brow" in name or name == "glabella"
            ]


def test_given_expressions_are_laid_in_their_own_size(traced: Traced, rig: Rig) -> None:
    brow = Expression(0.8, 1.0, 1.2, (AuAction(1, "B", 0.05), AuAction(2, "B", 0.05)))
    moved = []
    for size in (2.0, 4.0):
        clip = VideoClip(traced, seed=1, film=CLEAN, expressions={brow: size}, rig=rig)
        pictures = list(clip.pictures())
        assert clip.expressions == (brow,)
        assert clip.peak(brow) == size
        moved.append(np.linalg.norm(region_motion(pictures[20], pictures[25], LANDMARKS), axis=1).max())
    assert moved[0] > 0.5
    assert moved[1] / moved[0] == pytest.approx(2, rel=0.15)


def test_a_field_is_carried_along_with_the_head(traced: Traced, rig: Rig) -> None:
    from mellm.training.synth.warper import Portrait

    portrait = Portrait(picture(), LANDMARKS, rig)
    field = portrait.unit_field([(12, "L")]) * np.float32(0.2)
    moved = LANDMARKS + np.float32((12, -7))
    carried = composite._carried(np.roll(picture(), (-7, 12), axis=(0, 1)), moved, field, LANDMARKS, 1.0)
    still = composite._carried(picture(), LANDMARKS, field, LANDMARKS, 1.0)
    inner = np.s_[60:190, 60:190]
    there = np.roll(still, (-7, 12), axis=(0, 1))[inner].astype(int)
    assert np.abs(carried[inner].astype(int) - there).mean() < 1.0


def test_remakes_change_time_size_and_side(traced: Traced, rig: Rig) -> None:
    clip = VideoClip(
        traced, seed=2, per_min=0, film=CLEAN, remake=Remake(zoom=0.5, speed=1.25, mirror=True), rig=rig
    )
    assert clip.expressions == ()
    assert clip.seconds == pytest.approx(3 / 1.25, abs=0.01)
    assert clip.fps == pytest.approx(31.25, abs=0.1)
    small = cv2.resize(picture(), (128, 128), interpolation=cv2.INTER_AREA)
    first = next(iter(clip.pictures()))
    assert (first == small[:, ::-1]).all()


def test_expressions_avoid_times_without_a_face(traced: Traced, rig: Rig) -> None:
    landmarks = traced.landmarks.copy()
    landmarks[30:] = np.nan
    half = Traced(traced.path, traced.times_s, landmarks)
    for seed in range(5):
        clip = VideoClip(half, seed=seed, per_min=60, film=CLEAN, rig=rig)
        assert all(e.offset_s < 30 / 25 for e in clip.expressions)
    with pytest.raises(UsageError, match="no frames"):
        VideoClip(traced, seed=0, start_s=50, rig=rig)


@pytest.mark.parametrize("codec", ["h264", "jpeg", "none"])
def test_the_codec_keeps_count_time_and_picture(codec: composite.Codec) -> None:
    film = Film(noise=0, codec=codec, quality=90 if codec == "jpeg" else 18)
    stamps = [k * 40_000_000 for k in range(6)]
    smooth = cv2.GaussianBlur(picture(), (0, 0), 3)
    frames = list(composite.coded(iter([smooth] * 6), film, stamps, "x"))
    assert [f.pts_ns for f in frames] == stamps
    assert all(np.abs(f.image.astype(int) - smooth).mean() < 3 for f in frames)


def test_rough_films_are_worse_than_ordinary_ones() -> None:
    def lost(draw: Callable[[np.random.Generator], Film]) -> float:
        still = picture()
        total = 0.0
        for seed in range(20):
            film = draw(np.random.default_rng(seed))
            shot = film.shoot([still] * 3, 30.0, seed)
            stamps = [round(k * 1e9 / 30) for k in range(3)]
            *_, last = composite.coded(shot, film, stamps, "film")
            total += float(np.abs(last.image.astype(float) - still).mean())
        return total

    assert lost(composite.draw_rough_film) > 1.5 * lost(composite.draw_film)


def test_a_film_is_the_same_at_every_run() -> None:
    film = Film(noise=2, blur=0.5, flicker=0.01)
    a, b = (list(film.shoot([picture()] * 3, 25, 7)) for _ in range(2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert (a[0] != a[1]).any()
