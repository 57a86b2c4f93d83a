"""``mellm serve``: sources in, WebSocket clients out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from mellm.clients.cli.common import bus_flags, bus_settings, settings_flags, settings_from

if TYPE_CHECKING:
    from mellm.engine.config import Settings
    from mellm.engine.server.app import App


@click.command()
@click.option("--source", "sources", multiple=True, metavar="ID=URI", help="A source; may be repeated.")
@click.option("--mirrored", multiple=True, metavar="ID", help="This source's picture is a mirror image.")
@click.option(
    "--consent",
    "consents",
    multiple=True,
    metavar="ID=REF",
    help="Reference to the consent of those before this source; needed for research and clinical.",
)
@click.option("--no-consent-gate", is_flag=True, hidden=True)
@click.option("--host", metavar="ADDRESS", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, metavar="N", help="Port to listen on, 0 for any free one [8765].")
@click.option("--token-env", metavar="NAME", help="Variable that holds the clients' token [MELLM_TOKEN].")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Private key, PEM.")
@click.option("--insecure", is_flag=True, default=None, help="Listen beyond loopback without token and TLS.")
@click.option(
    "--origin", "origins", multiple=True, metavar="URL", help="A web origin whose pages may connect."
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    help="Event log [the user's state folder]; :memory: for none.",
)
@click.option(
    "--keep-evidence",
    type=click.Path(path_type=Path),
    help="Keep motion maps, and the faces at onset and apex, in this folder.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    help="Keep each session in this folder, as a run like those of `mellm analyze`.",
)
@click.option(
    "--record",
    is_flag=True,
    default=None,
    help="Keep the video of sessions too; needs consent for each source.",
)
@click.option(
    "--consent-text",
    type=click.Path(path_type=Path),
    help="Text that the page shows to the person on camera; a source without --consent starts with the yes.",
)
@bus_flags
@settings_flags
def serve(
    sources: tuple[str, ...],
    mirrored: tuple[str, ...],
    consents: tuple[str, ...],
    no_consent_gate: bool,
    host: str | None,
    port: int | None,
    token_env: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool | None,
    origins: tuple[str, ...],
    journal: Path | None,
    keep_evidence: Path | None,
    runs: Path | None,
    record: bool | None,
    consent_text: Path | None,
    **flags: Any,
) -> int:
    """Follow sources and push what is found to WebSocket clients (protocol mellm.v1).

    Sources may be down at the start and come back by themselves. Needs --purpose, on the command line or in the
    configuration. Ctrl-C stops: clients are told where to resume. With --bus this process is one of several, and does
    what --role says: follow cameras, describe, or serve clients.
    """
    from mellm.clients.cli.live import parse_sources
    from mellm.engine.governance.consent import with_references
    from mellm.stream.errors import ConsentMissing

    if no_consent_gate:
        raise ConsentMissing(
            "there is no way round the consent gate", remedy="give --consent ID=REF for each source"
        )
    given = {
        **bus_settings(flags),
        "sources": parse_sources(sources, mirrored) or None,
        "server.host": host,
        "server.port": port,
        "server.token_env": token_env,
        "server.tls_cert": tls_cert,
        "server.tls_key": tls_key,
        "server.insecure": insecure,
        "server.origins": origins or None,
        "server.journal": journal,
        "server.keep_evidence": keep_evidence,
        "server.runs": runs,
        "server.record": record,
        "server.consent_text": consent_text,
    }
    settings = settings_from(flags, given)
    settings = with_references(settings, consents)
    return follow(settings) if settings.bus.url is None else take_part(settings)


def take_part(settings: Settings) -> int:
    """Serve as one of several machines until a signal comes."""
    from mellm.clients.app import serve_role
    from mellm.engine.server.process.allocator import tune_malloc

    async def take_part() -> None:
        from mellm.clients.cli.logs import show_states

        show_states()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _ask, stop)
        async with serve_role(settings) as running:
            click.echo(running.notice, err=True)
            click.echo(f"role {settings.bus.role}, listening on {running.url}", err=True)
            click.echo(f"dashboard at {running.http_url}/", err=True)
            await stop.wait()
            click.echo("stopping …", err=True)

    tune_malloc()
    asyncio.run(take_part())
    return 0


def follow(settings: Settings, on_page: Callable[[str], object] | None = None) -> int:
    """Serve until a signal comes; see :func:`serve`.

    :param on_page: is told the dashboard's address, in a thread of its own, once there is a picture; whoever wants to
        look is told at once of a source that cannot be opened
    :raises MellmError: with ``on_page``, why a source cannot be opened
    """
    from mellm.clients.app import serve as app_of
    from mellm.engine.server.process.allocator import tune_malloc

    tune_malloc()
    return asyncio.run(_serve(app_of(settings, must_open=on_page is not None), on_page))


async def _serve(app: App, on_page: Callable[[str], object] | None) -> int:
    from mellm.clients.cli.logs import show_states

    show_states()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _ask, stop)
    async with app:
        click.echo(f"{app.notice}", err=True)
        click.echo(f"listening on {app.url}   (mellm listen {app.url})", err=True)
        click.echo(f"dashboard at {app.http_url}/", err=True)
        if on_page is not None and await _unless(stop, app.first_picture()):
            # a browser in the terminal returns when it is left: nothing waits for it
            Thread(target=on_page, args=(f"{app.http_url}/",), daemon=True).start()
        if on_page is None or app.failure is None:
            await stop.wait()
        click.echo("stopping …", err=True)
        failure = app.failure
    if on_page is not None and failure is not None:
        raise failure
    return 0


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, bool]) -> bool:
    """What ``work`` returns, ``False`` if the stop comes first."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.done() and working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _ask(stop: asyncio.Event) -> None:
    """First signal: stop in order. Second: leave now."""
    if stop.is_set():
        os._exit(130)
    stop.set()
