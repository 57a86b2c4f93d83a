"""A small random Idefics3 model, and conversations about coloured squares for it to learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mellm.training.mellm import architecture, tokenizer
from mellm.training.mellm.finetune.config import Config, validated

SHAPE = architecture.NanoShape(
    side=32,
    patch=8,
    scale=2,
    vision_width=32,
    vision_layers=1,
    width=48,
    layers=2,
    heads=2,
    feed_forward=64,
    context=256,
)

ANSWERS = {
    "red": '{"abstain":false,"action_units":[{"au":4,"side":"both"}],"emotion":{"negative":0.90,"positive":0.04,'
    '"surprise":0.06},"text":"The brow is lowered (AU4)."}',
    "green": '{"abstain":false,"action_units":[{"au":12,"side":"left"}],"emotion":{"negative":0.20,"positive":0.70,'
    '"surprise":0.10},"text":"The lip corner is raised on the left (AU12)."}',
    "black": '{"abstain":true,"action_units":[],"emotion":null,"text":"No expression: the face is still."}',
}
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "black": (0, 0, 0)}
QUESTION = "Describe the expression."


def model_folder(folder: Path, seed: int = 0) -> Path:
    """A model in fp32 with a tokenizer for the answers."""
    words = tokenizer.train([*ANSWERS.values(), QUESTION], vocabulary=420)
    model = architecture.build(SHAPE, words, seed)
    architecture.save(model, words, SHAPE, folder)
    model.save_pretrained(folder)
    return folder


def record(folder: Path, number: int, subject: str, colour: str) -> dict[str, Any]:
    """One line, and its picture."""
    noise = np.random.default_rng(number).integers(0, 12, (32, 32, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise - 6, 0, 255).astype(np.uint8)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    name = f"images/{number:03d}.png"
    Image.fromarray(pixels).save(folder / name)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": ANSWERS[colour]}]}
    return {"id": f"r{number}", "subject": subject, "images": [name], "messages": [user, answer]}


def data_file(path: Path, count: int, subject: str = "a", first: int = 0) -> Path:
    """``count`` records, the colours in turn."""
    colours = list(ANSWERS)
    lines = [record(path.parent, first + i, f"{subject}{i % 3}", colours[i % 3]) for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def config(root: Path, **changes: Any) -> Config:
    """A run on ``root/base`` and ``root/train.jsonl`` into ``root/out``."""
    settings: dict[str, Any] = {
        "base": str(root / "base"),
        "out": str(root / "out"),
        "data": {"train": str(root / "train.jsonl"), "max_length": 256},
        "strategy": {"kind": "full"},
        "fit": {"rate": 3e-3, "batch": 6, "micro_batch": 3, "epochs": 10, "checkpointing": False},
        "keep": {"every": 4},
        "evaluation": {"max_tokens": 60, "limit": 9},
    }
    for key, value in changes.items():
        settings[key] = {**settings[key], **value} if isinstance(value, dict) and key != "strategy" else value
    return validated(settings, "test")
