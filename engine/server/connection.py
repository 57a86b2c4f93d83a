"""One WebSocket client: carries out what its session decides, and bounds how long anything may take.

Three tasks at most: this one (waits for the end), a reader, and while subscribed a writer. Whoever first
finds a reason to end says so; closing is done in one place and takes at most the grace time, since a peer
that reads nothing does not read a close frame either.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from mellm.engine.governance.purpose import Audit, log_audit
from mellm.engine.governance.withdrawal import WithdrawalFailed, Withdraws, nothing_to_withdraw
from mellm.engine.server.catalog import Catalog
from mellm.engine.server.expression_reader import ExpressionReader
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.run_control import NoRuns, Runs
from mellm.stream.errors import JournalError, MellmError
from mellm.stream.log.hub import Hub
from mellm.stream.log.subscriber import ReplayDone, ReplayTruncated, Skipped, SlowConsumer, Subscriber
from mellm.stream.protocol import wire
from mellm.stream.protocol.access import Principal
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import MARKER, Event, Position
from mellm.stream.protocol.server_session import (
    Action,
    AddMarker,
    ChangeRun,
    FetchEvidence,
    Hangup,
    Send,
    ServerSession,
    SessionRules,
    StartPush,
    StartStream,
    StopPush,
    StopStream,
    TakePicture,
    Withdraw,
)
from mellm.stream.sources.push import Pushed, PushInlet

logger = logging.getLogger(__name__)

EMPTY: Final[Mapping[str, PushInlet]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ends. ``polite`` is ``False`` when nobody is there to be told."""

    code: int
    reason: str
    resume: Position | None = None
    polite: bool = True


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    :param auth: to present a token
    :param write: for one message to leave the process's buffers
    :param grace: for the closing handshake
    """

    auth: float = 5.0
    write: float = 10.0
    grace: float = 2.0


class Connection:
    """One client from the opening handshake to the end."""

    def __init__(
        self,
        socket: ServerConnection,
        rules: SessionRules,
        *,
        hub: Hub,
        catalog: Catalog,
        library: ExpressionReader,
        metrics: Metrics,
        timing: Timing,
        clock_ns: Callable[[], int],
        inlets: Mapping[str, PushInlet] = EMPTY,
        withdrawal: Withdraws = nothing_to_withdraw,
        audit: Audit = log_audit,
        runs: Runs | None = None,
    ) -> None:
        self._runs: Runs = NoRuns() if runs is None else runs
        self.id = uuid.uuid4().hex[:12]
        self.session = ServerSession(rules)
        self.subscriber: Subscriber | None = None
        self._socket = socket
        self._hub = hub
        self._catalog = catalog
        self._library = library
        self._metrics = metrics
        self._timing = timing
        self._clock_ns = clock_ns
        self._inlets = inlets
        self._withdrawal = withdrawal
        self._audit = audit
        self._pushing: PushInlet | None = None
        self._pushed = 0
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[Ending] = self._loop.create_future()
        self._writer: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._said = 0
        self._totals = {"reliable": 0, "lossy": 0, "coalesced": 0}

    async def run(self, principal: Principal | None) -> Ending:
        """Serve the client until the end, then close."""
        reader = asyncio.create_task(self._read(principal))
        self._later(self._timing.auth, self.session.auth_expired)
        try:
            ending = await self._end
        finally:
            for timer in self._timers:
                timer.cancel()
            resume = self.subscriber.position if self.subscriber is not None else None
            await _stop(reader)
            await self._stop_stream()
            self._leave_inlet()
            self.session.closed()
        if ending.polite:
            await self._close(ending, resume)
        return ending

    def finish(self, ending: Ending) -> None:
        """End for this reason, unless another came first."""
        if not self._end.done():
            self._end.set_result(ending)

    def drain(self, ending: Ending) -> None:
        """End once everything that waits has been sent."""
        if self.subscriber is None or self._writer is None:
            self.finish(ending)
        else:
            self.subscriber.finish()
            self._writer.add_done_callback(lambda _: self.finish(ending))

    # -- in -------------------------------------------------------------------------------------------

    async def _read(self, principal: Principal | None) -> None:
        try:
            await self._carry_out(self.session.open(principal))
            async for payload in self._socket:
                await self._carry_out(self.session.receive(payload, self._loop.time()))
            self._gone()
        except ConnectionClosed:
            self._gone()
        except SlowConsumer as error:
            self.finish(Ending(error.close_code, "slow_consumer", error.resume))
        except Exception:
            logger.exception("session %s failed", self.id)
            self.finish(Ending(1011, "internal"))

    async def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(type=type, data=data):
                    await self._say(type, data)
                    if type == wire.SESSION_CREATED:
                        self._admitted()
                case StartStream():
                    await self._start_stream(action)
                case StopStream():
                    await self._stop_stream()
                case AddMarker():
                    await self._mark(action)
                case FetchEvidence(expression=expression, ref=ref, shown=shown):
                    await self._send_evidence(expression, shown, ref)
                case StartPush(source=source, ref=ref):
                    await self._start_push(source, ref)
                case TakePicture(jpeg=jpeg, time_ns=time_ns):
                    if self._pushing is not None and self._pushing.offer(self.id, Pushed(jpeg, time_ns)):
                        self._pushed += 1
                case StopPush(ref=ref):
                    await self._stop_push(ref)
                case Withdraw(source=source, ref=ref):
                    await self._withdraw(source, ref)
                case ChangeRun():
                    await self._change_run(action)
                case Hangup(code=code, reason=reason):
                    self.finish(Ending(code, reason))

    def _later(self, delay_s: float, decide: Callable[[], list[Action]]) -> None:
        def now() -> None:
            actions = decide()
            if actions:
                # sent by a task: this is a timer's callback
                task = self._loop.create_task(self._carry_out(actions))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

        self._timers.append(self._loop.call_later(delay_s, now))

    def _admitted(self) -> None:
        principal = self.session.principal
        assert principal is not None
        facts = {"session": self.id, "principal": principal.name, "scopes": principal.scopes}
        self._audit("session.admitted", facts)
        if principal.expires_ns is not None:
            left_s = (principal.expires_ns - self._clock_ns()) / 1e9
            self._later(max(0.0, left_s), self.session.token_expired)

    async def _send_evidence(self, expression: str, shown: EvidenceKind, ref: str | None) -> None:
        assert self.session.principal is not None
        code, message = "no_evidence", "there is no such picture of this expression (any more)"
        try:
            png = await self._library.picture(expression, shown, self.session.principal)
        except JournalError:
            png, code, message = None, "journal", "the journal cannot be read"
        if png is not None and len(png) > wire.MAX_PICTURE_BYTES:
            png, code, message = None, "too_large", f"the picture is over {wire.MAX_PICTURE_BYTES} bytes"
        if png is None:
            await self._say(wire.ERROR, {"code": code, "message": message, "ref": ref})
            return
        about = {"ref": ref, "expression": expression, "shown": shown}
        data = {**about, "media_type": "image/png", "bytes": len(png)}
        await self._send(wire.encode_picture(self._event(wire.EVIDENCE, data, png)), text=False)

    async def _start_push(self, source: str, ref: str | None) -> None:
        inlet = self._inlets[source]
        if not inlet.begin(self.id):
            self.session.push_refused()
            message = f"somebody else sends the pictures of {source!r}"
            await self._say(wire.ERROR, {"code": "busy", "message": message, "ref": ref})
            return
        self._pushing, self._pushed = inlet, 0
        limits = {"picture_bytes": wire.MAX_PICTURE_BYTES, "pictures_per_s": self.session.pictures_per_s}
        await self._say(wire.PUSH_ACCEPTED, {"ref": ref, "pushed": source, **limits})

    async def _stop_push(self, ref: str | None) -> None:
        if self._pushing is not None:
            source = self._pushing.id
            self._leave_inlet()
            await self._say(wire.PUSH_ENDED, {"ref": ref, "pushed": source, "pictures": self._pushed})

    async def _withdraw(self, source: str, ref: str | None) -> None:
        by = self.session.principal
        assert by is not None
        try:
            gone = await asyncio.to_thread(self._withdrawal, source, by.name)
        except WithdrawalFailed as error:
            await self._say(wire.ERROR, {"code": error.code, "message": error.message, "ref": ref})
            return
        counts = {"events": gone.events, "expressions": len(gone.expressions), "files": gone.files}
        await self._say(wire.CONSENT_WITHDRAWN, {"ref": ref, "withdrawn": source, **counts})

    async def _change_run(self, asked: ChangeRun) -> None:
        who = self.session.principal
        assert who is not None
        source, by = asked.source, who.name
        about = {"ref": asked.ref, "of": source}
        try:
            match asked.what:
                case "agree":
                    given = await asyncio.to_thread(self._runs.agree, source, asked.sha256, by)
                    answer = {"ref": asked.ref, "agreed": source, "reference": given}
                    await self._say(wire.CONSENT_GIVEN, answer)
                case "begin":
                    name = await asyncio.to_thread(self._runs.begin, source, by)
                    await self._say(wire.RUN_CHANGED, {**about, "state": "begun", "run": name})
                case "save":
                    name, count = await asyncio.to_thread(self._runs.save, source, by)
                    saved = {**about, "state": "saved", "run": name, "expressions": count}
                    await self._say(wire.RUN_CHANGED, saved)
        except MellmError as error:
            told = {"code": error.code, "message": str(error), "ref": asked.ref}
            await self._say(wire.ERROR, told)

    def _leave_inlet(self) -> None:
        inlet, self._pushing = self._pushing, None
        if inlet is not None:
            inlet.finish(self.id)

    async def _mark(self, marker: AddMarker) -> None:
        source = marker.source
        ids = self._catalog.ids()
        if not source and len(ids) == 1:
            (source,) = ids
        by = self.session.principal
        data: dict[str, Any] = {"label": marker.label, "by": by.name if by else "", "ref": marker.ref}
        time_ns = marker.time_ns
        if time_ns is None and source:
            time_ns = self._catalog.media_now(source)
        if not source:
            clocks = {id: self._catalog.media_now(id) for id in sorted(ids)}
            data["clocks"] = {id: {"t_ns": str(ns)} for id, ns in clocks.items() if ns is not None}
        # the journal waits for the disk, the loop must not
        if await asyncio.to_thread(self._hub.publish_threadsafe, MARKER, source, data, time_ns) is None:
            message = "the marker was not kept: the journal cannot be written"
            await self._say(wire.ERROR, {"code": "journal", "message": message, "ref": marker.ref})

    # -- out ------------------------------------------------------------------------------------------

    async def _start_stream(self, start: StartStream) -> None:
        await self._stop_stream()
        subscriber = self._hub.subscribe(start.granted, after=start.after)
        self.subscriber = subscriber
        subscriber.on_overflow = lambda error: self.finish(
            Ending(error.close_code, "slow_consumer", error.resume)
        )
        wanted = start.wanted
        if start.after is not None:
            by, place = self.session.principal, {"from_seq": subscriber.start.seq}
            facts = {"session": self.id, "principal": by.name if by else None, **place}
            self._audit("events.replayed", {**facts, "sources": start.granted.sources})
        await self._say(
            wire.SUBSCRIBED,
            {
                "ref": start.ref,
                "sources": None if wanted.sources is None else sorted(wanted.sources),
                "types": None if wanted.types is None else sorted(wanted.types),
                "min_score": wanted.min_score,
                "from": _place(subscriber.start),
            },
        )
        self._writer = asyncio.create_task(self._write(subscriber))

    async def _stop_stream(self) -> None:
        writer, self._writer = self._writer, None
        subscriber, self.subscriber = self.subscriber, None
        if writer is not None:
            await _stop(writer)
        if subscriber is not None:
            self._hub.unsubscribe(subscriber)
            totals = subscriber.totals
            self._metrics.delivered(totals)
            self._totals["reliable"] += totals.delivered_reliable
            self._totals["lossy"] += totals.delivered_lossy
            self._totals["coalesced"] += totals.coalesced

    async def _write(self, subscriber: Subscriber) -> None:
        try:
            while True:
                item = await subscriber.next()
                match item:
                    case Skipped(counts=counts):
                        await self._say(wire.STREAM_SKIPPED, {"counts": counts})
                    case ReplayDone(position=position, events=events):
                        await self._say(wire.REPLAY_DONE, {**_place(position), "events": events})
                    case ReplayTruncated(reason=reason, asked=asked, resumes=resumes):
                        said = {"reason": reason, "asked": _place(asked), "from": _place(resumes)}
                        await self._say(wire.REPLAY_TRUNCATED, said)
                    case record:
                        await self._send(record.payload, text=not record.binary)
        except StopAsyncIteration:
            pass
        except ConnectionClosed:
            self._gone()
        except SlowConsumer as error:
            self.finish(Ending(error.close_code, "slow_consumer", error.resume))
        except JournalError as error:
            logger.error("session %s: %s", self.id, error)
            self.finish(Ending(1011, "journal"))
        except Exception:
            logger.exception("session %s: the writer failed", self.id)
            self.finish(Ending(1011, "internal"))

    async def _say(self, type: str, data: Mapping[str, Any]) -> None:
        await self._send(self._envelope(type, data))

    def _envelope(self, type: str, data: Mapping[str, Any]) -> bytes:
        return wire.encode(self._event(type, data))

    def _event(self, type: str, data: Mapping[str, Any], picture: bytes = b"") -> Event:
        self._said += 1
        now = self._clock_ns() // 1000 * 1000
        name = f"{self.id}.{self._said}"
        return Event(type, name, None, self._hub.journal.epoch, "", now, data, picture)

    async def _send(self, payload: bytes, *, text: bool = True) -> None:
        """Hand a message to the socket; a peer that takes nothing for the write time is slow."""
        try:
            async with asyncio.timeout(self._timing.write):
                await self._socket.send(payload, text=text)
        except TimeoutError:
            at = self.subscriber.position if self.subscriber is not None else self._hub.journal.position
            raise SlowConsumer(at) from None

    def _gone(self) -> None:
        self.finish(Ending(self._socket.close_code or 1006, "connection lost", polite=False))

    async def _close(self, ending: Ending, resume: Position | None) -> None:
        at = ending.resume or resume
        closed = self._envelope(
            wire.SESSION_CLOSED,
            {
                "code": ending.code,
                "reason": ending.reason,
                "totals": dict(self._totals),
                "resume": None if at is None else _place(at),
            },
        )
        try:
            async with asyncio.timeout(self._timing.grace):
                # side by side: a send to a blocked peer would keep the close frame back
                await asyncio.gather(
                    self._socket.send(closed, text=True),
                    self._socket.close(ending.code, ending.reason),
                    return_exceptions=True,
                )
        except TimeoutError:
            self._socket.transport.abort()


async def _stop(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for it; its own errors have been dealt with inside."""
    if task is asyncio.current_task():
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _place(position: Position) -> dict[str, Any]:
    return {"epoch": position.epoch, "seq": position.seq}
