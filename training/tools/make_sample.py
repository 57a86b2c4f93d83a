"""Makes the sample that ships with the project, and the truth about it.

``python -m mellm.training.tools.make_sample --out clients/sample`` rebuilds both, the same at every run.

A call with two tiles: a public-domain portrait (NASA, from scikit-image) moved by
:mod:`mellm.training.synth.warper`, and its mirror image as a second person who only sways. The expressions, their
sizes and times were fixed before any spotter saw the result; neither portrait nor seed occurs in training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mellm.detectors.faces import FaceDetector
from mellm.detectors.landmarks import Landmarker, ibug68, roi_of_detection, roi_of_mesh
from mellm.detectors.onnx import session
from mellm.detectors.weights import store as weights
from mellm.stream.errors import FaceError
from mellm.training.synth.envelope import bump, slow_noise
from mellm.training.synth.rig import Side, load_rig
from mellm.training.synth.warper import Portrait, move

SEED = 3_000_017
FPS = 50
SECONDS = 24.0
SIZE = (848, 480)
SCALE = 2.1
TILE = (216, 252)
NAMES: dict[Side, str] = {"L": "left", "R": "right", "B": "both"}


@dataclass(frozen=True, slots=True)
class Act:
    """One planned motion. ``peak`` is its largest regional displacement, 1/100 of the inter-ocular distance."""

    kind: str
    aus: tuple[tuple[int, Side], ...]
    peak: float
    onset: float
    apex: float
    offset: float
    hold: float = 0.0


EXPRESSIONS = (
    Act("micro", ((4, "B"),), 3.2, 2.40, 2.58, 2.82),
    Act("micro", ((6, "B"), (12, "B")), 3.8, 5.50, 5.70, 5.96),
    Act("micro", ((1, "B"), (2, "B")), 2.8, 8.60, 8.74, 8.94),
    Act("micro", ((12, "R"),), 2.0, 12.90, 13.08, 13.32),
    Act("micro", ((15, "B"), (17, "B")), 3.0, 16.10, 16.32, 16.56),
    Act("micro", ((9, "B"), (10, "B")), 4.0, 21.60, 21.76, 22.00),
)
MACRO = Act("macro-expression", ((6, "B"), (12, "B")), 11.0, 18.10, 18.70, 19.70, 0.4)
BLINKS = (
    Act("blink", ((45, "B"),), 0.0, 4.20, 4.29, 4.46),
    Act("blink", ((45, "B"),), 0.0, 14.50, 14.59, 14.76),
)
TURN = Act("head turn", (), 0.0, 10.10, 10.90, 11.90, 0.1)
TURN_RAD = 0.09


@lru_cache(maxsize=1)
def _networks() -> tuple[FaceDetector, Landmarker]:
    detector = FaceDetector(session(weights.path("face_detector"), "cpu"))
    return detector, Landmarker(session(weights.path("face_landmarks"), "cpu"))


def landmarks(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """68×2 landmarks of the only face, by the engine's own networks.

    :raises FaceError: there is no face
    """
    detect, place = _networks()
    found = detect(image)
    if not found:
        raise FaceError("no face in the picture", remedy="use a frontal face of at least 96 pixels")
    mesh, _ = place(image, roi_of_detection(found[0]))
    mesh, _ = place(image, roi_of_mesh(mesh))
    return ibug68(mesh)


def portrait() -> NDArray[np.uint8]:
    """The portrait, enlarged and cut to the picture, BGR."""
    from skimage.data import astronaut

    image = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    large = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    left = 472 - 330
    return np.ascontiguousarray(large[20 : 20 + SIZE[1], left : left + SIZE[0]])


def strength(act: Act, t: float) -> float:
    """Envelope of an act at a time, 0…1."""
    return float(bump(np.array([t]), act.onset, act.apex, act.offset, act.hold)[0])


def sway(t: float, seed: int, size: float, centre: tuple[float, float]) -> NDArray[np.float64]:
    """A slow drift of the head as a 2×3 affine: some pixels, a little roll, a little scale."""
    at = np.array([t])
    x, y, roll, grow = (float(slow_noise(at, seed + i, 2.5)[0]) for i in range(4))
    turn = 0.25 * roll * size, 1 + 0.0015 * grow * size
    pose = np.asarray(cv2.getRotationMatrix2D(centre, *turn), np.float64)
    pose[:, 2] += (1.2 * x * size, 0.8 * y * size)
    return pose


def render(seconds: float = SECONDS) -> tuple[Any, dict[str, Any]]:
    """A generator of BGR frames, and the truth without the file's hash."""
    person = Portrait(portrait(), landmarks(portrait()), load_rig())
    fields = {}
    for act in (*EXPRESSIONS, MACRO):
        full = person.unit_field(act.aus)
        fields[act] = full * np.float32(act.peak / person.peak(full))
    lids = person.unit_field(BLINKS[0].aus)
    turn = person.turn_field() * np.float32(TURN_RAD)
    x, y = person.landmarks.mean(axis=0).tolist()
    centre = (x, y)
    tile = _tile(person.image, person.landmarks)
    rng = np.random.default_rng(SEED)

    def frames() -> Any:
        for number in range(round(seconds * FPS)):
            t = number / FPS
            field = np.zeros_like(lids)
            for act, shape in fields.items():
                if act.onset < t < act.offset:
                    field += shape * np.float32(strength(act, t))
            for blink in BLINKS:
                if blink.onset < t < blink.offset:
                    field += lids * np.float32(strength(blink, t))
            if TURN.onset < t < TURN.offset:
                field += turn * np.float32(strength(TURN, t))
            picture = move(person.image, field, sway(t, SEED, 1.0, centre))
            drawn = cv2.warpAffine(tile, sway(t, SEED + 50, 0.6, (108, 110)), TILE, borderMode=1)
            _inset(picture, np.asarray(drawn, np.uint8))
            light = 1 + 0.004 * float(slow_noise(np.array([t]), SEED + 99, 0.6)[0])
            noise = rng.normal(0, 1.0, (*SIZE[::-1], 1)).astype(np.float32)
            yield np.clip(picture.astype(np.float32) * light + noise, 0, 255).astype(np.uint8)

    truth = {
        "what": "synthetic: a public-domain portrait moved by known amounts; no spontaneous expression",
        "fps": FPS,
        "frames": round(seconds * FPS),
        "size": list(SIZE),
        "seed": SEED,
        "command": "python -m mellm.training.tools.make_sample --out clients/sample",
        "portrait": "NASA, public domain, distributed with scikit-image as data.astronaut",
        "in_training": False,
        "eye_distance_px": round(person.iod, 1),
        "expressions": [_truth(act, person.peak(fields[act])) for act in EXPRESSIONS],
        "distractors": [_span(act) for act in sorted((*BLINKS, TURN, MACRO), key=lambda a: a.onset)],
        "silent_face": "the tile at the lower right, mirrored portrait, sways only",
    }
    return frames(), truth


def _tile(image: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The second person: the mirrored head, smaller and darker."""
    x, y = points.mean(axis=0)
    half = 155
    head = image[max(0, int(y) - 200) : int(y) + 162, int(x) - half : int(x) + half][:, ::-1]
    return np.asarray(cv2.resize(head, TILE, interpolation=cv2.INTER_AREA) * 0.85, np.uint8)


def _inset(picture: NDArray[np.uint8], tile: NDArray[np.uint8]) -> None:
    width, height = TILE
    x, y = SIZE[0] - width - 14, SIZE[1] - height - 14
    picture[y - 3 : y + height + 3, x - 3 : x + width + 3] = (60, 60, 60)
    picture[y : y + height, x : x + width] = tile


def _span(act: Act) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": act.kind}
    for name in ("onset", "apex", "offset"):
        frame = round(getattr(act, name) * FPS)
        out[f"{name}_frame"] = frame
        out[f"{name}_ms"] = round(frame * 1000 / FPS, 3)
    return out


def _truth(act: Act, peak: float) -> dict[str, Any]:
    units = [{"au": au, "side": NAMES[side]} for au, side in act.aus]
    return {**_span(act), "action_units": units, "peak_iod": round(peak, 2)}


def write(path: Path, frames: Any) -> None:
    """Encode as H.264; a single thread, so that the bytes are the same at every run."""
    with av.open(str(path), "w") as container:
        options = {"crf": "18", "preset": "slow", "threads": "1", "tune": "film"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    """Write sample.mp4 and sample.truth.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    frames, truth = render(options.seconds)
    video = options.out / "sample.mp4"
    write(video, frames)
    truth["sha256"] = hashlib.sha256(video.read_bytes()).hexdigest()
    text = json.dumps(truth, indent=1, ensure_ascii=False)
    (options.out / "sample.truth.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
