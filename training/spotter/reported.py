"""Expressions on pixels, each exactly as large as was reported to be found with 80 %: is it true?

The signals of a recording as it is tell, moment by moment, how small a motion the spotter would find. Where that is a
size that a micro-expression can have, one of that very size is laid on the pixels, the clip is filmed and measured
again by the product's chain, and the network that never saw the person looks for it. Nothing here moves the fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mellm.detectors.sensitivity import LARGEST, SensitivityModel
from mellm.training.spotter import records
from mellm.training.spotter.evaluate import Interval
from mellm.training.spotter.overlay import APART_S, CLEAR_S, half_of
from mellm.training.spotter.people import video
from mellm.training.spotter.records import Record
from mellm.training.spotter.sensitivity import Judge, contexts, fold_of
from mellm.training.spotter.windows import STEP_S
from mellm.training.synth import composite
from mellm.training.synth.events import Expression
from mellm.training.synth.script import Profile, draw_micro

MOST = 0.8 * LARGEST
"""Largest motion that is laid, per cent of the eye distance: what lies above is no micro-expression."""

LONGEST_S = 8.0
"""Of a clip: the stretch of a recording where most can be laid."""

TRACES = Path("runs/spotting-sets/traces")


def planned(
    record: Record, judge: Judge, models: Mapping[str, SensitivityModel], seed: int
) -> list[tuple[Expression, float]]:
    """Expressions and their sizes (per cent of the eye distance), where the face lets such be seen, in one stretch."""
    rng = np.random.default_rng([0x701D, seed, *record.name.encode()])
    network, model = judge.of(record), models[fold_of(record)]
    clean = contexts(record, network.threshold, network.delay_steps)
    grid = record.grid_s
    found: list[tuple[Expression, float]] = []
    for _ in range(30 * max(1, round(record.seconds))):
        e = draw_micro(rng, float(rng.uniform(grid[0], grid[-1])), Profile())
        first, last = np.searchsorted(grid, (e.onset_s - CLEAR_S[0], e.offset_s + CLEAR_S[1]))
        whole = round((e.offset_s - e.onset_s + sum(CLEAR_S)) / STEP_S)
        if first < 1 or last >= len(grid) or last - first < whole - 2:
            continue
        if np.isnan(record.features[first : last + 1, 0]).any():
            continue
        half = half_of([a.au for a in e.actions])
        context = clean[half][int(np.searchsorted(grid, e.apex_s))]
        if np.isnan(context).any():
            continue
        size = model.half(half).smallest(context)
        near = any(e.onset_s < o.offset_s + APART_S and o.onset_s < e.offset_s + APART_S for o, _ in found)
        if size <= MOST and not near:
            found.append((e, size))
    starts = [e.onset_s - 1.2 for e, _ in found]
    best = max(starts, key=lambda s: sum(s < e.onset_s < s + LONGEST_S - 2.4 for e, _ in found), default=0.0)
    return sorted(
        ((e, size) for e, size in found if best < e.onset_s - 1.0 and e.offset_s + 1.0 < best + LONGEST_S),
        key=lambda pair: pair[0].onset_s,
    )


def filmed(record: Record, plan: Sequence[tuple[Expression, float]], seed: int) -> Record:
    """The stretch of the recording with the expressions on its pixels, measured again."""
    who = video(str(record.facts["file"]))
    traced = composite.trace(who.path, TRACES)
    wanted = max(0.0, plan[0][0].onset_s - 1.5)
    start = float(traced.times_s[np.searchsorted(traced.times_s, wanted)])  # of the first picture
    moved = {
        replace(e, onset_s=e.onset_s - start, apex_s=e.apex_s - start, offset_s=e.offset_s - start): size
        for e, size in plan
    }
    clip = composite.VideoClip(
        traced,
        seed=seed,
        film=composite.Film(noise=0.6, codec="h264", quality=20),
        expressions=moved,
        start_s=start - 1e-6,
        end_s=plan[-1][0].offset_s + 1.5,
    )
    truths = tuple(
        Interval(e.onset_s, e.apex_s, e.offset_s, tuple(a.au for a in e.actions), size)
        for e, size in moved.items()
    )
    return records.measure(
        f"reported-{record.name}",
        record.subject,
        clip.frames(),
        truths=truths,
        seconds=clip.seconds,
        fps=clip.fps,
        groups=record.groups,
        facts={**record.facts, "start_s": clip.start_s},
    )


def build(
    people: Sequence[Record],
    judge: Judge,
    models: Mapping[str, SensitivityModel],
    folder: Path,
    *,
    clips: int,
    seed: int,
) -> list[Record]:
    """Up to so many clips, those where most can be laid first; what lies in ``folder`` is kept."""
    plans = [(record, planned(record, judge, models, seed)) for record in people]
    plans.sort(key=lambda pair: -len(pair[1]))
    out = []
    for record, plan in plans[:clips]:
        if not plan:
            break
        path = folder / f"reported-{record.name}.npz"
        if not path.exists():
            records.save(filmed(record, plan, seed), path)
        out.append(records.load(path))
    return out
