"""``mellm listen``: what a server pushes, in the terminal."""

from __future__ import annotations

import asyncio
import logging
import os

import click

from mellm.clients.cli.common import event_line, json_flag
from mellm.clients.cli.happenings import Happenings
from mellm.clients.cli.terminal import LIVE_TYPES, Screen


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
    """Show events from the server at WS_URL; after a break it continues without loss or repeat."""
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
    from mellm.clients.client import connect
    from mellm.stream.protocol.wire import encode

    # a server that went away is news for whoever sits there
    logging.getLogger("mellm.clients.client").setLevel(logging.INFO)
    happenings = Happenings()
    screen = Screen(enabled=False if as_json else None)
    wanted = types or (() if as_json else ("expression.*", "source.*", "stream.skipped"))
    unseen: tuple[str, ...] = ()
    if screen.enabled and not types:
        unseen = ("face.appeared", "face.lost", *LIVE_TYPES)
    async with connect(url, token=token) as session:
        stream = session.events(sources=sources, types=(*wanted, *unseen), min_score=min_score, after=after)
        with screen:
            async for event in stream:
                if as_json:
                    screen.data(encode(event).decode())
                    continue
                if screen.enabled:
                    screen.board.observe(event.type, event.source, event.data)
                if event.type in unseen:
                    continue
                if event.type.startswith("expression."):
                    stage = event.type.removeprefix("expression.")
                    screen.data(f"{stage:9}  " + event_line(event.data, source=True))
                elif said := happenings.line(event.type, event.source or "", event.data):
                    screen.data(said)
