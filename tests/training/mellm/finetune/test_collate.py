from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mellm.stream.errors import ModelCorrupt, SourceCorrupt, UsageError
from mellm.training.mellm.finetune import base
from mellm.training.mellm.finetune.collate import IGNORE, Encoder, collate, pieces
from mellm.training.mellm.finetune.data import Record, read
from tests.training.mellm.finetune import tiny


@pytest.fixture(scope="module")
def encoder(made: Path) -> Encoder:
    processor = base.load_processor(made / "base")
    model = base.load_model(made / "base")
    rows = base.check_vocabulary(model, processor, made / "base")
    return Encoder(processor, base.ends(model, processor), 256, rows)


@pytest.fixture(scope="module")
def records(made: Path) -> list[Record]:
    return read(made / "train.jsonl")


def learnt(encoder: Encoder, sample: dict[str, torch.Tensor]) -> str:
    chosen = sample["input_ids"][sample["labels"] != IGNORE]
    return str(encoder.processor.tokenizer.decode(chosen))


def turns(folder: Path, *messages: dict[str, Any], images: int = 1) -> Record:
    line = tiny.record(folder, 1, "s", "red")
    line["messages"] = list(messages)
    line["images"] = line["images"] * images
    path = folder / "turns.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return read(path)[0]


def user(*content: str) -> dict[str, Any]:
    parts = [{"type": "image"} if c == "image" else {"type": "text", "text": c} for c in content]
    return {"role": "user", "content": parts}


def told(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_what_the_assistant_says_is_learnt_with_its_end_and_nothing_else(
    encoder: Encoder, records: list[Record]
) -> None:
    for record in records[:3]:
        assert learnt(encoder, encoder(record)) == record.answer + "<|im_end|>"


def test_the_prompt_is_the_one_the_model_is_asked_with(encoder: Encoder, records: list[Record]) -> None:
    sample, prompt = encoder(records[0]), encoder.prompt(records[0])
    asked = encoder.processor.apply_chat_template(
        list(records[0].question), add_generation_prompt=True, tokenize=False
    )
    assert "labels" not in prompt
    count = prompt["input_ids"].shape[1]
    assert torch.equal(sample["input_ids"][:, :count], prompt["input_ids"])
    assert (sample["labels"][:, :count] == IGNORE).all()
    assert sample["labels"][0, count] != IGNORE
    assert asked.endswith("assistant\n")


def test_every_turn_of_the_assistant_is_learnt(encoder: Encoder, tmp_path: Path) -> None:
    record = turns(
        tmp_path,
        {"role": "system", "content": "Be brief."},
        user("image", "Units?"),
        told("AU4"),
        user("Class?"),
        told("negative"),
    )
    assert learnt(encoder, encoder(record)) == "AU4<|im_end|>negative<|im_end|>"


def test_lengths_are_known_without_preparing_pictures(encoder: Encoder, tmp_path: Path) -> None:
    record = turns(tmp_path, user("image", "and", "image", "Which moves?"), told("AU4"), images=2)
    assert encoder.length(record) == encoder(record)["input_ids"].shape[1]


def test_batches_pad_and_count_pictures(encoder: Encoder, tmp_path: Path, records: list[Record]) -> None:
    none = turns(tmp_path, user("Units?"), told("none"), images=0)
    two = turns(tmp_path, user("image", "and", "image", "?"), told("AU4"), images=2)
    batch = collate([encoder(records[0]), encoder(none), encoder(two)], pad=0)
    assert batch["pixel_values"].shape == (3, 2, 3, 32, 32)
    assert batch["pixel_values"][1].abs().sum() == 0
    assert batch["labels"][1, -1] == IGNORE
    assert batch["attention_mask"][1, -1] == 0
    left = collate([encoder.prompt(records[0]), encoder.prompt(none)], pad=0, left=True)
    assert left["attention_mask"][1, 0] == 0
    assert left["attention_mask"][:, -1].all()
    model = base.load_model(encoder_folder(encoder))
    assert torch.isfinite(model(**{k: v for k, v in batch.items() if k != "labels"}).logits).all()


def encoder_folder(encoder: Encoder) -> Path:
    return Path(encoder.processor.tokenizer.name_or_path)


def test_too_long_records(encoder: Encoder, records: list[Record]) -> None:
    kept, tokens = encoder.fitting(records, "refuse")
    assert len(kept) == 12
    assert tokens == sum(encoder(r)["input_ids"].shape[1] for r in records)
    longest = max(encoder.length(r) for r in records)
    short = Encoder(encoder.processor, encoder.end_tokens, longest - 1, encoder.rows)
    with pytest.raises(UsageError, match=r"train\.jsonl:\d+ has \d+ tokens"):
        short.fitting(records, "refuse")
    assert 0 < len(short.fitting(records, "leave-out")[0]) < 12
    with pytest.raises(UsageError, match="no record"):
        Encoder(encoder.processor, encoder.end_tokens, 16, encoder.rows).fitting(records, "leave-out")


def test_text_that_looks_like_a_picture_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    for record in (
        turns(tmp_path, user("image", "what is <image>?"), told("AU4")),
        turns(tmp_path, user("image", "?"), told("an <image>")),
    ):
        with pytest.raises(SourceCorrupt, match=r"turns\.jsonl:1: its text holds <image>"):
            encoder(record)


def test_a_token_without_embedding_is_named(encoder: Encoder, records: list[Record]) -> None:
    small = Encoder(encoder.processor, encoder.end_tokens, 256, rows=8)
    with pytest.raises(SourceCorrupt, match=r"train\.jsonl:1: the model has no embedding"):
        small.fitting(records, "refuse")


class Template:
    """A processor with another chat template."""

    def __init__(self, processor: Any, template: str) -> None:
        self.processor, self.template = processor, template

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processor, name)

    def __call__(self, **inputs: Any) -> Any:
        return self.processor(**inputs)

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        return self.processor.apply_chat_template(messages, chat_template=self.template, **options)


def test_templates_that_cannot_be_learnt_with(encoder: Encoder, tmp_path: Path) -> None:
    record = turns(tmp_path, user("image", "Units?"), told("AU4"), user("Class?"), told("negative"))

    def other(template: str) -> Encoder:
        return Encoder(Template(encoder.processor, template), encoder.end_tokens, 256, encoder.rows)  # type: ignore[arg-type]

    parts = "{% for p in m['content'] %}{{ p.get('text', '<image>') }}{% endfor %}"
    said = "{% for m in messages %}{{ m['role'] }}:" + parts
    ask = "{% if add_generation_prompt %}assistant:{% endif %}"
    with pytest.raises(ModelCorrupt, match="does not close an answer"):
        other(said + "\n{% endfor %}" + ask)(record)
    forgets = "{{ messages|length }}" + said + "<|im_end|>{% endfor %}" + ask
    with pytest.raises(ModelCorrupt, match="differently once it goes on"):
        pieces(record, other(forgets).processor)
    blind = said.replace("<image>", "") + "<|im_end|>{% endfor %}" + ask
    with pytest.raises(ModelCorrupt, match="leaves out pictures"):
        other(blind)(record)
