"""Who asks a describer again, when, and how often: the one place where that is decided.

Describers ask once for each call. :class:`~mellm.engine.analysis.describe_queue.DescribeQueue` asks again by these
rules, :func:`ask` does for whoever has no queue. A request that may have reached the model is made twice at the most:
it could be what brings the model down. One that certainly did not is made as long as there is time. One that ran out of
its time is not made again.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
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


# -- what headers say --------------------------------------------------------------------------------------

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|s|m|h|d)")
_UNIT: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def duration(header: str | None) -> float | None:
    """Seconds of ``6m0s``, ``20ms``, ``1.5s`` or plain ``12``; ``None`` for anything else."""
    text = (header or "").strip()
    plain = number(text)
    if plain is not None:
        return max(0.0, plain)
    parts = _PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        return None
    return sum(float(n) * _UNIT[u] for n, u in parts)


def retry_after(headers: Mapping[str, str], wall_now: float) -> float | None:
    """Seconds of ``retry-after-ms`` or ``Retry-After``, which holds seconds or a date (RFC 9110 §10.2.3).

    :param wall_now: seconds since 1970
    """
    ms = number(headers.get("retry-after-ms"))
    if ms is not None:
        return max(0.0, ms / 1e3)
    text = (headers.get("retry-after") or "").strip()
    if not text:
        return None
    seconds = duration(text)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall_now)
    except (ValueError, OverflowError):
        return None


def number(text: str | None) -> float | None:
    """A finite number of a header; ``None`` for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
