from __future__ import annotations

import pytest

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.texts import nltk_bleu, plain_corpus_bleu, rouge1, text_measures

UNITS, TURNED = "brow lowerer, lid tightener", "lid tightener, brow lowerer"


def test_traps_of_bleu_on_short_answers() -> None:
    # published: a right answer of one word has 0.1778 or 0.0, the same units in another order 0.096 or 0.0
    assert nltk_bleu(["negative"], ["negative"]) == pytest.approx(0.1778, abs=1e-4)
    assert plain_corpus_bleu(["negative"], ["negative"]) == 0
    assert nltk_bleu([UNITS], [TURNED]) == pytest.approx(0.096, abs=1e-3)
    assert plain_corpus_bleu([UNITS], [TURNED]) == 0
    assert nltk_bleu(["negative"], ["Negative."]) == 0


def test_every_number_has_its_variant() -> None:
    found = text_measures(["the brow is lowered", "yes"], ["the brow is lowered", "yes"])
    assert {name: m.value for name, m in found.items() if name != "bleu"} == pytest.approx(
        dict.fromkeys(("bleu_sentence", "rouge1_f1", "rouge1_recall", "rougeL_f1", "rougeL_recall"), 1)
    )
    assert found["bleu"].variant.startswith("sacrebleu nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:")
    assert "Porter stemmer" in found["rouge1_recall"].variant
    assert found["rouge1_recall"].variant != found["rouge1_f1"].variant


def test_case_and_order_and_empty_answers() -> None:
    found = text_measures([UNITS, "yes"], [TURNED.upper(), ""])
    assert found["rouge1_f1"].value == pytest.approx(0.5)
    assert found["rougeL_f1"].value == pytest.approx(0.25)
    assert found["bleu_sentence"].value < 0.5


def test_rouge_variants() -> None:
    assert rouge1(["lips part"], ["lips parted"], "recall", stem=True, drop_empty=True) == 1
    assert rouge1(["lips part"], ["lips parted"], "recall", stem=False, drop_empty=True) == 0.5
    assert rouge1(["a b", "a"], ["a b c d", ""], "recall", stem=False, drop_empty=True) == 1
    assert rouge1(["a b", "a"], ["a b c d", ""], "fmeasure", stem=False, drop_empty=False) == pytest.approx(
        1 / 3
    )


def test_bad_input_is_refused() -> None:
    with pytest.raises(MetricsError, match="1 references, 0 answers"):
        text_measures(["a"], [])
