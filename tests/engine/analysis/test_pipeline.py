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


@pytest.mark.parametrize(("seconds", "tracks"), [(0.2, [1]), (1.9, [1]), (2.2, [1, 2])])
def test_a_face_outlives_a_gap_of_less_than_two_seconds(seconds: float, tracks: list[int]) -> None:
    """Whoever looks on sees one face come and one go, and every expression under one number."""
    before = [f for f in frames() if f.pts_ns < 1.6e9]
    shift = round(seconds * 1e9)
    after = [replace(f, pts_ns=f.pts_ns + shift) for f in frames() if f.pts_ns >= 1.6e9]
    gap = Gap("s", 0, before[-1].pts_ns, after[0].pts_ns, "overflow", 3)
    made = chain("s")
    outputs = run(made, [*before, gap, *after])
    assert [o.track for o in outputs if isinstance(o, FaceAppeared)] == tracks
    assert [o.track for o in outputs if isinstance(o, FaceLost)] == tracks
    lost = [o.t_ns for o in outputs if isinstance(o, FaceLost)]
    assert lost == [f[-1].pts_ns for f in ((before, after) if len(tracks) == 2 else (after,))]
    assert {o.expression.track for o in spotted(outputs)} == set(tracks)
    assert len(spotted(outputs)) == FOUND
    assert made.counts.tracks == len(tracks)


def test_a_face_that_does_not_come_back_after_a_gap_is_lost_in_time() -> None:
    shown = list(frames())
    points = sheet().landmarks()
    made = chain("s")
    made._analyzer = FakeFaceAnalyzer(lambda f: points if f.pts_ns < 1e9 else None)
    first = [f for f in shown if f.pts_ns < 1e9]
    outputs = [o for f in first for o in made.push(f)]
    assert made.push(Gap("s", 0, first[-1].pts_ns, first[-1].pts_ns + 1, "decode", 1)) == []
    later = [replace(f, pts_ns=f.pts_ns + 1_000_000_000) for f in shown if f.pts_ns >= 1e9]
    lost = [(f.pts_ns, o) for f in later for o in made.push(f) if isinstance(o, FaceLost)]
    ((at, one),) = lost
    assert one == FaceLost(1, first[-1].pts_ns)
    assert 0 < at - one.t_ns - 2e9 < 40e6
    assert [o for o in [*outputs, *made.finish()] if isinstance(o, FaceLost)] == []


def test_nothing_crosses_a_segment() -> None:
    second = [replace(f, segment=1) for f in frames() if f.pts_ns >= 1_000_000_000]
    first = [f for f in frames() if f.pts_ns < 1_000_000_000]
    outputs = run(chain("s"), [*first, *second])
    assert [o.track for o in outputs if isinstance(o, FaceAppeared | FaceLost)] == [
        1,
        1,
    ]  # it is the same face
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
