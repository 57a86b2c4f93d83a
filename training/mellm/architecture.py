"""mellm-nano: an Idefics3 model small enough to ship, and the processor that vLLM and transformers read it with.

A SigLIP-like encoder looks at the motion map in patches, pixel shuffle folds ``scale``² of them into one image token, a
Llama-like decoder writes the answer. The same checkpoint is served by vLLM and runs, as three graphs, under ONNX
Runtime.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mellm.training.mellm.tokenizer import BEGIN, CHAT_TEMPLATE, END, FAKE, GLOBAL, IMAGE, PAD

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class NanoShape:
    """Sizes. ``side`` and ``patch`` in pixels; the picture becomes (side / patch / scale)² image tokens."""

    side: int = 128
    patch: int = 16
    scale: int = 2
    vision_width: int = 192
    vision_layers: int = 4
    width: int = 256
    layers: int = 4
    heads: int = 4
    feed_forward: int = 768
    context: int = 512

    @property
    def image_tokens(self) -> int:
        """Tokens that stand for one picture."""
        return (self.side // self.patch // self.scale) ** 2


def build(shape: NanoShape, tokenizer: Tokenizer, seed: int = 0) -> Idefics3ForConditionalGeneration:
    """A model with random weights for ``tokenizer``'s vocabulary."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    ids: dict[str, Any] = {name: tokenizer.token_to_id(name) for name in (PAD, BEGIN, END, IMAGE)}
    special: dict[str, Any] = {"pad_token_id": ids[PAD], "bos_token_id": ids[BEGIN], "eos_token_id": ids[END]}
    config = Idefics3Config(
        vision_config={
            "hidden_size": shape.vision_width,
            "intermediate_size": 3 * shape.vision_width,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": shape.vision_width // 32,
            "image_size": shape.side,
            "patch_size": shape.patch,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": shape.width,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": max(1, shape.heads // 2),
            "max_position_embeddings": shape.context,
            "tie_word_embeddings": True,
            **special,
        },
        scale_factor=shape.scale,
        image_token_id=ids[IMAGE],
        tie_word_embeddings=True,
        **special,
    )
    torch.manual_seed(seed)
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.update(**special, do_sample=False, max_new_tokens=160)
    return model


def fast_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers and vLLM use it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[BEGIN, IMAGE, FAKE, GLOBAL],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def processor_config(shape: NanoShape) -> dict[str, object]:
    """Settings of the image processor: the picture arrives ``side``×``side`` and stays that way, in one piece."""
    return {
        "image_processor": {
            "image_processor_type": "Idefics3ImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"longest_edge": shape.side},
            "max_image_size": {"longest_edge": shape.side},
            "resample": 1,
            "do_image_splitting": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_pad": True,
        },
        "image_seq_len": shape.image_tokens,
        "processor_class": "Idefics3Processor",
    }


def save(
    model: Idefics3ForConditionalGeneration, tokenizer: Tokenizer, shape: NanoShape, folder: Path
) -> None:
    """Write a model folder (weights in half precision) that transformers and vLLM load."""
    from copy import deepcopy

    folder.mkdir(parents=True, exist_ok=True)
    deepcopy(model).half().save_pretrained(folder)
    fast = fast_tokenizer(tokenizer)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # transformers keeps weights to their owner
    (folder / "processor_config.json").write_text(
        json.dumps(processor_config(shape), indent=1) + "\n", encoding="utf-8"
    )
