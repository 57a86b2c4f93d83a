"""Never looking: the answer that is likeliest given what is true of other people, and who is no better than that.

One published entry of a challenge was found to answer from the priors of the labels without reading the video, so this
baseline stands beside every system. It is a strong one: for each question it knows the commonest answer among other
people of the same data; a constant class (the majority) is what it comes to where all are asked the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

from mellm.evaluation.metrics.vqa import Row, VqaScore, task_of

Truth = TypeVar("Truth", bound=Hashable)

PRIOR: Final = "prior only"
"""Its row in tables; who does not beat it has learnt the labels."""


def likeliest(
    asked: Sequence[Hashable], people: Sequence[str], truths: Sequence[Truth]
) -> list[Truth | None]:
    """The commonest truth of the same question about other people, the first of several; ``None`` without any.

    :param asked: what is asked in each place
    :param people: about whom
    """
    everyone: dict[Hashable, Counter[Truth]] = defaultdict(Counter)
    own: dict[tuple[Hashable, str], Counter[Truth]] = defaultdict(Counter)
    for question, who, truth in zip(asked, people, truths, strict=True):
        everyone[question][truth] += 1
        own[question, who][truth] += 1
    out: list[Truth | None] = []
    for question, who in zip(asked, people, strict=True):
        others = everyone[question] - own[question, who]
        out.append(max(others, key=lambda t: others[t]) if others else None)
    return out


def answered(rows: Sequence[Row], people: Sequence[str]) -> list[Row]:
    """Questions with the likeliest answer in place of theirs; where nobody else was asked it, of its kind."""
    truths = [row.truth for row in rows]
    same = likeliest([row.question for row in rows], people, truths)
    kinds = likeliest([task_of(row.question, row.truth) for row in rows], people, truths)
    return [
        Row(row.question, row.truth, a if a is not None else b, row.task)
        for row, a, b in zip(rows, same, kinds, strict=True)
    ]


def figures(score: VqaScore) -> dict[str, float]:
    """The numbers by which answers are compared."""
    out: dict[str, float] = {}
    for name, part in (("coarse UF1", score.coarse), ("fine UF1", score.fine)):
        if part is not None:
            out[name] = part.extracted.uf1
    if score.yes_no is not None:
        out["yes/no"] = score.yes_no.accuracy_extracted
    if score.units is not None:
        out["units F1"] = score.units.set_f1
    return out


def no_better(name: str, mine: Mapping[str, float], prior: Mapping[str, float]) -> str | None:
    """A sentence about numbers that are not above those of never looking; ``None`` where all are."""
    at = [what for what, value in prior.items() if what in mine and mine[what] <= value]
    if not at:
        return None
    return (
        f"{name} is not better than {PRIOR}, which never looks, at {', '.join(at)}: "
        "it has learnt the labels there, not the faces"
    )
