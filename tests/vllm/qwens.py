"""The architectures of the published systems at a size for tests: Qwen2.5-VL, Qwen3 and Qwen3-VL with random weights.

Made here of their public configurations, tokenizer and all, without a model hub. What they say means nothing; how they
are asked, how many tokens a picture takes, where tokens lie and how answers are read is that of the large ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

SEED: Final = 25
WIDTH, HEADS, HEAD = 128, 4, 32
CONTEXT: Final = 8192

SPECIAL: Final = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
TEMPLATE: Final = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' and SYSTEM %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image_url' in part %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
"""What the templates of the three families share: turns, where a picture goes, and that thinking can be shut."""

PIXELS: Final = {"min_pixels": 56 * 56, "max_pixels": 448 * 448}
NORMAL: Final = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def build(family: str, folder: Path, texts: tuple[str, ...]) -> Path:
    """Write the folder of one family; the same weights every time.

    :param family: ``qwen2_5_vl``, ``qwen3`` or ``qwen3_vl``
    :param texts: what the tokenizer is made for
    :returns: ``folder``
    """
    import torch
    import transformers

    ids = _tokenizer(folder, texts, system=family == "qwen2_5_vl")
    torch.manual_seed(SEED)
    if family == "qwen3":
        config: Any = transformers.Qwen3Config(**_language(ids, {"rope_type": "default", "rope_theta": 1e6}))
        model: Any = transformers.Qwen3ForCausalLM(config)
    elif family == "qwen2_5_vl":
        config = transformers.Qwen2_5_VLConfig(
            # as published, for heads four times as wide
            text_config=_language(ids, _rope([4, 6, 6])),
            vision_config={
                "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": WIDTH,
                "patch_size": 14, "spatial_merge_size": 2, "window_size": 112, "fullatt_block_indexes": [1],
            },
            **_tokens(ids),
        )  # fmt: skip
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    else:
        config = transformers.Qwen3VLConfig(
            text_config=_language(ids, {**_rope([6, 5, 5]), "mrope_interleaved": True}),
            vision_config={
                "depth": 3, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": WIDTH,
                "patch_size": 16, "spatial_merge_size": 2, "num_position_embeddings": 256,
                "deepstack_visual_indexes": [0, 1],
            },
            **_tokens(ids),
        )  # fmt: skip
        model = transformers.Qwen3VLForConditionalGeneration(config)
    # at their usual size, random weights make all next tokens equally likely, and rounding would choose
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "norm" not in name and "visual" not in name:
                weights.mul_(4.0)
    model.generation_config.update(eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"])
    model.save_pretrained(folder)
    if family != "qwen3":
        _processor(folder, family)
    return folder


def _tokenizer(folder: Path, texts: tuple[str, ...], *, system: bool) -> dict[str, int]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=CONTEXT
    )
    fast.chat_template = TEMPLATE.replace("SYSTEM", "true" if system else "false")
    fast.save_pretrained(folder)
    return {**{name: words.token_to_id(name) for name in SPECIAL}, "": words.get_vocab_size()}


def _language(ids: dict[str, int], rope: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": HEADS,
        "num_key_value_heads": 2, "head_dim": HEAD, "vocab_size": ids[""], "max_position_embeddings": CONTEXT,
        "rope_parameters": rope, "tie_word_embeddings": False, "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
    }  # fmt: skip


def _rope(sections: list[int]) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}


def _tokens(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
    }  # fmt: skip


def _processor(folder: Path, family: str) -> None:
    of = {
        "qwen2_5_vl": ("Qwen2_5_VLProcessor", 14, "Qwen2VL"),
        "qwen3_vl": ("Qwen3VLProcessor", 16, "Qwen3VL"),
    }
    name, patch, videos = of[family]
    common = {
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "processor_class": name,
        **NORMAL,
    }
    pictures = {**common, **PIXELS, "image_processor_type": "Qwen2VLImageProcessorFast"}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    moving = {**common, **PIXELS, "video_processor_type": f"{videos}VideoProcessor"}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(moving))
