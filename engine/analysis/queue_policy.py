"""What a describe queue does when room or time is short: one object for each policy.

*live*: a full queue gives up its lowest-scored job, and a job older than its deadline is dropped unasked, because an
answer that late helps nobody. *offline*: a full queue makes the producer wait; nothing is dropped for want of time or
room, but a describer that has been gone for the deadline is not waited for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias

from mellm.detectors.types import Expression
from mellm.engine.describe.base import DescribeContext
from mellm.engine.types import Evidence

Policy: TypeAlias = Literal["live", "offline"]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One expression that waits for words.

    :param number: its place in the order of spotting
    :param asked: calls that failed although the model may have begun on them
    """

    number: int
    expression: Expression
    evidence: Evidence
    context: DescribeContext
    born_ns: int = 0
    asked: int = 0


class QueuePolicy(Protocol):
    """Pure decisions; times are nanoseconds of the queue's clock."""

    waits_for_room: ClassVar[bool]
    """Whether a producer waits while the queue is full; otherwise :meth:`victim` gives way."""

    def victim(self, waiting: Sequence[Job]) -> Job:
        """Who gives way in a full queue."""
        ...

    def first(self, waiting: Sequence[Job]) -> Job:
        """Whom to describe next."""
        ...

    def end_ns(self, job: Job) -> int | None:
        """When a waiting job's time is over; ``None`` for never."""
        ...

    def left_ns(self, job: Job, now: int) -> int:
        """How long a call for this job may take."""
        ...

    def held_until_ns(self, job: Job, gone_since_ns: int) -> int:
        """How long a job may wait for a describer that cannot be reached since then."""
        ...

    def given_up(self, gone_since_ns: int | None, now: int) -> bool:
        """Whether the describer has been gone for so long that jobs end as they come, without a wait for each."""
        ...


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """See the module.

    :param deadline_ns: longest age of a job when its answer arrives
    """

    deadline_ns: int
    waits_for_room: ClassVar[bool] = False

    def victim(self, waiting: Sequence[Job]) -> Job:
        """The lowest score; of equals the oldest, whose answer would be the least timely."""
        return min(waiting, key=lambda job: (job.expression.score, job.number))

    def first(self, waiting: Sequence[Job]) -> Job:
        """The highest score."""
        return max(waiting, key=lambda job: (job.expression.score, -job.number))

    def end_ns(self, job: Job) -> int | None:
        """Its birth and the deadline."""
        return job.born_ns + self.deadline_ns

    def left_ns(self, job: Job, now: int) -> int:
        """What is left of the deadline."""
        return job.born_ns + self.deadline_ns - now

    def held_until_ns(self, job: Job, gone_since_ns: int) -> int:
        """As long as it lives."""
        return job.born_ns + self.deadline_ns

    def given_up(self, gone_since_ns: int | None, now: int) -> bool:
        """Never: each job's own deadline ends it."""
        return False


@dataclass(frozen=True, slots=True)
class OfflinePolicy:
    """See the module.

    :param deadline_ns: longest single call, and longest absence of the describer
    """

    deadline_ns: int
    waits_for_room: ClassVar[bool] = True

    def victim(self, waiting: Sequence[Job]) -> Job:
        """Nobody gives way: producers wait.

        :raises LookupError: always
        """
        raise LookupError("nobody gives way offline")

    def first(self, waiting: Sequence[Job]) -> Job:
        """The order of spotting."""
        return min(waiting, key=lambda job: job.number)

    def end_ns(self, job: Job) -> int | None:
        """Never."""
        return None

    def left_ns(self, job: Job, now: int) -> int:
        """The whole deadline, whenever it begins."""
        return self.deadline_ns

    def held_until_ns(self, job: Job, gone_since_ns: int) -> int:
        """Until the describer has been gone for the deadline."""
        return gone_since_ns + self.deadline_ns

    def given_up(self, gone_since_ns: int | None, now: int) -> bool:
        """After the deadline."""
        return gone_since_ns is not None and now - gone_since_ns >= self.deadline_ns


POLICIES: dict[Policy, type[LivePolicy] | type[OfflinePolicy]] = {
    "live": LivePolicy,
    "offline": OfflinePolicy,
}
