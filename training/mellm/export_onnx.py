"""Export an Idefics3 checkpoint for the embedded describer.

``python -m mellm.training.mellm.export_onnx CHECKPOINT OUT``:

OUT becomes a whole model folder: what the checkpoint holds, three graphs, and ``nano.json`` with hashes and prompts.
Nothing is put there before the graphs, run as the describer runs them, wrote the same tokens as ``transformers``.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

from mellm.detectors import recipe
from mellm.detectors.types import U8
from mellm.engine.describe import nano_folder
from mellm.engine.describe.nano_folder import GRAPHS, LANGUAGES, MANIFEST, RUNTIME
from mellm.engine.describe.nano_graph import open_graph
from mellm.engine.describe.profiles.nano import QUESTIONS
from mellm.engine.map_recipe import of_live_map
from mellm.stream.errors import ModelCorrupt, ModelMissing, UsageError
from mellm.training.command import Command
from mellm.training.mellm import onnx_graphs

log = logging.getLogger(__name__)

VERSION = "1"
TOKENS = 64
"""Compared for each picture, unless the answer ends before."""
TOLERANCE = 1e-3
"""Of a token's score, relative to the largest. In float32 the two are about 1e-6 apart."""
KEPT = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "processor_config.json",
)
"""What transformers and vLLM read."""


def export(
    checkpoint: Path, out: Path, *, pictures: Sequence[U8] | None = None, version: str = VERSION
) -> None:
    """Write the model folder ``out``, whole or not at all; entries that ``nano.json`` already has there are kept.

    :param out: may be ``checkpoint`` itself
    :param pictures: to compare with transformers; patterns if not given
    :raises ModelMissing: a file of the checkpoint is not there
    :raises UsageError: another architecture, or ``out`` cannot be written
    :raises ModelCorrupt: the graphs do not write what transformers writes
    """
    for name in KEPT:
        if not (checkpoint / name).is_file():
            raise ModelMissing(
                f"{name} is missing in {checkpoint}", remedy="give the folder of a whole model"
            )
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    onnx_graphs.check(config)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as part:
            _build(checkpoint, Path(part), config, pictures, version, _known(out))
            out.mkdir(exist_ok=True)
            for path in sorted(Path(part).iterdir(), key=lambda path: path.name == MANIFEST):
                path.chmod(0o644)
                path.replace(out / path.name)
    except OSError as error:
        raise UsageError(
            f"cannot write {out} ({error.strerror or error})",
            remedy="free some space, or choose another folder",
        ) from error


def _known(out: Path) -> dict[str, Any]:
    """The manifest that is already there: its notes on training and its figures stay."""
    try:
        known = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _build(
    checkpoint: Path,
    part: Path,
    config: Mapping[str, Any],
    pictures: Sequence[U8] | None,
    version: str,
    known: Mapping[str, Any],
) -> None:
    import onnx
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    for name in KEPT:
        shutil.copyfile(checkpoint / name, part / name)
    model = AutoModelForImageTextToText.from_pretrained(part, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():  # what the graphs store
            weight.copy_(weight.half().float())
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for name, graph in zip(GRAPHS, (onnx_graphs.vision, onnx_graphs.embed, onnx_graphs.decoder), strict=True):
        onnx.save(graph(config, weights), part / name)

    side = int(config["vision_config"]["image_size"])
    pictures = pictures if pictures is not None else patterns(side)
    processor = AutoProcessor.from_pretrained(part)
    asked = {language: _asked(processor, QUESTIONS[language], pictures[0]) for language in LANGUAGES}
    manifest = {
        **known,
        "version": version,
        recipe.KEY: of_live_map(),
        "picture": side,
        "context": int(config["text_config"]["max_position_embeddings"]),
        "image_token": int(config["image_token_id"]),
        "end_tokens": _ends(model.generation_config.eos_token_id),
        "prompts": {language: inputs["input_ids"][0].tolist() for language, inputs in asked.items()},
        "files": {name: nano_folder.sha256(part / name) for name in sorted({*KEPT, *RUNTIME})},
    }
    _write_manifest(part, manifest)
    _compare(part, model, processor, pictures)


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _ends(value: int | list[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _asked(processor: Any, question: str, picture: U8) -> Any:
    """The user's turn as transformers makes it: ids and pixels."""
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    return processor(text=text, images=[[image]], return_tensors="pt")


def _compare(part: Path, model: Any, processor: Any, pictures: Sequence[U8]) -> None:
    """The same tokens, and the same scores for all tokens: an untrained model may write one word whatever it sees."""
    import torch

    graph = open_graph(part)
    for language, (i, picture) in product(LANGUAGES, enumerate(pictures)):
        (got,) = graph.write([picture], language=language, limit=TOKENS, constrained=False)
        inputs = _asked(processor, QUESTIONS[language], picture)
        prompt = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            whole = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
            scores = model(**{**inputs, "input_ids": whole, "attention_mask": torch.ones_like(whole)}).logits
        wanted = [token for token in whole[0, prompt:].tolist() if token not in graph.folder.ends]
        if got.ids != wanted:
            raise _differs(f"picture {i} ({language}): {got.ids} instead of {wanted}")
        away = float(np.abs(graph.logits([picture], whole[0].numpy()) - scores.numpy()).max())
        if not away <= TOLERANCE * max(1.0, float(scores.abs().max())):
            raise _differs(f"picture {i} ({language}): scores of tokens are up to {away:.3g} away")
    log.info("%d pictures in %d languages: same tokens as transformers", len(pictures), len(LANGUAGES))


def _differs(how: str) -> ModelCorrupt:
    return ModelCorrupt(
        f"the graphs and transformers differ, {how}",
        remedy="nothing was written; the checkpoint may have settings that the graphs do not follow",
    )


def patterns(side: int, count: int = 10, seed: int = 0) -> list[U8]:
    """Pictures that are nothing in particular: blotches of colour, and one all black.

    :return: side×side×3 uint8
    """
    import cv2

    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count - 1, 6, 6, 3), np.uint8)
    blotches = [
        np.asarray(cv2.resize(s, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8) for s in small
    ]
    return [np.zeros((side, side, 3), np.uint8), *blotches]


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--version", "version", default=VERSION, show_default=True, help="Of the model, for nano.json.")
def main(checkpoint: Path, out: Path, version: str) -> None:
    """Export CHECKPOINT (a folder that transformers wrote) to the model folder OUT."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    export(checkpoint, out, version=version)


if __name__ == "__main__":
    main()
