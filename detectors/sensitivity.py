"""Judgeable time: how small a motion would have been found, moment by moment, in each half of a face.

A micro-expression is seen only where the face does not move more by itself: while somebody talks, lips and chin are
hidden most of the time. So for every moment that the spotter speaks about, :class:`Meter` gives the smallest motion
(per cent of the eye distance, that is hundredths of the inter-ocular distance) that this spotter, at this threshold,
would have found with a probability of :data:`SHARE`. It is made of what the chain measures anyway: the motion of the
face's own regions, of its other half, of its lids and of the head, noise, and the frame rate.

The model is a logistic regression on the logarithm of the motion; its coefficients stand in the JSON record of the
network that they were fitted for, and are refused beside another one (``mellm train sensitivity`` fits them).

Causal, like the spotter: what is said about a moment rests on the 0.3 s after it, which the spotter waits for as well,
and on the second before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.regions import COUNT, NAMES
from mellm.detectors.signals import FEATURES, PER_BASELINE
from mellm.detectors.types import F32, Sensitivity
from mellm.stream.errors import ModelCorrupt, ModelMismatch

Half: TypeAlias = Literal["upper", "lower"]

RECIPE: Final = "mellm-sensitivity/1"
"""Changes whenever :data:`CONTEXT` or what it means does: coefficients of another recipe are refused."""

SHARE: Final = 0.8
"""Probability with which a motion of the size told is found."""

SMALLEST, LARGEST = 0.3, 10.0
"""Range of what is told, per cent of the eye distance; :data:`LARGEST` reads "this much or more"."""

BARS: Final = (2.0, 3.0)
"""A half counts as judged while motions of this size, per cent of the eye distance, would be found."""

HALVES: Final[tuple[Half, ...]] = ("upper", "lower")

_UPPER = ("brow", "glabella", "upper_lid", "lower_lid", "forehead")
_LOWER = ("cheek", "nasolabial", "nose_wing", "upper_lip", "lip_corner", "lower_lip", "chin")
_LIDS = ("upper_lid", "lower_lid")


def _indices(begins: tuple[str, ...]) -> NDArray[np.intp]:
    return np.flatnonzero([name.startswith(begins) for name in NAMES])


REGIONS_OF: Final[Mapping[Half, NDArray[np.intp]]] = {"upper": _indices(_UPPER), "lower": _indices(_LOWER)}
"""Indices into :data:`mellm.detectors.regions.REGIONS`. Nose and temples follow the head and belong to no half."""

LIDS: Final = _indices(_LIDS)

CONTEXT: Final = ("own", "usual", "other", "noise", "lids", "head", "rate", "threshold")
"""What the sensitivity of a half depends on, in the order of the model's weights. All but the last two are logarithms
of motions in hundredths of the inter-ocular distance.

======== ===========================================================================================================
own      largest motion of a region of this half over 0.3 s, from 0.3 s before the moment to 0.3 s after it
usual    the median of that motion since a second before
other    as own, of the other half
noise    median over the half's regions, and over that time, of the motion over 0.1 s
lids     largest motion of a lid over 0.1 s: blinks
head     largest of the six head parameters over 0.3 s
rate     logarithm of the frame rate over 50 a second
threshold log odds of the spotter's threshold
======== ===========================================================================================================
"""

BEFORE, AFTER = 50, 15
"""Steps of the grid (20 ms) before the moment that is spoken of, and after it with the shipped network's look-ahead."""

_OWN_FLOOR, _NOISE_FLOOR, _HEAD_FLOOR = 0.3, 0.05, 0.5
_RATES = (15.0, 50.0)


@dataclass(frozen=True, slots=True)
class HalfModel:
    """p(found) = (1 - lapse) · logistic(bias + size · log(motion) + weights · context).

    :param size: weight of the logarithm of the motion, over 0
    :param weights: one for each of :data:`CONTEXT`
    :param lapse: share that is missed however large the motion is
    """

    bias: float
    size: float
    weights: tuple[float, ...]
    lapse: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.bias, self.size, *self.weights, self.lapse)
        if len(self.weights) != len(CONTEXT) or not all(isfinite(v) for v in numbers):
            raise ValueError(f"a sensitivity has {len(CONTEXT)} finite weights, got {self.weights}")
        if not (self.size > 0 and 0 <= self.lapse < 1 - SHARE):
            raise ValueError(
                f"size {self.size} must lie over 0, lapse {self.lapse} from 0 to {1 - SHARE:.1f}"
            )

    def probability(self, motion: float, context: Sequence[float] | NDArray[np.float64]) -> float:
        """How likely a motion (per cent of the eye distance) is found."""
        z = self.bias + self.size * log(motion) + float(np.dot(self.weights, context))
        return (1 - self.lapse) / (1 + exp(-max(-40.0, min(40.0, z))))

    def smallest(self, context: Sequence[float] | NDArray[np.float64], share: float = SHARE) -> float:
        """The motion that is found with ``share``, within :data:`SMALLEST` and :data:`LARGEST`."""
        wanted = share / (1 - self.lapse)
        z = log(wanted / (1 - wanted)) - self.bias - float(np.dot(self.weights, context))
        return float(min(LARGEST, max(SMALLEST, exp(max(-20.0, min(20.0, z / self.size))))))


@dataclass(frozen=True, slots=True)
class SensitivityModel:
    """Both halves, as fitted for one network."""

    upper: HalfModel
    lower: HalfModel

    def half(self, name: Half) -> HalfModel:
        """One of them."""
        return self.upper if name == "upper" else self.lower

    def to_record(self, network: str) -> dict[str, Any]:
        """For the JSON beside the network.

        :param network: SHA-256 of the ONNX file that it was fitted for
        """
        halves = {
            name: {
                "bias": h.bias,
                "size": h.size,
                "lapse": h.lapse,
                **dict(zip(CONTEXT, h.weights, strict=True)),
            }
            for name, h in (("upper", self.upper), ("lower", self.lower))
        }
        return {"recipe": RECIPE, "network": network, **halves}

    @classmethod
    def of_record(cls, record: Mapping[str, Any], network: str) -> SensitivityModel:
        """Read what :meth:`to_record` wrote.

        :raises ModelMismatch: it is of another recipe, or was fitted for another network
        :raises ModelCorrupt: it holds no numbers
        """
        remedy = "fit it again: mellm train sensitivity"
        if record.get("recipe") != RECIPE:
            raise ModelMismatch(
                f"the spotter's sensitivity is of recipe {record.get('recipe')!r}, this version reads {RECIPE!r}",
                remedy=remedy,
            )
        if record.get("network") != network:
            raise ModelMismatch(
                f"the spotter's sensitivity was fitted for network {record.get('network')!s:.12}…, "
                f"this one is {network:.12}…",
                remedy=remedy,
            )
        try:
            upper, lower = (
                HalfModel(
                    float(part["bias"]),
                    float(part["size"]),
                    tuple(float(part[name]) for name in CONTEXT),
                    float(part["lapse"]),
                )
                for part in (record["upper"], record["lower"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelCorrupt(f"the spotter's sensitivity cannot be read: {error}", remedy=remedy) from error
        return cls(upper, lower)


class Watch:
    """Motion of the last 1.3 s of one track → the context of both halves. One instance per track, one thread.

    Memory does not grow: a ring of ``BEFORE + after + 1`` steps.

    :param after: look-ahead, steps
    """

    def __init__(self, after: int = AFTER) -> None:
        self._after = after
        # own upper, own lower, noise upper, noise lower, lids, head
        self._ring = np.zeros((BEFORE + after + 1, 6))
        self._count = 0

    def reset(self) -> None:
        """A void or a gap: nothing before counts."""
        self._count = 0

    def push(self, features: F32) -> None:
        """The next step's features (``FEATURES``); steps come without holes between two resets."""
        self._ring[self._count % len(self._ring)] = motions(features)
        self._count += 1

    def contexts(
        self, fps: float, threshold: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Context of upper and lower half, ``after`` steps before the newest; ``None`` until there are that many.

        :param fps: frames a second of the source, 0 while it is unknown
        :param threshold: of the spotter
        """
        size = len(self._ring)
        if self._count <= self._after:
            return None
        newest = (self._count - 1) % size
        near = self._ring[(newest - np.arange(min(self._count, 2 * self._after + 1))) % size].max(axis=0)
        usual = _middle(self._ring[: min(self._count, size)])
        low, high = _RATES
        rate = log(min(high, max(low, fps or high)) / high)
        odds = log(threshold / (1 - threshold)) if 0 < threshold < 1 else 0.0
        shared = (
            log(_OWN_FLOOR + near[4]),
            log(_HEAD_FLOOR + near[5]),
            rate,
            odds,
        )
        both = []
        for half, other in ((0, 1), (1, 0)):
            own, common = log(_OWN_FLOOR + near[half]), log(_OWN_FLOOR + usual[half])
            row = (own, common, log(_OWN_FLOOR + near[other]), log(_NOISE_FLOOR + usual[2 + half]), *shared)
            both.append(np.array(row))
        return both[0], both[1]


def half_motion(features: F32) -> F32:
    """Largest region of the upper and of the lower half over 0.3 s, …×``FEATURES`` to …×2, hundredths of IOD."""
    late = features[..., PER_BASELINE : PER_BASELINE + 2 * COUNT]
    size = np.hypot(late[..., 0::2], late[..., 1::2])
    return np.stack([size[..., REGIONS_OF[half]].max(-1) for half in HALVES], -1)


def motions(features: F32) -> NDArray[np.float64]:
    """Largest motion of each half over 0.3 s, its median motion over 0.1 s, lids over 0.1 s, head over 0.3 s.

    :param features: float32[``FEATURES``], see :mod:`mellm.detectors.signals`
    """
    rows = features.reshape(FEATURES // PER_BASELINE, PER_BASELINE)
    xy = rows[:, : 2 * COUNT].reshape(-1, COUNT, 2)
    short = np.hypot(*xy[0].T)
    upper, lower = REGIONS_OF["upper"], REGIONS_OF["lower"]
    return np.array(
        [
            *half_motion(features),
            _middle(short[upper]),
            _middle(short[lower]),
            short[LIDS].max(),
            np.abs(rows[1, 2 * COUNT :]).max(),
        ],
        np.float64,
    )


def _middle(values: NDArray[Any]) -> NDArray[Any]:
    """``np.median`` along the first axis, without its overhead: that is 20 µs, and this runs at each step."""
    ranked = np.sort(values, axis=0)
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2  # type: ignore[no-any-return]


class Meter:
    """Motion signals of one track → :class:`Sensitivity`, step by step. One instance per track, one thread.

    :param model: fitted for the spotter's network
    :param threshold: the one that the spotter uses
    :param after: its look-ahead, steps
    """

    def __init__(self, model: SensitivityModel, threshold: float, after: int = AFTER) -> None:
        self._model, self._threshold = model, threshold
        self._watch = Watch(after)

    def reset(self) -> None:
        """A void or a gap: nothing before counts."""
        self._watch.reset()

    def push(self, features: F32, fps: float) -> Sensitivity | None:
        """The next step; what is told is about ``after`` steps earlier, ``None`` until there are that many."""
        self._watch.push(features)
        contexts = self._watch.contexts(fps, self._threshold)
        if contexts is None:
            return None
        upper, lower = contexts
        return Sensitivity(self._model.upper.smallest(upper), self._model.lower.smallest(lower))


_BIN = 0.1
_BINS = round(LARGEST / _BIN) + 1
_COUNTED: Final[tuple[Literal["upper", "lower", "either"], ...]] = ("upper", "lower", "either")


class JudgedTime:
    """How long each half could be judged, added up step by step; memory does not grow.

    :ivar steps: moments that the spotter spoke about: the time with a face that was not refused
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self.steps = 0
        self._counts = np.zeros((3, _BINS), np.int64)  # upper, lower, the better of both

    def add(self, said: Sensitivity | None) -> None:
        """One moment of one face; ``None`` where the spotter spoke and its sensitivity is not known."""
        self.steps += 1
        if said is not None:
            for half, value in enumerate((*said, min(said))):
                # a value on a border counts in the lower bin, so that "2 %" includes 2.00
                self._counts[half, min(_BINS - 1, max(0, int(np.ceil(value / _BIN - 1e-9)) - 1))] += 1

    @property
    def face_s(self) -> float:
        """Seconds with a face that was analysed, over all faces."""
        return self.steps * self._step_s

    def seconds(self, half: Half | Literal["either"], bar: float) -> float:
        """Seconds in which motions of ``bar`` (per cent of the eye distance, in tenths) would have been found."""
        return float(self._counts[_COUNTED.index(half), : round(bar / _BIN)].sum()) * self._step_s

    def median(self, half: Half) -> float | None:
        """Middle of the sensitivity over time, to a tenth; ``None`` where it was never known."""
        counts = self._counts[HALVES.index(half)]
        total = int(counts.sum())
        if not total:
            return None
        return round(float(np.searchsorted(np.cumsum(counts), total / 2) + 1) * _BIN, 1)

    def record(self) -> dict[str, Any]:
        """For ``run.json`` and ``stats``: seconds and medians; only ``face_s`` where no sensitivity was known."""
        found: dict[str, Any] = {"face_s": round(self.face_s, 2)}
        if self._counts.any():
            for half in _COUNTED:
                seconds = {f"{bar:g}": round(self.seconds(half, bar), 2) for bar in BARS}
                found[half] = {"judged_s": seconds}
            for half in HALVES:
                found[half]["median"] = self.median(half)
        return found
