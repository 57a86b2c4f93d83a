"""Scores of rows, with 95 % intervals over people, and of the change since the undamaged pictures.

The change is taken on the same people and pairs, so its interval is far narrower than the difference of two intervals
would suggest; where it leaves out 0, the damage is told from chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mellm.engine.facs.action_units import COARSE
from mellm.evaluation.metrics.bootstrap import intervals
from mellm.evaluation.robustness.rows import Row
from mellm.evaluation.spotting.stats import Estimate

F64 = NDArray[np.float64]
DRAWS = 1000

DESCRIBED = {
    "f1": "unit F1",
    "uf1": "coarse UF1",
    "silent": "silent on expressions",
    "abstains": "silent on nothing",
    "lost": "face not found",
}
SPOTTED = {
    "f1": "F1",
    "recall": "recall",
    "false_per_minute": "false alarms a minute",
    "apex_ms": "apex error, ms",
    "seen": "time with a face",
}


@dataclass(frozen=True, slots=True)
class Point:
    """Scores at one level.

    :param values: name → value with its interval; NaN where it is undefined
    :param changes: name → change since the undamaged pictures, with its interval; empty at the undamaged point
    :param people: how many were measured
    :param items: as ``people``
    """

    level: float
    values: Mapping[str, Estimate]
    changes: Mapping[str, Estimate]
    people: int
    items: int

    def worse(self, name: str) -> bool:
        """Whether the change is told from chance, whichever way it goes."""
        change = self.changes.get(name)
        return change is not None and (change.low > 0 or change.high < 0)


def described(item: Mapping[str, Any], reader: str) -> F64:
    """Counts of one pair: units right, false, missed; the same of the three classes; expressions, silent ones;
    others, silent ones; pairs, lost ones. All 18 add up over pairs."""
    told = item["told"][reader]
    true, said = set(item["units"]), set(told["units"]) if told else set()
    counts = [len(true & said), len(said - true), len(true - said)] if true else [0, 0, 0]
    label, guess = item["coarse"], told["coarse"] if told else None
    for name in COARSE:
        right, named, is_it = name == label == guess, name == guess and label is not None, name == label
        counts += [right, named - right, is_it - right]
    silent = told is None
    counts += [bool(true), bool(true) and silent, not true, not true and silent, 1, item["lost"]]
    return np.array(counts, np.float64)


def describing(total: F64) -> dict[str, float]:
    """Scores of summed counts of :func:`described`. Units: micro-averaged over all expressions; silence names none.

    UF1 as :func:`mellm.training.instruct.labels.uf1`: over the classes that occur.
    """
    classes = [tuple(total[k : k + 3]) for k in (3, 6, 9)]
    each = [_f1(tp, fp, fn) for tp, fp, fn in classes if tp + fn > 0]
    shown, silent, nothing, kept, pairs, lost = total[12:]
    return {
        "f1": _f1(*total[:3]) if shown else math.nan,
        "uf1": float(np.mean(each)) if each else math.nan,
        "silent": _share(silent, shown),
        "abstains": _share(kept, nothing),
        "lost": _share(lost, pairs),
    }


def spotted(item: Mapping[str, Any]) -> F64:
    """Counts of one clip: right, false, missed, minutes with a face, minutes, sum and number of apex errors (ms)."""
    errors = item["apex_ms"]
    return np.array(
        [
            item["tp"],
            item["fp"],
            item["fn"],
            item["seen_s"] / 60,
            item["seconds"] / 60,
            sum(errors),
            len(errors),
        ],
        np.float64,
    )


def spotting(total: F64) -> dict[str, float]:
    """Scores of summed counts of :func:`spotted`; false alarms per minute in which a face could be analysed."""
    tp, fp, fn, seen, whole, errors, known = total
    return {
        "f1": _f1(tp, fp, fn),
        "recall": _share(tp, tp + fn),
        "false_per_minute": _share(fp, seen),
        "apex_ms": _share(errors, known),
        "seen": _share(seen, whole),
    }


def _f1(tp: float, fp: float, fn: float) -> float:
    return float(2 * tp / (2 * tp + fp + fn)) if tp else 0.0


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def point(
    level: float, rows: Sequence[Row], base: Sequence[Row], counts: Callable[[Mapping[str, Any]], F64],
    score: Callable[[F64], dict[str, float]], draws: int = DRAWS,
) -> Point:  # fmt: skip
    """Scores of a level against the undamaged rows of the same people and items.

    :param base: the same rows again for the undamaged point
    """
    undamaged = {(r.subject, i.get("id", "")): i for r in base for i in r.items}
    people: dict[str, list[tuple[F64, F64]]] = {}
    number = 0
    for row in rows:
        for item in row.items:
            before = undamaged.get((row.subject, item.get("id", "")))
            if before is not None:
                people.setdefault(row.subject, []).append((counts(item), counts(before)))
                number += 1
    summed = {
        name: [(np.sum([a for a, _ in some], 0), np.sum([b for _, b in some], 0))]
        for name, some in people.items()
    }
    if not summed:
        return Point(level, {}, {}, 0, 0)

    def both(items: list[tuple[F64, F64]]) -> dict[str, float]:
        now, then = score(np.sum([a for a, _ in items], 0)), score(np.sum([b for _, b in items], 0))
        return {**now, **{f"change {name}": now[name] - then[name] for name in now}}

    whole = both([pair for some in summed.values() for pair in some])
    spread = intervals(summed, both, draws=draws)
    found = {name: Estimate(value, *spread[name]) for name, value in whole.items()}
    changes = {n.removeprefix("change "): e for n, e in found.items() if n.startswith("change ")}
    values = {n: e for n, e in found.items() if not n.startswith("change ")}
    return Point(level, values, {} if rows is base else changes, len(summed), number)
