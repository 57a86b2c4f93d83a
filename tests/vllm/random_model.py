"""A model folder that vLLM serves and that knows nothing: the architecture of ``mellm-nano`` with random weights.

Everything about serving can be tested with it except what the answers say. Needs the extra ``train``.
"""

from __future__ import annotations

from pathlib import Path

from mellm.engine.vllm.model import END_OF_UTTERANCE
from mellm.training.mellm import architecture, tokenizer

SEED = 20
SHAPE = architecture.NanoShape(vision_width=64, vision_layers=2, width=128, layers=3, context=8192)
"""Small, and with room for the region table of the generic profile."""

TEXTS = (
    '{"region": "brow_inner_L", "mean_magnitude": 0.125, "max_magnitude": 1.5, "direction": "up (90.0°)"}',
    '{"text": "The brow is drawn down.", "action_units": [{"au": 4, "side": "both", "score": 0.9}]}',
    '"emotion": {"negative": 0.8, "positive": 0.1, "surprise": 0.1}, "abstain": false}',
    "No clear dominant direction. No significant motion. Name the FACS action units with side and confidence.",
)


def build(folder: Path) -> Path:
    """Write the folder; the same weights every time.

    :returns: ``folder``
    """
    import torch

    words = tokenizer.train(TEXTS, vocabulary=640)
    model = architecture.build(SHAPE, words, SEED)
    # at their usual size, random weights make all next tokens equally likely, and rounding would choose
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "norm" not in name:
                weights.mul_(4.0)
    architecture.save(model, words, SHAPE, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text("utf-8").replace(tokenizer.PAD, END_OF_UTTERANCE), "utf-8")
    return folder
