"""``mellm train nano``: draw pairs, train, export, in one command; every part goes on where it stopped."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mellm.engine.describe.local import SHIPPED
from mellm.stream.errors import ModelMissing, UsageError
from mellm.training.instruct.pairs import FIRST, Source
from mellm.training.mellm import nano, store
from mellm.training.mellm.architecture import NanoShape
from mellm.training.synth.rig import Split

log = logging.getLogger(__name__)

HELD_OUT: dict[tuple[Source, Split], int] = {
    ("rendered", "val"): 25,
    ("rendered", "test"): 40,
    ("stills", "val"): 17,
    ("stills", "test"): 34,
}
"""People whose pairs are drawn for validation and test; photographed people come twice."""


def draw(options: nano.NanoOptions, rendered: int, stills: int, workers: int) -> None:
    """Draw the pairs that are not there yet. Without the folder of photographs it goes on without them."""
    wanted: dict[tuple[Source, Split], int] = {
        ("rendered", "train"): rendered,
        ("stills", "train"): stills,
        **HELD_OUT,
    }
    for (source, split), people in wanted.items():
        if not people:
            continue
        try:
            store.build(options.pairs, source, split, people, FIRST, workers)
        except ModelMissing as error:
            if source == "rendered":
                raise
            log.warning("no photographs: %s", error)


@click.command()
@click.option("--run", type=click.Path(path_type=Path), default=Path("runs/nano"), show_default=True)
@click.option("--pairs", type=click.Path(path_type=Path), default=Path("runs/pairs"), show_default=True)
@click.option("--rendered", default=300, show_default=True, help="Drawn people to train on.")
@click.option("--stills", default=104, show_default=True, help="Photographs to train on; people come again.")
@click.option("--look", default=2500, show_default=True, help="Iterations of the eye.")
@click.option("--write", default=1400, show_default=True, help="Iterations of the whole model.")
@click.option("--batch", default=48, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--threads", default=1, show_default=True, help="Optimiser threads.")
@click.option("--workers", default=2, show_default=True, help="Processes that draw pairs.")
@click.option("--side", default=128, show_default=True, help="Picture, pixels.")
@click.option("--patch", default=16, show_default=True)
@click.option("--scale", default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Model folder.  [RUN/model]")
@click.option("--install", is_flag=True, help="Replace the model that this installation ships.")
def command(
    out: Path | None,
    install: bool,
    rendered: int,
    stills: int,
    workers: int,
    side: int,
    patch: int,
    scale: int,
    **numbers: Any,
) -> None:
    """Train mellm-nano from nothing on drawn people and photographs brought to life."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    if install and out is not None:
        raise UsageError(
            f"{out} and the shipped model cannot both be written", remedy="give --out or --install"
        )
    options = replace(nano.NanoOptions(**numbers), shape=NanoShape(side=side, patch=patch, scale=scale))
    draw(options, rendered, stills, workers)
    checkpoint = options.run / "checkpoint-model"
    nano.train(options, checkpoint)
    from mellm.training.mellm.export_onnx import export

    folder = out or (SHIPPED if install else options.run / "model")
    export(checkpoint, folder)
    click.echo(json.dumps({"model": str(folder)}))
