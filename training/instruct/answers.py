"""The canonical JSON answer: what the profile ``nano`` is tuned to say.

::

    {"abstain":false,"action_units":[{"au":4,"side":"both"}],"emotion":{"negative":0.91,"positive":0.04,
    "surprise":0.05},"text":"The brow is lowered (AU4). This suggests a negative expression (probability 0.91)."}

One line, keys in this order, no spaces between them. The text names exactly the listed units. The emotion is no label
of the pair: it is what :func:`mellm.engine.facs.action_units.coarse_emotion` says when the units are known, because
units alone do not settle an emotion and a describer that sees only motion should not claim more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from math import floor
from typing import TYPE_CHECKING, Final

import numpy as np

from mellm.engine.facs import action_units as facs
from mellm.engine.facs.tables import DFME
from mellm.engine.types import Coarse, Side
from mellm.training.instruct import phrases
from mellm.training.instruct.phrases import Language, Quiet

if TYPE_CHECKING:
    from mellm.training.instruct.pairs import Pair

QUESTION: Final[dict[Language, str]] = {"en": "Describe the expression.", "zh": "描述这个表情。"}
"""The user's turn that the JSON answer answers, beside the picture."""

SUREST: Final = 99
"""Highest probability that is written, percent."""


def json_answer(
    pair: Pair, rng: np.random.Generator, language: Language = "en", *, faint: bool = False
) -> str:
    """The right answer for a pair.

    :param rng: chooses among the few ways to say it
    :param faint: the motion stays under the floor: the answer abstains, and names no cause that cannot be seen
    :raises ValueError: an expression without a unit of :data:`mellm.engine.facs.action_units.UNITS`; it has no such
        answer
    """
    if pair.kind != "expression":
        return abstention("still" if faint else pair.kind, rng, language)
    if faint:
        return abstention("faint", rng, language)
    return compose([(u.au, u.side) for u in pair.units], rng, language)


def abstention(reason: Quiet, rng: np.random.Generator, language: Language = "en") -> str:
    """The answer where there is nothing to describe."""
    said = phrases.ABSTENTIONS[language][reason]
    text = said[int(rng.integers(len(said)))]
    return _line(abstain=True, units=(), emotion="null", text=text)


def compose(units: Iterable[tuple[int, Side]], rng: np.random.Generator, language: Language = "en") -> str:
    """The answer that lists units.

    :raises ValueError: none of them is in :data:`mellm.engine.facs.action_units.UNITS`
    """
    known = listed(units)
    shares = emotion(known)
    if shares is None:
        raise ValueError("an expression without any unit that answers can name")
    clauses = [phrases.clause(au, side, language, int(rng.integers(2))) for au, side in known]
    likeliest = max(facs.COARSE, key=lambda name: shares[name])
    said = phrases.CONCLUSIONS[language][phrases.sureness(shares[likeliest] / 100)]
    end = said[int(rng.integers(len(said)))].format(
        name=phrases.CLASSES[language][likeliest], p=f"{shares[likeliest] / 100:.2f}"
    )
    gap = "" if language == "zh" else " "
    numbers = ",".join(f'"{name}":{shares[name] / 100:.2f}' for name in facs.COARSE)
    return _line(
        abstain=False,
        units=known,
        emotion=f"{{{numbers}}}",
        text=f"{phrases.sentence(clauses, language)}{gap}{end}",
    )


def listed(units: Iterable[tuple[int, Side]]) -> list[tuple[int, Side]]:
    """Units as answers list them: known ones, each once, ascending; left and right together are both."""
    sides: dict[int, set[Side]] = {}
    for au, side in units:
        if au in facs.UNITS:
            sides.setdefault(au, set()).add(side if facs.UNITS[au].sided else "both")
    return [(au, next(iter(s)) if len(s) == 1 else "both") for au, s in sorted(sides.items())]


def emotion(units: Sequence[tuple[int, Side]]) -> dict[Coarse, int] | None:
    """Percent of each class given the units, summing to 100; ``None`` without units. Units prove nothing, so no class
    gets more than :data:`SUREST`."""
    found = facs.coarse_emotion((au, 1.0) for au, _ in units)
    if found is None:
        return None
    exact = {name: 100 * found.scores[name] for name in facs.COARSE}
    whole = {name: floor(value) for name, value in exact.items()}
    rest = sorted(facs.COARSE, key=lambda name: whole[name] - exact[name])
    for name in rest[: 100 - sum(whole.values())]:
        whole[name] += 1
    top, second = sorted(facs.COARSE, key=lambda name: -exact[name])[:2]
    over = max(0, whole[top] - SUREST)
    whole[top], whole[second] = whole[top] - over, whole[second] + over
    return {name: whole[name] for name in facs.COARSE}


def _line(*, abstain: bool, units: Sequence[tuple[int, Side]], emotion: str, text: str) -> str:
    named = ",".join(f'{{"au":{au},"side":"{side}"}}' for au, side in units)
    return (
        f'{{"abstain":{"true" if abstain else "false"},"action_units":[{named}],"emotion":{emotion},'
        f'"text":{json.dumps(text, ensure_ascii=False)}}}'
    )


def vocabulary(language: Language = "en") -> list[str]:
    """Every phrase an answer can hold, without repetition: all clauses with all sides, all conclusions with
    every probability, all abstentions, and the question."""
    found = [QUESTION[language]]
    for au in facs.UNITS:
        for variant in range(len(phrases.CLAUSES[language][au])):
            for side in phrases.sides_of(au):
                words = phrases.clause(au, side, language, variant)
                found += dict.fromkeys((words, words[0].upper() + words[1:]))
    for percent in range(34, SUREST + 1):
        for said in phrases.CONCLUSIONS[language][phrases.sureness(percent / 100)]:
            for name in phrases.CLASSES[language].values():
                found.append(said.format(name=name, p=f"{percent / 100:.2f}"))
    for sentences in phrases.ABSTENTIONS[language].values():
        found += sentences
    return found


def draw_many(count: int, seed: int, language: Language = "en", abstain: float = 0.4) -> Iterator[str]:
    """Whole answers, without pairs: to train a tokenizer or a decoder on.

    Units occur as often as in DFME (those it does not count, rarely), one to five together, sides as often as there.

    :param abstain: share of abstentions
    """
    rng = np.random.default_rng([0xA115, seed])
    units = list(facs.UNITS)
    weights = np.array([max(DFME.overall.get(au, 0.0), 0.02) for au in units])
    reasons = list(phrases.ABSTENTIONS[language])
    for _ in range(count):
        if rng.random() < abstain:
            yield abstention(reasons[int(rng.integers(len(reasons)))], rng, language)
            continue
        number = int(rng.choice([1, 2, 3, 4, 5], p=[0.4, 0.3, 0.18, 0.08, 0.04]))
        chosen = rng.choice(units, number, replace=False, p=weights / weights.sum())
        yield compose([(int(au), _drawn_side(int(au), rng)) for au in chosen], rng, language)


ONE_SIDED = 0.17
"""Share of DFME's clips with a one-sided unit."""


def _drawn_side(au: int, rng: np.random.Generator) -> Side:
    if not facs.UNITS[au].sided or rng.random() > ONE_SIDED:
        return "both"
    return "left" if rng.random() < 0.5 else "right"
