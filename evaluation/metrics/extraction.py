"""Reading labels, yes or no, and action units out of what a model wrote.

A reading is made only where the text leaves one: an answer that names two classes and does not say which one it
means, or none, is not read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Final, Literal

from mellm.engine.facs.names import UNITS
from mellm.evaluation.metrics.emotions import canonical

_WORD = re.compile(r"[^\W\d_]+")
_NEGATED = re.compile(
    r"(?:\b(?:not|no|non|never|without|neither|nor|rather than|instead of|excluding)|n't)\W+"
    r"(?:(?:a|an|the|any|very|of|being|clearly|really)\W+)*$"
)
_CUE = re.compile(
    r"(?:\b(?:class|answer|label|emotion|expression|category|conclusion|prediction)\b[^.!?\n]{0,60}?"
    r"(?:\bis\b|\bas\b|:|=|->|→)|^)[\s\W]*(?:(?:a|an|the|most|likely|probably)\s+)*[\s\W]*$"
)
_SHORT: Final = 4  # "ne" and "pos" are spellings of tables, not words of an answer

# names that coders and the challenge's files use beside those of the instruction data
_MORE_UNITS: Final[Mapping[str, int]] = {
    "nostril compress": 39,
    "neck tightener": 21,
    "lip presser": 24,
    "lid droop": 41,
    "eyes closed": 43,
    "turn left": 51,
    "turn right": 52,
    "head up": 53,
    "head down": 54,
    "tilt left": 55,
    "tilt right": 56,
    "eyes left": 61,
    "eyes right": 62,
    "eyes up": 63,
    "eyes down": 64,
}


def extract_label(text: str | None, labels: Collection[str], about: str = "") -> str | None:
    """The one label that a text gives.

    Whole words in any case and common spellings (``happy`` for ``happiness``) count, negated ones do not. Where
    several labels are named, the last one that is said to be the answer is taken ("the class is …", "Answer: …", or
    the text begins with it).

    :param about: where the text has several parts, what the cue must speak of: ``coarse``, ``fine``
    :returns: ``None`` where the text names no label, or several and does not choose
    """
    if not text:
        return None
    folded = text.casefold()
    found = _mentions(folded, {label.casefold(): label for label in labels})
    if about:
        found = [(at, label) for at, label in found if _speaks_of(folded[:at], about)]
    if len({label for _, label in found}) == 1:
        return found[0][1]
    chosen = [label for at, label in found if _CUE.search(folded[:at])]
    return chosen[-1] if chosen else None


def _mentions(folded: str, labels: Mapping[str, str]) -> list[tuple[int, str]]:
    """(Place, label) of each mention that is not negated, in the order of the text."""
    out = []
    for match in _WORD.finditer(folded):
        word = match.group()
        known = labels.get(word) or (labels.get(canonical(word) or "") if len(word) >= _SHORT else None)
        if known:
            out.append((match.start(), known))
    for folded_label, label in labels.items():
        if not _WORD.fullmatch(folded_label):
            places = re.finditer(rf"(?<!\w){re.escape(folded_label)}(?!\w)", folded)
            out += [(match.start(), label) for match in places]
    return sorted((at, label) for at, label in out if not _NEGATED.search(folded[:at]))


def _speaks_of(before: str, about: str) -> bool:
    """Whether, of the parts "coarse" and "fine", the last one named before is the one asked for."""
    named = re.findall(r"\b(coarse|fine)", before)
    return bool(named) and named[-1] == about


def extract_yes_no(text: str | None) -> Literal["yes", "no"] | None:
    """Yes or no as a word of its own: the first word, else the only one of both in the text."""
    words = _WORD.findall((text or "").casefold())
    if words and words[0] in ("yes", "no"):
        return "yes" if words[0] == "yes" else "no"
    if ("yes" in words) == ("no" in words):
        return None
    return "yes" if "yes" in words else "no"


def extract_units(text: str | None) -> frozenset[int]:
    """Action units by name (``lip corner puller``) or number (``AU12``, ``AUs 1+2``), sides left aside."""
    folded = " ".join((text or "").casefold().replace("-", " ").split())
    found = {
        int(n)
        for run in re.findall(r"\baus?\s*(\d+(?:\s*[+,&]\s*(?:au\s*)?\d+)*)", folded)
        for n in _all(run)
    }
    names, pattern = _unit_names()
    return frozenset(found | {names[name] for name in pattern.findall(folded)})


def _all(run: str) -> list[str]:
    return re.findall(r"\d+", run)


@cache
def _unit_names() -> tuple[Mapping[str, int], re.Pattern[str]]:
    names = {**{english: number for number, (english, _) in UNITS.items()}, **_MORE_UNITS}
    longest_first = sorted(names, key=len, reverse=True)
    return names, re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b")
