"""The server: WebSocket ``mellm.v1`` and a few HTTP pages on one port.

::

    async with Server(options, hub=hub, catalog=catalog, metrics=metrics) as server:
        print(server.url)                    # ws://127.0.0.1:8765/v1/stream
        hub.publish_threadsafe(…)            # from any thread
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import socket as network
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from websockets.asyncio.server import Server as SocketServer
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.purpose import Audit, log_audit
from mellm.engine.governance.withdrawal import Withdraws, nothing_to_withdraw
from mellm.engine.server.auth import Authenticator, OriginPolicy, bearer, is_loopback
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.connection import EMPTY, Connection, Ending
from mellm.engine.server.expression_reader import ExpressionReader
from mellm.engine.server.http import Answer, Pages, forbidden, to_response, unauthorised
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.options import ServerOptions, tls_context
from mellm.engine.server.run_control import NoRuns, Runs
from mellm.engine.server.static import StaticPages
from mellm.stream.errors import JournalError, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.log.subscriber import Totals
from mellm.stream.protocol import wire
from mellm.stream.protocol.access import Principal
from mellm.stream.protocol.client_messages import MAX_PUSH_HEAD, SHOWN
from mellm.stream.protocol.events import STATS
from mellm.stream.protocol.server_session import SessionRules
from mellm.stream.sources.push import PushInlet
from mellm.stream.worker import Turn, Worker

logger = logging.getLogger(__name__)

PATH: Final = "/v1/stream"
HOUSEKEEPING_S: Final = 60.0
SWEEP_LIMIT_S: Final = 60.0
"""A month may be forgotten at once."""

MAX_PUSH_BYTES: Final = 4 + MAX_PUSH_HEAD + wire.MAX_PICTURE_BYTES

SEND_BUFFER: Final = 64 * 1024
"""Bytes the kernel may hold for one client. Left to itself it grows to megabytes, and a client that reads
nothing would be noticed minutes later."""


class Server:
    """Serves a hub. Enter it with ``async with``; everything runs on that event loop.

    :param inlets: where clients may send pictures, by source
    :param audit: is told who does what; by default one log line each
    :param withdrawal: carries out ``consent.withdraw``
    :param pages: folder of the dashboard; without it ``/`` shows a few facts
    :param facts: numbers beside ours for ``/metrics``, by name
    :param sweep: called every minute, from a thread; by default the journal forgets what is too old
    :param runs: sessions that clients may begin and save
    :param may_push: whether pictures of a source may be sent now
    """

    def __init__(
        self,
        options: ServerOptions,
        *,
        hub: Hub,
        catalog: Catalog | None = None,
        metrics: Metrics | None = None,
        evidence: EvidenceStore | None = None,
        audit: Audit = log_audit,
        watchdog: Watchdog | None = None,
        inlets: Mapping[str, PushInlet] = EMPTY,
        withdrawal: Withdraws = nothing_to_withdraw,
        sweep: Callable[[], None] | None = None,
        facts: Callable[[], Mapping[str, float]] = dict,
        pages: Path | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        runs: Runs | None = None,
        may_push: Callable[[str], bool] = lambda source: True,
    ) -> None:
        self.options = options
        self._runs: Runs = NoRuns() if runs is None else runs
        self._inlets = inlets
        self._withdrawal = withdrawal
        self._more_facts = facts
        self._sweep = sweep or self._forget_old_events
        self._watchdog = watchdog
        self.hub = hub
        self.catalog = catalog or Catalog()
        self.metrics = metrics or Metrics()
        self.evidence = EvidenceStore() if evidence is None else evidence  # an empty one is false
        self._audit = audit
        self._clock_ns = clock_ns
        self._authenticator = Authenticator(options.accepted, clock_ns=clock_ns)
        self._library = ExpressionReader(hub.journal, self.evidence.get, audit)
        self._origins = OriginPolicy.of(
            options.origins, loopback_only=not self._authenticator.needed and is_loopback(options.host)
        )
        self._tls = tls_context(options)
        self.pages = Pages(
            library=self._library,
            metrics=self.metrics,
            authenticator=self._authenticator,
            origins=self._origins,
            unready=self._unready,
            unhealthy=lambda: watchdog.unhealthy if watchdog else None,
            about=self._about,
            static=None if pages is None else StaticPages(pages).answer,
        )
        self._rules = SessionRules(
            hello=self._hello,
            created=self._created,
            authenticate=self._authenticator.check,
            sources=self.catalog.ids,
            pushable=lambda: frozenset(filter(may_push, inlets)),
            messages_per_s=options.messages_per_s,
            burst=max(1, int(2 * options.messages_per_s)),
        )
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._addresses: Counter[str] = Counter()
        self._stopping = False
        self._sockets: SocketServer | None = None
        self._chores = (
            Worker("stats", self._tell_stats, vitals=watchdog),
            Worker("retention", self._forget, vitals=watchdog, limit_s=SWEEP_LIMIT_S),
        )
        self._beating: asyncio.Task[None] | None = None
        hub.observe(self.catalog.observe)
        hub.observe(self.metrics.observe)
        self.metrics.watch(self._live, self._facts)

    # -- life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen.

        :raises UsageError: if the address cannot be bound
        """
        options = self.options
        self.hub.attach()
        try:
            self._sockets = await listen(
                self._handle,
                options.host,
                options.port,
                subprotocols=[Subprotocol(wire.PROTOCOL)],
                process_request=self._request,
                compression=None,
                server_header="mellm-live",
                open_timeout=5.0,
                ping_interval=options.heartbeat_s,
                ping_timeout=options.heartbeat_s,
                close_timeout=options.timing.grace,
                # the session holds text to its own, smaller bound
                max_size=MAX_PUSH_BYTES if self._inlets else wire.MAX_CLIENT_BYTES,
                max_queue=16,
                logger=logging.getLogger(f"{__name__}.websockets"),
                ssl=self._tls,
            )
        except OSError as error:
            self.hub.detach()
            raise UsageError(
                f"cannot listen on {options.host}:{options.port}: {error.strerror or error}",
                remedy="choose another --port, or stop what listens there",
            ) from error
        for chore in self._chores:
            chore.start()
        if self._watchdog is not None:
            self._beating = asyncio.create_task(self._watchdog.follow_loop())
        self._audit("server.started", {"url": self.url, **options.declaration.as_dict()})

    async def stop(self) -> None:
        """Let clients read what waits, tell them where to resume, close with 1001. Safe to call twice."""
        if self._sockets is None or self._stopping:
            return
        self._stopping = True
        for chore in self._chores:
            chore.stop()
        for chore in self._chores:
            await asyncio.to_thread(chore.join, self.options.drain_s)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        with contextlib.suppress(TimeoutError, JournalError):
            async with asyncio.timeout(self.options.drain_s):
                await asyncio.to_thread(self.hub.journal.flush)
        self.hub.flush()
        ending = Ending(wire.GOING_AWAY, "shutdown")
        for connection in list(self._connections):
            connection.drain(ending)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.drain_s):
                await self._empty.wait()
        for connection in list(self._connections):
            connection.finish(ending)
        self._sockets.close()
        await self._sockets.wait_closed()
        self.hub.detach()
        self._audit("server.stopped", {"clients": len(self._connections)})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._sockets is None:
            raise RuntimeError("the server has not been started")
        return int(self._sockets.sockets[0].getsockname()[1]) if self._sockets.sockets else self.options.port

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{'wss' if self._tls else 'ws'}://{self._authority}{PATH}"

    @property
    def http_url(self) -> str:
        """The front page, without the final slash."""
        return f"{'https' if self._tls else 'http'}://{self._authority}"

    @property
    def _authority(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(
            self.options.host, self.options.host
        )
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def _tell_stats(self, turn: Turn) -> None:
        while not turn.wait(self.options.stats_s):
            self.hub.publish_threadsafe(STATS, "", self.metrics.snapshot())
            turn.worked()

    def _forget(self, turn: Turn) -> None:
        every_s = self.options.stats_s  # whoever restarts often must forget too
        while not turn.wait(every_s):
            every_s = HOUSEKEEPING_S
            try:
                self._sweep()
            except JournalError as error:
                logger.warning("%s", error)
            turn.worked()

    def _forget_old_events(self) -> None:
        self.hub.journal.prune(now=self._clock_ns())

    # -- requests -------------------------------------------------------------------------------------

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP here; ``None`` lets the WebSocket handshake go on."""
        headers: dict[str, str] = {}
        for name, value in request.headers.raw_items():
            if name.lower() in headers and name.lower() in ("host", "origin", "authorization"):
                return to_response(request.method, Answer(HTTPStatus.BAD_REQUEST, b"a header occurs twice\n"))
            headers[name.lower()] = value
        answer = await self._judge(request, headers)
        if answer is None:
            return None
        self.metrics.requested(answer.route, answer.status)
        return to_response(request.method, answer)

    async def _judge(self, request: Request, headers: dict[str, str]) -> Answer | None:
        host, origin = headers.get("host"), headers.get("origin")
        if not self._origins.accepts_host(host):
            return forbidden("this server answers to localhost only")
        if not self._origins.accepts_origin(origin, host):
            return forbidden("pages of this origin may not connect; the server's --origin allows more")
        if headers.get("upgrade", "").lower() != "websocket":
            return await self.pages.answer(request.method, request.path, headers)
        if request.path.partition("?")[0] not in (PATH, "/"):
            return Answer(HTTPStatus.NOT_FOUND, f"the WebSocket is at {PATH}\n".encode())
        if "?" in request.path:
            return Answer(HTTPStatus.BAD_REQUEST, b"no query here; tokens go into the Authorization header\n")
        if self._stopping:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"stopping\n", headers=(("Retry-After", "2"),))
        token = bearer(headers.get("authorization"))
        if token is not None and self._authenticator.check(token) is None:
            return unauthorised()
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        address = str((socket.remote_address or ("",))[0])
        with self._seat(address) as seated:
            if not seated:
                await socket.close(wire.OVERLOADED, "overloaded")
                self._audit("session.refused", {"address": address, "reason": "overloaded"})
                return
            socket.transport.get_extra_info("socket").setsockopt(
                network.SOL_SOCKET, network.SO_SNDBUF, SEND_BUFFER
            )
            # the handshake has refused a wrong token; without one, a token may follow as first message
            token = bearer(socket.request.headers.get("Authorization")) if socket.request else None
            principal = self._authenticator.check(token or "")
            connection = Connection(
                socket,
                self._rules,
                hub=self.hub,
                catalog=self.catalog,
                library=self._library,
                metrics=self.metrics,
                timing=self.options.timing,
                clock_ns=self._clock_ns,
                inlets=self._inlets,
                withdrawal=self._withdrawal,
                audit=self._audit,
                runs=self._runs,
            )
            self._connections.add(connection)
            self._empty.clear()
            self.metrics.session_opened()
            self._audit("session.opened", {"session": connection.id, "address": address})
            code = 1006
            try:
                code = (await connection.run(principal)).code
            finally:
                self._connections.discard(connection)
                if not self._connections:
                    self._empty.set()
                self.metrics.session_closed(code)
                known = connection.session.principal
                name = None if known is None else known.name
                self._audit("session.closed", {"session": connection.id, "principal": name, "code": code})

    @contextlib.contextmanager
    def _seat(self, address: str) -> Iterator[bool]:
        options = self.options
        full = len(self._connections) >= options.max_clients or (
            not is_loopback(address) and self._addresses[address] >= options.max_clients_per_address
        )
        if full:
            yield False
            return
        self._addresses[address] += 1
        try:
            yield True
        finally:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    # -- facts ----------------------------------------------------------------------------------------

    def _hello(self) -> dict[str, Any]:
        options = self.options
        return {
            "server": f"mellm-live/{_version()}",
            "protocol": wire.PROTOCOL,
            "limits": {
                "message_bytes": wire.MAX_CLIENT_BYTES,
                "event_bytes": wire.MAX_EVENT_BYTES,
                "picture_bytes": wire.MAX_PICTURE_BYTES,
                "messages_per_s": options.messages_per_s,
                "backlog_events": self.hub.limits.backlog_events,
                "backlog_bytes": self.hub.limits.backlog_bytes,
                "auth_s": options.timing.auth,
            },
            "heartbeat": {"interval_s": options.heartbeat_s, "timeout_s": options.heartbeat_s},
            **options.declaration.as_dict(),
        }

    def _created(self, principal: Principal) -> dict[str, Any]:
        journal = self.hub.journal
        allowed = principal.sources
        return {
            "access": {
                "name": principal.name,
                "scopes": sorted(principal.scopes),
                "sources": None if allowed is None else sorted(allowed),
            },
            "sources": [each for each in self.catalog.sources() if principal.sees(each["id"])],
            "models": self.catalog.models(),
            "evidence": [each for each in SHOWN if each == "motion" or self.evidence.keeps_faces],
            "replay": {"epoch": journal.epoch, "from_seq": journal.first_seq, "to_seq": journal.last_seq},
            **({} if (sessions := self._runs.facts()) is None else {"sessions": sessions}),
        }

    def _about(self) -> dict[str, str]:
        return {
            "Version": _version(),
            "Notice": self.options.declaration.notice,
            "WebSocket": f"{self.url} (subprotocol {wire.PROTOCOL})",
            "State": self._unready() or "ready",
        }

    def _unready(self) -> str | None:
        if self._stopping:
            return "stopping"
        if self.hub.journal_failing:
            return "the journal cannot be written"
        return self.catalog.unready or (self._watchdog.unready if self._watchdog else None)

    def _live(self) -> list[tuple[Totals, int]]:
        found = (connection.subscriber for connection in self._connections)
        return [(each.totals, each.waiting) for each in found if each is not None]

    def _facts(self) -> dict[str, float]:
        journal = self.hub.journal
        return {
            "journal_first_seq": journal.first_seq,
            "journal_last_seq": journal.last_seq,
            "events_unjournalled": self.hub.unjournalled,
            "lossy_overflow": self.hub.lossy_overflow,
            "evidence_bytes": self.evidence.bytes,
            "ready": float(self._unready() is None),
            **self._more_facts(),
        }


def _version() -> str:
    try:
        return importlib.metadata.version("mellm-live")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
