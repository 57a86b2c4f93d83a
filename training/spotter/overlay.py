"""Known expressions laid on measured signals of real people: thousands in a minute, without a pixel.

An expression moves the 31 regions by known amounts. What flow, camera and head-motion compensation make of that is
drawn from the simulator's measurement model (:mod:`mellm.training.synth.measurement`) and added to what was measured of
the person, so that the expression rides on whatever that face did at that moment. For judging: at the recording's own
frame rate, on the average face, and of a given size. Pixels keep it honest, see docs/results/judgeable-time.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mellm.detectors import regions
from mellm.detectors.regions import COUNT
from mellm.detectors.sensitivity import REGIONS_OF, Half
from mellm.detectors.signals import BASELINES_NS, PER_BASELINE
from mellm.detectors.types import F32
from mellm.detectors.windows import STEP_NS
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.records import Record
from mellm.training.synth.events import Expression
from mellm.training.synth.measurement import Camera, draw
from mellm.training.synth.rig import BLENDSHAPES, au_coefficients, load_rig
from mellm.training.synth.script import Profile, draw_micro
from mellm.training.synth.simulator import PER_REGION, draw_sites, face_motion, mean_centres, to_crop

F64 = NDArray[np.float64]
STEP_S = STEP_NS / 1e9

CLEAR_S = (0.6, 0.9)
"""Time with a face that is needed before the onset and after the offset."""

APART_S = 0.8
"""From the offset of an expression to the onset of the next, those that are there already included."""

SizeOf = Callable[[Half, int], float]
"""Half of the face and grid step of the apex → peak motion, hundredths of the inter-ocular distance."""


class Laid(NamedTuple):
    """One expression on a record.

    :param half: where its strongest region is
    :param onset_step: place of the onset in the record's grid
    :param apex_step: of the apex
    """

    truth: Interval
    half: Half
    onset_step: int
    apex_step: int


@dataclass(frozen=True, slots=True)
class Overlay:
    """A record with expressions laid on it; its truths are these and no others, in the same order."""

    record: Record
    laid: tuple[Laid, ...]


def half_of(units: Sequence[int]) -> Half:
    """The half in which an expression of these action units is strongest, on the average face, all equally strong."""
    amount = np.sum([au_coefficients(au, "B") for au in units], axis=0)
    length = _lengths(amount.astype(np.float32) @ draw_sites().exp)
    return "upper" if length[REGIONS_OF["upper"]].max() >= length[REGIONS_OF["lower"]].max() else "lower"


def _lengths(moved: F32) -> F64:
    """Motion of each region in the picture, from the motion of its vertices."""
    flat = moved.reshape(-1, 3)[: COUNT * PER_REGION].reshape(COUNT, PER_REGION, 3)[..., :2].mean(1)
    return np.asarray(np.hypot(flat[:, 0], flat[:, 1]), np.float64)


@lru_cache(maxsize=1)
def _fit() -> tuple[F32, F32]:
    """Basis and solver of the head-motion fit on the average face."""
    rig = load_rig()
    still = np.zeros((1, len(BLENDSHAPES)))
    landmarks = to_crop(*face_motion(rig, rig.mean, still, np.zeros((1, 6)), 100.0))[1][0].astype(np.float32)
    basis = regions.rigid_basis(regions.centres(landmarks), landmarks)
    return basis, regions.rigid_solver(basis)


def lay(
    record: Record,
    rng: np.random.Generator,
    size: SizeOf,
    *,
    per_min: float = 24.0,
    profile: Profile | None = None,
) -> Overlay:
    """Expressions at random moments with a face, of the action units, sides and durations of ``profile``.

    :param size: called once for each expression
    :param per_min: as many a minute as there is room for, at the most
    """
    profile = profile or Profile()
    features = record.features.copy()
    camera = draw(rng, mean_centres(), min(200.0, max(15.0, record.fps)))
    laid: list[Laid] = []
    taken = [(t.onset_s, t.offset_s) for t in record.truths]
    wanted = int(per_min * np.count_nonzero(_seen(record)) * STEP_S / 60 + rng.random())
    for _ in range(20 * wanted):
        if len(laid) == wanted:
            break
        e = draw_micro(rng, float(rng.uniform(record.grid_s[0], record.grid_s[-1])), profile)
        if not _room(record, e.onset_s, e.offset_s, taken):
            continue
        moved = _Motion(rng, e, camera)
        apex = int(np.searchsorted(record.grid_s, e.apex_s))
        peak = size(moved.half, apex)
        moved.add(features, record, peak)
        taken.append((e.onset_s, e.offset_s))
        units = tuple(a.au for a in e.actions)
        onset = int(np.searchsorted(record.grid_s, e.onset_s))
        laid.append(Laid(Interval(e.onset_s, e.apex_s, e.offset_s, units, peak), moved.half, onset, apex))
    laid.sort(key=lambda one: one.truth.onset_s)
    made = replace(record, features=features, truths=tuple(one.truth for one in laid))
    return Overlay(made, tuple(laid))


def _seen(record: Record) -> NDArray[np.bool_]:
    return ~np.isnan(record.features[:, 0])


def _room(record: Record, onset_s: float, offset_s: float, taken: list[tuple[float, float]]) -> bool:
    """Whether an unbroken face is there and no other expression is near."""
    if any(onset_s - APART_S < b and a < offset_s + APART_S for a, b in taken):
        return False
    first, last = np.searchsorted(record.grid_s, (onset_s - CLEAR_S[0], offset_s + CLEAR_S[1]))
    wanted = round((offset_s - onset_s + sum(CLEAR_S)) / STEP_S)
    rows = record.features[first : last + 1, 0]
    return (
        first > 0 and last < len(record.grid_s) and abs(len(rows) - wanted) <= 2 and not np.isnan(rows).any()
    )


class _Motion:
    """What one expression does to the regions, as true motion and as the flow reports it."""

    def __init__(self, rng: np.random.Generator, expression: Expression, camera: Camera) -> None:
        rig = load_rig()
        self._expression, self._camera = expression, camera
        self._exp = draw_sites(rng).exp
        self._iod_cm = rig.iod(rig.mean)
        self._phase = float(rng.random())
        apex = self._true(np.array([expression.apex_s]))[0]
        length = np.hypot(*apex.T)
        self.peak = float(length.max())
        upper, lower = (float(length[REGIONS_OF[half]].max()) for half in ("upper", "lower"))
        self.half: Half = "upper" if upper >= lower else "lower"

    def _true(self, times: F64) -> F64:
        """Displacement of the regions, T×COUNT×2, hundredths of the inter-ocular distance."""
        face = np.zeros((len(times), len(BLENDSHAPES)))
        e = self._expression
        inside = (times > e.onset_s) & (times < e.offset_s)
        if inside.any():
            some = np.zeros((int(inside.sum()), len(BLENDSHAPES)))
            e.add(times[inside], some, np.zeros((len(some), 6)))
            face[inside] = some
        moved = (face.astype(np.float32) @ self._exp).reshape(len(times), -1, 3)[:, : COUNT * PER_REGION]
        flat = moved.reshape(len(times), COUNT, PER_REGION, 3)[..., :2].mean(2).astype(np.float64)
        return np.asarray(flat * (100 / self._iod_cm, -100 / self._iod_cm), np.float64)

    def add(self, features: F32, record: Record, peak: float) -> None:
        """Add it to ``features`` (T×136), scaled to ``peak``."""
        e, scale = self._expression, peak / self.peak
        longest = BASELINES_NS[-1] / 1e9
        first, last = np.searchsorted(
            record.grid_s,
            (e.onset_s - 0.1, e.offset_s + longest + 0.1),
        )
        grid = record.grid_s[first:last]
        rate = min(record.fps, 1 / STEP_S) or 1 / STEP_S
        start = np.floor(grid[0] * rate) - 1 + self._phase
        stamps = (start + np.arange(round((grid[-1] - grid[0]) * rate) + 4)) / rate
        basis, solver = _fit()
        for k, span in enumerate(np.array(BASELINES_NS) / 1e9):
            flow = scale * (self._reported(stamps) - self._reported(stamps - span))
            residual, rigid = regions.compensate(flow.astype(np.float32), basis, solver)
            rows = np.concatenate([residual.reshape(len(stamps), -1), rigid], axis=1)
            for c in range(PER_BASELINE):
                features[first:last, k * PER_BASELINE + c] += np.interp(grid, stamps, rows[:, c])

    def _reported(self, times: F64) -> F64:
        """The same with gain, cross-talk and leaks of the measurement."""
        seen = np.einsum("rij,nrj->nri", self._camera.local, self._true(times))
        told: F64 = seen + np.einsum("rs,nsj->nrj", self._camera.leak, seen)
        return told
