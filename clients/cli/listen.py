"""``mellm listen``: what a server pushes, in the terminal."""

from __future__ import annotations

import asyncio
import logging
import os

import click

from clients.cli.common import json_flag, one_line
from clients.cli.happenings import Happenings


@click.command()
@click.argument("url", metavar="WS_URL")
@click.option("--source", "sources", multiple=True, metavar="ID", help="Only this source; may be repeated.")
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only this type, such as expression.described."
)
@click.option(
    "--min-score", type=click.FloatRange(0, 1), metavar="0…1", help="Only expressions that score as high."
)
@click.option("--after", metavar="PLACE", help="Replay what came after it: start, or EPOCH:SEQ of an event.")
@click.option(
    "--token-env",
    default="MELLM_TOKEN",
    show_default=True,
    metavar="NAME",
    help="Variable that holds the token.",
)
@json_flag
def listen(
    url: str,
    sources: tuple[str, ...],
    types: tuple[str, ...],
    min_score: float | None,
    after: str | None,
    token_env: str,
    as_json: bool,
) -> None:
    """Print what the server at WS_URL pushes, and go on after a break without loss or repeat."""
    asyncio.run(_listen(url, sources, types, min_score, after, os.environ.get(token_env), as_json))


async def _listen(
    url: str,
    sources: tuple[str, ...],
    types: tuple[str, ...],
    min_score: float | None,
    after: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    from clients.session import connect
    from stream.wire import encode

    # a server that went away is news for whoever sits there
    logging.getLogger("clients.session").setLevel(logging.INFO)
    happenings = Happenings()
    async with connect(url, token=token) as session:
        wanted = types or (() if as_json else ("expression.*", "source.*", "stream.skipped"))
        async for event in session.events(sources=sources, types=wanted, min_score=min_score, after=after):
            if as_json:
                click.echo(encode(event))
            elif event.type.startswith("expression."):
                click.echo(
                    f"{event.type.removeprefix('expression.'):9}  " + one_line(dict(event.data), source=True)
                )
            elif said := happenings.line(event.type, event.source or "", event.data):
                click.echo(said)
