"""``mellm train``: needs the extra ``train``."""

from __future__ import annotations

from importlib import import_module

import click


@click.group()
def train() -> None:
    """Train models on synthetic faces (extra `train`)."""


_FORWARD = {"ignore_unknown_options": True}


def _run(module: str, arguments: tuple[str, ...]) -> int:
    """Hand over to the command of a training, which has options of its own."""
    from stream.errors import MissingExtra

    try:
        main = import_module(module).main
    except ImportError as error:
        raise MissingExtra(
            f"training needs {error.name}", remedy="pip install 'mellm-live[train]'"
        ) from error
    return int(main(list(arguments)))


@train.command(context_settings=_FORWARD, add_help_option=False, short_help="Train the spotter.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def spotter(arguments: tuple[str, ...]) -> int:
    """Train the spotter; `mellm train spotter --help` shows the recipe's options."""
    return _run("training.spotter.cli", arguments)


@train.command(context_settings=_FORWARD, add_help_option=False, short_help="Train the embedded describer.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def nano(arguments: tuple[str, ...]) -> int:
    """Train mellm-nano; `mellm train nano --help` shows the recipe's options."""
    return _run("training.mellm.cli", arguments)


@train.command(context_settings=_FORWARD, add_help_option=False, short_help="Tune a multimodal model.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def mellm(arguments: tuple[str, ...]) -> int:
    """Tune a multimodal model on instruction data; `mellm train mellm --help` shows the options."""
    return _run("training.mellm.finetune.cli", arguments)
