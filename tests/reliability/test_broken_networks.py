"""F16: networks that are missing, damaged or answer with NaN."""

from __future__ import annotations

import numpy as np
import pytest

from mellm.detectors.analyzer import FaceUpdate, FakeFaceAnalyzer
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.detectors.types import F32
from mellm.engine.analysis.pipeline import MODEL_INVALID, FaceLost, SourcePipeline, Spotted
from mellm.engine.analysis.pipeline_factory import evidence_builder
from mellm.stream.errors import ModelOutputInvalid
from mellm.stream.frames import Frame
from tests.clients.processes import mellm
from tests.engine import moving
from tests.reliability.figures import record


class Faulty:
    """A face network that answers with NaN on some frames."""

    def __init__(self, bad: range) -> None:
        landmarks = moving.sheet().landmarks()
        self._good = FakeFaceAnalyzer(lambda frame: landmarks)
        self._bad = bad

    def push(self, frame: Frame) -> FaceUpdate:
        if frame.index in self._bad:
            raise ModelOutputInvalid("face_detector answered with NaN or infinity")
        return self._good.push(frame)

    def reset(self) -> None:
        self._good.reset()

    def limit(self, faces: int | None) -> None:
        self._good.limit(faces)


def chain(bad: range = range(0), step: FakeStepModel | None = None) -> SourcePipeline:
    model = step or FakeStepModel()
    return SourcePipeline("s", Faulty(bad), lambda: Spotter(model), evidence_builder("live"))


def run(made: SourcePipeline) -> list[object]:
    out = [o for frame in moving.frames() for o in made.push(frame)]
    return [*out, *made.finish()]


def test_f16_nan_from_a_face_network_drops_frames_and_the_camera_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = chain(bad=range(44, 50))
    out = run(made)
    counts = made.counts
    assert counts.captured == counts.analysed + counts.dropped[MODEL_INVALID]
    assert counts.dropped[MODEL_INVALID] == 6
    assert len([o for o in out if isinstance(o, FaceLost)]) == 1  # it goes on under its number
    spotted = [o.expression for o in out if isinstance(o, Spotted)]
    assert len(spotted) == moving.FOUND
    assert not [e for e in spotted if e.onset.index < 50 and e.offset.index >= 44], (
        "an expression crosses the hole"
    )
    assert caplog.text.count("frames are dropped") == 1
    record("F16", "C", run="NaN from a face network", dropped=6, expressions=len(spotted))


def test_f16_nan_from_the_spotter_costs_what_was_open_and_is_counted() -> None:
    from mellm.detectors.stepmodel import motion_script

    calls = 0

    def sometimes(features: F32) -> F32:
        nonlocal calls
        calls += 1
        return motion_script(features) * (np.nan if 60 <= calls < 63 else 1.0)

    made = chain(step=FakeStepModel(sometimes))
    out = run(made)
    spotted = [o for o in out if isinstance(o, Spotted)]
    assert made.counts.invalid_steps == 3
    assert 0 < len(spotted) <= moving.FOUND
    assert made.counts.captured == made.counts.analysed


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_f16_start_refuses_broken_weights_with_a_remedy(
    damage: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    from mellm.detectors.weights import store as weights

    cache = Path(str(tmp_path))
    if damage == "corrupt":
        for model in weights.listing():
            (cache / model.file).parent.mkdir(parents=True, exist_ok=True)
            (cache / model.file).write_bytes(b"\x08\x07 this is no network")
    monkeypatch.setenv("MELLM_CACHE", str(cache))
    done = mellm("watch", "synthetic:?seconds=0.5")
    assert done.code not in (0, 1)
    assert "Traceback" not in done.err
    assert "mellm models" in done.err
