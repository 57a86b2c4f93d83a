"""Who asks a describer again, when, and how often: the one place where that is decided.

Describers ask once for each call. :class:`~mellm.engine.analysis.describe_queue.DescribeQueue` asks again by these
rules, :func:`ask` does for whoever has no queue. A request that may have reached the model is made twice at the most:
it could be what brings the model down. One that certainly did not is made as long as there is time. One that ran out of
its time is not made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.types import Description, Evidence
from mellm.stream.errors import DescriberError, DescriberUnavailable

PAUSE_S: Final = 0.5
"""Before another try, when the error does not say."""

MOST_REACHED: Final = 2
"""Requests for one expression that the model may have begun on."""


def pause_s(error: DescriberError, before: int) -> float | None:
    """Seconds to wait before another try; ``None`` where it would be in vain or could do harm.

    :param before: requests for the same expression before this one that had reached the model
    """
    if not isinstance(error, DescriberUnavailable) or before + error.reached >= MOST_REACHED:
        return None
    return error.retry_after or PAUSE_S


def ask(
    describer: Describer,
    evidence: Evidence,
    context: DescribeContext,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Description:
    """Describe one expression on this thread, asking again while ``context.deadline_s`` allows.

    :raises DescriberError: the last one
    """
    until = clock() + context.deadline_s
    before = 0
    while True:
        try:
            return describer.describe(evidence, replace(context, deadline_s=until - clock()))
        except DescriberUnavailable as error:
            pause = pause_s(error, before)
            before += error.reached
            if pause is None or clock() + pause >= until:
                raise
            sleep(pause)
