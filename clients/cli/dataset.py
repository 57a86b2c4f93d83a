"""``mellm dataset``: needs the extras ``train`` and ``eval``."""

from __future__ import annotations

import click

from mellm.clients.cli.forward import forward


@click.group()
def dataset() -> None:
    """Build and check instruction data, look at data sets (extras `train`, `eval`)."""


forward(dataset, "build", "mellm.training.instruct.cli", "Build instruction data.", "build")
forward(dataset, "lint", "mellm.training.instruct.cli", "Check them.", "lint")
forward(dataset, "inspect", "mellm.evaluation.datasets.cli", "Say what a data set holds.", extra="eval")
