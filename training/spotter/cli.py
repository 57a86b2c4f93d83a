"""``python -m training.spotter.train`` and ``python -m training.spotter.pixels`` as commands."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import fields
from pathlib import Path

import click

from detectors.spotting import SpottingOptions
from detectors.stepmodel import OnnxStepModel
from stream.errors import MellmError
from training.spotter.train import TrainOptions, train

_DEFAULT = {f.name: f.default for f in fields(TrainOptions)}


@click.command(context_settings={"show_default": True})
@click.option("--clips", default=_DEFAULT["clips"], help="Simulated training clips of 12 s.")
@click.option("--validation", default=_DEFAULT["validation"], help="Simulated validation clips.")
@click.option("--iterations", default=_DEFAULT["iterations"], help="Optimiser steps.")
@click.option("--batch", default=_DEFAULT["batch"], help="Crops of 6.4 s in a step.")
@click.option("--rate", default=_DEFAULT["rate"], help="Highest learning rate.")
@click.option("--start", type=click.Path(path_type=Path), help="Begin with the weights of this checkpoint.")
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


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Default: the shipped one.")
@click.option("--threshold", type=float, help="Default: the model's own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pixels_command(folder: Path, model: Path | None, threshold: float | None, as_json: bool) -> None:
    """Score the whole chain on the rendered clips in FOLDER (see training.synth.clips)."""
    from training.spotter.pixels import ClipResult, evaluate_pixels, folder_clips

    def progress(result: ClipResult) -> None:
        seen = result.frames_with_face / max(1, result.frames)
        click.echo(f"{result.clip.name}: {len(result.spots)} spots, face in {seen:.0%} of frames", err=True)

    step_model = OnnxStepModel(model)
    options = SpottingOptions(threshold=threshold)
    scores = evaluate_pixels(folder_clips(folder), step_model, options, progress=progress)
    if as_json:
        click.echo(json.dumps({group: s.flat() for group, s in scores.items()}))
        return
    click.echo("clips                   F1     P     R  apex ms  FP/min  AU F1  expressions")
    for group, s in scores.items():
        click.echo(
            f"{group:20s} {s.f1:.3f}  {s.precision:.2f}  {s.recall:.2f}  {s.apex_mae_ms:6.1f}"
            f"  {s.false_per_minute:6.2f}  {s.au_f1:5.2f}  {s.truths}"
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
