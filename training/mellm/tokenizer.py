"""The small model's own tokenizer: byte-level BPE on its own instruction data.

Answers are made of fixed phrases, so merges may run across words: a clause is one or two tokens and an answer some
forty. What is *decided* – numbers, sides, true or false – is kept apart, one token each, so that every decision of the
model is one probability.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BEGIN, END = "<|im_start|>", "<|im_end|>"
PAD = "<end_of_utterance>"
"""Idefics3's processor adds this one to a tokenizer that lacks it, which would then be larger than the model."""
IMAGE, FAKE, GLOBAL = "<image>", "<fake_token_around_image>", "<global-img>"
SPECIAL = (PAD, BEGIN, END, IMAGE, FAKE, GLOBAL)

DECISIONS = r"\d+|\b(?:true|false|null|both|left|right|negative|positive|surprise)\b|[左右双]"
"""What is one token or more of its own, never part of a longer one."""

SENTENCES = r"(?<=[.。]) "
"""Merges do not run across sentences either."""

VOCABULARY = 1024

FRAME = ("user\n", "assistant\n", "\n")
"""What the chat template puts round every turn; weighs enough to become tokens of its own."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<image>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """A tokenizer for ``texts``; any other text is bytes to it, and none is unknown."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SENTENCES), "isolated"),
            pre_tokenizers.Split(Regex(DECISIONS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain(texts, FRAME * 1000), trainer)
    return tokenizer
