"""``mellm listen``: what a server pushes, in the terminal."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from pathlib import Path

import click

from mellm.clients.cli.common import event_line, json_flag
from mellm.clients.cli.happenings import Happenings
from mellm.clients.cli.terminal import LIVE_TYPES, Screen
from mellm.stream.errors import UsageError


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
@click.option(
    "--ca-cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Certificate (PEM) of the server or of who signed it, for servers with their own.",
)
@json_flag
def listen(
    url: str,
    sources: tuple[str, ...],
    types: tuple[str, ...],
    min_score: float | None,
    after: str | None,
    token_env: str,
    ca_cert: Path | None,
    as_json: bool,
) -> None:
    """Show events from the server at WS_URL; after a break it continues without loss or repeat.

    Behind a proxy that mounts the server below a path, give that path: wss://host/mellm.
    """
    token = os.environ.get(token_env)
    asyncio.run(_listen(url, sources, types, min_score, after, token, as_json, _trust(ca_cert)))


def _trust(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    try:
        return ssl.create_default_context(cafile=certificate)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"--ca-cert {certificate}: not a certificate ({error})", remedy="give a PEM file"
        ) from error


async def _listen(
    url: str,
    sources: tuple[str, ...],
    types: tuple[str, ...],
    min_score: float | None,
    after: str | None,
    token: str | None,
    as_json: bool,
    trust: ssl.SSLContext | None = None,
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
    async with connect(url, token=token, ssl=trust) as session:
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
