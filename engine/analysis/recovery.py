"""After a crash: every expression that was spotted and has no end gets one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mellm.engine.analysis.describe_queue import Job
from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.spool import Spool
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Record
from mellm.stream.protocol.events import EXPRESSION_DROPPED

logger = logging.getLogger(__name__)

RESTART = "restart"
"""Reason of an expression whose evidence did not survive."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was open when the process before this one ended.

    :param jobs: to be described now
    :param lost: source and data of ``expression.dropped`` events, for those whose evidence is gone
    """

    jobs: tuple[Job, ...]
    lost: tuple[tuple[str, dict[str, Any]], ...]


def recover(unfinished: Sequence[Record], spool: Spool | None) -> Recovered:
    """Sort what is open into what can still be described and what cannot.

    :param unfinished: see :meth:`mellm.stream.log.journal.Journal.unfinished`
    """
    jobs: list[Job] = []
    lost: list[tuple[str, dict[str, Any]]] = []
    for record in unfinished:
        job = spool.take(record.id) if spool else None
        if job is not None:
            jobs.append(job)
            continue
        data = {
            **record.event.data,
            "state": "dropped",
            "reason": RESTART,
            "description": None,
            "evidence": None,
        }
        lost.append((record.source, data))
    if spool:
        spool.sweep(frozenset(job.expression.id for job in jobs))
    if jobs or lost:
        logger.warning(
            "%d expressions were open when the last process ended: %d are described now, %d are dropped",
            len(jobs) + len(lost),
            len(jobs),
            len(lost),
        )
    return Recovered(tuple(jobs), tuple(lost))


def take_over(left: Recovered, engine: LiveEngine, hub: Hub, resumed: Callable[[str, str], None]) -> None:
    """Describe the jobs, tell the losses; both count as ours from now on.

    :param resumed: counts an expression, by id and source, as taken up by this process
    """
    for job in left.jobs:
        resumed(job.expression.id, job.expression.source)
    engine.resume(left.jobs)
    for source, data in left.lost:
        resumed(str(data["id"]), source)
        hub.publish_threadsafe(EXPRESSION_DROPPED, source, data)
