"""``mellm replay``: the events of a run, once more."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mellm.clients.cli.common import event_line, json_flag
from mellm.clients.cli.happenings import Happenings

if TYPE_CHECKING:
    from mellm.engine.results.run_reader import Run


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--source", metavar="NAME", help="Of several recordings in the run, this one [all, one by one]."
)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=0.0,
    help="1 is real time, 10 ten times as fast [no waiting].",
)
@click.option("--serve", "served", is_flag=True, help="Show the run on the live page instead, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="With --serve: port [any free one].")
@json_flag
def replay(
    run: Path, source: str | None, speed: float, served: bool, port: int | None, as_json: bool
) -> None:
    """Print the events of the folder RUN in order of media time: faces, gaps, expressions and their descriptions.

    With --json, one event a line, as on the wire and in events.jsonl. With --speed, a program that reads the lines can
    be tried as if the camera were running. With --serve, the page of `mellm serve` shows the run, on this machine only.
    """
    from mellm.engine.export.replay import events, paced
    from mellm.engine.results.run_reader import media_ns, read_run
    from mellm.stream.protocol.wire import encode

    found = read_run(run)
    chosen = found if source is None else found.only(source)
    if served and as_json:
        raise click.UsageError("--json and --serve cannot both be met: choose one")
    if port is not None and not served:
        raise click.UsageError("--port is about --serve: leave it out, or give both")
    if served:
        asyncio.run(_serve(chosen, speed, port or 0))
        return
    happenings = Happenings()
    several = len(chosen.sources) > 1
    for event in paced(events(chosen), speed, time.sleep):
        kind = event.type
        if as_json:
            line: str | None = encode(event).decode()
        elif kind.startswith("expression.") and "onset_ms" in event.data:
            line = f"{kind.removeprefix('expression.'):9}  " + event_line(event.data, source=several)
        else:
            line = happenings.line(kind, event.source if several else "", event.data, media_ns(event))
        if line is not None:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()  # whoever reads a pipe sees it when it is due


async def _serve(run: Run, speed: float, port: int) -> None:
    from mellm.clients.app import PAGES
    from mellm.engine.server.replayed import replayed

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with replayed(run, speed=speed, port=port, pages=PAGES) as server:
        click.echo(f"the run is shown at {server.http_url}/   (Ctrl-C stops)", err=True)
        await stop.wait()
