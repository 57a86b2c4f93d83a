"""The composition root: settings in, a running server with its sources out.

::

    async with App.from_settings(settings) as app:
        print(app.url)
        await app.ended()
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.pipeline_factory import PipelineFactory, live_engine
from mellm.engine.analysis.recovery import recover, take_over
from mellm.engine.analysis.sessions import SessionOptions, Sessions
from mellm.engine.analysis.spool import Spool
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.config import Settings, SourceSettings
from mellm.engine.describe.base import Describer
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance import consent
from mellm.engine.governance import purpose as privacy
from mellm.engine.governance.audit import AuditLog
from mellm.engine.governance.consent_record import ConsentText
from mellm.engine.governance.erase import OPEN, DataStore
from mellm.engine.governance.purpose import Audit, log_audit
from mellm.engine.governance.retention import RetentionJob
from mellm.engine.governance.withdrawal import Withdrawal, Withdraws, finish
from mellm.engine.provenance import versions
from mellm.engine.server import tokens, tracing
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.options import ServerOptions
from mellm.engine.server.previews import Previews
from mellm.engine.server.process import heap, systemd
from mellm.engine.server.process.loop import limit_accept_errors
from mellm.engine.server.process.state_log import StateLog
from mellm.engine.server.run_control import RunControl
from mellm.engine.server.server import Server
from mellm.engine.server.sinks import HubSink, worker_events
from mellm.stream.capture.runner import RunnerOptions
from mellm.stream.errors import MellmError, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.protocol.events import SOURCE_OFFLINE
from mellm.stream.sources.addresses import redact
from mellm.stream.sources.push import PushInlet, is_push

POLL_S = 0.1
"""Between two looks at whether a source shows its first picture, or all have ended."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running app is made of, for whatever it is a part of.

    :param sources: that may be followed
    :param withdraw: stops a source of this app and erases what it showed
    """

    app: App
    settings: Settings
    sources: Sequence[SourceSettings]
    journal: Journal
    hub: Hub
    engine: LiveEngine
    audit: Audit
    withdraw: Withdraws


class Joins(Protocol):
    """Something larger that an app is a part of: it decides which sources are followed, and who describes."""

    @property
    def describer(self) -> Describer:
        """Who puts evidence into words."""
        ...

    @property
    def spool(self) -> Path | None:
        """Folder of jobs that wait, where no evidence is kept."""
        ...

    def evidence(self, folder: Path | None, journal: Journal) -> EvidenceStore:
        """Where motion maps are."""
        ...

    def withdrawal(self, parts: Parts) -> Withdraws:
        """What a client's withdrawal does."""
        ...

    def facts(self) -> Mapping[str, float]:
        """Numbers for ``/metrics``, by name."""
        ...

    def joined(self, parts: Parts) -> AbstractAsyncContextManager[None]:
        """Entered when everything runs, left before anything stops."""
        ...


class App:
    """A server and the sources that it follows. Enter with ``async with``, once; all methods belong to that loop.

    :param settings: everything that is asked for
    :param options: how to listen
    :param pages: folder of the dashboard
    :param must_open: a source that cannot be opened at once ends for good, with :attr:`failure`
    :param joins: what this app is a part of; without it, it is everything
    """

    def __init__(
        self,
        settings: Settings,
        options: ServerOptions,
        *,
        pages: Path | None = None,
        must_open: bool = False,
        joins: Joins | None = None,
    ) -> None:
        self.settings = settings
        self._joins = joins
        self.options = options
        self._pages = pages
        self._runner = RunnerOptions(must_open=True) if must_open else None
        self._stack = AsyncExitStack()
        self._server: Server | None = None
        self._engine: LiveEngine | None = None

    @classmethod
    def from_settings(cls, settings: Settings, *, pages: Path | None = None, must_open: bool = False) -> Self:
        """An app that is not started yet.

        :raises UsageError: no source, or an address that must not be listened on like this
        :raises PurposeRefused: the settings state no purpose, or one that is not served
        """
        if not settings.sources:
            raise UsageError(
                "no source: nothing to follow",
                remedy="give --source ID=URI, or [[sources]] in the configuration",
            )
        return cls(settings, server_options(settings), pages=pages, must_open=must_open)

    @property
    def notice(self) -> str:
        """What has to be shown to whoever uses the results."""
        return self.options.declaration.notice

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.server.url

    @property
    def http_url(self) -> str:
        """The dashboard, without the final slash."""
        return self.server.http_url

    @property
    def server(self) -> Server:
        """The server.

        :raises RuntimeError: the app was not entered
        """
        if self._server is None:
            raise RuntimeError("the app has not been started: enter it with `async with`")
        return self._server

    @property
    def engine(self) -> LiveEngine:
        """The engine behind it.

        :raises RuntimeError: the app was not entered
        """
        if self._engine is None:
            raise RuntimeError("the app has not been started: enter it with `async with`")
        return self._engine

    @property
    def failure(self) -> MellmError | None:
        """The error that ended a source for good, if one did."""
        return self.engine.failure

    async def first_picture(self) -> bool:
        """Wait for the first picture of any source; ``False`` when there will be none."""
        while self.failure is None and not self.engine.finished:
            if any(source.counts().captured for source in self.engine.sources.values()):
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def ended(self) -> None:
        """Wait until every source has ended for good and everything found is described; cameras never do."""
        while not self.engine.finished:  # noqa: ASYNC110 - threads end, and none of them knows this loop
            await asyncio.sleep(POLL_S)
        await asyncio.to_thread(self.engine.drain)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        settings, options = self.settings, self.options
        watchdog = stack.enter_context(Watchdog(on_alive=systemd.alive))
        journal = stack.enter_context(
            Journal(journal_path(settings), retention=retention(settings), vitals=watchdog)
        )
        audited = audit_path(settings)
        audit: Audit = log_audit
        if audited is not None:
            audit = stack.enter_context(AuditLog(audited, vitals=watchdog))
        hub = Hub(journal)
        watchdog.on_change = worker_events(hub)
        hub.observe(StateLog())
        if (spans := tracing.from_environment()) is not None:
            hub.observe(spans)
            stack.callback(spans.close)

        withheld = consent.gate(settings, options.declaration, journal)
        allowed = [source for source in settings.sources if source.id not in withheld]
        waiting = consent.on_page(settings)
        if settings.server.record:
            consent.recorded(settings, waiting)
        consents = {source.id: source.consent for source in allowed if source.consent is not None}
        for name, reference in consents.items():
            hub.consent(name, reference)

        keep = settings.server.keep_evidence
        joins = self._joins
        evidence = EvidenceStore(keep) if joins is None else joins.evidence(keep, journal)
        store = DataStore(journal, keep, evidence, settings.server.runs)
        finish(hub, store, audit)
        open_jobs = keep / OPEN if keep else joins and joins.spool
        spool = Spool(open_jobs) if open_jobs else None
        left_open = recover(journal.unfinished(), spool)
        inlets = {source.id: PushInlet(source.id) for source in allowed if is_push(source.uri)}
        previewed = [source.id for source in settings.sources if source.preview]
        mirrored = [source.id for source in settings.sources if source.mirrored]
        previews = Previews(hub, previewed, mirrored=mirrored, vitals=watchdog)
        sessions = None if settings.server.runs is None else _sessions(settings, watchdog)
        if sessions is not None:
            hub.observe(sessions.observe)
        engine = self._engine = live_engine(
            settings,
            allowed if joins is None else (),
            HubSink(hub, evidence),
            self._runner,
            spool=spool,
            watchdog=watchdog,
            on_frame=previews,
            inlets=inlets,
            on_loaded=heap.set_aside,
            describer=None if joins is None else joins.describer,
            tap=sessions,
        )
        runs = None
        if sessions is not None:
            sessions.attach(engine)
            runs = _run_control(settings, sessions, engine, hub, consents, audit, waiting, inlets)
        made = facts(settings)
        withdrawal: Withdraws = Withdrawal(runs or engine, hub, store, consents, audit, inlets=inlets)
        parts = Parts(self, settings, allowed, journal, hub, engine, audit, withdrawal)
        if joins is not None:
            withdrawal = joins.withdrawal(parts)
        audit("analysis.configured", {**made, "withheld": sorted(withheld)})
        limit_accept_errors(asyncio.get_running_loop())
        self._server = await stack.enter_async_context(
            Server(
                options,
                hub=hub,
                catalog=_catalog(settings, made, previewed, inlets),
                evidence=evidence,
                audit=audit,
                watchdog=watchdog,
                inlets=inlets,
                withdrawal=withdrawal,
                sweep=RetentionJob(store, evidence_s=settings.server.evidence_days * 86_400, audit=audit),
                facts=dict if joins is None else joins.facts,
                pages=self._pages,
                runs=runs,
                may_push=(lambda source: True) if runs is None else runs.may_run,
            )
        )
        take_over(left_open, engine, hub, self._server.metrics.resumed)
        for name, refusal in withheld.items():
            hub.publish_threadsafe(SOURCE_OFFLINE, name, {"code": refusal.code, "message": str(refusal)})
        previews.start()
        stack.callback(previews.stop)
        if sessions is not None:
            stack.push_async_callback(asyncio.to_thread, sessions.close)
        stack.push_async_callback(asyncio.to_thread, engine.stop)
        for inlet in inlets.values():
            stack.callback(inlet.shut)
        stack.callback(systemd.stopping)
        if runs is not None:
            runs.start()
        engine.start([source.id for source in allowed if source.id not in waiting])
        if joins is not None:
            await stack.enter_async_context(joins.joined(parts))
        systemd.ready()


def _sessions(settings: Settings, watchdog: Watchdog) -> Sessions:
    chosen = settings.server
    faces = chosen.record or chosen.keep_evidence is not None  # what was agreed to, or kept anyway
    return Sessions(settings, SessionOptions(video=chosen.record, faces=faces), vitals=watchdog)


def _run_control(
    settings: Settings,
    sessions: Sessions,
    engine: LiveEngine,
    hub: Hub,
    consents: dict[str, str],
    audit: Audit,
    waiting: frozenset[str],
    inlets: dict[str, PushInlet],
) -> RunControl:
    folder, text = settings.server.runs, settings.server.consent_text
    assert folder is not None
    return RunControl(
        folder,
        sessions,
        engine,
        hub,
        consents,
        audit,
        purpose=settings.purpose or "",
        text=None if text is None else ConsentText.load(text),
        waiting=waiting,
        inlets=inlets,
    )


def server_options(settings: Settings) -> ServerOptions:
    """How to listen; secrets come from the environment and from files.

    :raises PurposeRefused: the settings state no purpose, or one that is not served
    :raises UsageError: a token that is not there, or an address that must not be listened on like this
    """
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
    if journal_path(settings) == ":memory:":
        return None
    return Retention(max_age_s=settings.server.retention_days * 86_400)


def facts(settings: Settings) -> dict[str, Any]:
    """What a run is made of, for the audit log: sources with their consent, versions, models with their hashes."""
    chosen = settings.describer
    return {
        "sources": {each.id: {"uri": redact(each.uri), "consent": each.consent} for each in settings.sources},
        "version": versions()["mellm"],
        "describer": {"kind": chosen.kind, "model": chosen.model, "profile": chosen.profile},
        **PipelineFactory(settings).facts(),
    }


def _catalog(
    settings: Settings, made: Mapping[str, Any], previewed: list[str], inlets: Mapping[str, PushInlet]
) -> Catalog:
    models = {each["name"]: each for each in made["models"]} | {"describer": made["describer"]}
    names = [source.id for source in settings.sources]
    return Catalog(names, models=models, previews=previewed, pushes=inlets)
