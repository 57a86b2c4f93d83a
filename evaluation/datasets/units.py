"""Action units as coders write them: ``L12A+R14B``, ``ref(12/14)``, ``4+7?``, ``12A or 14A``, words.

Grammar, after full-width signs became plain ones::

    list   = group { ("+" | "," | ";" | "&" | newline) group }
    group  = item { ("/" | "or" | "-") item }
    item   = (unit | ["ref"] "(" list ")" | word) ["?"]
    unit   = ["AU"] [side] digits [side] [intensity]
    side   = "L" | "R" | "A" | "T" | "B"             left, right, asymmetric, top, bottom
    intensity = "A".."E", or two of them with "/" or "-" (then it counts as unknown)

A unit is *sure* where the text says so without reserve, *possible* where it is one of several alternatives, carries a
question mark, stands in brackets or beside words that are not understood. A number that is no FACS unit (``1214``,
``4.7``, ``4²``, a date the spreadsheet made of ``1/2``) is kept as unread text: no unit is ever made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from mellm.evaluation.datasets.text import fold

# codes of the FACS manual: face, head and eye position, visibility, gross behaviour
FACS: Final = frozenset({1, 2, *range(4, 47), *range(50, 67), *range(68, 75), *range(80, 86), 91, 92, 97, 98})

Question = Literal["unit", "offset"]

# words that say how a unit was shown: they leave it sure
_PLAIN = frozenset(
    [
        "and",
        "au",
        "aus",
        "bilateral",
        "unilateral",
        "left",
        "right",
        "slight",
        "slightly",
        "weak",
        "strong",
        "trace",
        "big",
        "small",
        "double",
        "swallow",
        "blink",
        "chewing",
        "glare",
        "soft",
        "focus",
        "asymmetric",
    ]
)
# words that say the coder was not sure
_UNSURE = frozenset(
    ["maybe", "perhaps", "possible", "possibly", "probable", "probably", "likely", "unclear", "unsure"]
)
# words after which a number is not a unit that was shown
_NOT_A_UNIT = frozenset(
    [
        "no",
        "not",
        "without",
        "except",
        "frame",
        "frames",
        "at",
        "from",
        "to",
        "onset",
        "apex",
        "offset",
        "second",
        "seconds",
        "sec",
        "ms",
        "see",
        "row",
        "video",
        "clip",
        "page",
        "fps",
        "until",
        "after",
        "before",
        "subject",
    ]
)


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One action unit.

    :param side: ``L``, ``R``, ``A`` (asymmetric), ``T``, ``B`` (top, bottom) or ``""`` (both or not said)
    :param intensity: ``A`` to ``E``, or ``""`` where it is not said
    """

    number: int
    side: str = ""
    intensity: str = ""

    def __str__(self) -> str:
        return f"{self.side}{self.number}{self.intensity}"


@dataclass(frozen=True, slots=True)
class ActionUnits:
    """What an annotation says about action units.

    :param unread: pieces of the text that are no action units, in the order of the text
    """

    sure: frozenset[Unit] = frozenset()
    possible: frozenset[Unit] = frozenset()
    text: str = ""
    unread: tuple[str, ...] = ()

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of the sure units."""
        return frozenset(unit.number for unit in self.sure)

    @property
    def possible_numbers(self) -> frozenset[int]:
        """Numbers of the possible units that are not sure as well."""
        return frozenset(unit.number for unit in self.possible) - self.numbers

    def __str__(self) -> str:
        sure = "+".join(map(str, sorted(self.sure)))
        possible = "/".join(map(str, sorted(self.possible)))
        return f"{sure} ({possible})".strip() if possible else sure


_TOKEN = re.compile(
    r"""
    (?P<ref>\bref(?=\s*\())
  | (?P<or>\bor\b|[/|\-–\u2044])
  | (?P<sep>[+,;&\n、])
  | (?P<q>\?) | (?P<open>[(\[]) | (?P<close>[)\]])
  | (?<![\w.])(?:aus?\s*)?(?P<side>[lratb])?\s?(?:au\s*)?(?P<number>\d+)(?:\.0+)?(?P<after>[lr](?![a-z]))?
    (?P<intensity>\(?\s?[a-e](?![a-z\d])(?:\s?[/\-]\s?[a-e](?![a-z\d]))?\s?\)?)?(?![\w]|\.\d)
  | (?P<word>[^\s+,;&、?()\[\]/|\u2044]+)
    """,
    re.VERBOSE | re.IGNORECASE,
)

Reading = tuple[frozenset[Unit], frozenset[Unit]]
NOTHING: Final[Reading] = (frozenset(), frozenset())


def parse_units(cell: object, *, question: Question = "unit") -> ActionUnits:
    """Read one cell.

    :param cell: text or a number; anything else (a date, a truth value) is kept as unread
    :param question: what "?" doubts: the unit, or only its offset, as the legend of SAMM says
    """
    if cell is None:
        return ActionUnits()
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return ActionUnits(text=str(cell), unread=(str(cell),))
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    parser = _Parser(list(_TOKEN.finditer(fold(text))), question)
    sure, possible = parser.listed()
    while parser.more():  # a bracket that closes nothing: what follows is doubtful
        parser.drop()
        more = parser.listed()
        possible |= more[0] | more[1]
    numbers = {unit.number for unit in sure}
    rest = frozenset(unit for unit in possible if unit.number not in numbers)
    return ActionUnits(sure, rest, text.strip(), tuple(parser.unread))


class _Parser:
    def __init__(self, tokens: list[re.Match[str]], question: Question) -> None:
        self.tokens = tokens
        self.question = question
        self.at = 0
        self.unread: list[str] = []

    def more(self) -> bool:
        return self.at < len(self.tokens)

    def kind(self) -> str:
        if not self.more():
            return ""
        token = self.tokens[self.at]
        return next((k for k in ("number", "ref", "or", "sep", "q", "open", "close") if token[k]), "word")

    def drop(self) -> None:
        self.unread.append(self.tokens[self.at].group().strip())
        self.at += 1

    def listed(self) -> Reading:
        """Groups up to the end or to a closing bracket, which is left."""
        sure: frozenset[Unit] = frozenset()
        possible: frozenset[Unit] = frozenset()
        while self.kind() not in ("", "close"):
            if self.kind() == "sep":
                self.at += 1
                continue
            more = self.group()
            sure, possible = sure | more[0], possible | more[1]
        return sure, possible

    def group(self) -> Reading:
        """Items up to a separator; alternatives leave sure only what all of them have."""
        alternatives: list[Reading] = [NOTHING]
        words: list[str] = []
        spelled = False
        while (kind := self.kind()) not in ("", "close", "sep"):
            if kind == "or":
                self.at += 1
                alternatives.append(NOTHING)
            elif kind == "word":
                words.append(self.tokens[self.at].group().lower().strip(".:\"'"))
                self.drop()
            elif kind == "q":
                self.at += 1
                if self.question == "unit":
                    alternatives[-1] = _doubted(alternatives[-1])
            else:
                item = self.item(words)
                spelled = True
                alternatives[-1] = (alternatives[-1][0] | item[0], alternatives[-1][1] | item[1])
        reading = _either([a for a in alternatives if a != NOTHING])
        strange = [word for word in words if word not in _PLAIN]
        return _doubted(reading) if spelled and strange else reading

    def item(self, words: Iterable[str]) -> Reading:
        kind = self.kind()
        if kind == "number":
            return self.unit(words)
        if kind == "ref":
            self.at += 1
        opened = self.at
        self.at += 1
        inner = self.listed()
        if self.kind() == "close":
            self.at += 1
        else:
            self.unread.append(self.tokens[opened].group())
        return _doubted(inner)

    def unit(self, words: Iterable[str]) -> Reading:
        token = self.tokens[self.at]
        last = ([*words] or [""])[-1]
        number = int(token["number"]) if len(token["number"]) < 4 else 0
        if number not in FACS or last in _NOT_A_UNIT:
            self.drop()
            return NOTHING
        self.at += 1
        letters = set(re.findall("[A-E]", (token["intensity"] or "").upper()))
        side = (token["side"] or token["after"] or "").upper()
        unit = Unit(number, side, letters.pop() if len(letters) == 1 else "")
        return (frozenset(), frozenset({unit})) if last in _UNSURE else (frozenset({unit}), frozenset())


def _doubted(reading: Reading) -> Reading:
    return frozenset(), reading[0] | reading[1]


def _either(readings: list[Reading]) -> Reading:
    """One of several: sure is only what every one has, without a side or intensity on which they differ."""
    if len(readings) < 2:
        return readings[0] if readings else NOTHING
    everything = frozenset().union(*(sure | possible for sure, possible in readings))
    shared = frozenset[int].intersection(*(frozenset(unit.number for unit in sure) for sure, _ in readings))
    sure = frozenset(_common([unit for unit in everything if unit.number == number]) for number in shared)
    return sure, frozenset(unit for unit in everything if unit.number not in shared)


def _common(units: list[Unit]) -> Unit:
    same_side = all(a.side == b.side for a, b in pairwise(units))
    same_intensity = all(a.intensity == b.intensity for a, b in pairwise(units))
    first = units[0]
    return Unit(first.number, first.side if same_side else "", first.intensity if same_intensity else "")
