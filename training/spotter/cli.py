"""``python -m training.spotter.train``: the training run as a command."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import fields
from pathlib import Path

import click

from stream.errors import MellmError
from training.spotter.train import TrainOptions, train

_DEFAULT = {f.name: f.default for f in fields(TrainOptions)}


@click.command(context_settings={"show_default": True})
@click.option("--clips", default=_DEFAULT["clips"], help="Simulated training clips of 12 s.")
@click.option("--validation", default=_DEFAULT["validation"], help="Simulated validation clips.")
@click.option("--iterations", default=_DEFAULT["iterations"], help="Optimiser steps.")
@click.option("--batch", default=_DEFAULT["batch"], help="Crops of 6.4 s in a step.")
@click.option("--seed", default=_DEFAULT["seed"], help="Of clips, weights and batches.")
@click.option("--threads", default=_DEFAULT["threads"], help="Of the optimiser.")
@click.option("--workers", default=_DEFAULT["workers"], help="Processes that simulate.")
@click.option("--run", type=click.Path(path_type=Path), default=_DEFAULT["run"], help="Clips and checkpoint.")
@click.option("--output", type=click.Path(path_type=Path), default=_DEFAULT["output"], help="The model.")
@click.option("--model-version", "version", default=_DEFAULT["version"], help="Written into the model.")
@click.option("--force", is_flag=True, help="Replace the model at OUTPUT even by a worse one.")
def command(**values: object) -> None:
    """Train the micro-expression spotter on simulated motion. Stopped runs go on with the same command."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    stages: dict[str, int] = {}

    def progress(stage: str, done: int, total: int) -> None:
        tenth = 20 * done // max(1, total)
        if stages.get(stage) != tenth:
            stages[stage] = tenth
            click.echo(f"{stage}: {done}/{total}", err=True)

    result = train(TrainOptions(**values), progress)  # type: ignore[arg-type]
    click.echo(
        json.dumps(
            {
                "model": result.model.name,
                "sha256": result.sha256,
                "threshold": result.threshold,
                "replaced": result.replaced,
                "seconds": round(result.seconds, 1),
                "validation": result.metrics,
            }
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        command.main(args=arguments, standalone_mode=False)
    except MellmError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0
