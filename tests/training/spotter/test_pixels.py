from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.spotting import FakeStepModel
from mellm.detectors.stepmodel import outputs
from mellm.detectors.textured_plane import TexturedPlane
from mellm.stream.frames import Frame
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.pixels import FileClip, evaluate_pixels, run


class SheetClip:
    """A sheet that is moved at one region between 1.0 and 1.4 s."""

    name = "sheet"
    groups = ("50 fps",)
    seconds = 2.4
    truths = (Interval(1.0, 1.2, 1.4, (4,), 3.0),)

    def __init__(self) -> None:
        self.sheet = TexturedPlane(iod=60, size=(240, 240))

    def frames(self) -> Iterator[Frame]:
        for k in range(120):
            lift = 3.0 * max(0.0, np.cos((k / 50 - 1.2) / 0.4 * np.pi)) if abs(k / 50 - 1.2) < 0.2 else 0.0
            gray = self.sheet.draw(motions={"lip_corner_R": (0.0, -lift)})
            yield Frame("sheet", 0, k, k * 20_000_000, 0, cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))


def always_at_1200_ms() -> FakeStepModel:
    """Calls a peak where the region has risen most over 0.3 s: it comes back as far, and that is no peak."""

    def script(features: np.ndarray) -> np.ndarray:
        motion = float((-features[68:130]).max())
        p = min(max(motion / 3, 0.01), 0.99)
        return outputs(me=p, apex=p, to_onset=0.2, to_offset=0.2, aus={4: 0.9})

    return FakeStepModel(script)


def test_the_product_chain_is_scored_from_pixels() -> None:
    clip = SheetClip()
    landmarks = clip.sheet.landmarks()

    def analyzer() -> FakeFaceAnalyzer:
        return FakeFaceAnalyzer(lambda frame: landmarks)

    seen: list[int] = []
    scores = evaluate_pixels(
        [clip], always_at_1200_ms(), analyzer=analyzer, progress=lambda r: seen.append(r.frames_with_face)
    )
    assert seen == [120]
    assert set(scores) == {"all", "50 fps"}
    assert scores["all"].truths == 1
    assert scores["all"].hits == 1
    assert scores["all"].au_f1 == 1


def test_nothing_is_spotted_where_there_is_no_face() -> None:
    result = run(SheetClip(), always_at_1200_ms(), analyzer=lambda: FakeFaceAnalyzer(lambda frame: None))
    assert result.frames_with_face == 0
    assert result.spots == ()


def test_a_written_clip_brings_its_micro_expressions(tmp_path: Path) -> None:
    expression = {"onset_s": 1.0, "apex_s": 1.2, "offset_s": 1.4, "aus": [{"au": 4}], "peak": 2.0}
    truth = {
        "talks": True,
        "spec": {"seconds": 10.0, "compression": "h264"},
        "expressions": [{**expression, "kind": "micro"}, {**expression, "kind": "macro"}],
    }
    (tmp_path / "clip-1.json").write_text(json.dumps(truth))
    clip = FileClip.load(tmp_path / "clip-1.mp4")
    assert clip.truths == (Interval(1.0, 1.2, 1.4, (4,), 2.0),)
    assert clip.groups == ("talking", "h264")
