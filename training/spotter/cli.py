"""``python -m mellm.training.spotter.train`` and ``python -m mellm.training.spotter.pixels`` as commands."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from mellm.detectors.spotting import SpottingOptions
from mellm.detectors.stepmodel import OnnxStepModel
from mellm.stream.errors import MellmError
from mellm.training.spotter.options import SHAPES, TrainOptions
from mellm.training.spotter.train import train

_DEFAULT = {f.name: f.default for f in fields(TrainOptions)}


def _shown(default: object) -> str:
    """A default as it is printed: folders of the installation are not told."""
    return "the shipped one" if isinstance(default, Path) and default.is_absolute() else str(default)


def _option(name: str, told: str, **more: Any) -> Callable[[Any], Any]:
    """An option of the recipe; unset, the recipe's own value holds."""
    default = _DEFAULT[name]
    kind = more.pop("type", type(default))
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{told}  [{_shown(default)}]", **more)


_PATH = click.Path(path_type=Path)


@click.command()
@_option("clips", "Simulated training clips of 12 s.")
@_option("captured", "Simulated training clips driven by motion capture.")
@_option("lively", "Simulated training clips of people with habits.")
@_option("validation", "Simulated validation clips.")
@_option("rendered", "Rendered clips, filmed and measured.")
@_option("stills", "Photographs brought to life, measured.")
@_option("rough", "The same with poor cameras and restless heads, measured.")
@_option("filmed", "Expressions laid on the pixels of filmed people, measured.")
@_option("laid", "Expressions to lay on the signals of real people.")
@_option("iterations", "Optimiser steps.")
@_option("batch", "Crops of 9.6 s in a step.")
@_option("rate", "Highest learning rate.")
@_option("shape", "Size of the network.", type=click.Choice(list(SHAPES)))
@_option("precision", "Of the network's products.", type=click.Choice(["float32", "bfloat16"]))
@_option("average", "Decay of the running mean of weights.")
@_option("pretrain", "Iterations before filmed people come in.")
@_option("restart", "Iteration at which the learning rate starts over, and false alarms are looked for.")
@_option("start", "Begin with the weights of this checkpoint.", type=_PATH)
@_option("seed", "Of clips, weights and batches.")
@_option("device", "Where to fit.", type=click.Choice(["auto", "cpu", "cuda"]))
@_option("threads", "Optimiser threads.")
@_option("workers", "Processes that draw and measure.")
@_option("run", "Folder of simulated clips and checkpoint.", type=_PATH)
@_option("measured", "Folder of measured clips.", type=_PATH)
@click.option("--output", type=_PATH, help="The model.  [RUN/spotter.onnx]")
@click.option(
    "--install", is_flag=True, help="Replace the model that this installation ships, by a better one."
)
@click.option("--model-version", "version", help="Written into the model.")
@click.option("--force", is_flag=True, help="Replace the model at OUTPUT even by a worse one.")
def command(**values: Any) -> None:
    """Train the micro-expression spotter. A stopped run goes on with the same command.

    As it stands it takes about an hour and a half of processor time, measuring included (reckoned from its parts); a
    GPU is used where there is one.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    stages: dict[str, int] = {}

    def progress(stage: str, done: int, total: int) -> None:
        tenth = 20 * done // max(1, total)
        if stages.get(stage) != tenth:
            stages[stage] = tenth
            click.echo(f"{stage}: {done}/{total}", err=True)

    given = {name: value for name, value in values.items() if value is not None}
    result = train(TrainOptions(**given), progress)
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
    """Score the whole chain on the rendered clips in FOLDER (see mellm.training.synth.clips)."""
    from mellm.training.spotter.pixels import ClipResult, evaluate_pixels, folder_clips

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
