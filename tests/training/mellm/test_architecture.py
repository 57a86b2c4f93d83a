from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
import torch

from mellm.training.instruct import answers
from mellm.training.mellm import architecture, tokenizer

TINY = architecture.NanoShape(vision_width=32, vision_layers=1, width=64, layers=2, heads=2, feed_forward=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("nano")
    words = tokenizer.train(answers.draw_many(200, 1), 500)
    architecture.save(architecture.build(TINY, words, seed=3), words, TINY, path)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_saved_model_is_read_by_transformers_as_it_was_meant(folder: Path) -> None:
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    turn = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": answers.QUESTION["en"]}]}
    ]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    given = processor(text=prompt, images=[Image.fromarray(picture)], return_tensors="pt")
    # what the product computes without a processor
    assert np.allclose(given["pixel_values"][0, 0], picture.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    image = processor.tokenizer.convert_tokens_to_ids(tokenizer.IMAGE)
    assert int((given["input_ids"] == image).sum()) == TINY.image_tokens == 16
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    told = model.generate(**given, max_new_tokens=4, do_sample=False)
    assert told.shape[1] == given["input_ids"].shape[1] + 4


def test_the_shipped_size_fits_the_budget() -> None:
    words = tokenizer.train(answers.draw_many(50, 1), 500)
    count = sum(p.numel() for p in architecture.build(architecture.NanoShape(), words).parameters())
    assert 4e6 < count < 8e6  # two bytes each, under 16 MB a file


def test_the_same_seed_gives_the_same_weights() -> None:
    words = tokenizer.train(answers.draw_many(50, 1), 500)
    one, two = (architecture.build(TINY, words, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
