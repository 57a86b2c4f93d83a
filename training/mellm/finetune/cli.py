"""``mellm train mellm``."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mellm.stream.errors import UsageError
from mellm.training.mellm.finetune import base, config, recipes

if TYPE_CHECKING:
    from mellm.training.mellm.finetune.config import Config


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="The TOML file of the run.")
@click.option("--resume", is_flag=True, help="Go on from the last good checkpoint.")
@click.option("--estimate", is_flag=True, help="Print memory and hours to expect, on paper, and stop.")
@click.option("--devices", type=click.IntRange(1), default=1, help="GPUs that --estimate reckons with [1].")
@click.option("--recipes", "listed", is_flag=True, help="List the recipes with their sources, and stop.")
def command(file: Path | None, resume: bool, estimate: bool, devices: int, listed: bool) -> None:
    """Tune a multimodal model on instruction data (docs/how-to/fine-tune.md). Uses no network."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    if listed:
        for recipe in recipes.all_recipes().values():
            click.echo(f"{recipe.name}\n  for {recipe.base}; {recipe.origin}\n  {recipe.reasons}\n")
        return
    if file is None:
        raise UsageError("which run?", remedy="give --config FILE")
    settings = config.load(file)
    if estimate:
        from mellm.training.mellm.finetune.estimate import report

        base.require("transformers")
        click.echo(report(settings, devices))
        return
    _run(settings, resume)


def _run(settings: Config, resume: bool) -> None:
    base.require("torch", "transformers", "safetensors", "PIL")
    from mellm.training.mellm.finetune import parallel
    from mellm.training.mellm.finetune.finish import finish
    from mellm.training.mellm.finetune.run import Trainer

    quiet()
    shown: dict[str, int] = {}

    def on_step(stage: str, done: int, total: int, loss: float) -> None:
        twentieth = 20 * done // total
        if shown.get(stage) != twentieth:
            shown[stage] = twentieth
            click.echo(f"{stage}: {done}/{total} loss {loss:.4f}", err=True)

    trainer = Trainer(settings, on_step)
    trainer.fit(resume)
    parallel.leave()
    if not trainer.world.first:
        return
    result = finish(trainer, lambda done, total: click.echo(f"asked: {done}/{total}", err=True))
    click.echo(
        json.dumps(
            {
                "model": str(result.model),
                "steps": result.steps,
                "loss": [round(result.first_loss, 4), round(result.last_loss, 4)],
                "held_out": result.scores.flat() if result.scores else None,
            }
        )
    )


def quiet() -> None:
    """The libraries' own bars and hints stand in the way of ours."""
    from transformers.utils import logging as theirs

    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
