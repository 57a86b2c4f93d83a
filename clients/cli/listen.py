"""``mellm listen``: what a server pushes, in the terminal."""

from __future__ import annotations

import asyncio
import json
import os

import click

from clients.cli.common import json_flag, one_line


@click.command()
@click.argument("url", metavar="WS_URL")
@click.option("--source", "sources", multiple=True, help="Only this source; may be repeated.")
@click.option("--type", "types", multiple=True, help="Only this event type, such as expression.described.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Only expressions with at least this score.")
@click.option("--after", metavar="EPOCH:SEQ", help="Replay from there; the journal's start is EPOCH:0.")
@click.option("--token-env", default="MELLM_TOKEN", show_default=True, help="Variable that holds the token.")
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

    async with connect(url, token=token) as session:
        wanted = types or (() if as_json else ("expression.*", "source.*", "stream.skipped"))
        async for event in session.events(sources=sources, types=wanted, min_score=min_score, after=after):
            if as_json:
                click.echo(encode(event))
            elif event.type.startswith("expression."):
                click.echo(
                    f"{event.type.removeprefix('expression.'):9}  " + one_line(dict(event.data), source=True)
                )
            else:
                click.echo(
                    f"{event.type}  {event.source or ''}  {json.dumps(dict(event.data), ensure_ascii=False)}"
                )
