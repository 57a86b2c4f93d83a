"""Signals kept from the chain: equal to what the chain itself does, and never half a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="extra `train` is not installed")

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.spotting import FakeStepModel, SpottingOptions
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32, U8
from mellm.stream.errors import ModelCorrupt
from mellm.stream.frames import Frame, Gap
from mellm.training.spotter import pixels, records
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Event, Record

SHEET = TexturedPlane(iod=60, size=(240, 240))
TRUTH = Interval(1.0, 1.2, 1.4, (4,), 3.0)


def frames(start: int = 0, stop: int = 120) -> Iterator[Frame]:
    for k in range(start, stop):
        lift = 3.0 * max(0.0, np.cos((k / 50 - 1.2) / 0.4 * np.pi)) if abs(k / 50 - 1.2) < 0.2 else 0.0
        gray = SHEET.draw(motions={"lip_corner_R": (0.0, -lift)})
        yield Frame("sheet", 0, k, k * 20_000_000, 0, cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))


def analyzer() -> FakeFaceAnalyzer:
    landmarks = SHEET.landmarks()
    return FakeFaceAnalyzer(lambda frame: landmarks)


@pytest.fixture(scope="module")
def record() -> Record:
    return records.measure(
        "sheet",
        "nobody",
        frames(),
        truths=[TRUTH],
        events=[Event("blink", 0.2, 0.4)],
        seconds=2.4,
        fps=50,
        groups=("50 fps",),
        facts={"fold": "A"},
        analyzer=analyzer,
    )


class Clip:
    name, groups, truths, seconds = "sheet", ("50 fps",), (TRUTH,), 2.4

    def frames(self) -> Iterator[Frame]:
        return frames()


def test_a_record_gives_the_spots_that_the_chain_gives(record: Record) -> None:
    options = SpottingOptions(threshold=0.3)
    from_record = records.spot(record, FakeStepModel(), options)
    from_chain = pixels.run(Clip(), FakeStepModel(), options, analyzer).spots
    assert len(from_record) == len(from_chain) >= 1
    for published, spot in zip(from_record, from_chain, strict=True):
        assert published.interval.apex_s == pytest.approx(spot.apex_s, abs=0.0101)
        assert published.interval.score == pytest.approx(spot.score)
        assert 0 <= published.latency_s < 0.6


def test_another_flow_is_measured_with(record: Record) -> None:
    class Still:
        def __call__(self, a: U8, b: U8, /) -> F32:
            return np.zeros((*a.shape, 2), np.float32)

    still = records.measure("sheet", "nobody", frames(), seconds=2.4, fps=50, analyzer=analyzer, flow=Still)
    valid = ~np.isnan(still.features[:, 0])
    assert np.array_equal(valid, ~np.isnan(record.features[:, 0]))
    assert valid.any()
    assert not still.features[valid].any()
    assert record.features[valid].any()


def test_the_face_is_as_wide_as_it_was_drawn(record: Record) -> None:
    assert record.iod_px == pytest.approx(60, abs=1)
    assert record.face_px == pytest.approx(134, abs=3)
    assert (record.frames, record.faces) == (120, 120)


def test_a_file_holds_the_whole_record(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "set" / "sheet.npz"
    records.save(record, path)
    again = records.load(path)
    assert [p.name for p in path.parent.iterdir()] == ["sheet.npz"]
    assert np.allclose(again.features, record.features, atol=0.01, equal_nan=True)
    for name in (
        "name",
        "subject",
        "truths",
        "events",
        "seconds",
        "fps",
        "iod_px",
        "groups",
        "facts",
        "frames",
    ):
        assert getattr(again, name) == getattr(record, name), name
    assert records.load(path).name == "sheet"


def test_a_gap_becomes_a_void_that_nothing_crosses() -> None:
    items = [
        *frames(0, 60),
        Gap("sheet", 0, 60 * 20_000_000, 80 * 20_000_000, "overflow", 20),
        *frames(80, 120),
    ]
    record = records.measure("gap", "nobody", items, seconds=2.4, fps=50, analyzer=analyzer)
    void = np.isnan(record.features[:, 0])
    assert void.any()
    assert not void.all()
    assert np.all(np.diff(record.grid_s) > 0)


@pytest.mark.parametrize("content", [b"", b"not a record", b"PK\x03\x04broken"])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"x\.npz"):
        records.load(path)
