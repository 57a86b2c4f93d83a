"""``mellm dataset``: needs the extra ``train``."""

from __future__ import annotations

import click


@click.command(
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
    short_help="Build and check instruction data.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dataset(arguments: tuple[str, ...]) -> int:
    """Build and check instruction data: `mellm dataset build`, `mellm dataset lint`, each with --help."""
    from stream.errors import MissingExtra

    try:
        from training.instruct.cli import main
    except ImportError as error:
        raise MissingExtra(
            f"instruction data need {error.name}", remedy="pip install 'mellm-live[train]'"
        ) from error
    return main(list(arguments))
