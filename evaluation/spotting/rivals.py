"""The decoders of published whole-video spotters, on our curve and on raw region flow, and a causal form of each.

Spotters of long videos answer a curve for each frame and share one way to read intervals from it (SOFTNet, Liong et al.
2021, arXiv 2106.06489; MEAN, 2022; and what MEGC entries build on): smooth over ``2k`` frames, where ``k`` is half the
length of an average expression; threshold ``mean + p · (max - mean)`` of the video's own curve, ``p`` = .55; peaks at
least ``k`` apart; an interval of ``k`` to either side of each. They see the whole video, so they publish at its end.

The causal form is the same with what a live spotter can know: mean and largest value of the past
:data:`PAST_S` seconds, and a peak that is out once no higher one has come for ``k`` steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import INDEX
from mellm.detectors.spotting import Spotter
from mellm.detectors.stepmodel import StepModel
from mellm.evaluation.spotting import baselines
from mellm.evaluation.spotting.baselines import Form
from mellm.evaluation.spotting.data import STEP_S
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Published, Record, steps

F64: TypeAlias = NDArray[np.float64]
Signal: TypeAlias = Literal["score", "flow"]

PAST_S = 10.0
"""What the causal form remembers, as the causal baseline does."""

LEVELS = tuple(round(float(v), 3) for v in np.linspace(0.05, 0.95, 19))


@dataclass(frozen=True, slots=True)
class DecoderOptions:
    """The published numbers.

    :param p: share of the range between mean and maximum at which a peak counts
    :param half_s: half the length of an average expression, ``k`` as time: 0.37 s is SAMM-LV's mean length
    """

    p: float = 0.55
    half_s: float = 0.185

    @property
    def k(self) -> int:
        """In grid steps."""
        return max(1, round(self.half_s / STEP_S))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One unbroken stretch: T grid times and values; ``lag_s``: how long after a moment its value is known."""

    grid_s: F64
    values: F64
    lag_s: float


def flow_curves(record: Record) -> list[Curve]:
    """Mean magnitude of the three strongest regions' flow over 0.1 s, the nose's motion taken out: nothing learnt."""
    watched = [INDEX[n] for n in baselines.WATCHED]
    out = []
    for a, b in baselines.stretches(record):
        flow = baselines.nose_relative(record.features[a:b])[:, watched]
        size = np.sort(np.hypot(flow[..., 0], flow[..., 1]), axis=1)[:, -3:].mean(1)
        out.append(Curve(record.grid_s[a:b], size, 0.0))
    return out


def score_curves(record: Record, model: StepModel) -> list[Curve]:
    """The network's own score, step by step; it speaks 0.3 s late."""
    out: list[Curve] = []
    spotter = Spotter(model)
    times: list[float] = []
    values: list[float] = []
    lag_s = model.delay_steps * STEP_S

    def close() -> None:
        if times:
            out.append(Curve(np.array(times), np.array(values), lag_s))
        times.clear()
        values.clear()

    last: int | None = None
    for t_ns, features in steps(record):
        spotter.push(t_ns, features)
        score = spotter.score
        if features is None:
            close()
        elif score is not None and score.t_ns != last:
            if last is not None and score.t_ns - last > 1.5e9 * STEP_S:
                close()
            last = score.t_ns
            times.append(score.t_ns / 1e9)
            values.append(float(np.sqrt(score.me * score.apex)))
    close()
    return out


def smooth(values: F64, k: int) -> F64:
    """Mean over ``2k`` + 1 steps, the ends repeated."""
    padded = np.pad(values, k, mode="edge")
    window = np.ones(2 * k + 1) / (2 * k + 1)
    return np.convolve(padded, window, "valid")


def whole(curves: list[Curve], options: DecoderOptions) -> list[Published]:
    """The published decoder; all of it comes out at the end of the record."""
    k = options.k
    found = [(c, smooth(c.values, k)) for c in curves if len(c.values) > 2 * k]
    if not found:
        return []
    together = np.concatenate([values for _, values in found])
    mean, top = float(together.mean()), float(together.max())
    if top <= mean:
        return []
    level = mean + options.p * (top - mean)
    end = found[-1][0].grid_s[-1]
    out: list[Published] = []
    for curve, values in found:
        spots = [_interval(curve, peak, float(values[peak]), k) for peak in peaks(values, level, k)]
        out += [Published(spot, float(end)) for spot in spots]
    return out


def peaks(values: F64, level: float, k: int) -> list[int]:
    """Local maxima of at least ``level``; of two nearer than ``k`` the higher stays."""
    inner = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])) + 1
    kept: list[int] = []
    for at in sorted((int(i) for i in inner if values[i] >= level), key=lambda i: -values[i]):
        if all(abs(at - other) >= k for other in kept):
            kept.append(at)
    return sorted(kept)


def causal(curves: list[Curve], options: DecoderOptions) -> list[Published]:
    """Step by step: what is out is never taken back, and does not depend on what comes later."""
    k, past = options.k, round(PAST_S / STEP_S)
    out: list[Published] = []
    for curve in curves:
        if len(curve.values) <= 2 * k:
            continue
        values = smooth(curve.values, k)
        last = -10 * k
        for now in range(2 * k, len(values)):
            # the smoothed value of a step needs k more steps, a peak is sure k steps after it
            peak = now - 2 * k
            if peak < 1 or not values[peak - 1] < values[peak] >= values[peak + 1]:
                continue
            known = values[max(0, peak - past) : peak + k + 1]
            mean, top = float(known.mean()), float(known.max())
            highest = values[peak] >= values[max(0, peak - k) : peak + k + 1].max()
            if (
                top > mean
                and values[peak] >= mean + options.p * (top - mean)
                and highest
                and peak - last >= k
            ):
                last = peak
                spot = _interval(curve, peak, float(values[peak]), k)
                out.append(Published(spot, float(curve.grid_s[now]) + curve.lag_s))
    return out


def _interval(curve: Curve, peak: int, score: float, k: int) -> Interval:
    apex = float(curve.grid_s[peak])
    return Interval(apex - k * STEP_S, apex, apex + k * STEP_S, score=score)


class PublishedDecoder:
    """A rival in one of its forms; see :class:`mellm.evaluation.spotting.systems.System`.

    :param model_of: record → the network whose score is read, for ``score``; it must not know the person
    :param seen: record → whether it may know the person all the same
    """

    def __init__(
        self,
        signal: Signal,
        form: Form,
        *,
        model_of: Callable[[Record], StepModel] | None = None,
        seen: Callable[[Record], bool] = lambda record: False,
        options: DecoderOptions | None = None,
    ) -> None:
        if (signal == "score") != (model_of is not None):
            raise ValueError("a network is needed for the score, and for nothing else")
        self.signal, self.form = signal, form
        self.name = f"published, {signal} ({_WORDS[form]})"
        self.causal = form == "causal"
        self.options = options or DecoderOptions()
        self._model_of, self._seen = model_of, seen
        self._curves: dict[int, tuple[Record, list[Curve]]] = {}

    @property
    def level(self) -> float:
        """The published share of the range."""
        return self.options.p

    @property
    def levels(self) -> tuple[float, ...]:
        """Other shares, for a curve."""
        return LEVELS

    def spots(self, record: Record, level: float | None = None) -> list[Published]:
        """See :class:`mellm.evaluation.spotting.systems.System`."""
        if id(record) not in self._curves:
            made = (
                flow_curves(record)
                if self._model_of is None
                else score_curves(record, self._model_of(record))
            )
            self._curves[id(record)] = record, made
        options = self.options if level is None else replace(self.options, p=level)
        return (causal if self.causal else whole)(self._curves[id(record)][1], options)

    def facts(self) -> dict[str, Any]:
        """What it is."""
        return {"kind": "published decoder", "signal": self.signal, "options": asdict(self.options)}

    def seen_in_training(self, record: Record) -> bool:
        """Whether the network whose score it reads may have learnt from this person."""
        return self._seen(record)


_WORDS: dict[Form, str] = {"causal": "causal", "whole": "whole video"}
