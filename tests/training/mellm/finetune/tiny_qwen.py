"""A small random Qwen2.5-VL model. Its real processor wants torchvision for videos; pictures need none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mellm.training.mellm import tokenizer
from tests.training.mellm.finetune import tiny

SPECIAL = (
    *("<|pad|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
TEMPLATE = tokenizer.CHAT_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")


def model_folder(folder: Path) -> Path:
    """Weights, configuration and tokenizer; no processor configuration."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator([*tiny.ANSWERS.values(), tiny.QUESTION], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    ids = {name: words.token_to_id(name) for name in SPECIAL}
    text: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": words.get_vocab_size(),
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 4, 4]},
        "bos_token_id": ids["<|im_start|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|pad|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 48,
        "fullatt_block_indexes": [1],
        "window_size": 56,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.update(eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|pad|>"])
    model.save_pretrained(folder)
    return folder


def processor(folder: Path) -> Any:
    """Qwen's own processor without the part for videos."""
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class PicturesOnly(Qwen2_5_VLProcessor):
        def __init__(self, pictures: Any, words: Any) -> None:
            self.image_processor, self.tokenizer = pictures, words
            self.chat_template = TEMPLATE
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = words.convert_tokens_to_ids(self.image_token)
            self.video_token_id = words.convert_tokens_to_ids(self.video_token)

        model_input_names = (
            "input_ids",
            "attention_mask",
            "mm_token_type_ids",
            "pixel_values",
            "image_grid_thw",
        )

    words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return PicturesOnly(Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=84 * 84), words)
