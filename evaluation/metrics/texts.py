"""BLEU and ROUGE by libraries, each number with the name of its variant.

No two groups use the same variant, so a number without its variant says nothing. BLEU is ``sacrebleu`` (Post 2018),
ROUGE is ``rouge-score`` (the port of ROUGE-1.5.5 by Google Research). An empty answer scores 0 and is not left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Final

from mellm.evaluation.metrics.counts import Plain, mean
from mellm.evaluation.metrics.errors import MetricsError

ROUGE: Final = ("rouge1", "rougeL")


@dataclass(frozen=True, slots=True)
class TextMeasure(Plain):
    """One number, 0 to 1, with the variant that it is."""

    value: float
    variant: str


def text_measures(truth: Sequence[str], answers: Sequence[str]) -> dict[str, TextMeasure]:
    """Measures of answers against one reference each.

    ``bleu`` is of the corpus with 4-grams: a right answer of one word scores 0 there if it stands alone. The mean of
    sentences uses as many n-grams as a sentence has.

    :raises MetricsError: no texts, or sequences of unequal length
    """
    if len(truth) != len(answers) or not truth:
        raise MetricsError(
            f"{len(truth)} references, {len(answers)} answers", remedy="give one answer for each"
        )
    from sacrebleu.metrics.bleu import BLEU

    corpus, sentence = BLEU(lowercase=True), BLEU(lowercase=True, effective_order=True)
    out = {"bleu": TextMeasure(corpus.corpus_score(answers, [truth]).score / 100, _signed(corpus, "corpus"))}
    each = [sentence.sentence_score(a, [t]).score / 100 for t, a in zip(truth, answers, strict=True)]
    out["bleu_sentence"] = TextMeasure(mean(each), _signed(sentence, "mean of sentences"))
    found = [_scorer(True).score(t, a) for t, a in zip(truth, answers, strict=True)]
    version = metadata.version("rouge-score")
    for name in ROUGE:
        for part, field in (("f1", "fmeasure"), ("recall", "recall")):
            variant = (
                f"rouge-score {version}, {name}, {part}, Porter stemmer, mean of answers, empty ones count 0"
            )
            out[f"{name}_{part}"] = TextMeasure(mean([getattr(f[name], field) for f in found]), variant)
    return out


@cache
def _scorer(stem: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), use_stemmer=stem)


def _signed(metric: Any, over: str) -> str:
    return f"sacrebleu {metric.get_signature()}, {over}"


def nltk_bleu(truth: Sequence[str], answers: Sequence[str]) -> float:
    """Mean sentence BLEU-4 with smoothing method 1 over texts split at blanks; empty answers are left out."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth = SmoothingFunction().method1
    pairs = [(t.split(), a.split()) for t, a in zip(truth, answers, strict=True) if a.split()]
    return mean([float(sentence_bleu([t], a, smoothing_function=smooth)) for t, a in pairs])


def plain_corpus_bleu(truth: Sequence[str], answers: Sequence[str]) -> float:
    """Corpus BLEU-4 without smoothing over the words of letters and digits."""
    import re

    from sacrebleu.metrics.bleu import BLEU

    def words(texts: Sequence[str]) -> list[str]:
        return [" ".join(re.findall(r"[a-z0-9]+", text.lower())) for text in texts]

    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    return float(metric.corpus_score(words(answers), [words(truth)]).score) / 100


def rouge1(truth: Sequence[str], answers: Sequence[str], part: str, *, stem: bool, drop_empty: bool) -> float:
    """Mean ROUGE-1 (``recall`` or ``fmeasure``)."""
    pairs = [(t, a) for t, a in zip(truth, answers, strict=True) if a.strip() or not drop_empty]
    return mean([getattr(_scorer(stem).score(t, a)["rouge1"], part) for t, a in pairs])
