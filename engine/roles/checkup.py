"""``mellm doctor --bus``: how the broker is, who is there, and whether the sums balance across all nodes."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from mellm.engine.bus.base import Bus, Facts
from mellm.engine.describe.base import DescribeContext
from mellm.engine.roles.membership import members
from mellm.engine.roles.messages import Answer, Asked, Told
from mellm.engine.types import Evidence
from mellm.stream.errors import BusError, BusRefused, MessageInvalid
from mellm.stream.protocol.events import EXPRESSION_ENDS, EXPRESSION_SPOTTED

State = Literal["ok", "warning", "error"]
ANSWER_S: Final = 15.0
DOCTOR: Final = "doctor"
"""Camera of the picture that is sent through."""


@dataclass(frozen=True, slots=True)
class Found:
    """One line."""

    what: str
    state: State
    said: str


@dataclass
class Sums:
    """Both sides, over everything that the bus keeps; of several ends the first counts."""

    spotted: set[str] = field(default_factory=set)
    ends: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    unreadable: int = 0
    by_camera: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, told: Told) -> None:
        """One event."""
        if told.type == EXPRESSION_SPOTTED:
            self.repeated += told.id in self.spotted
            self.spotted.add(told.id)
            self.by_camera[told.source]["spotted"] += 1
        elif told.type in EXPRESSION_ENDS and told.id not in self.ends:
            reason = told.data.get("reason")
            self.ends[told.id] = told.type.removeprefix("expression.") + (f" ({reason})" if reason else "")
            self.by_camera[told.source]["ended"] += 1

    @property
    def open(self) -> int:
        """Spotted, and without an end."""
        return len(self.spotted - self.ends.keys())


async def sums(bus: Bus) -> Sums:
    """Add up what lies on the bus.

    :raises BusError: it is away
    """
    found, at = Sums(), 0
    while (message := await bus.read("event.>", at)) is not None:
        at = message.seq
        try:
            found.add(Told.unpack(message.body))
        except MessageInvalid:
            found.unreadable += 1
    return found


async def examine(bus: Bus) -> AsyncIterator[Found]:
    """All that can be learnt from any machine that reaches the broker.

    :raises BusError: it is away
    """
    facts = await bus.facts()
    yield Found("broker", "ok", facts.server)
    yield _disk(facts)
    for stream, (messages, size) in facts.streams.items():
        waiting = facts.waiting.get(stream)
        lag = "" if waiting is None else f", {waiting} not taken yet"
        yield Found(f"stream {stream}", "ok", f"{messages} messages, {size / 1e6:.1f} MB{lag}")
    nodes = await members(bus)
    for name, told in sorted(nodes.items()):
        counts = ", ".join(f"{value:g} {key}" for key, value in sorted((told.get("counts") or {}).items()))
        cameras = told.get("cameras")
        holds = f", cameras {', '.join(sorted(cameras)) or 'none'}" if isinstance(cameras, dict) else ""
        yield Found(f"node {name}", "ok", f"{told.get('role')} {told.get('version')}{holds}; {counts}")
    for role in ("camera", "describe", "gateway"):
        if not any(told.get("role") == role for told in nodes.values()):
            yield Found(role, "warning", f"no node has the role {role}")
    versions = {str(told.get("version")) for told in nodes.values()}
    if len(versions) > 1:
        yield Found("versions", "warning", f"nodes of different versions: {', '.join(sorted(versions))}")
    async for each in _accounts(bus, nodes):
        yield each
    yield await _through(bus)


def _disk(facts: Facts) -> Found:
    if facts.synced:
        return Found("disk", "ok", "what is acknowledged is on disk")
    if facts.synced is None:
        return Found("disk", "warning", "acknowledged is not known to be on disk: give --bus-monitor")
    return Found(
        "disk", "error", "acknowledged is not on disk: set sync_interval: always (docs/deploy/nats.conf)"
    )


async def _accounts(bus: Bus, nodes: dict[str, dict[str, Any]]) -> AsyncIterator[Found]:
    found = await sums(bus)
    ends = Counter(found.ends[id] for id in found.ends.keys() & found.spotted)
    words = " + ".join(f"{count} {kind}" for kind, count in sorted(ends.items())) or "0 ended"
    said = f"{len(found.spotted)} spotted = {words} + {found.open} open"
    balanced = len(found.spotted) == ends.total() + found.open and not found.repeated
    yield Found(
        "expressions on the bus",
        "ok" if balanced else "error",
        said + (f"; {found.repeated} repeated" * bool(found.repeated)),
    )
    if found.unreadable:
        yield Found("messages", "error", f"{found.unreadable} events cannot be read")
    told = [each.get("counts") or {} for each in nodes.values() if each.get("role") == "camera"]
    published = sum(int(each.get("bus_published", 0)) for each in told)
    waiting = sum(int(each.get("bus_outbox_events", 0)) for each in told)
    fenced = sum(int(each.get("bus_fenced", 0)) for each in told)
    said = f"camera nodes have published {published}, {waiting} events wait in their journals, {fenced} were fenced off"
    state: State = "ok" if published == len(found.spotted) else "warning"
    if state == "warning":
        said += f"; the bus holds {len(found.spotted)}: a node is away, or the bus has forgotten the oldest"
    yield Found("expressions at the nodes", state, said)


async def _through(bus: Bus) -> Found:
    """A picture through to an answer."""
    id = os.urandom(8).hex()
    ramp = np.linspace(0, 255, 96, dtype=np.uint8)
    picture = np.dstack([np.tile(ramp, (96, 1))] * 3)
    asked = Asked(Evidence(picture, (), {}, "live"), DescribeContext(id, 200.0, source=DOCTOR), ANSWER_S)
    started = time.monotonic()
    try:
        await bus.append(asked.subject, asked.pack(), id=id)
    except BusRefused as error:
        return Found("a picture", "warning", f"this key may not ask: {error.message}")
    except BusError as error:
        return Found("a picture", "error", str(error))
    while time.monotonic() - started < ANSWER_S:
        found = await bus.last(f"result.{DOCTOR}.{id}")
        if found is not None:
            answer = Answer.unpack(found.body)
            how = f"{answer.outcome.state} by {answer.by} after {time.monotonic() - started:.2f} s"
            bad = answer.outcome.state == "dropped"
            return Found(
                "a picture", "error" if bad else "ok", how + (f": {answer.outcome.reason}" if bad else "")
            )
        await asyncio.sleep(0.05)
    return Found("a picture", "error", f"nobody answered within {ANSWER_S:g} s: does a describer run?")
