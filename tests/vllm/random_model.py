"""A model folder that vLLM serves and that knows nothing: the architecture of ``mellm-nano`` with random weights.

Everything about serving can be tested with it except what the answers say. Needs torch, transformers and tokenizers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SEED = 20
SIDE_PX, PATCH_PX, SCALE = 128, 16, 2
IMAGE_TOKENS = (SIDE_PX // PATCH_PX // SCALE) ** 2
CONTEXT = 8192
"""Tokens; the region table of the generic profile is long when letters are tokens."""

SPECIAL = ("<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>", "<global-img>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    '{"region": "brow_inner_left", "mean_magnitude": 0.125, "max_magnitude": 1.5, "direction": "up (90.0°)"}',
    '{"text": "The brow is drawn down.", "action_units": [{"au": 4, "side": "both", "score": 0.9}]}',
    '"emotion": {"negative": 0.8, "positive": 0.1, "surprise": 0.1}, "abstain": false}',
    "No clear dominant direction. No significant motion. Name the FACS action units with side and confidence.",
)


def build(folder: Path) -> Path:
    """Write the folder; the same weights every time.

    :returns: ``folder``
    """
    import torch
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = _tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Idefics3Config(
        image_token_id=ids["<image>"],
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<|im_start|>"],
        eos_token_id=ids["<|im_end|>"],
        scale_factor=SCALE,
        tie_word_embeddings=False,
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE_PX,
            "patch_size": PATCH_PX,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": CONTEXT,
            "pad_token_id": ids["<pad>"],
            "bos_token_id": ids["<|im_start|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
    )
    torch.manual_seed(SEED)
    model: Any = Idefics3ForConditionalGeneration(config).eval()
    # of their usual size, random weights make all next tokens equally likely, and rounding would choose
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "norm" not in name:
                weights.mul_(4.0)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<pad>"]
    model.save_pretrained(folder)
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(
            do_image_splitting=False,
            size={"longest_edge": SIDE_PX},
            max_image_size={"longest_edge": SIDE_PX},
        ),
        tokenizer=tokenizer,
        image_seq_len=IMAGE_TOKENS,
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=768,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        additional_special_tokens=["<image>", "<fake_token_around_image>", "<global-img>"],
    )
