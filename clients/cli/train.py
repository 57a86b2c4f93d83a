"""``mellm train``: needs the extra ``train``."""

from __future__ import annotations

import click

from clients.cli.forward import forward


@click.group()
def train() -> None:
    """Train models on synthetic faces (extra `train`)."""


forward(train, "spotter", "training.spotter.cli", "Train the spotter.")
forward(train, "nano", "training.mellm.cli", "Train the embedded describer.")
forward(train, "mellm", "training.mellm.finetune.cli", "Tune a multimodal model.")
