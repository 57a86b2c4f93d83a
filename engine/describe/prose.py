"""Reading answers in free words, English or Chinese, as the published MELLM models write them.

Those models reason first and conclude last. So units are the ones that are named and not denied, and the class is the
one that the conclusion names; classes that the reasoning weighs and rejects are not taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from mellm.engine.describe.words import (
    CLASS_WORD,
    KNOWN_UNITS,
    Parsed,
    class_of,
    clean,
    emotion_from_class,
    refuses,
    side_of,
    without_thoughts,
)
from mellm.engine.types import ActionUnit, Coarse, Side

READ = 40_000
"""So many characters of an answer are read; far fewer are kept as text."""

REACH = 64
"""A denial stands at most so many characters before what it denies."""

_FLAGS = re.IGNORECASE | re.ASCII
"""ASCII, so that a border lies between a Chinese character and a Latin letter."""

_MARKDOWN = re.compile(r"[*_`#|>]+")
_SIDE = r"left|right|both|bilateral|左侧?|右侧?|双侧|两侧"
# what a number after a comma must not be followed by if it is to be another unit
_MEASURE = (
    r"\s*(?:px|pixels?|%|percent|°|degrees?|ms|milliseconds?|frames?|regions?|more|other|of\b|times"
    r"|个|像素|毫秒|帧|度|处)"
)
_JOINT = r"\s*(?:,\s*and\b|[,、;+&/]|\band\b|\bor\b|和|及|与|或)\s*"
_UNITS = re.compile(
    rf"(?:(?P<before>\b[LR]|{_SIDE})(?:[ -]?sided|[ -]?side|的)?\s*)?"
    r"(?:\bA\.?U\.?s?|\baction units?|动作单元)\s*[-:]?\s*(?P<first>[LR]?\s?\d{1,2})(?!\d|\.\d)"
    rf"(?P<more>(?:[A-E]\b)?(?:{_JOINT}[LR]?\d{{1,2}}(?!\d|\.\d|{_MEASURE}))*)"
    rf"(?P<after>\s?[LR]\b|(?:[A-E]\b)?\s*\(\s*(?:on the )?(?:subject's )?(?:{_SIDE})[^()]{{0,20}}\)"
    r"|\s+on the (?:left|right))?",
    _FLAGS,
)
_NUMBER = re.compile(r"([LR])?\s?(\d{1,2})", _FLAGS)
_DENIED = re.compile(
    r"(?:\bno\b|\bnot\b(?! only)|\bwithout|\babsen(?:t|ce)|\bneither\b|\bnor\b|\brul(?:e|es|ed|ing) out|\bexclud\w+"
    r"|\brather than|\binstead of|n't\b|\bif\b|没有|未|无|不是|并非|而非|排除|缺乏|若|如果)[^.;。,:]{0,24}$",
    _FLAGS,
)
_DENIED_AFTER = re.compile(
    r"\s*(?:\([^()]{0,40}\)\s*)?(?:(?:is|was|are|were)\s+(?:clearly\s+)?(?:not\b(?! only)|absent)"
    r"|(?:not (?:present|active|seen|visible)|absent)\b|(?:均)?(?:没有|未|不存在|不明显|无))",
    _FLAGS,
)
_CLASS_DENIED = re.compile(
    r"(?:\bno\b|\bnot\b(?! only)|\bnor\b|\brul(?:e|es|ed|ing) out|\bexclud\w+|\brather than|\binstead of|n't\b"
    r"|不是|并非|而非|排除|没有|非|不)[^.;。,:]{0,16}$",
    _FLAGS,
)
_MARK = re.compile(
    r"(?P<strict>(?:micro-?\s?expression|category|class|emotion|label|类别|分类|类型|情绪|表情)"
    r"(?: (?:category|class|label|type))?\s*(?::|\bis\b|是|为|应为))|\bconclusion\b|\bfinal(?:ly)?\b"
    r"|\btherefore\b|\bin summary\b|结论|最终|综上|因此",
    _FLAGS,
)
_END = re.compile(r"[.;。!?\n]|$")
_VOID = re.compile(
    r"\b(?:no (?:micro-?)?expression|neutral)\b|没有(?:微)?表情|无(?:微)?表情|中性", re.IGNORECASE
)


def parse_prose(answer: str) -> Parsed:
    """Read an answer in free words.

    Units: ``AU4``, ``AU 4 and 7``, ``动作单元4、7``, ``left AU12``; with markdown, full-width signs and sides. Where
    the place for the class holds a word that is no class, the answer is ``unparsable``: no word of the reasoning
    stands in for it.
    """
    said = without_thoughts(answer)
    if not said.strip():
        return Parsed("", problem="cut_answer" if answer.strip() else "empty_answer")
    text = clean(said)
    plain = _plain(said)
    units = _units(plain)
    if not units and refuses(said):
        return Parsed(text, problem="model_refused")
    coarse = _class(plain)
    if coarse is None:
        void = not units and _VOID.search(plain) is not None
        return Parsed(text, problem="model_abstained" if void else "unparsable")
    return Parsed(text, units, emotion_from_class(coarse))


def _plain(answer: str) -> str:
    """Full-width letters, digits and signs as ASCII, without markdown, lines kept apart."""
    folded = unicodedata.normalize("NFKC", answer[:READ])
    lines = (clean(_MARKDOWN.sub(" ", line), READ) for line in folded.splitlines())
    return "\n".join(line for line in lines if line)


def _units(text: str) -> tuple[ActionUnit, ...]:
    found: dict[tuple[int, Side], ActionUnit] = {}
    for match in _UNITS.finditer(text):
        if _DENIED.search(_before(text, match.start())) or _DENIED_AFTER.match(text, match.end()):
            continue
        shared = _side(match["after"]) or _side(match["before"]) or "both"
        for letter, digits in _NUMBER.findall(match["first"] + (match["more"] or "")):
            number, side = int(digits), side_of(letter) or shared
            if number in KNOWN_UNITS:
                found[number, side] = ActionUnit(number, side, 1.0)
    return tuple(sorted(found.values(), key=lambda u: (u.au, u.side)))


def _side(words: str | None) -> Side | None:
    if words is None:
        return None
    named = re.search(rf"{_SIDE}|\b[LR]\b|(?<=\s)[LR]$|^[LR]$", words, _FLAGS)
    return side_of(named[0]) if named else None


def _class(text: str) -> Coarse | None:
    """The class the conclusion names; without a conclusion, the last one that is not denied."""
    for mark in reversed(list(_MARK.finditer(text))):
        end = _END.search(text, mark.end())
        stop = end.start() if end else len(text)
        named = list(dict.fromkeys(_affirmed(text, mark.end(), stop)))
        if len(named) == 3:
            continue  # the choice as it was given, said again
        if named:
            return named[0]
        if (
            mark["strict"]
            and ":" in mark["strict"]
            and stop > mark.end() + 1
            and not CLASS_WORD.search(text, mark.end(), stop)
        ):
            return None
    affirmed = list(_affirmed(text, 0, len(text)))
    return affirmed[-1] if affirmed else None


def _affirmed(text: str, start: int, stop: int) -> Iterator[Coarse]:
    for word in CLASS_WORD.finditer(text, start, stop):
        coarse = class_of(word[0])
        if coarse and not _CLASS_DENIED.search(_before(text, word.start())):
            yield coarse


def _before(text: str, place: int) -> str:
    """What stands before a place in its line, as far as a denial can reach."""
    start = max(0, place - REACH)
    return text[max(start, text.rfind("\n", start, place) + 1) : place]
