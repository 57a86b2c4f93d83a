"""Test sets of describers: pairs with known truth, of people whom no describer has seen.

``rendered``
    drawn people of the test identities, still compression; ``stills``: photographs of the test people, moved;
``clips``
    the video files of :mod:`mellm.training.synth.clips` (H.264, JPEG, lossless), faces found by the engine. Only
    here the spotter's own opinion is known, because only here is there a video before the pair.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mellm.detectors.stepmodel import AU0, SPOT_AUS, StepModel
from mellm.engine.types import Evidence
from mellm.evaluation.describing.measures import Case
from mellm.stream.errors import FaceError, UsageError
from mellm.training.instruct import labels, pairs
from mellm.training.instruct.pairs import RISE_S, Kind, Pair, UnitTruth
from mellm.training.mellm import store
from mellm.training.mellm.store import Stored
from mellm.training.spotter import records
from mellm.training.spotter.records import Record
from mellm.training.tools.make_sample import landmarks as find_landmarks

log = logging.getLogger(__name__)

SETS = ("rendered", "stills", "clips")
GRID_HZ = 50
NEAR_S = 0.06
"""The spotter's opinion is taken so near the apex; it smears units over a few steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A pair to be read. ``opinion``: unit → probability by the spotter; ``None`` where there is no video."""

    case: Case
    pair: Stored
    opinion: Mapping[int, float] | None = None

    @property
    def evidence(self) -> Evidence:
        """What a describer is shown. The map is as small as the embedded model sees it."""
        p = self.pair
        return Evidence(p.picture, p.table, {"noise_iod": p.noise}, "live")


def case_of(pair: Stored) -> Case:
    """The truth of a stored pair."""
    units = {u.au: u.side for u in pair.units}
    return Case(pair.subject, pair.kind, units, pair.coarse, pair.above, pair.talks, pair.peak)


def load(
    name: str, root: Path, *, clips: Path, signals: Path, model: StepModel | None = None
) -> list[Example]:
    """A set.

    :param root: folder of stored pairs
    :param clips: folder of rendered videos
    :param signals: of their records
    :param model: the spotter whose opinion is asked on ``clips``
    :raises UsageError: there is no such set, or it was not made yet
    """
    if name == "clips":
        return list(_clips(root, clips, signals, model))
    if name not in SETS:
        raise UsageError(f"no set {name!r}", remedy=f"choose one of {', '.join(SETS)}")
    found = store.load(root, name, "test")  # type: ignore[arg-type]
    if not found:
        raise UsageError(
            f"no {name} test pairs in {root}",
            remedy="draw them: python -m mellm.training.mellm.store"
            f" --source {name} --split test --people 40 --out {root}",
        )
    return [Example(case_of(pair), pair) for pair in found]


def _clips(root: Path, clips: Path, signals: Path, model: StepModel | None) -> Iterator[Example]:
    files = sorted(clips.glob("*.mp4"))
    if not files:
        raise UsageError(
            f"no rendered clips in {clips}",
            remedy=f"film them: python -m mellm.training.synth.clips --split test --count 24 --fps 50 --out {clips}",
        )
    for video in files:
        seed = video.stem.split("-")[-1]
        kept = root / "clips-test" / f"{seed}.npz"
        if not kept.exists():
            store.save(kept, [store.stored(pair) for pair in pairs_of_clip(video)])
        measured = signals / f"r50-{seed}.npz"
        opinions = None if model is None or not measured.exists() else spoken(records.load(measured), model)
        for pair in store.load_file(kept):
            opinion = None if opinions is None else opinions(float(pair.id.split("@")[1]))
            yield Example(case_of(pair), pair, opinion)


def spoken(record: Record, model: StepModel) -> Callable[[float], dict[int, float]]:
    """How sure the spotter is of each unit at a time (s): the surest within :data:`NEAR_S` of it."""
    state = model.start()
    times, shares = [], []
    for t_ns, features in records.steps(record):
        if features is None:
            state = model.start()
            continue
        y, state = model.step(features, state)
        times.append(t_ns / 1e9 - model.delay_steps / GRID_HZ)
        shares.append(1 / (1 + np.exp(-y[AU0:])))
    at, known = np.array(times), np.array(shares).reshape(-1, len(SPOT_AUS))

    def opinion(t: float) -> dict[int, float]:
        near = known[np.abs(at - t) <= NEAR_S]
        return dict(zip(SPOT_AUS, near.max(0).tolist(), strict=True)) if len(near) else {}

    return opinion


def pairs_of_clip(video: Path, seed: int = 0) -> Iterator[Pair]:
    """Expressions of a clip at their true onset and apex, and windows without any; the engine finds the face.

    :raises UsageError: there is no truth beside the video
    """
    truth = pairs.clip_truth(video)
    person = truth["spec"]["seed"]
    rng = np.random.default_rng([0xC11, person, seed])
    wanted = [(e["onset_s"], e["apex_s"], e) for e in truth["expressions"] if e["kind"] == "micro"] + [
        (a, b, kind) for a, b, kind in _windows(truth, rng)
    ]
    frames = pairs.clip_frames(video, truth["spec"]["fps"], (t for a, b, _ in wanted for t in (a, b)))
    for onset_s, apex_s, what in wanted:
        onset, apex = frames[onset_s], frames[apex_s]
        expression = what if isinstance(what, dict) else None
        units = (
            tuple(
                UnitTruth(a["au"], pairs.SIDES[a["side"]], a["intensity"])
                for a in sorted(expression["aus"], key=lambda a: a["au"])
            )
            if expression
            else ()
        )
        emotion = labels.draw((u.au for u in units), rng) if units else None
        try:
            made = pairs.standard(onset, apex, find_landmarks(onset))
        except FaceError:
            log.warning("%s: no face at %.2f s, which leaves a pair out", video.name, onset_s)
            continue
        yield Pair(
            id=f"clips-{person}@{apex_s:.4f}",
            subject=f"rendered-{person}",
            split="test",
            source="clips",
            kind="expression" if expression else what,
            units=units,
            peak=expression["peak"] if expression else 0.0,
            talks=any(d["kind"] == "Speech" and d["onset_s"] < apex_s and onset_s < d["offset_s"]
                      for d in truth["distractors"]),
            duration_ms=1e3 * ((expression["offset_s"] if expression else apex_s) - onset_s),
            onset=made[0], apex=made[1], landmarks=made[2],
            emotion=emotion,
            coarse=None if emotion is None else labels.coarse(emotion),
        )  # fmt: skip


def _windows(
    truth: dict[str, Any], rng: np.random.Generator, count: int = 6
) -> Iterator[tuple[float, float, Kind]]:
    """Windows that touch no expression, with what goes on in them."""
    for _ in range(60):
        if not count:
            return
        rise = float(rng.uniform(*RISE_S))
        onset = float(rng.uniform(0.2, truth["spec"]["seconds"] - 0.5))
        apex = onset + rise
        if any(e["onset_s"] < apex + 0.1 and onset - 0.1 < e["offset_s"] for e in truth["expressions"]):
            continue
        seen = {d["kind"] for d in truth["distractors"] if d["onset_s"] < apex and onset < d["offset_s"]}
        count -= 1
        yield onset, apex, pairs.kind_of(seen)
