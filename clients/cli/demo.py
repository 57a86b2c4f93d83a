"""``mellm demo``: the shipped sample, analysed and then scored against its truth."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from mellm.clients.cli.common import settings_flags, settings_from

SAMPLE = Path(__file__).resolve().parent.parent / "sample"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
@settings_flags
def demo(out: Path, **flags: Any) -> None:
    """Analyse the sample that ships with the project, print what is found, then score it.

    The sample is synthetic: a public-domain portrait moved by known amounts at known times. The file with the truth
    is opened only after the analysis has ended. An earlier demo in the same folder is replaced.
    """
    from mellm.clients.cli.analyze import run
    from mellm.engine.results.run_folder import RUN

    settings = settings_from(flags, purpose="self-use")
    if (out / RUN).exists():
        shutil.rmtree(out)
    click.echo("Looking for micro-expressions in the sample (synthetic, public-domain portrait) …", err=True)
    result = run((str(SAMPLE / "sample.mp4"),), out, settings)
    for _, error in result.failures:
        raise error

    from mellm.evaluation.spotting.demo_score import render, score_run

    click.echo()
    click.echo(render(score_run(out, SAMPLE / "sample.truth.json")))
    click.echo(f"\nRun folder: {out}  (expressions.jsonl, events.jsonl, evidence/, run.json)", err=True)
