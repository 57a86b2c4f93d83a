"""Known micro-expressions on real faces: semi-synthetic clips with exact truth.

:class:`StillClip` brings a photograph to life with a script of :mod:`mellm.training.synth.script`; its skin, light
and shape are real, its motion is the face model's. :class:`VideoClip` leaves a recording as it is, talk, head motion
and all, and moves the skin by micro-expressions on top; all but those motions is real. Both are filmed again: sensor
noise, light, and a codec come after the warp, so that no seam betrays it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.quality import pose as head_pose
from mellm.detectors.regions import eye_frame
from mellm.stream.errors import ModelMissing, SourceEmpty, UsageError
from mellm.stream.files import replacing
from mellm.stream.frames import Frame
from mellm.stream.sources.media import open_container
from mellm.training.synth.events import Event, Expression
from mellm.training.synth.rig import BLENDSHAPES, INDEX, Rig, load_rig
from mellm.training.synth.script import IOD_CM, PROFILES, Profile, Script, draw_micro, random_script
from mellm.training.synth.warper import Portrait, move

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
U8: TypeAlias = NDArray[np.uint8]
Codec: TypeAlias = Literal["h264", "jpeg", "none"]

UNSEEN = tuple(name for name in BLENDSHAPES if name.startswith("eyeLook"))
"""Blendshapes that a warp of skin cannot show."""

STABLE = (27, 28, 29, 30, 31, 35, 36, 39, 42, 45)
"""Landmarks that tell where the head is, whatever the face does."""

TURN_LIMIT = 0.12
"""Largest yaw and pitch of a photograph, radians; beyond it a warp shows that it is flat."""


def media() -> Path:
    """Folder of the real pictures and recordings.

    :raises ModelMissing: it is not there
    """
    places = [os.environ.get("MELLM_SHARED"), Path(__file__).resolve().parents[3] / "shared" / "data"]
    for place in places:
        if place and (Path(place) / "media").is_dir():
            return Path(place) / "media"
    raise ModelMissing(
        "the folder of real pictures and recordings is not here",
        remedy="set MELLM_SHARED to the folder that holds media/stills, media/videos and media/people",
    )


@dataclass(frozen=True, slots=True)
class Film:
    """How the moved picture is filmed again.

    :param noise: standard deviation of the sensor's noise, grey levels
    :param blur: of the optics, pixels
    :param flicker: relative amplitude of the lamp
    :param flicker_hz: its frequency as the camera sees it
    :param codec: ``h264`` with constant rate factor ``quality``, ``jpeg`` of that quality, or nothing
    """

    noise: float = 1.0
    blur: float = 0.0
    flicker: float = 0.0
    flicker_hz: float = 1.0
    codec: Codec = "h264"
    quality: int = 20

    def shoot(self, pictures: Iterable[U8], fps: float, seed: int) -> Iterator[U8]:
        """Pictures with light and noise, before the codec."""
        rng = np.random.default_rng([0xF11, seed])
        bank: F32 | None = None
        for k, picture in enumerate(pictures):
            shot = picture.astype(np.float32)
            if self.blur:
                shot = np.asarray(cv2.GaussianBlur(shot, (0, 0), self.blur), np.float32)
            if self.flicker:
                shot *= np.float32(1 + self.flicker * np.sin(2 * np.pi * self.flicker_hz * k / fps))
            if self.noise:
                height, width = picture.shape[:2]
                if bank is None:
                    bank = rng.normal(0, self.noise, (height + 61, width + 61, 1)).astype(np.float32)
                y, x = rng.integers(61, size=2)
                shot += bank[y : y + height, x : x + width] * (1 if rng.random() < 0.5 else -1)
            yield np.clip(shot, 0, 255).astype(np.uint8)


def draw_film(rng: np.random.Generator) -> Film:
    """A camera between a good one and a poor webcam, and a codec."""
    codec: Codec = ("h264", "jpeg", "none")[rng.choice(3, p=(0.65, 0.2, 0.15))]
    return Film(
        noise=float(np.exp(rng.uniform(np.log(0.5), np.log(2.5)))),
        blur=float(rng.uniform(0.3, 0.8)) if rng.random() < 0.4 else 0.0,
        flicker=float(rng.uniform(0.002, 0.02)) if rng.random() < 0.3 else 0.0,
        flicker_hz=float(np.exp(rng.uniform(np.log(0.3), np.log(12)))),
        codec=codec,
        quality=int(rng.integers(18, 25) if codec == "h264" else rng.integers(80, 97)),
    )


def draw_rough_film(rng: np.random.Generator) -> Film:
    """What is still good enough to be analysed, and hardly more: a poor lens in the dark, and a codec that saves."""
    codec: Codec = ("h264", "jpeg", "none")[rng.choice(3, p=(0.65, 0.2, 0.15))]
    return replace(
        draw_film(rng),
        noise=float(np.exp(rng.uniform(np.log(1.0), np.log(8.0)))),
        blur=float(rng.uniform(0.5, 2.5)) if rng.random() < 0.4 else 0.0,
        codec=codec,
        quality=int(rng.integers(26, 42) if codec == "h264" else rng.integers(20, 70)),
    )


def coded(pictures: Iterable[U8], film: Film, stamps_ns: Iterable[int], name: str) -> Iterator[Frame]:
    """Pictures through the film's codec and back, as frames at the given times."""
    if film.codec == "h264":
        pictures = _through_h264(pictures, film.quality)
    elif film.codec == "jpeg":
        pictures = (_through_jpeg(p, film.quality) for p in pictures)
    for index, (picture, t) in enumerate(zip(pictures, stamps_ns, strict=False)):
        yield Frame(name, 0, index, t, 0, picture)


def _through_jpeg(picture: U8, quality: int) -> U8:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _through_h264(pictures: Iterable[U8], crf: int) -> Iterator[U8]:
    """Encode in memory, then decode; sizes must be even."""
    store = io.BytesIO()
    with av.open(store, "w", format="matroska") as out:
        stream = out.add_stream(
            "libx264", rate=30, options={"crf": str(crf), "preset": "fast", "threads": "1"}
        )
        stream.pix_fmt = "yuv420p"
        for k, picture in enumerate(pictures):
            if k == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = k, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    store.seek(0)
    with av.open(store, "r") as back:  # in memory: no file to be found
        for frame in back.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def blendshape_fields(portrait: Portrait, names: tuple[str, ...], step: int = 2) -> F32:
    """Displacement by each blendshape at full strength, K×(H/step)×(W/step)×2 pixels of the full picture."""
    rig, skin = portrait.rig, portrait._skin
    flat = rig.mean[skin, :2] * [1, -1]
    here = np.asarray(portrait._spline(flat))
    shifts = [
        np.asarray(portrait._spline((rig.mean[skin] + rig.exp[INDEX[name]][skin])[:, :2] * [1, -1])) - here
        for name in names
    ]
    height, width = portrait.image.shape[:2]
    y, x = np.mgrid[0:height:step, 0:width:step].astype(np.float64)
    dense = LinearNDInterpolator(portrait._placed, np.concatenate(shifts, axis=1), fill_value=0.0)(x, y)
    mask = portrait._mask[::step, ::step]
    fields = np.moveaxis(dense.reshape(*y.shape, len(names), 2), 2, 0).astype(np.float32)
    sigma = 0.02 * portrait.iod / step
    return np.stack([cv2.GaussianBlur(f, (0, 0), sigma) * mask[..., None] for f in fields])


def _enlarge(field: F32, shape: tuple[int, ...]) -> F32:
    return np.asarray(cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


class StillClip:
    """A photograph that does what a script says.

    :param image: H×W×3 with one frontal face
    :param landmarks: its 68 landmarks
    :param fps: of the clip
    :param profile: name in :data:`mellm.training.synth.script.PROFILES`
    :param face_px: width of the face in the clip, pixels
    :param more: events besides those of the profile;
        :param script: what the face does, in the place of what ``profile`` would draw
    """

    def __init__(
        self,
        image: U8,
        landmarks: F32,
        *,
        seed: int,
        seconds: float,
        fps: float,
        profile: str = "quiet",
        face_px: float = 220.0,
        film: Film | None = None,
        more: Sequence[Event] = (),
        script: Script | None = None,
        rig: Rig | None = None,
    ) -> None:
        self.seed, self.seconds, self.fps = seed, seconds, fps
        self.rig = rig or load_rig()
        rng = np.random.default_rng([0x57111, seed])
        self.film = film or draw_film(rng)
        made = script or random_script(rng, seconds, PROFILES[profile])
        self.script = Script(seconds, (*made.events, *more))
        self.image, self.landmarks = framed(image, landmarks, face_px)

    @property
    def talks(self) -> bool:
        """Whether the mouth speaks."""
        return self.script.talks

    @cached_property
    def _portrait(self) -> Portrait:
        return Portrait(self.image, self.landmarks, self.rig)

    def peak(self, expression: Expression) -> float:
        """Largest regional displacement at the apex as the engine measures it, 1/100 inter-ocular distance."""
        return self._portrait.peak(_apex_field(self._portrait, expression))

    def pictures(self) -> Iterator[U8]:
        """Frames before they are filmed."""
        return self.pictures_at(np.arange(round(self.seconds * self.fps)) / self.fps)

    def pictures_at(self, times: F64) -> Iterator[U8]:
        """The photograph at ``times`` (seconds, any order), before it is filmed."""
        face, pose = self.script.evaluate(times)
        used = tuple(n for n in BLENDSHAPES if n not in UNSEEN and face[:, INDEX[n]].any())
        fields = blendshape_fields(self._portrait, used) if used else np.zeros((0, 1, 1, 2), np.float32)
        strength = face[:, [INDEX[n] for n in used]].astype(np.float32)
        ahead = self._portrait.turn_field()[..., 0]
        iod = self._portrait.iod
        centre = tuple(float(v) for v in self.landmarks.mean(axis=0))
        for k in range(len(times)):
            active = np.flatnonzero(strength[k])
            field = np.zeros((*self.image.shape[:2], 2), np.float32)
            if active.size:
                field += _enlarge(np.tensordot(strength[k, active], fields[active], 1), field.shape)
            yaw, pitch = np.clip(pose[k, :2], -TURN_LIMIT, TURN_LIMIT)
            field[..., 0] += ahead * np.float32(yaw)
            field[..., 1] -= ahead * np.float32(pitch)
            affine = cv2.getRotationMatrix2D(
                centre, float(np.rad2deg(-pose[k, 2])), float(1 + pose[k, 5] / 90)
            )
            affine[:, 2] += (pose[k, 3] * iod / IOD_CM, -pose[k, 4] * iod / IOD_CM)
            yield move(self.image, field, np.asarray(affine, np.float64), iterations=2)

    def frames(self) -> Iterator[Frame]:
        """The filmed clip."""
        count = round(self.seconds * self.fps)
        stamps = [round(k * 1e9 / self.fps) for k in range(count)]
        return coded(
            self.film.shoot(self.pictures(), self.fps, self.seed), self.film, stamps, f"still-{self.seed}"
        )


def _apex_field(portrait: Portrait, expression: Expression) -> F32:
    """Displacement of every pixel at the apex of an expression."""
    amount = np.sum([a.coefficients() for a in expression.actions], axis=0)
    names = tuple(n for n in BLENDSHAPES if amount[INDEX[n]] and n not in UNSEEN)
    fields = blendshape_fields(portrait, names)
    weights = np.array([amount[INDEX[n]] for n in names], np.float32)
    return _enlarge(np.tensordot(weights, fields, 1), portrait.image.shape)


def framed(image: U8, landmarks: F32, face_px: float) -> tuple[U8, F32]:
    """The face at the wanted width with room round it, sizes even."""
    zoom = face_px / (2.24 * eye_frame(landmarks).iod)
    kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    large = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=kind)
    points = (landmarks + 0.5) * zoom - 0.5
    x, y = points.mean(axis=0)
    half = 0.95 * face_px
    left, top = max(0, round(x - half)), max(0, round(y - 1.05 * half))
    right, bottom = min(large.shape[1], round(x + half)), min(large.shape[0], round(y + 0.95 * half))
    right, bottom = right - (right - left) % 2, bottom - (bottom - top) % 2
    cut = np.ascontiguousarray(large[top:bottom, left:right])
    return np.asarray(cut, np.uint8), (points - (left, top)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """A recording's faces: landmarks (N×68×2 pixels, NaN where there is no usable face) and times (N, s)."""

    path: Path
    times_s: F64
    landmarks: F32

    @property
    def fps(self) -> float:
        """Median frame rate."""
        return float(1 / np.median(np.diff(self.times_s)))


def trace(path: Path, cache: Path | None = None) -> Traced:
    """Landmarks of the largest face in every frame of a recording, by the engine's own networks, a little smoothed.

    :param cache: folder in which the result is kept
    :raises SourceEmpty: no face in it
    """
    kept = cache / f"{path.stem}.npz" if cache else None
    if kept and kept.exists():
        with np.load(kept) as stored:
            return Traced(path, stored["times_s"], stored["landmarks"])
    analyzer = FaceAnalyzer(AnalyzerOptions(max_faces=1, landmark_ms=1))
    times, found = [], []
    for index, (t, picture) in enumerate(_decoded(path)):
        update = analyzer.push(Frame(path.stem, 0, index, round(t * 1e9), 0, picture))
        times.append(t)
        nobody = np.full((68, 2), np.nan, np.float32)
        found.append(update.faces[0].landmarks if update.faces else nobody)
    landmarks = np.stack(found) if found else np.zeros((0, 68, 2), np.float32)
    if not len(landmarks) or np.isnan(landmarks[:, 0, 0]).all():
        raise SourceEmpty(f"no face in {path.name}", remedy="give a recording of one person's face")
    traced = Traced(path, np.array(times), _smoothed(landmarks))
    if kept:
        with replacing(kept) as part:
            np.savez_compressed(part, times_s=traced.times_s, landmarks=traced.landmarks)
    return traced


def _smoothed(landmarks: F32) -> F32:
    """Mean over three frames, where all three have the face."""
    out = landmarks.copy()
    out[1:-1] = 0.25 * landmarks[:-2] + 0.5 * landmarks[1:-1] + 0.25 * landmarks[2:]
    gone = np.isnan(out[:, 0, 0])
    out[gone] = landmarks[gone]
    return out


def _decoded(path: Path) -> Iterator[tuple[float, U8]]:
    """Times (s, from the first frame) and pictures."""
    first: float | None = None
    with open_container(path) as container:
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            yield frame.time - first, np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


@dataclass(frozen=True, slots=True)
class Remake:
    """How a recording is changed as a whole before it is used for training; the default leaves it as it is.

    :param zoom: of the picture
    :param speed: above 1 everything happens faster
    :param mirror: left and right
        change places
    :param thin: keep each frame with this probability
    """

    zoom: float = 1.0
    speed: float = 1.0
    mirror: bool = False
    thin: float = 1.0


class VideoClip:
    """A recording on which micro-expressions are laid.

    Expressions are placed where the face is seen from the front, ``per_min`` a minute of such time, at least half a
    second apart. They ride on whatever the person does.

    :param traced: the recording and its landmarks
    :param per_min: 0 leaves the recording free of them
    :param expressions: these in the place of drawn ones, each with its peak in hundredths of the inter-ocular distance
    :param start_s: stretch of the recording, its own time
    :param end_s: as ``start_s``
    """

    def __init__(
        self,
        traced: Traced,
        *,
        seed: int,
        per_min: float = 22.0,
        profile: Profile | None = None,
        film: Film | None = None,
        remake: Remake | None = None,
        expressions: Mapping[Expression, float] | None = None,
        start_s: float = 0.0,
        end_s: float = float("inf"),
        rig: Rig | None = None,
    ) -> None:
        self.traced, self.seed = traced, seed
        self.remake = remake or Remake()
        self.rig = rig or load_rig()
        rng = np.random.default_rng([0x71DE0, seed])
        self.film = film or draw_film(rng)
        inside = np.flatnonzero((traced.times_s >= start_s) & (traced.times_s < end_s))
        if inside.size < 2:
            raise UsageError(f"no frames of {traced.path.name} between {start_s} and {end_s} s")
        if self.remake.thin < 1:
            keep = rng.random(inside.size) < self.remake.thin
            keep[[0, -1]] = True
            inside = inside[keep]
        self._frames = inside
        self.times = (traced.times_s[inside] - traced.times_s[inside[0]]) / self.remake.speed
        usable = np.array([_usable(points) for points in traced.landmarks[inside]])
        self._sizes = dict(expressions or {})
        drawn = self._sizes or _place(rng, self.times, usable, per_min, profile or Profile())
        self.expressions = tuple(drawn)
        self._peaks: dict[Expression, float] = {}

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return float(self.times[-1] + np.median(np.diff(self.times)))

    @property
    def fps(self) -> float:
        """Median frame rate."""
        return float(1 / np.median(np.diff(self.times)))

    @property
    def start_s(self) -> float:
        """Time of the recording at which the clip begins."""
        return float(self.traced.times_s[self._frames[0]])

    @property
    def script(self) -> Script:
        """The expressions that were laid on it."""
        return Script(self.seconds, self.expressions)

    def peak(self, expression: Expression) -> float:
        """Largest regional displacement at the apex, 1/100 inter-ocular distance; known once the frames were read."""
        return self._peaks[expression]

    def pictures(self) -> Iterator[U8]:
        """Frames before they are filmed."""
        wanted = {int(i): k for k, i in enumerate(self._frames)}
        laid: dict[Expression, tuple[F32, F32]] = {}
        for index, (_, picture) in enumerate(_decoded(self.traced.path)):
            if index not in wanted:
                if index > self._frames[-1]:
                    break
                continue
            t = float(self.times[wanted[index]])
            points = self.traced.landmarks[index]
            picture, points = self._zoomed(picture, points)
            for e in self.expressions:
                if e.onset_s < t < e.offset_s and not np.isnan(points[0, 0]):
                    if e not in laid:
                        portrait = Portrait(picture, points, self.rig)
                        field = _apex_field(portrait, e)
                        self._peaks[e] = portrait.peak(field)
                        if e in self._sizes:
                            field *= np.float32(self._sizes[e] / self._peaks[e])
                            self._peaks[e] = self._sizes[e]
                        laid[e] = field, points
                    picture = _carried(picture, points, *laid[e], _strength(e, t))
            yield np.ascontiguousarray(picture[:, ::-1]) if self.remake.mirror else picture

    def frames(self) -> Iterator[Frame]:
        """The filmed clip."""
        stamps = [round(t * 1e9) for t in self.times]
        name = f"{self.traced.path.stem}-{self.seed}"
        return coded(self.film.shoot(self.pictures(), self.fps, self.seed), self.film, stamps, name)

    def _zoomed(self, picture: U8, points: F32) -> tuple[U8, F32]:
        zoom = self.remake.zoom
        if zoom != 1:
            kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
            picture = np.asarray(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=kind), np.uint8)
            points = ((points + 0.5) * zoom - 0.5).astype(np.float32)
        height, width = picture.shape[:2]
        return picture[: height - height % 2, : width - width % 2], points


def _usable(points: F32) -> bool:
    """Whether a face is there and turned by less than 30 degrees, as the engine requires."""
    return not np.isnan(points[0, 0]) and abs(head_pose(points)[0]) < 28


def _place(
    rng: np.random.Generator, times: F64, usable: NDArray[np.bool_], per_min: float, profile: Profile
) -> list[Expression]:
    """Expressions where the face is usable from 0.4 s before the onset to 0.15 s after the offset."""
    step = float(np.median(np.diff(times)))
    wanted = int(per_min * usable.sum() * step / 60 + rng.random()) if per_min else 0
    placed: list[Expression] = []
    for _ in range(60 * wanted):
        if len(placed) == wanted:
            break
        made = draw_micro(rng, float(rng.uniform(0.4, max(0.41, times[-1] - 0.9))), profile)
        around = (times >= made.onset_s - 0.4) & (times <= made.offset_s + 0.15)
        fits = made.offset_s + 0.3 < times[-1] and around.sum() > 2 and usable[around].all()
        if fits and all(made.offset_s + 0.5 < e.onset_s or e.offset_s + 0.5 < made.onset_s for e in placed):
            placed.append(made)
    return sorted(placed, key=lambda e: e.onset_s)


def _strength(expression: Expression, t: float) -> float:
    """Envelope of an expression, 0…1; its units move together here."""
    face = np.zeros((1, len(BLENDSHAPES)))
    expression.add(np.array([t]), face, np.zeros((1, 6)))
    apex = np.sum([a.coefficients() for a in expression.actions], axis=0)
    return float(face[0] @ apex / (apex @ apex))


def _carried(picture: U8, points: F32, field: F32, reference: F32, strength: float) -> U8:
    """The picture moved by a field that was made for the face at ``reference`` and is carried along with the head."""
    rows = list(STABLE)
    # the library's types do not know that it may find none
    found: Any = cv2.estimateAffinePartial2D(reference[rows], points[rows], method=cv2.LMEDS)[0]
    turn = np.array([[1.0, 0, 0], [0, 1, 0]]) if found is None else found
    height, width = picture.shape[:2]
    there = cv2.warpAffine(field, turn, (width, height), flags=cv2.INTER_LINEAR)
    there = there @ turn[:, :2].T.astype(np.float32)
    # only the face moves: work on its box
    low = np.floor(points.min(0) - 0.9 * np.ptp(points[:, 0])).astype(int).clip(0)
    high = np.ceil(points.max(0) + 0.9 * np.ptp(points[:, 0])).astype(int)
    box = np.s_[low[1] : high[1], low[0] : high[0]]
    out = picture.copy()
    out[box] = move(picture[box], np.ascontiguousarray(there[box]) * np.float32(strength))
    return out
