"""Rendered clips with exact truth: video files to test the whole pipeline on, from pixels up.

``python -m mellm.training.synth.clips --split test --count 24 --fps 50 --out DIR`` writes ``clip-SEED.mp4`` and
``clip-SEED.json`` for each clip. People of one split never appear in another. A clip depends on its seed and
on the options alone; a clip that is already there is kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import click
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import NAMES
from mellm.stream.errors import UsageError
from mellm.training.command import Command
from mellm.training.synth.camera import draw_sensor
from mellm.training.synth.events import Expression
from mellm.training.synth.renderer import Renderer, Shot
from mellm.training.synth.rig import PIVOT, SPLITS, Rig, Split, camera_for_face, load_rig
from mellm.training.synth.script import PROFILES, Script, random_script

U8: TypeAlias = NDArray[np.uint8]
Compression: TypeAlias = Literal["h264", "jpeg", "none"]

FORMAT = "mellm-rendered-clip/2"
"""Rises when the same seed begins to mean another clip, so that old files are not taken for it."""
FACE_WIDTHS = (128.0, 300.0)
"""Range of face widths, pixels."""

FINE_BELOW = 170.0
"""Faces narrower than this many pixels are drawn with four sub-pixels a pixel: coarse pictures show the
stairs of unsmoothed edges, which flow takes for motion."""


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything that a clip is made from.

    :param profile: name in :data:`mellm.training.synth.script.PROFILES`
    :param compression: ``h264`` with constant rate factor ``quality``; ``jpeg`` frames of that quality in a
        lossless stream, as webcams send them; ``none``: lossless
    """

    seed: int
    seconds: float
    fps: float
    profile: str
    compression: Compression
    quality: int
    face_width: float
    side: int


def draw_spec(
    seed: int,
    seconds: float = 10.0,
    fps: float = 50.0,
    profile: str | None = None,
    compression: Compression | None = None,
) -> ClipSpec:
    """Conditions of clip ``seed``. Even seeds are quiet, odd ones talk, unless ``profile`` says otherwise.

    :raises UsageError: unknown profile, no such compression, or a length or rate that makes no clip
    """
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"no profile {profile!r}", remedy=f"use one of {', '.join(PROFILES)}")
    if compression not in (None, "h264", "jpeg", "none"):
        raise UsageError(f"no compression {compression!r}", remedy="use h264, jpeg or none")
    if not 2 <= seconds <= 600 or not 5 <= fps <= 500:
        raise UsageError(f"a clip of {seconds} s at {fps} frames a second", remedy="2–600 s at 5–500 Hz")
    rng = np.random.default_rng([0xC119, seed])
    width = float(np.exp(rng.uniform(*np.log(FACE_WIDTHS))))
    # drawn whatever the caller fixes, so that fixing one condition leaves the others as they were
    drawn: Compression = ("h264", "h264", "jpeg", "none")[rng.choice(4, p=[0.45, 0.2, 0.2, 0.15])]
    crf, jpeg = int(rng.integers(18, 24)), int(rng.integers(80, 97))
    kind = compression or drawn
    return ClipSpec(
        seed=seed,
        seconds=seconds,
        fps=fps,
        profile=profile or ("talk" if seed % 2 else "quiet"),
        compression=kind,
        quality={"h264": crf, "jpeg": jpeg, "none": 0}[kind],
        face_width=round(width, 1),
        side=2 * round(width * 0.86),
    )


def region_displacement(
    rig: Rig, neutral: NDArray[np.float32], expression: Expression
) -> NDArray[np.float64]:
    """How far each region moves from neutral to apex, seen from the front, hundredths of IOD (``COUNT``)."""
    coefficients = Script(expression.offset_s, (expression,)).coefficients(expression.apex_s)[0]
    ids = rig.region_vertices()
    moved = np.tensordot(coefficients, rig.exp[:, ids, :2], 1).mean(1)
    out: NDArray[np.float64] = 100 * np.hypot(*moved.T) / rig.iod(neutral)
    return out


def _expression_truth(rig: Rig, neutral: NDArray[np.float32], expression: Expression) -> dict[str, Any]:
    moved = region_displacement(rig, neutral, expression)
    order = np.argsort(-moved)
    return {
        "kind": expression.kind,
        "onset_s": round(expression.onset_s, 4),
        "apex_s": round(expression.apex_s, 4),
        "offset_s": round(expression.offset_s, 4),
        "aus": [{"au": a.au, "side": a.side, "intensity": round(a.intensity, 3)} for a in expression.actions],
        "peak": round(float(moved.max()), 3),
        "regions": {NAMES[i]: round(float(moved[i]), 3) for i in order if moved[i] >= 0.2},
    }


class RenderedClip:
    """A clip that can be iterated over, any number of times, and its truth.

    :param script: what the face does, in the place of what ``spec.profile`` would draw
    :param keep_landmarks: gather the 68 true landmarks of each frame while iterating
    """

    def __init__(
        self,
        spec: ClipSpec,
        rig: Rig | None = None,
        *,
        script: Script | None = None,
        keep_landmarks: bool = False,
    ) -> None:
        self.spec = spec
        self.rig = rig or load_rig()
        rng = np.random.default_rng([0x5C41, spec.seed])
        self.script = script or random_script(rng, spec.seconds, PROFILES[spec.profile])
        distance = float(rng.uniform(55, 140))
        self.camera = camera_for_face(spec.face_width, spec.side, spec.side, distance)
        sensor = draw_sensor(rng)
        if spec.compression == "jpeg":
            sensor = replace(sensor, jpeg=spec.quality)
        self.renderer = Renderer(
            self.rig,
            spec.seed,
            self.camera,
            sensor=sensor,
            supersample=2 if spec.face_width < FINE_BELOW else 1,
        )
        self.keep_landmarks = keep_landmarks
        self.landmarks: list[list[list[float]]] = []

    def __len__(self) -> int:
        return round(self.spec.seconds * self.spec.fps)

    def shots(self) -> Iterator[Shot]:
        """Frames with all that is known about them, in order."""
        times = np.arange(len(self)) / self.spec.fps
        coefficients, poses = self.script.evaluate(times)
        self.landmarks = []
        for k, t in enumerate(times):
            shot = self.renderer.render(coefficients[k], poses[k], float(t), k)
            if self.keep_landmarks:
                self.landmarks.append(np.round(shot.landmarks.astype(float), 2).tolist())
            yield shot

    def __iter__(self) -> Iterator[U8]:
        for shot in self.shots():
            yield shot.image

    def truth(self) -> dict[str, Any]:
        """What really happens in the clip, as JSON data: times in seconds, motion in hundredths of IOD."""
        neutral = self.rig.identity(self.spec.seed)
        depth = self.camera.distance / (self.camera.distance - 9.2 + PIVOT[2])  # the eyes, before the pivot
        out: dict[str, Any] = {
            "format": FORMAT,
            "spec": asdict(self.spec),
            "frames": len(self),
            "iod_px": round(self.rig.iod(neutral) * self.camera.scale * depth, 1),
            "talks": self.script.talks,
            "skin_tone": round(self.renderer.person.look.tone, 2),
            "sensor": asdict(self.renderer.sensor.look),
            "expressions": [_expression_truth(self.rig, neutral, e) for e in self.script.expressions],
            "distractors": [
                {
                    "kind": type(e).__name__,
                    "onset_s": round(e.onset_s, 3),
                    "offset_s": round(min(e.offset_s, self.spec.seconds), 3),
                }
                for e in sorted(self.script.events, key=lambda e: e.onset_s)
                if not isinstance(e, Expression)
            ],
        }
        if self.keep_landmarks:
            out["landmarks"] = self.landmarks
        return out


def rendered_clip(
    seed: int,
    seconds: float = 10.0,
    fps: float = 50.0,
    profile: str | None = None,
    compression: Compression | None = None,
) -> RenderedClip:
    """Clip ``seed``: iterate for BGR frames, ask :meth:`RenderedClip.truth` for what happens in it.

    H.264 is applied only when a clip is written to a file (:func:`write_clip`).
    """
    return RenderedClip(draw_spec(seed, seconds, fps, profile, compression))


def write_clip(clip: RenderedClip, folder: Path) -> Path:
    """Write ``clip-SEED.mp4`` and, once the video is complete, ``clip-SEED.json``; returns the video's path."""
    spec = clip.spec
    video = folder / f"clip-{spec.seed}.mp4"
    part = folder / f"clip-{spec.seed}.part.mp4"
    lossless = spec.compression != "h264"
    options = {"preset": "ultrafast", "qp": "0"} if lossless else {"preset": "fast", "crf": str(spec.quality)}
    rate = Fraction(spec.fps).limit_denominator(1001)
    with av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options | {"threads": "1"})
        stream.width = stream.height = spec.side
        stream.pix_fmt = "yuv444p" if lossless else "yuv420p"
        for k, image in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = k, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    part.replace(video)
    truth = folder / f"clip-{spec.seed}.json"
    truth.write_text(json.dumps(clip.truth(), indent=1) + "\n")
    return video


def _is_there(folder: Path, spec: ClipSpec, landmarks: bool) -> bool:
    """Whether this very clip was written before."""
    try:
        stored = json.loads((folder / f"clip-{spec.seed}.json").read_text())
        same: bool = stored["format"] == FORMAT and stored["spec"] == asdict(spec)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and landmarks <= ("landmarks" in stored) and (folder / f"clip-{spec.seed}.mp4").is_file()


@click.command(cls=Command)
@click.option("--split", type=click.Choice(list(SPLITS)), default="test", show_default=True)
@click.option("--count", type=click.IntRange(1, 100_000), default=24, show_default=True)
@click.option(
    "--first", type=click.IntRange(0), default=0, show_default=True, help="First person of the split."
)
@click.option("--fps", type=float, default=50.0, show_default=True)
@click.option("--seconds", type=float, default=10.0, show_default=True)
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Default: every second clip talks.")
@click.option("--compression", type=click.Choice(["h264", "jpeg", "none"]), help="Default: a mixture.")
@click.option("--landmarks", is_flag=True, help="Store the 68 true landmarks of each frame.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(
    split: Split,
    count: int,
    first: int,
    fps: float,
    seconds: float,
    profile: str | None,
    compression: Compression | None,
    landmarks: bool,
    out: Path,
) -> None:
    """Render clips of synthetic people, with the truth about every expression beside each."""
    if first + count > len(SPLITS[split]):
        raise UsageError(f"split {split} has {len(SPLITS[split])} people", remedy="ask for fewer")
    rig = load_rig()
    out.mkdir(parents=True, exist_ok=True)
    seeds = SPLITS[split][first : first + count]
    with click.progressbar(seeds, label="clips", file=sys.stderr) as bar:
        for seed in bar:
            spec = draw_spec(seed, seconds, fps, profile, compression)
            if not _is_there(out, spec, landmarks):
                write_clip(RenderedClip(spec, rig, keep_landmarks=landmarks), out)


if __name__ == "__main__":
    main()
