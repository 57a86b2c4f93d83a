from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mellm.stream.errors import ModelMissing
from mellm.training.mellm.finetune import base, strategies
from mellm.training.mellm.finetune.config import validated
from mellm.training.mellm.finetune.estimate import (
    ASSUMED,
    Expected,
    Shape,
    expect,
    measured_load,
    report,
    shape,
)
from tests.training.mellm.finetune import tiny


def qwen(size: str) -> Shape:
    """The published sizes of Qwen2.5-VL, without its weights."""
    from transformers import Qwen2_5_VLConfig

    text: dict[str, Any] = {
        "7B": {
            "hidden_size": 3584,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "intermediate_size": 18944,
            "vocab_size": 152064,
        },
        "3B": {
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "intermediate_size": 11008,
            "vocab_size": 151936,
        },
    }[size]
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": text["hidden_size"],
    }
    tied = size == "3B"
    return shape(
        Qwen2_5_VLConfig(
            text_config=text | {"tie_word_embeddings": tied}, vision_config=vision, tie_word_embeddings=tied
        )
    )


@pytest.mark.parametrize(("size", "billions"), [("7B", 8.29), ("3B", 3.75)])
def test_the_weights_of_qwen_are_counted(size: str, billions: float) -> None:
    assert qwen(size).weights / 1e9 == pytest.approx(billions, abs=0.01)


def first(of: Shape, recipe: str, **fit: Any) -> Expected:
    settings = {"base": "b", "out": "o", "data": {"train": "t"}, "recipe": recipe, "fit": fit}
    config = validated(settings, "test")
    return expect(of, config.strategy.stages(), 0, config.lora, config.fit, ASSUMED)


def test_what_fits_where() -> None:
    """The numbers that docs/how-to/fine-tune.md prints."""
    seven, three = qwen("7B"), qwen("3B")
    assert 30e9 < first(seven, "mellm-7b").memory < 40e9, "one GPU of 80 GB"
    assert first(three, "mellm-3b").memory < 24e9, "one GPU of 24 GB"
    assert first(seven, "full-sft").memory > 141e9, "no single GPU of today's usual sizes"
    assert first(seven, "mellm-7b").hours < first(seven, "hiermeqa").hours < 2
    assert (
        first(seven, "full-sft", checkpointing=False).activations > 5 * first(seven, "full-sft").activations
    )


def test_arithmetic_is_six_for_each_weight_and_token_and_eight_with_recomputing() -> None:
    of = qwen("7B")
    tokens = ASSUMED.conversations * ASSUMED.tokens
    language = of.language * tokens
    plain = first(of, "full-sft", epochs=1, checkpointing=False).flops
    again = first(of, "full-sft", epochs=1).flops
    assert plain / language == pytest.approx(6.7, abs=0.5), "6, and the vision tower and attention"
    assert again / plain == pytest.approx(4 / 3, abs=0.02)


def test_counts_agree_with_a_real_model(made: Path) -> None:
    model = base.load_model(made / "base")
    of = shape(model.config)
    assert of.weights == sum(p.numel() for p in model.parameters())
    for targets in ("all-linear", "attention"):
        config = tiny.config(made, strategy={"kind": "lora", "lora": {"rank": 3, "targets": targets}})
        tuned = strategies.prepare(base.load_model(made / "base"), config, half=False)
        added = sum(p.numel() for n, p in tuned.named_parameters() if ".lora_" in n)
        e = expect(of, config.strategy.stages(), 0, config.lora, config.fit, ASSUMED)
        assert e.trained == added


def test_the_report_takes_the_runs_own_data(made: Path) -> None:
    config = tiny.config(made, strategy={"kind": "staged"})
    load = measured_load(config)
    assert load is not None
    assert (load.conversations, load.image_tokens) == (12, 6.0)
    told = report(config, devices=2)
    assert "12 conversations" in told
    assert "stage 3" in told
    assert "nothing of it was measured" in told
    absent = tiny.config(made, data={"train": "none.jsonl"})
    assert measured_load(absent) is None
    with pytest.raises(ModelMissing, match="no weights"):
        report(tiny.config(made, base=str(made / "nothing")))
