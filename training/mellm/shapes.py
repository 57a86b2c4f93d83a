"""Which picture size, which patches, how many image tokens: the eye trained for equally long at each.

``python -m mellm.training.mellm.shapes --iterations 500`` prints scores on the validation people (no test person is
looked at), parameters of the whole model, and what one picture costs the encoder on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from mellm.stream.errors import UsageError
from mellm.training.command import Command
from mellm.training.mellm import nano, store
from mellm.training.mellm.architecture import NanoShape

SHAPES: Mapping[str, NanoShape] = {
    "128 px, patch 16, 16 tokens": NanoShape(),
    "96 px, patch 12, 16 tokens": NanoShape(side=96, patch=12),
    "64 px, patch 8, 16 tokens": NanoShape(side=64, patch=8),
    "128 px, patch 16, 64 tokens": NanoShape(scale=1),
    "128 px, patch 32, 16 tokens": NanoShape(patch=32, scale=1),
    "128 px, patch 16, 16 tokens, half as wide": NanoShape(vision_width=96),
    "128 px, patch 16, 16 tokens, six layers": NanoShape(vision_layers=6),
}


def measure(
    shape: NanoShape, options: nano.NanoOptions, split: Mapping[str, list[store.Stored]]
) -> dict[str, float]:
    """Train one eye and score it."""
    trainer = nano.Trainer(replace(options, shape=shape, write=0), split["train"])
    began = time.process_time()
    while trainer.step < options.look:
        trainer._iterate(options.look)
    spent = time.process_time() - began
    scores = trainer.check(split["val"])
    eye = trainer.averaged()
    one = torch.full(
        (1, 3, shape.side, shape.side), 0.1
    )  # a picture of zeros counts as padding and is left out
    with torch.inference_mode():
        times = []
        for _ in range(30):
            at = time.process_time()
            eye.tokens(one)
            times.append(time.process_time() - at)
    count = sum(p.numel() for p in trainer.model.parameters())
    return {
        **scores,
        "parameters": count / 1e6,
        "ms": 1e3 * float(np.median(times)),
        "step_s": spent / options.look,
    }


@click.command(cls=Command)
@click.option("--iterations", default=500, show_default=True)
@click.option("--pairs", type=click.Path(path_type=Path), default=Path("runs/pairs"), show_default=True)
@click.option("--run", type=click.Path(path_type=Path), default=Path("runs/nano-shapes"), show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(SHAPES)))
def main(iterations: int, pairs: Path, run: Path, only: tuple[str, ...]) -> None:
    """Print the table."""
    split = {
        name: [p for source in ("rendered", "stills") for p in store.load(pairs, source, name)]
        for name in ("train", "val")
    }
    if not all(split.values()):
        raise UsageError(f"no pairs in {pairs}", remedy="draw them with mellm train nano")
    click.echo("| shape | unit F1 | abstains, motion without expression | silent, expression "
               "| parameters | encoder, ms | s a step |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name in only or SHAPES:
        options = nano.NanoOptions(run=run, pairs=pairs, look=iterations)
        m = measure(SHAPES[name], options, split)
        click.echo(
            f"| {name} | {m['f1']:.3f} | {m['abstains']:.2f} | {m['silent']:.2f} | {m['parameters']:.1f} M "
            f"| {m['ms']:.1f} | {m['step_s']:.2f} |"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
