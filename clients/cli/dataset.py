"""``mellm dataset``: needs the extra ``train``."""

from __future__ import annotations

import click

from clients.cli.forward import forward


@click.group()
def dataset() -> None:
    """Build and check instruction data (extra `train`)."""


forward(dataset, "build", "training.instruct.cli", "Build instruction data.", "build")
forward(dataset, "lint", "training.instruct.cli", "Check them.", "lint")
