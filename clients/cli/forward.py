"""Verbs whose options live beside their code, in `training` or `evaluation`: imported when they run, not before."""

from __future__ import annotations

from importlib import import_module

import click

FORWARD = {"ignore_unknown_options": True}


def forward(
    group: click.Group, name: str, module: str, short_help: str, *before: str, extra: str = "train"
) -> None:
    """Add the verb ``name`` to ``group``: ``main`` of ``module`` gets ``before`` and what the user wrote.

    :param extra: what has to be installed for it
    """

    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> int:
        from mellm.stream.errors import MissingExtra

        try:
            main = import_module(module).main
        except ImportError as error:
            raise MissingExtra(
                f"mellm {group.name} {name} needs {error.name}", remedy=f"pip install 'mellm-live[{extra}]'"
            ) from error
        return int(main([*before, *arguments]))

    run.__doc__ = f"{short_help} `mellm {group.name} {name} --help` shows the options (extra `{extra}`)."
    group.command(name, context_settings=FORWARD, add_help_option=False, short_help=short_help)(run)
