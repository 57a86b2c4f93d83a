"""Puts a role together: settings in, something to enter out."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mellm.engine.analysis.pipeline_factory import describer_of
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.bus import open_bus
from mellm.engine.bus.base import Bus, BusOptions
from mellm.engine.config import Settings
from mellm.engine.describe.base import Recipe
from mellm.engine.describe.profiles import get as profile_of
from mellm.engine.governance.audit import AuditLog
from mellm.engine.governance.purpose import Audit, log_audit
from mellm.engine.roles.bus_describer import BusDescriber
from mellm.engine.roles.camera import CameraNode
from mellm.engine.roles.describe import DescribeNode
from mellm.engine.roles.gateway import Gateway
from mellm.engine.server.app import App, audit_path, journal_path, server_options
from mellm.engine.server.process import systemd
from mellm.engine.server.server import Server
from mellm.stream.errors import BusUnavailable, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal

logger = logging.getLogger(__name__)

HANDS: Final = 8
"""Expressions that a camera node has on the bus at once; the rest wait at the node, the best score first."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a role shows of itself.

    :param url: where clients connect
    :param http_url: page, ``/healthz`` and ``/metrics``, without the final slash
    :param notice: what has to be shown to whoever uses the results
    """

    url: str
    http_url: str
    notice: str


def bus_options(settings: Settings) -> BusOptions:
    """How the settings reach the bus.

    :raises UsageError: they name none
    """
    chosen = settings.bus
    if chosen.url is None:
        raise UsageError("this role needs a bus", remedy="give --bus nats://HOST:4222")
    return BusOptions(chosen.url, chosen.prefix, chosen.nkey, chosen.tls_ca, chosen.monitor, chosen.replicas)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Bus]:
    """The bus of these settings, and whether what it acknowledges is on its disk.

    :raises BusUnavailable: it does not answer, or loses what it has acknowledged when its power goes
    """
    bus = open_bus(bus_options(settings))
    await bus.open()
    try:
        if settings.bus.monitor is not None and not (await bus.facts()).synced:
            raise BusUnavailable(
                "this broker acknowledges what is not on its disk yet",
                remedy="set sync_interval: always (docs/deploy/nats.conf), or leave --bus-monitor out",
            )
        if settings.bus.monitor is None and not settings.bus.url_is_memory:
            logger.warning("acknowledged is not known to be on disk: give --bus-monitor to have it checked")
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def running(settings: Settings, *, pages: Path | None = None) -> AsyncIterator[Running]:
    """A role, from its start to its end.

    :param pages: folder of the dashboard
    :raises UsageError: settings that do not fit the role
    :raises BusUnavailable: see :func:`connected`
    """
    role = settings.bus.role
    if role in ("camera", "all") and not settings.sources:
        raise UsageError("no source: nothing to follow", remedy="give --source ID=URI")
    if settings.server.runs is not None or settings.server.record:
        raise UsageError(
            "sessions are kept on one machine only", remedy="leave out --runs and --record, or --bus"
        )
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connected(settings))
        shown: Running | None = None
        if role in ("gateway", "all"):
            shown = await _app(stack, settings, pages, Gateway(bus, node_name(settings, "gateway")))
        if role in ("describe", "all"):
            found = await _describe(stack, settings, bus, beside=role == "all")
            shown = shown or found
        if role in ("camera", "all"):
            mine = settings if role == "camera" else _beside(settings)
            found = await _app(stack, mine, pages, _camera(mine, bus))
            shown = shown or found
        assert shown is not None
        yield shown


def node_name(settings: Settings, role: str) -> str:
    """The node's name: the one that was given, or made of host and role."""
    return settings.bus.node or f"{socket.gethostname().partition('.')[0]}-{role}"


def _camera(settings: Settings, bus: Bus) -> CameraNode:
    recipe: Recipe = "live"
    if settings.describer.kind == "openai":
        recipe = profile_of(settings.describer.profile).recipe
    journal = journal_path(settings)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mellm-live"
    spool = (state if isinstance(journal, str) else journal.parent) / "open"
    describer = BusDescriber(bus, asyncio.get_running_loop(), recipe)
    return CameraNode(bus, node_name(settings, "camera"), describer, spool=spool, wanted=settings.bus.cameras)


async def _app(
    stack: AsyncExitStack, settings: Settings, pages: Path | None, joins: CameraNode | Gateway
) -> Running:
    if isinstance(joins, CameraNode):
        workers = max(settings.describer.workers, HANDS)
        settings = settings.model_copy(
            update={"describer": settings.describer.model_copy(update={"workers": workers})}
        )
    else:
        settings = settings.model_copy(update={"sources": ()})
    app = await stack.enter_async_context(App(settings, server_options(settings), pages=pages, joins=joins))
    return Running(app.url, app.http_url, app.notice)


async def _describe(stack: AsyncExitStack, settings: Settings, bus: Bus, *, beside: bool) -> Running:
    options = server_options(settings)
    audit: Audit = log_audit
    if (path := audit_path(settings)) is not None and not beside:
        audit = stack.enter_context(AuditLog(path))
    describer = describer_of(settings)
    stack.callback(describer.close)
    node = DescribeNode(
        bus, node_name(settings, "describe"), describer, audit, hands=settings.describer.workers
    )
    if beside:
        await stack.enter_async_context(node.running())
        return Running("", "", options.declaration.notice)
    watchdog = stack.enter_context(Watchdog(on_alive=systemd.alive))
    journal = stack.enter_context(Journal(":memory:"))
    server = await stack.enter_async_context(
        Server(options, hub=Hub(journal), audit=audit, watchdog=watchdog, facts=node.facts)
    )
    await stack.enter_async_context(node.running())
    stack.callback(systemd.stopping)
    systemd.ready()
    return Running(server.url, server.http_url, options.declaration.notice)


def _beside(settings: Settings) -> Settings:
    """A camera node in the process of a gateway: another port, and a journal of its own."""
    journal = journal_path(settings)
    beside = Path(":memory:") if isinstance(journal, str) else journal.with_name(f"camera-{journal.name}")
    server = settings.server.model_copy(
        update={"port": 0, "host": "127.0.0.1", "journal": beside, "audit": None}
    )
    return settings.model_copy(update={"server": server})
