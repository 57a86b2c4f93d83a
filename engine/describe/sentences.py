"""The description in controlled English: what moved, how far, what it suggests, how sure, and by what means.

Every number stands with its basis, and no unit is named that is not in the list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mellm.engine.facs import action_units as facs
from mellm.engine.types import ActionUnit, Coarse, Emotion, RegionMotion

CLASS_WORDS: dict[Coarse, str] = {
    "negative": "a negative expression",
    "positive": "a positive expression",
    "surprise": "surprise",
}

OPEN = 0.75
"""A class that is less likely is told with the next likely one."""


def sentences(
    units: Sequence[ActionUnit],
    emotion: Emotion,
    table: Sequence[RegionMotion],
    *,
    readings: int = 1,
    notes: Sequence[str] = (),
) -> str:
    """Put a reading into words.

    :param units: at least one
    :param table: regions with their motion, may be empty
    :param readings: how often the moment was read
    :param notes: sentences that follow
    """
    alike = len({unit.readings for unit in units}) == 1
    clauses = [_clause(unit, 1 if alike else readings) for unit in units]
    moved = clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"
    if alike and units[0].readings is not None and readings > 1:
        moved += f", in {units[0].readings} of {readings} readings"
    largest = [_largest(table)] if table else []
    return " ".join((f"{moved[0].upper()}{moved[1:]}.", *largest, _suggestion(emotion), *notes))


def agreed(units: Sequence[ActionUnit], readings: int) -> str:
    """``AU4 in 8 of 8 readings, AU7 in 6``; empty for a moment that was read once."""
    told = [f"AU{u.au} in {u.readings}" for u in units if u.readings is not None]
    if readings < 2 or not told:
        return ""
    first = f"{told[0]} of {readings} readings"
    return f"Agreement: {', '.join([first, *told[1:]])}."


def _clause(unit: ActionUnit, readings: int) -> str:
    where = f" on the {unit.side}" if unit.side != "both" else ""
    doubt = "" if unit.score >= 0.6 else "perhaps "
    of = "" if unit.readings is None or readings < 2 else f", in {unit.readings} of {readings} readings"
    return f"{doubt}{facs.UNITS[unit.au].action}{where} (AU{unit.au}{of})"


def _largest(table: Sequence[RegionMotion]) -> str:
    top = max(table, key=lambda region: float(np.hypot(region.dx, region.dy)))
    word, _, side = top.region.rpartition("_") if top.region[-2:] in ("_L", "_R") else (top.region, "", "")
    place = {"L": "left ", "R": "right "}.get(side, "") + word.replace("_", " ")
    across, up = top.dx, -top.dy
    steep = abs(up) > 2.4 * abs(across)
    flat = abs(across) > 2.4 * abs(up)
    # the subject's left is at the picture's right
    vertical = "" if flat else ("up" if up > 0 else "down")
    level = "" if steep else ("to the left" if across > 0 else "to the right")
    way = " and ".join(w for w in (vertical, level) if w)
    return f"Largest motion: {place}, {way}, {np.hypot(top.dx, top.dy):.1f}% of the eye distance."


def _suggestion(emotion: Emotion) -> str:
    sure = emotion.scores[emotion.coarse]
    others = sorted(
        ((s, name) for name, s in emotion.scores.items() if name != emotion.coarse), key=lambda pair: -pair[0]
    )
    if sure >= OPEN:
        return f"This suggests {CLASS_WORDS[emotion.coarse]} (probability {sure:.2f})."
    second = f"{others[0][1]} {others[0][0]:.2f}"
    return (
        f"This leaves it open; {CLASS_WORDS[emotion.coarse]} is likeliest (probability {sure:.2f}, {second})."
    )
