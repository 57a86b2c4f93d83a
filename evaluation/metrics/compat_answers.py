"""What public scorers of yes/no and free answers would have printed on the same input. Reports only."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Final

from mellm.evaluation.metrics.compat import Printed, recognition
from mellm.evaluation.metrics.counts import mean
from mellm.evaluation.metrics.mme import PARSERS, Answer, Pair, mme_score
from mellm.evaluation.metrics.recognition import recognition_score
from mellm.evaluation.metrics.texts import nltk_bleu, plain_corpus_bleu, rouge1
from mellm.evaluation.metrics.vqa import COARSE, Row, extract_label, task_of

_WHY: Final[Mapping[str, str]] = {
    "official": "the response counts by its first four characters: Not sure is no, The answer is yes is wrong",
    "lmms-eval": "blanks and full stops go first, a single y or n counts; else the official rule",
    "vlmevalkit": "yes or no as a word anywhere, if only one of both occurs",
}


def mme(tasks: Mapping[str, Sequence[Pair]]) -> tuple[Printed, ...]:
    """The three parsers over pairs of lines, and grouping by the name of the image as VLMEvalKit does."""
    out = []
    for parser in PARSERS:
        score = mme_score(tasks, parser)
        values = {"perception": score.perception, "cognition": score.cognition, "total": score.total}
        out.append(Printed(parser, values, _WHY[parser]))
    lines = {name: _by_image(pairs) for name, pairs in tasks.items()}
    if any(len(answers) != 2 for images in lines.values() for answers in images.values()):
        scores = [_grouped(images) for images in lines.values()]
        known = [score for score in scores if score is not None]
        out.append(
            Printed(
                "vlmevalkit, by image",
                {"total": sum(known) if len(known) == len(scores) else None},
                "lines are grouped by the name of the image, of which the first two make acc+; an image with one "
                "line ends it, and one without two ends lmms-eval",
            )
        )
    return tuple(out)


def _by_image(pairs: Sequence[Pair]) -> dict[str, list[Answer]]:
    lines: dict[str, list[Answer]] = {}
    for pair in pairs:
        for answer in pair:
            lines.setdefault(answer.image, []).append(answer)
    return lines


def _grouped(images: Mapping[str, Sequence[Answer]]) -> float | None:
    right = [
        [float(PARSERS["vlmevalkit"](a.response) == a.truth) for a in found] for found in images.values()
    ]
    if any(len(found) < 2 for found in right):
        return None
    return 100 * mean([r for found in right for r in found]) + 100 * mean([f[0] * f[1] for f in right])


def vqa(rows: Sequence[Row]) -> tuple[Printed, ...]:
    """Teams of MEGC 2025 and 2026, and the organisers' baseline."""
    third: dict[str, float | None] = {}
    later: dict[str, float | None] = {}
    base: dict[str, float | None] = {}
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task or task_of(row.question, row.truth), []).append(row)
    for name in ("coarse", "fine"):
        if not (asked := by_task.get(name, [])):
            continue
        true = [r.truth.strip().lower() for r in asked]
        answers = [(r.answer or "").strip().lower() for r in asked]
        union = recognition(true, answers)[0].values
        third |= {f"{name}_{score}": value for score, value in union.items()}
        known = {*true, *(COARSE if name == "coarse" else ())}
        extracted = recognition_score(true, [extract_label(a, known) for a in answers])
        later |= {f"{name}_uf1": extracted.uf1, f"{name}_uar": extracted.uar}
        base[f"{name}_accuracy"] = mean(
            [float(_bare(t) == _bare(a)) for t, a in zip(true, answers, strict=True)]
        )
    rest = [r for task, found in by_task.items() if task not in ("coarse", "fine") for r in found]
    if rest:
        truth, answers = [r.truth for r in rest], [r.answer or "" for r in rest]
        third["bleu"] = nltk_bleu(truth, answers)
        third["rouge1"] = rouge1(truth, answers, "recall", stem=True, drop_empty=True)
        later["bleu"] = plain_corpus_bleu(truth, answers)
        later["rouge1"] = rouge1(truth, answers, "fmeasure", stem=False, drop_empty=False)
    return (
        Printed(
            "Humphrey-0125/MEGC2025",
            third,
            "classes by the exact string, averaged over all strings of either side; BLEU of each sentence with "
            "smoothing method 1 of nltk, by which a right answer of one word has 0.1778; ROUGE-1 is recall; empty "
            "answers are left out of both",
        ),
        Printed(
            "null-xy/MEGC2026",
            later,
            "classes extracted from the text; BLEU-4 of the corpus without smoothing over letters and digits; ROUGE-1 "
            "is F1 without a stemmer; empty answers count 0",
        ),
        Printed(
            "noobasuna/mevqa (baseline)",
            base,
            "share of strings that are equal without punctuation; no mean over classes",
        ),
    )


def _bare(text: str) -> str:
    return text.translate(str.maketrans("", "", string.punctuation)).strip()
