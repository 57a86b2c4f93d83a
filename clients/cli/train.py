"""``mellm train``: needs the extra ``train``."""

from __future__ import annotations

import click

from mellm.clients.cli.forward import forward


@click.group()
def train() -> None:
    """Train models on synthetic faces (extra `train`)."""


forward(train, "spotter", "mellm.training.spotter.cli", "Train the spotter.")
forward(train, "nano", "mellm.training.mellm.cli", "Train the embedded describer.")
forward(train, "mellm", "mellm.training.mellm.finetune.cli", "Tune a multimodal model.")
