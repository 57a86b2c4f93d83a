"""Action units: names, words, notation, and what they say about emotion.

Units alone do not settle a fine emotion (seven classes are told apart in about half of the cases even with
perfect units), so only the coarse class is derived, with its probability.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import exp, log
from typing import Final, Literal, TypeAlias

from mellm.engine.facs.tables import DATA_SETS, DataSet
from mellm.engine.types import Coarse, Emotion, Side
from mellm.stream.errors import UsageError

Intensity: TypeAlias = Literal["A", "B", "C", "D", "E"]


@dataclass(frozen=True, slots=True)
class Unit:
    """One action unit.

    :param name: as FACS calls it
    :param action: what is seen, a clause without a side
    :param part: the part of the face that moves
    :param sided: whether one side can move alone
    """

    name: str
    action: str
    part: str
    sided: bool = True


UNITS: Final[Mapping[int, Unit]] = {
    1: Unit("inner brow raiser", "the inner brow rises", "brow"),
    2: Unit("outer brow raiser", "the outer brow rises", "brow"),
    4: Unit("brow lowerer", "the brow is drawn down and together", "brow"),
    5: Unit("upper lid raiser", "the upper lid rises", "lid"),
    6: Unit("cheek raiser", "the cheek rises", "cheek"),
    7: Unit("lid tightener", "the lids tighten", "lid"),
    9: Unit("nose wrinkler", "the nose wrinkles", "nose"),
    10: Unit("upper lip raiser", "the upper lip rises", "lip"),
    12: Unit("lip corner puller", "the lip corner is pulled up and out", "lip"),
    14: Unit("dimpler", "the lip corner tightens", "lip"),
    15: Unit("lip corner depressor", "the lip corner sinks", "lip"),
    17: Unit("chin raiser", "the chin is pushed up", "chin", sided=False),
    20: Unit("lip stretcher", "the lips stretch sideways", "lip"),
    24: Unit("lip pressor", "the lips press together", "lip"),
    26: Unit("jaw drop", "the jaw drops", "chin", sided=False),
}
"""The units that this project reads from motion."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A unit as a human coder wrote it down.

    :param intensity: A (trace) to E (maximum), ``None`` where it was not coded
    :param doubtful: marked with a question mark
    """

    au: int
    side: Side = "both"
    intensity: Intensity | None = None
    doubtful: bool = False


_CODED = re.compile(
    r"(?P<side>[LR])?\s*(?:AU)?\s*(?P<au>\d{1,2})(?P<intensity>[A-E])?(?P<doubt>\?)?", re.IGNORECASE
)
_SIDES: Final[Mapping[str, Side]] = {"L": "left", "R": "right", "": "both"}
_LETTERS: Final[Mapping[str, Intensity]] = {"A": "A", "B": "B", "C": "C", "D": "D", "E": "E"}


def parse(notation: str) -> tuple[Coded, ...]:
    """Read FACS notation such as ``L12A+R14B`` or ``4+7?``; an empty string is no unit.

    :raises UsageError: something in it is not a unit
    """
    found = []
    for part in filter(None, (p.strip() for p in re.split(r"[+,;]", notation))):
        match = _CODED.fullmatch(part)
        if match is None:
            raise UsageError(
                f"{part!r} in {notation!r} is not a valid action unit",
                remedy="write units like L12A+R14B or 4+7?",
            )
        found.append(
            Coded(
                int(match["au"]),
                _SIDES[(match["side"] or "").upper()],
                _LETTERS.get((match["intensity"] or "").upper()),
                match["doubt"] is not None,
            )
        )
    return tuple(found)


def notation(units: Iterable[tuple[int, Side]]) -> str:
    """The inverse of :func:`parse` for units without intensity: ``L12+4``."""
    letters = {"left": "L", "right": "R", "both": ""}
    return "+".join(f"{letters[side]}{au}" for au, side in units)


UPPER: Final = frozenset({1, 2, 4, 5, 6, 7})
"""Units of brows and lids, the upper half of the face; the nose wrinkler (9) moves the lower half most."""

COARSE: Final[tuple[Coarse, ...]] = ("negative", "positive", "surprise")

HIT, FALSE_ALARM = 0.6, 0.03
"""How a reader of units errs: the chance that a unit which is there is read, and that one which is not is read.
With them a unit that was not read speaks against an emotion a little, not absolutely."""

RARE = 0.01
"""Least share of clips in which any unit occurs."""


def coarse_emotion(units: Iterable[tuple[int, float]]) -> Emotion | None:
    """Coarse class from action units and how sure each is, by naive Bayes on :mod:`mellm.engine.facs.tables`.

    Clips of the three data sets are pooled. Units are taken as independent given the emotion, which they are
    not, and base rates are those of films that were made to raise emotions; so the probabilities are a
    guide, not a calibrated measurement.

    :returns: ``None`` where no unit is known
    """
    sure = {au: min(max(score, 0.0), 1.0) for au, score in units if au in UNITS and score > 0}
    if not sure:
        return None
    logs: dict[Coarse, list[float]] = {name: [] for name in COARSE}
    for clips, coarse, shares in _rows():
        total = log(clips)
        for au in UNITS:
            read = HIT * shares[au] + FALSE_ALARM * (1 - shares[au])
            weight = sure.get(au, 0.0)
            total += log(weight * read + (1 - weight) * (1 - read))
        logs[coarse].append(total)
    top = max(max(values) for values in logs.values())
    mass = {name: sum(exp(value - top) for value in values) for name, values in logs.items()}
    whole = sum(mass.values())
    scores: dict[str, float] = {name: round(mass[name] / whole, 4) for name in COARSE}
    return Emotion(max(COARSE, key=lambda name: mass[name]), scores)


@cache
def _rows() -> tuple[tuple[int, Coarse, Mapping[int, float]], ...]:
    """Clips, class and share of every unit, one row for each emotion of each data set that has a class."""
    return tuple(
        (row.clips, row.coarse, shares)
        for data in DATA_SETS.values()
        for row, shares in ((row, _complete(data, row.shares)) for row in data.emotions.values())
        if row.coarse is not None
    )


def unit_shares(data: DataSet) -> dict[str, Mapping[int, float]]:
    """Emotion → share of its clips that show each unit of :data:`UNITS`, for a whole data set."""
    return {name: _complete(data, row.shares) for name, row in data.emotions.items()}


def _complete(data: DataSet, listed: Mapping[int, float]) -> Mapping[int, float]:
    """Shares of all units in one emotion: those listed, and for the others what the listed ones leave over.

    A unit's overall share fixes how many of its clips lie outside of the emotions that list it; these are
    spread evenly over the clips of the emotions that do not.
    """
    rows = data.emotions.values()
    clips = sum(row.clips for row in rows)
    shares: dict[int, float] = {}
    for au in UNITS:
        if au in listed:
            shares[au] = min(listed[au], 1 - RARE)
            continue
        accounted = sum(row.clips * row.shares[au] for row in rows if au in row.shares)
        unlisted = sum(row.clips for row in rows if au not in row.shares)
        rest = data.overall.get(au, 0.0) * clips - accounted
        shares[au] = max(RARE, rest / unlisted)
    return shares
