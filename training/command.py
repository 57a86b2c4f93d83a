"""Commands that are run as ``python -m mellm.training…``."""

from __future__ import annotations

from typing import Any

import click

from mellm.stream.errors import MellmError


class Command(click.Command):
    """A command that tells our errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except MellmError as error:
            raise click.ClickException(str(error)) from error
