from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.detectors.spotting import FakeStepModel, Spotter
from mellm.engine.analysis.pipeline import FaceAppeared, FaceLost, Output, Scored, SourcePipeline, Spotted
from mellm.engine.types import Evidence
from mellm.stream.errors import UsageError
from mellm.stream.frames import Frame, Gap
from tests.engine.moving import APEXES_S, FOUND, chain, frames, sheet


def run(made: SourcePipeline, items: list[Frame | Gap]) -> list[Output]:
    return [o for item in items for o in made.push(item)] + made.finish()


def spotted(outputs: list[Output]) -> list[Spotted]:
    return [o for o in outputs if isinstance(o, Spotted)]


def test_expressions_come_out_with_frames_evidence_and_a_face_round_them() -> None:
    made = chain("s")
    outputs = run(made, list(frames()))
    found = spotted(outputs)
    assert len(found) == FOUND
    for number, one in enumerate(found):
        expression = one.expression
        assert expression.apex.pts_ns / 1e9 == pytest.approx(APEXES_S[number // 2], abs=0.3)
        assert expression.onset.pts_ns < expression.apex.pts_ns < expression.offset.pts_ns
        assert expression.apex.index == round(expression.apex.pts_ns * 30 / 1e9)
        assert one.evidence.regions
    assert isinstance(outputs[0], FaceAppeared)
    assert isinstance(outputs[-1], FaceLost)
    lags = [o.lag_ns for o in outputs if isinstance(o, Scored)]
    assert lags
    assert min(lags) >= 0.28e9, "a score speaks about 0.3 s ago"
    assert all(o.face.track == o.track for o in outputs if isinstance(o, Scored))
    assert made.counts.captured == made.counts.analysed == 96


def test_two_runs_give_equal_expressions() -> None:
    first, second = (
        [(o.expression, o.evidence.regions) for o in spotted(run(chain("s"), list(frames())))]
        for _ in range(2)
    )
    assert first == second


def test_a_gap_voids_the_windows_it_lies_in_and_counts_what_is_lost() -> None:
    items: list[Frame | Gap] = [f for f in frames() if not 0.9 < f.pts_ns / 1e9 < 1.1]
    at = next(i for i, f in enumerate(items) if isinstance(f, Frame) and f.pts_ns > 1e9)
    items.insert(at, Gap("s", 0, 900_000_000, 1_100_000_000, "overflow", 5))
    made = chain("s")
    found = spotted(run(made, items))
    assert [round(o.expression.apex.pts_ns / 1e9) for o in found] == [2, 2]
    counts = made.counts
    assert counts.captured == counts.analysed + sum(counts.dropped.values()) == 96
    assert counts.dropped == {"overflow": 5}


def test_nothing_crosses_a_segment() -> None:
    second = [replace(f, segment=1) for f in frames() if f.pts_ns >= 1_000_000_000]
    first = [f for f in frames() if f.pts_ns < 1_000_000_000]
    outputs = run(chain("s"), [*first, *second])
    assert [o.track for o in outputs if isinstance(o, FaceAppeared)] == [1, 2]
    for one in spotted(outputs):
        assert one.expression.onset.pts_ns >= 1_000_000_000


def test_a_refused_face_is_followed_and_not_analysed() -> None:
    small = sheet().landmarks() * 0.3
    made = SourcePipeline(
        "s",
        FakeFaceAnalyzer(lambda frame: small),
        lambda: Spotter(FakeStepModel()),
        lambda pair: pytest.fail("no evidence is built for a refused face"),
    )
    outputs = run(made, list(frames()))
    assert not spotted(outputs)
    assert made.counts.faces_refused["face_small"] == 96


def test_evidence_that_fails_leaves_an_expression_with_a_reason() -> None:
    def broken(pair: object) -> Evidence:
        raise UsageError("no")

    landmarks = sheet().landmarks()
    made = SourcePipeline(
        "s", FakeFaceAnalyzer(lambda f: landmarks), lambda: Spotter(FakeStepModel()), broken
    )
    found = spotted(run(made, list(frames())))
    assert [o.evidence.refused for o in found] == ["usage"] * FOUND


def test_a_mirrored_source_is_turned_back() -> None:
    seen: list[np.ndarray] = []

    class Looking(FakeFaceAnalyzer):
        def push(self, frame: Frame):  # type: ignore[no-untyped-def]
            seen.append(frame.image)
            return super().push(frame)

    made = SourcePipeline(
        "s",
        Looking(lambda f: None),
        lambda: Spotter(FakeStepModel()),
        lambda pair: pytest.fail("no face"),
        mirrored=True,
    )
    frame = next(iter(frames()))
    made.push(replace(frame, picture=frame.picture.mirrored()))
    assert (seen[0] == frame.image).all()
