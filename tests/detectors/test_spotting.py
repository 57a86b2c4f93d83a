"""Events are scripted: the fake network says what a perfect one would, and the spots must say it back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellm.detectors.signals import FEATURES, TrackSignals
from mellm.detectors.spotting import Decoder, FakeStepModel, Spot, Spotter, SpottingOptions, StepOutput
from mellm.detectors.stepmodel import SPOT_AUS, outputs
from mellm.detectors.textured_plane import TexturedPlane
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from mellm.stream.errors import ModelOutputInvalid

MS = 1_000_000
DELAY_MS = 300


@dataclass(frozen=True)
class Event:
    """Onset, apex, offset in seconds; ``macro`` is an ordinary expression."""

    onset: float
    apex: float
    offset: float
    p: float = 0.95
    au: int = 12
    macro: bool = False


def script(*events: Event) -> FakeStepModel:
    """A perfect network for known events; it reads the time from the first feature."""

    def answer(features: F32) -> F32:
        t = float(features[0])
        for e in events:
            if e.onset <= t <= e.offset:
                heat = max(0.01, e.p * exp(-(((t - e.apex) / 0.03) ** 2) / 2))
                return outputs(
                    me=0.05 if e.macro else e.p,
                    macro=0.95 if e.macro else 0.05,
                    apex=heat,
                    to_onset=t - e.onset,
                    to_offset=e.offset - t,
                    aus={e.au: 0.9},
                )
        return outputs()

    return FakeStepModel(answer)


def features(k: int) -> F32:
    row = np.zeros(FEATURES, np.float32)
    row[0] = k * STEP_NS / 1e9
    return row


def run(
    spotter: Spotter, seconds: float, *, void: tuple[int, ...] = (), flush: bool = True
) -> list[tuple[int, Spot]]:
    """Spots with the media time at which they came out."""
    told = []
    steps = round(seconds * 50)
    for k in range(steps):
        told += [(k * STEP_NS, s) for s in spotter.push(k * STEP_NS, None if k in void else features(k))]
    return told + [(steps * STEP_NS, s) for s in spotter.flush()] if flush else told


def spots(*events: Event, seconds: float = 3, options: SpottingOptions | None = None) -> list[Spot]:
    return [spot for _, spot in run(Spotter(script(*events), options), seconds)]


@given(st.floats(0.4, 1.0), st.floats(0.1, 0.25), st.floats(0.1, 0.24))
@settings(max_examples=40)
def test_a_scripted_event_comes_back(onset: float, rise: float, fall: float) -> None:
    event = Event(onset, onset + rise, onset + rise + fall)
    ((out_ns, spot),) = run(Spotter(script(event)), 2.5)
    assert spot.onset_ns / 1e9 == pytest.approx(event.onset, abs=0.002)
    assert spot.apex_ns / 1e9 == pytest.approx(event.apex, abs=0.003)
    assert spot.offset_ns / 1e9 == pytest.approx(event.offset, abs=0.002)
    assert 0 < (out_ns - spot.offset_ns) / MS <= 350
    aus = dict(spot.aus)
    assert tuple(aus) == SPOT_AUS
    assert max(aus, key=aus.__getitem__) == event.au


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Event(0.5, 0.8, 1.2), "longer than half a second and the tolerance"),
        (Event(0.5, 0.7, 1.0, macro=True), "an ordinary expression"),
        (Event(0.5, 0.6, 0.8, p=0.3), "under the threshold"),
        (Event(0.59, 0.6, 0.62), "shorter than 40 ms"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_micro_expression(event: Event, why: str) -> None:
    assert spots(event) == []


def test_half_a_second_is_still_one() -> None:
    assert len(spots(Event(0.5, 0.75, 1.0))) == 1


def test_two_apart_are_two_in_order() -> None:
    first, second = spots(Event(0.5, 0.6, 0.8), Event(0.9, 1.1, 1.3, au=4))
    assert first.offset_ns < second.onset_ns


def test_a_lower_threshold_finds_more() -> None:
    faint = Event(0.5, 0.6, 0.8, p=0.3)
    assert len(spots(faint, options=SpottingOptions(threshold=0.2))) == 1


def test_two_runs_are_equal() -> None:
    events = (Event(0.5, 0.6, 0.8), Event(1.2, 1.35, 1.6))
    assert spots(*events) == spots(*events)


def test_two_tracks_share_a_model() -> None:
    model = script(Event(0.5, 0.6, 0.8))
    one, other = Spotter(model), Spotter(model)
    told: tuple[list[Spot], list[Spot]] = ([], [])
    for k in range(100):
        told[0].extend(one.push(k * STEP_NS, features(k)))
        told[1].extend(other.push(k * STEP_NS, features(k)))
    assert told[0] == told[1] == spots(Event(0.5, 0.6, 0.8))


class TestVoid:
    event = Event(0.5, 0.62, 0.8)

    @pytest.mark.parametrize("at", [0.52, 0.62, 0.7, 0.78])
    def test_inside_an_expression_nothing_is_told(self, at: float) -> None:
        spotter, first = Spotter(script(self.event)), round(at * 50)
        # after a gap, signals stay void until 0.3 s lie behind them
        assert run(spotter, 2, void=tuple(range(first, first + 16))) == []
        assert spotter.void_steps == 16

    @pytest.mark.parametrize(("void_until", "told"), [(0.78, 1), (0.82, 0)])
    def test_an_onset_before_the_unbroken_frames_is_not_known(self, void_until: float, told: int) -> None:
        slow = Event(0.5, 0.9, 1.0)
        assert len(run(Spotter(script(slow)), 2, void=tuple(range(round(50 * void_until))))) == told

    def test_after_the_offset_the_spot_comes_out_at_the_void(self) -> None:
        # the apex is known 0.3 s and two steps later; the void comes before the offset would be confirmed
        ((out_ns, spot),) = run(Spotter(script(self.event)), 2, void=(50,))
        assert out_ns == 50 * STEP_NS
        assert spot.offset_ns / 1e9 == pytest.approx(0.8, abs=0.002)

    def test_a_skipped_step_is_a_void(self) -> None:
        spotter = Spotter(script(self.event))
        told = [s for k in range(100) if k != 32 for s in spotter.push(k * STEP_NS, features(k))]
        assert told == []

    def test_a_network_without_an_answer_is_a_void_and_counted(self) -> None:
        model = script(self.event)
        good = model.step

        def step(row: F32, state: F32) -> tuple[F32, F32]:
            if row[0] == np.float32(0.62):
                raise ModelOutputInvalid("NaN")
            return good(row, state)

        model.step = step  # type: ignore[method-assign]
        spotter = Spotter(model)
        assert run(spotter, 2) == []
        assert spotter.invalid_steps == 1
        assert spotter.void_steps == 0


class TestEnd:
    def test_the_last_third_of_a_second_is_judged_at_flush(self) -> None:
        event = Event(0.5, 0.62, 0.8)
        told = run(Spotter(script(event)), 0.84)
        assert [round(spot.offset_ns / MS) for _, spot in told] == [800]

    def test_what_the_end_cuts_is_not_told(self) -> None:
        assert run(Spotter(script(Event(0.5, 0.62, 0.9))), 0.8) == []

    def test_flush_without_steps(self) -> None:
        assert Spotter(script()).flush() == []

    def test_a_network_that_fails_at_the_end(self) -> None:
        spotter = Spotter(FakeStepModel(lambda row: outputs() if row[0] > 0 else outputs() * np.nan))
        spotter.push(STEP_NS, features(1))
        assert spotter.flush() == []
        assert spotter.invalid_steps == 1

    def test_a_spotter_starts_anew_after_flush(self) -> None:
        spotter = Spotter(script(Event(0.5, 0.62, 0.8)))
        assert [s for _, s in run(spotter, 1.5)] == [s for _, s in run(spotter, 1.5)]


def test_scores_follow_the_grid_and_are_bounded() -> None:
    spotter = Spotter(script(Event(0.5, 0.6, 0.8)))
    assert spotter.score is None
    run(spotter, 12, flush=False)
    assert spotter.score is not None
    assert spotter.score.t_ns == 12_000 * MS - STEP_NS - DELAY_MS * MS
    assert {b.t_ns - a.t_ns for a, b in pairwise(spotter.scores)} == {STEP_NS}
    assert len(spotter.scores) == 500


class TestDecoder:
    """With nothing but random outputs, what comes out must still be sound."""

    outputs = st.lists(
        st.tuples(
            st.floats(0.02, 0.98), st.floats(0.02, 0.98), st.floats(-0.1, 0.5), st.floats(-0.1, 0.5)
        ).map(lambda v: outputs(me=v[0], apex=v[1], to_onset=v[2], to_offset=v[3])),
        max_size=120,
    )

    @given(outputs)
    def test_spots_are_sound(self, rows: list[F32]) -> None:
        decoder, told = Decoder(), []
        for k, y in enumerate(rows):
            for spot in decoder.push(StepOutput.of(k * STEP_NS, y)):
                assert spot.offset_ns <= k * STEP_NS
                told.append(spot)
        told += decoder.flush(len(rows) * STEP_NS)
        for spot in told:
            assert spot.onset_ns <= spot.apex_ns <= spot.offset_ns
            assert 40 * MS <= spot.offset_ns - spot.onset_ns <= 540 * MS
            assert spot.score >= decoder.threshold
        for a, b in pairwise(sorted(told)):
            assert b.onset_ns >= a.offset_ns

    @given(outputs, st.integers(0, 120))
    def test_what_is_told_depends_on_the_past_alone(self, rows: list[F32], cut: int) -> None:
        def told(part: list[F32]) -> list[Spot]:
            decoder = Decoder()
            return [s for k, y in enumerate(part) for s in decoder.push(StepOutput.of(k * STEP_NS, y))]

        early = told(rows[:cut])
        assert told(rows)[: len(early)] == early

    def test_the_best_of_overlapping_peaks_stays(self) -> None:
        decoder = Decoder()
        told = []
        for k in range(60):
            heat = {20: 0.7, 23: 0.95, 26: 0.8}.get(k, 0.05)
            far = 0.1 + 0.02 * (20 - k)
            row = outputs(me=0.9, apex=heat, to_onset=0.1 - far + 0.1, to_offset=0.1 + far)
            told += decoder.push(StepOutput.of(k * STEP_NS, row))
        assert [round(spot.score, 3) for spot in told] == [round((0.95 * 0.9) ** 0.5, 3)]

    def test_patience_ends_a_score_that_stays_up(self) -> None:
        decoder = Decoder(SpottingOptions(release=0.3))
        told = []
        for k in range(60):
            row = outputs(me=0.9, apex=0.9 if k == 20 else 0.5, to_onset=0.1, to_offset=0.1)
            told += [(k, spot) for spot in decoder.push(StepOutput.of(k * STEP_NS, row))]
        ((k, spot),) = told
        assert 200 * MS <= k * STEP_NS - spot.offset_ns < 220 * MS


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.2},
        {"threshold": 0.3, "release": 0.4},
        {"min_ms": 600.0},
        {"merge_gap_ms": -1.0},
        {"macro_veto": 0.0},
    ],
    ids=str,
)
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpottingOptions(**wrong)


def test_release_follows_the_threshold() -> None:
    assert SpottingOptions().levels(0.6) == (0.6, pytest.approx(0.45))
    assert SpottingOptions(threshold=0.2).levels(0.6) == (0.2, 0.1)
    assert SpottingOptions(release=0.5).levels(0.4) == (0.4, 0.4)


@pytest.mark.parametrize("fps", [30, 50])
def test_a_brow_raised_for_a_third_of_a_second_is_spotted_in_pictures(fps: int) -> None:
    """Pictures → flow → signals → a network that answers to motion alone: the rise is found where it is."""
    sheet, signals, spotter = TexturedPlane(80, (400, 480)), TrackSignals(), Spotter(FakeStepModel())
    told = []
    for i in range(int(1.4 * fps)):
        t = i / fps
        lift = 3 * exp(-(((t - 0.7) / 0.08) ** 2))
        picture = sheet.draw(motions={"brow_inner_L": (0.0, -lift)}, noise=1, seed=i)
        for step in signals.push(picture, round(t * 1e9), i, sheet.landmarks()):
            told += spotter.push(step.t_ns, step.features)
    told += spotter.flush()
    best = max(told, key=lambda spot: spot.score)
    assert best.apex_ns / 1e9 == pytest.approx(0.7, abs=0.06)
    pair = signals.pair(best.apex_ns - 200 * MS, best.apex_ns)
    assert pair.onset.index < pair.apex.index
