"""What is measured of a system beside its scores: states, speed, length, style, cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from mellm.evaluation.compare.types import Answer, Measures, State

Style = Literal["direct", "stepwise", "other"]
STATES: Final[tuple[State, ...]] = ("answered", "refused", "failed", "unsupported")
DIRECT_SENTENCES: Final = 2

_STEP: Final = re.compile(
    r"(?m)^\s*(?:[*\-#>]+\s*)*(?:\*\*)?(?:step\s*\d+|\(?\d{1,2}[.):](?=\s|\*)|第[一二三四五六七八九十\d]+步)"
    r"|\b(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|finally|lastly|therefore|thus|hence|consequently)\b[,:]?"
    r"|首先|其次|然后|接着|最后|因此|所以|综上",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"[.!?](?=\s|$)|[。！？]|\n")
_WORD: Final = re.compile(r"[⺀-鿿豈-﫿＀-￯]|[^\W_⺀-鿿豈-﫿＀-￯]+(?:['’][^\W_]+)?")


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens."""

    tokens_in: float
    tokens_out: float

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Of so many tokens, in the same currency."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


def style(text: str) -> Style:
    """How an answer is put, by its form alone.

    *stepwise*: two different marks of reasoning in order (numbered lines, "first", "then", "therefore" …).
    *direct*: no such pair, and at most two sentences. *other*: longer, without steps.
    """
    marks = {match[0].strip(" \n*#->,:.()").lower() for match in _STEP.finditer(text)}
    if len(marks) >= 2:
        return "stepwise"
    sentences = [part for part in _SENTENCE.split(text) if part.strip(" *\"'”’")]
    return "direct" if len(sentences) <= DIRECT_SENTENCES else "other"


def words(text: str) -> int:
    """Words of a text; an ideograph counts as one."""
    return len(_WORD.findall(text))


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of all does not exceed (nearest rank); ``None`` of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def measure(answers: Iterable[Answer], prices: Prices | None = None, currency: str = "USD") -> Measures:
    """Measure some answers of one system.

    Length and style are of answers, not of refusals; latency of both. What the endpoint counted was paid for.
    """
    found = list(answers)
    states = Counter(answer.state for answer in found)
    said = [a.text for a in found if a.state == "answered" and a.text is not None]
    styles = Counter(map(style, said))
    times = [a.latency_s for a in found if a.latency_s is not None]
    counted = [a for a in found if a.tokens_in is not None or a.tokens_out is not None]
    fresh = [a for a in counted if not a.cached]

    def spent(some: Iterable[Answer]) -> tuple[int, int]:
        paid = [(a.tokens_in or 0, a.tokens_out or 0) for a in some]
        return sum(i for i, _ in paid), sum(o for _, o in paid)

    tokens_in, tokens_out = spent(counted)
    return Measures(
        questions=len(found),
        states={state: states.get(state, 0) for state in STATES},
        reasons=dict(Counter(a.reason for a in found if a.reason is not None).most_common()),
        cut=sum(a.cut for a in found),
        cached=sum(a.cached for a in found),
        latency_p50_s=percentile(times, 0.5),
        latency_p95_s=percentile(times, 0.95),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        words=float(median(map(words, said))) if said else None,
        direct=styles["direct"] / len(said) if said else None,
        stepwise=styles["stepwise"] / len(said) if said else None,
        cost=prices.cost(tokens_in, tokens_out) if prices else None,
        cost_now=prices.cost(*spent(fresh)) if prices else None,
        unpriced=sum(a.state in ("answered", "refused") for a in found)
        - sum(a.state in ("answered", "refused") for a in counted)
        if prices
        else 0,
        currency=currency,
    )
