"""Worked examples of one input under several rules: what ``docs/why-numbers-differ.md`` shows.

Run ``python -m mellm.evaluation.metrics.examples`` to print them, with ``--page`` to put them into the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from mellm.evaluation.metrics import compat, compat_answers, marks
from mellm.evaluation.metrics.compat import Printed
from mellm.evaluation.metrics.mme import Answer, Pair, mme_score
from mellm.evaluation.metrics.recognition import recognition_score
from mellm.evaluation.metrics.spotting import spotting_score
from mellm.evaluation.metrics.strs import Row, strs_score
from mellm.evaluation.metrics.table import pipes
from mellm.evaluation.metrics.vqa import Row as Question
from mellm.evaluation.metrics.vqa import vqa_score

BEGIN: Final = "<!-- results: written by python -m mellm.evaluation.metrics.examples --page -->"

VIDEOS: Final[Sequence[compat.Sides]] = (
    ([(98, 112), (101, 116)], [(100, 114)]),
    ([(40, 59)], [(40, 49), (50, 59)]),
    ([], [(10, 24)]),
    ([(5, 9)], []),
    ([(200, 202)], [(201, 203)]),
)
TRUE: Final = ("negative", "negative", "negative", "negative", "positive", "positive", "surprise", "surprise")
ANSWERED: Final = ("negative", "negative", "positive", None, "positive", "others", "surprise", "negative")
SUBJECTS: Final = ("s1", "s1", "s1", "s2", "s2", "s2", "s3", "s3")
SPOTTED_TRUTH: Final = (
    Row("s1", "a", 100, 114, "negative"),
    Row("s1", "a", 300, 314, "positive"),
    Row("s2", "b", 40, 59, "surprise"),
)
SPOTTED: Final = (
    Row("s1", "a", 98, 112, "negative"),
    Row("s1", "a", 101, 116, "negative"),
    Row("s1", "a", 301, 315, "negative"),
)
RESPONSES: Final = (
    ("Yes", "No"),
    ("The answer is yes.", "No, there is none."),
    ("**Yes**", "**No**"),
    ("Yes", "Not sure"),
    ("Y", "n"),
)
QUESTIONS: Final = (
    Question("What is the coarse expression class?", "negative", "Negative."),
    Question("What is the coarse expression class?", "positive", "positive"),
    Question("What is the action unit?", "dimpler", "dimpler"),
    Question("What are the action units?", "brow lowerer, lid tightener", "lid tightener, brow lowerer"),
    Question("Is the action unit dimpler shown on the face?", "no", ""),
)


@dataclass(frozen=True, slots=True)
class Example:
    """One input, our score of it and those of others."""

    title: str
    given: Sequence[str]
    ours: Mapping[str, float | None]
    others: Sequence[Printed]
    shown: Sequence[str]


def spotting() -> Example:
    """Five short videos."""
    given = [f"video {k}: predicted {list(p)}, true {list(t)}" for k, (p, t) in enumerate(VIDEOS, 1)]
    ours = spotting_score(VIDEOS).as_dict()
    return Example("Spotting", given, ours, compat.spotting(VIDEOS), ("tp", "fp", "fn", "f1"))


def recognition() -> Example:
    """Eight labels of three people."""
    rows = zip(SUBJECTS, TRUE, ANSWERED, strict=True)
    given = [f"{s}: {t} answered as {p or 'nothing that can be read'}" for s, t, p in rows]
    score = recognition_score(TRUE, ANSWERED)
    ours = {"uf1": score.uf1, "uar": score.uar}
    others = compat.recognition(TRUE, ANSWERED, SUBJECTS)
    return Example("Recognition", given, ours, others, ("uf1", "uar", "weighted_f1"))


def strs() -> Example:
    """Three expressions of two people, one spotted twice."""
    given = [f"true {r.subject} {r.video} {r.onset}–{r.offset} {r.emotion}" for r in SPOTTED_TRUTH]
    given += [f"predicted {r.subject} {r.video} {r.onset}–{r.offset} {r.emotion}" for r in SPOTTED]
    score = strs_score(SPOTTED_TRUTH, SPOTTED)
    ours = {
        "strs": score.strs,
        "f1_spotting": score.spotting.f1,
        "f1_analysis": score.analysis_f1,
        "uar": score.analysis.uar if score.analysis else 0.0,
    }
    others = compat.strs(SPOTTED_TRUTH, SPOTTED)
    return Example("Spot-then-recognise", given, ours, others, tuple(ours))


def mme() -> Example:
    """Five images, two questions each."""
    given = [f"truth yes, no; responses {first!r}, {second!r}" for first, second in RESPONSES]
    pairs: list[Pair] = [
        (Answer(f"{k}.jpg", "?", "yes", a), Answer(f"{k}.jpg", "?", "no", b))
        for k, (a, b) in enumerate(RESPONSES, 1)
    ]
    ours = {"total": mme_score({"OCR": pairs}).total}
    return Example("One sub-task of MME", given, ours, compat_answers.mme({"OCR": pairs}), ("total",))


def vqa() -> Example:
    """Five questions."""
    given = [f"{q.question} Truth {q.truth!r}, answer {q.answer!r}" for q in QUESTIONS]
    score = vqa_score(QUESTIONS)
    assert score.coarse is not None
    ours = {
        "coarse_uf1": score.coarse.extracted.uf1,
        "bleu": score.text["bleu"].value,
        "rouge1": score.text["rouge1_f1"].value,
    }
    return Example(
        "Questions and answers", given, ours, compat_answers.vqa(QUESTIONS), (*ours, "coarse_accuracy")
    )


EXAMPLES: Final[Sequence[Callable[[], Example]]] = (spotting, recognition, strs, mme, vqa)


def markdown(example: Example) -> str:
    """The example as a section of the page."""
    heads = ["scorer", *example.shown, "why it differs"]
    rows = [["**this project**", *_cells(example.ours, example.shown), ""]]
    rows += [[p.scorer, *_cells(p.values, example.shown), p.why] for p in example.others]
    lines = [
        f"### {example.title}",
        "",
        "```text",
        *example.given,
        "```",
        "",
        pipes(heads, rows),
        "",
    ]
    return "\n".join(lines)


def _cells(values: Mapping[str, float | None], shown: Sequence[str]) -> list[str]:
    return [_cell(values[name]) if name in values else "" for name in shown]


def _cell(value: float | None) -> str:
    if value is None:
        return "stops"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def page() -> str:
    """All examples."""
    return "\n".join(markdown(example()) for example in EXAMPLES)


@click.command()
@click.option(
    "--page", "path", type=click.Path(path_type=Path), help="Put them between the marks of this page."
)
def command(path: Path | None) -> None:
    """Worked examples of one input under several rules."""
    if path is None:
        click.echo(page())
    else:
        marks.put(path, page(), BEGIN)


if __name__ == "__main__":
    command()
