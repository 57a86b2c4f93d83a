"""``mellm serve``: sources in, WebSocket clients out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import click

from mellm.clients.cli.common import settings_flags, settings_from

if TYPE_CHECKING:
    from mellm.engine.analysis.live import LiveEngine
    from mellm.engine.config import Settings
    from mellm.engine.server.options import ServerOptions
    from mellm.stream.log.journal import Retention

PAGES: Final = Path(__file__).resolve().parents[1] / "web"


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
    **flags: Any,
) -> int:
    """Follow sources and push what is found to WebSocket clients (protocol mellm.v1).

    Sources may be down at the start and come back by themselves. Needs --purpose, on the command line or in the
    configuration. Ctrl-C stops: clients are told where to resume.
    """
    from mellm.clients.cli.live import parse_sources
    from mellm.engine.governance.consent import with_references
    from mellm.stream.errors import ConsentMissing

    if no_consent_gate:
        raise ConsentMissing(
            "there is no way round the consent gate", remedy="give --consent ID=REF for each source"
        )
    given = {
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
    }
    settings = settings_from(flags, given)
    if not settings.sources:
        raise click.UsageError("no source: give --source ID=URI, or [[sources]] in the configuration")
    settings = with_references(settings, consents)
    return follow(settings)


def follow(settings: Settings, on_page: Callable[[str], object] | None = None) -> int:
    """Serve until a signal comes; see :func:`serve`.

    :param on_page: is told the dashboard's address, in a thread of its own, once there is a picture; whoever wants to
        look is told at once of a source that cannot be opened
    :raises MellmError: with ``on_page``, why a source cannot be opened
    """
    from mellm.engine.server.process.allocator import tune_malloc

    tune_malloc()
    return asyncio.run(_serve(settings, _options(settings), on_page))


def _options(settings: Settings) -> ServerOptions:
    from mellm.engine.governance import purpose as privacy
    from mellm.engine.server import tokens
    from mellm.engine.server.options import ServerOptions

    chosen = settings.server
    return ServerOptions(
        declaration=privacy.require(settings.purpose, settings.medical_or_safety_basis),
        host=chosen.host,
        port=chosen.port,
        token=os.environ.get(chosen.token_env) or None,
        tokens=tokens.load(settings.tokens),
        tls_cert=chosen.tls_cert,
        tls_key=chosen.tls_key,
        insecure=chosen.insecure,
        origins=chosen.origins,
    )


def journal_path(settings: Settings) -> Path | str:
    """Where events are logged: what was asked for, or the user's state folder."""
    if settings.server.journal is not None:
        return ":memory:" if str(settings.server.journal) == ":memory:" else settings.server.journal
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "mellm-live" / "journal.db"


def audit_path(settings: Settings) -> Path | None:
    """Where is written who did what: beside the event log; nowhere when that is in memory and no file is named."""
    if settings.server.audit is not None:
        return settings.server.audit
    journal = journal_path(settings)
    return None if isinstance(journal, str) else journal.with_suffix(".audit.jsonl")


def retention(settings: Settings) -> Retention | None:
    """How long a log on disk is kept; in memory, the journal's own bound holds."""
    from mellm.stream.log.journal import Retention

    if journal_path(settings) == ":memory:":
        return None
    return Retention(max_age_s=settings.server.retention_days * 86_400)


async def _serve(settings: Settings, options: ServerOptions, on_page: Callable[[str], object] | None) -> int:
    from mellm.clients.cli.live import build
    from mellm.clients.cli.logs import show_states
    from mellm.engine.analysis.recovery import recover, take_over
    from mellm.engine.analysis.spool import Spool
    from mellm.engine.analysis.watchdog import Watchdog
    from mellm.engine.evidence.store import EvidenceStore
    from mellm.engine.governance import consent
    from mellm.engine.governance.audit import AuditLog
    from mellm.engine.governance.erase import DataStore
    from mellm.engine.governance.purpose import log_audit
    from mellm.engine.governance.retention import RetentionJob
    from mellm.engine.governance.withdrawal import Withdrawal, finish
    from mellm.engine.server import tracing
    from mellm.engine.server.catalog import Catalog
    from mellm.engine.server.previews import Previews
    from mellm.engine.server.process import systemd
    from mellm.engine.server.process.loop import limit_accept_errors
    from mellm.engine.server.process.state_log import StateLog
    from mellm.engine.server.server import serve as listening
    from mellm.engine.server.sinks import HubSink, worker_events
    from mellm.stream.capture.runner import RunnerOptions
    from mellm.stream.log.hub import Hub
    from mellm.stream.log.journal import Journal
    from mellm.stream.protocol.events import SOURCE_OFFLINE
    from mellm.stream.sources.push import PushInlet, is_push

    show_states()
    audited = audit_path(settings)
    spans = tracing.from_environment()
    with (
        Watchdog(on_alive=systemd.alive) as watchdog,
        Journal(journal_path(settings), retention=retention(settings), vitals=watchdog) as journal,
        nullcontext(log_audit) if audited is None else AuditLog(audited, vitals=watchdog) as audit,
    ):
        hub = Hub(journal)
        watchdog.told = worker_events(hub)
        hub.observe(StateLog())
        if spans is not None:
            hub.observe(spans)
        withheld = consent.gate(settings, options.declaration, journal)
        allowed = [source for source in settings.sources if source.id not in withheld]
        consents = {source.id: source.consent for source in allowed if source.consent is not None}
        for name, reference in consents.items():
            hub.consent(name, reference)
        evidence = EvidenceStore(settings.server.keep_evidence)
        previews = [source.id for source in settings.sources if source.preview]
        inlets = {source.id: PushInlet(source.id) for source in allowed if is_push(source.uri)}
        made = facts(settings)
        models = {each["name"]: each for each in made["models"]} | {"describer": made["describer"]}
        names = [source.id for source in settings.sources]
        catalog = Catalog(names, models=models, previews=previews, pushes=inlets)
        keep = settings.server.keep_evidence
        spool = Spool(keep / "open") if keep else None
        keeper = DataStore(journal, keep, evidence)
        finish(hub, keeper, audit)
        sweep = RetentionJob(keeper, evidence_s=settings.server.evidence_days * 86_400, audit=audit)
        left_open = recover(journal.unfinished(), spool)
        sink = HubSink(hub, evidence)
        mirrored = [source.id for source in settings.sources if source.mirrored]
        watching = Previews(hub, previews, mirrored=mirrored, vitals=watchdog)
        kept_up = None if on_page is None else RunnerOptions(must_open=True)
        engine = build(
            settings, allowed, sink, kept_up, spool=spool, watchdog=watchdog, on_frame=watching, inlets=inlets
        )
        withdrawal = Withdrawal(engine, hub, keeper, consents, audit, inlets=inlets)
        audit("analysis.configured", {**made, "withheld": sorted(withheld)})
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        limit_accept_errors(loop)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _ask, stop)
        async with listening(
            options,
            hub=hub,
            catalog=catalog,
            evidence=evidence,
            audit=audit,
            watchdog=watchdog,
            inlets=inlets,
            withdrawal=withdrawal,
            sweep=sweep,
            pages=PAGES,
        ) as server:
            click.echo(f"{options.declaration.notice}", err=True)
            click.echo(f"listening on {server.url}   (mellm listen {server.url})", err=True)
            click.echo(f"dashboard at {server.http_url}/", err=True)
            take_over(left_open, engine, hub, server.metrics.resumed)
            for source_id, refusal in withheld.items():
                hub.publish_threadsafe(
                    SOURCE_OFFLINE, source_id, {"code": refusal.code, "message": str(refusal)}
                )
            watching.start()
            engine.start()
            systemd.ready()
            if on_page is not None and await _seen(engine, stop):
                # a browser in the terminal returns when it is left: nothing waits for it
                Thread(target=on_page, args=(f"{server.http_url}/",), daemon=True).start()
            if on_page is None or engine.failure is None:
                await stop.wait()
            systemd.stopping()
            click.echo("stopping …", err=True)
            for inlet in inlets.values():
                inlet.shut()
            await asyncio.to_thread(engine.stop)
            watching.stop()
    if on_page is not None and engine.failure is not None:
        raise engine.failure
    return 0


async def _seen(engine: LiveEngine, stop: asyncio.Event) -> bool:
    """Wait for the first picture; ``False`` when there will be none."""
    while not stop.is_set() and engine.failure is None:
        if any(source.counts().captured for source in engine.sources.values()):
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.1)
    return False


def facts(settings: Settings) -> dict[str, Any]:
    """What a run is made of, for the audit log: sources with their consent, versions, models with their hashes."""
    from mellm.engine.analysis.pipeline_factory import PipelineFactory
    from mellm.engine.provenance import versions
    from mellm.stream.sources.addresses import redact

    chosen = settings.describer
    return {
        "sources": {each.id: {"uri": redact(each.uri), "consent": each.consent} for each in settings.sources},
        "version": versions()["mellm"],
        "describer": {"kind": chosen.kind, "model": chosen.model, "profile": chosen.profile},
        **PipelineFactory(settings).facts(),
    }


def _ask(stop: asyncio.Event) -> None:
    """First signal: stop in order. Second: leave now."""
    if stop.is_set():
        os._exit(130)
    stop.set()
