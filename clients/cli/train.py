"""``mellm train``: needs the extra ``train``."""

from __future__ import annotations

import click


@click.group()
def train() -> None:
    """Train models on synthetic faces (extra `train`)."""


@train.command(
    context_settings={"ignore_unknown_options": True}, add_help_option=False, short_help="Train the spotter."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def spotter(arguments: tuple[str, ...]) -> int:
    """Train the spotter; `mellm train spotter --help` shows the recipe's options."""
    from stream.errors import MissingExtra

    try:
        from training.spotter.cli import main
    except ImportError as error:
        raise MissingExtra(
            f"training needs {error.name}", remedy="pip install 'mellm-live[train]'"
        ) from error
    return main(list(arguments))


@train.command(
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
    short_help="Tune a multimodal model.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mellm(arguments: tuple[str, ...]) -> int:
    """Tune a multimodal model on instruction data; `mellm train mellm --help` shows the options."""
    from stream.errors import MissingExtra

    try:
        from training.mellm.finetune.cli import main
    except ImportError as error:
        raise MissingExtra(
            f"training needs {error.name}", remedy="pip install 'mellm-live[train]'"
        ) from error
    return main(list(arguments))
