"""When to try again: a pure policy, (attempt, outcome) → delay.

Short outages are most of them, so the first tries are quick; a camera that stays dead is asked every
half minute, which is about 38 tries in ten minutes. The half-second steps reach past five seconds even when
jitter shortens every one of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from mellm.stream.errors import MellmError, SourceNotFound, UsageError

Outcome: TypeAlias = Literal["lost", "failed", "refused"]
"""``lost``: it was online. ``failed``: it could not be opened. ``refused``: it answered, and said no."""

STEPS_S: Final = (0.25, *(0.5,) * 13, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


def judge(error: MellmError, *, was_online: bool, ever_online: bool, may_appear: bool) -> Outcome | None:
    """What kind of failure it is; ``None`` if trying again is in vain.

    What is merely absent at the start may come. What refuses at the start, or is no video, will not; but a
    source that has once worked will work again, whatever it says while it restarts.

    :param was_online: the opening that failed had delivered frames; ``ever_online``: an earlier one had
    :param may_appear: something that is not there may be plugged in or started later
    """
    if isinstance(error, UsageError):
        return None
    if was_online:
        return "lost"
    if error.retryable or (isinstance(error, SourceNotFound) and may_appear):
        return "failed"
    return "refused" if ever_online else None


@dataclass(frozen=True, slots=True)
class BackoffOptions:
    """How long to wait.

    :param steps_s: delay before each try; the last one holds for ever
    :param jitter: part of the delay by which it may be shorter or longer, so that many sources which
        were lost together do not come back together
    """

    steps_s: tuple[float, ...] = STEPS_S
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not self.steps_s or min(self.steps_s) < 0:
            raise ValueError(f"steps are one or more seconds from 0: {self.steps_s}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter is a part of the delay, 0 to 1: {self.jitter}")


@dataclass(slots=True)
class Backoff:
    """The policy with its random numbers.

    :param rng: seed it for a repeatable run
    """

    options: BackoffOptions = field(default_factory=BackoffOptions)
    rng: random.Random = field(default_factory=random.Random)

    def delay_s(self, attempt: int, outcome: Outcome) -> float:
        """Seconds to wait before try number ``attempt`` (from 1) after an outage began.

        ``refused`` waits the longest step at once: a wrong password does not mend itself, and many
        cameras lock an account that fails often.
        """
        if attempt < 1:
            raise ValueError(f"attempts count from 1: {attempt}")
        steps = self.options.steps_s
        step = steps[-1] if outcome == "refused" else steps[min(attempt, len(steps)) - 1]
        return step * (1 + self.options.jitter * self.rng.uniform(-1.0, 1.0))
