"""Who follows a camera, without clock and without network: one claim for each camera and node.

The lease is a key that changes by compare-and-set: owner and *epoch*. Its owner renews it every
:data:`RENEW_S`. Whoever sees it unchanged for :data:`TTL_S` of his own monotonic clock takes it with the next epoch;
wall clocks are not asked, so that one which is wrong does no harm. A former owner knows by his own clock when somebody
else may have taken over: what he found after that is *provisional* until he has read the lease again. If it is still
his, nobody was there between, and it counts; otherwise it is fenced off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from mellm.engine.bus.base import Entry
from mellm.stream.errors import MessageInvalid

TTL_S: Final = 10.0
RENEW_S: Final = 3.0
MARGIN_S: Final = 1.0
"""Clocks may run unequally fast by so much within :data:`TTL_S`."""

PATIENCE_S: Final = 3.0
"""Before a node takes a free camera beyond those it wants: another may be about to."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What the key holds.

    :param owner: empty when it was given back
    :param epoch: rises with every owner, from 1
    """

    owner: str
    epoch: int

    def encode(self) -> bytes:
        """The value of the key."""
        return json.dumps({"owner": self.owner, "epoch": self.epoch}).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Lease:
        """The lease in a value.

        :raises MessageInvalid: there is none
        """
        try:
            found: dict[str, Any] = json.loads(raw)
            owner, epoch = found["owner"], found["epoch"]
        except (ValueError, KeyError, TypeError) as error:
            raise MessageInvalid(f"a lease that cannot be read: {raw[:80]!r}") from error
        if not isinstance(owner, str) or type(epoch) is not int or epoch < 1:
            raise MessageInvalid(f"a lease that cannot be read: {raw[:80]!r}")
        return cls(owner, epoch)


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now: write ``lease`` over the value of this revision."""

    kind: Literal["take", "renew", "give"]
    lease: Lease
    revision: int


class Claim:
    """One node's view of one camera's lease. Times are seconds of a monotonic clock, handed in.

    :param node: its name; only one process has it (its journal is locked)
    """

    def __init__(self, node: str, *, ttl_s: float = TTL_S, renew_s: float = RENEW_S) -> None:
        self._node = node
        self._ttl_s = ttl_s
        self._renew_s = renew_s
        self._seen: Entry | None = None
        self._seen_at: float | None = None
        self._free_at: float | None = None
        self.epoch = 0
        """Of our lease, the last one when it is not ours any more."""

        self.owned = False
        """As far as we know; see :meth:`certain`."""

        self._renewed_at = 0.0
        self.other: Lease | None = None
        """Who has it, if somebody else."""

    def certain(self, now: float) -> bool:
        """Whether nobody else can have it at this moment."""
        return self.owned and now < self._renewed_at + self._ttl_s - MARGIN_S

    def saw(self, entry: Entry | None, now: float) -> bool:
        """What the key holds.

        :returns: whether we have just learnt that it is not ours any more
        """
        if entry is None:
            lost, self.owned = self.owned, False
            self._free_at = now if self._free_at is None else self._free_at
            self._seen, self.other = None, None
            return lost
        lease = Lease.decode(entry.value)
        if self._seen is None or entry.revision != self._seen.revision:
            self._seen, self._seen_at = entry, now
        self.other = lease if lease.owner not in ("", self._node) else None
        if lease.owner:
            self._free_at = None
        elif self._free_at is None:
            self._free_at = now
        ours = lease.owner == self._node and self.owned and lease.epoch == self.epoch
        lost, self.owned = self.owned and not ours, ours
        return lost

    def step(self, now: float, *, eager: bool, patience_s: float = PATIENCE_S) -> Step | None:
        """What to do now, after :meth:`saw`.

        :param eager: this node wants more cameras; otherwise it takes a free one only after a while
        """
        if self.owned and self._seen is not None:
            if now - self._renewed_at < self._renew_s:
                return None
            return Step("renew", Lease(self._node, self.epoch), self._seen.revision)
        if self._seen is None:
            ready = eager or (self._free_at is not None and now - self._free_at >= patience_s)
            return Step("take", Lease(self._node, max(1, self.epoch + 1)), 0) if ready else None
        before = Lease.decode(self._seen.value)
        after = Step("take", Lease(self._node, max(before.epoch, self.epoch) + 1), self._seen.revision)
        if before.owner == self._node:
            return after  # of a process of this node that is no more
        if not before.owner:
            ready = eager or (self._free_at is not None and now - self._free_at >= patience_s)
            return after if ready else None
        assert self._seen_at is not None
        return after if now - self._seen_at >= self._ttl_s else None

    def wrote(self, step: Step, revision: int, sent_at: float) -> None:
        """A step went through; its time is that before it was sent."""
        self._seen, self._seen_at = Entry(step.lease.encode(), revision), sent_at
        self._renewed_at = sent_at
        self.epoch = step.lease.epoch
        self.owned = step.kind != "give"
        self.other = None
        self._free_at = None if self.owned else sent_at

    def give(self) -> Step | None:
        """How to give it back, if it is ours."""
        if not self.owned or self._seen is None:
            return None
        return Step("give", Lease("", self.epoch), self._seen.revision)
