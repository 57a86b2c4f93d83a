from __future__ import annotations

import pytest

from mellm.training.instruct import answers

tokenizers = pytest.importorskip("tokenizers")
from mellm.training.mellm import tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def trained() -> object:
    return tokenizer.train([*answers.draw_many(800, 1), *answers.draw_many(200, 1, "zh")], 700)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_answers_come_back_as_they_were_and_are_short(trained, language) -> None:  # type: ignore[no-untyped-def]
    lengths = []
    for text in answers.draw_many(200, 9, language):
        ids = trained.encode(text).ids
        assert trained.decode(ids) == text
        lengths.append(len(ids))
    assert sum(lengths) / len(lengths) < 60


def test_any_text_is_known(trained) -> None:  # type: ignore[no-untyped-def]
    text = "Ünïcode\x07 🙂 <b>no phrase of ours</b>\n"
    assert trained.decode(trained.encode(text).ids) == text


def test_every_decision_is_a_token_of_its_own(trained) -> None:  # type: ignore[no-untyped-def]
    decided = {"true", "false", "both", "left", "right", "12", "24", "4"}
    tokens = {trained.decode([i]) for i in range(trained.get_vocab_size())}
    assert decided <= tokens
    for token in tokens:
        assert not any(word in token and word != token for word in ("true", "both", '"left', "12"))


def test_markers_are_one_token(trained) -> None:  # type: ignore[no-untyped-def]
    for marker in (*tokenizer.SPECIAL, "assistant\n", "user\n"):
        assert len(trained.encode(marker).ids) == 1, marker
