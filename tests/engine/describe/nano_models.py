"""A model folder for tests: tiny with random weights where transformers is installed, else the shipped one."""

from __future__ import annotations

import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from mellm.engine.describe.local import SHIPPED
from mellm.engine.describe.nano_folder import MANIFEST


@cache
def checkpoint() -> Path:
    """What transformers would save after training: an Idefics3 that has not learned anything."""
    from mellm.training.instruct import answers
    from mellm.training.mellm import architecture, tokenizer

    texts = [*answers.draw_many(300, 1), *answers.draw_many(100, 1, "zh")]
    words = tokenizer.train(texts, 640)
    shape = architecture.NanoShape(
        side=32,
        patch=8,
        vision_width=32,
        vision_layers=2,
        width=32,
        layers=2,
        heads=4,
        feed_forward=64,
    )
    folder = Path(tempfile.mkdtemp(prefix="nano-")) / "checkpoint"
    architecture.save(architecture.build(shape, words, seed=3), words, shape, folder)
    return folder


@cache
def exported() -> Path:
    """The same as a folder that the describer reads."""
    if find_spec("transformers") is None:
        if not (SHIPPED / MANIFEST).is_file():
            pytest.skip("neither transformers nor a shipped model to test with")
        return SHIPPED
    from mellm.training.mellm import export_onnx

    out = checkpoint().parent / "model"
    export_onnx.export(checkpoint(), out, pictures=export_onnx.patterns(32, 2))
    return out
