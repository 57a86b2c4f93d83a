"""Forgetting by age, each class of data by its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mellm.engine.governance.erase import DataStore
from mellm.engine.governance.purpose import Audit

logger = logging.getLogger(__name__)


class RetentionJob:
    """Forgets what is too old whenever it is called; from a thread, since it waits for the disk.

    Events go by the journal's own retention. Motion maps and waiting jobs on disk go after ``evidence_s``, and never
    outlive the events: without them nobody could say whose they are.

    :param evidence_s: seconds
    :param clock_ns: wall clock
    """

    def __init__(
        self,
        keeper: DataStore,
        *,
        evidence_s: float,
        audit: Audit,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._keeper = keeper
        self._audit = audit
        self._clock_ns = clock_ns
        events_s = keeper.journal.retention.max_age_s
        self._evidence_ns = int(1e9 * (evidence_s if events_s is None else min(evidence_s, events_s)))
        self._failing = False

    def __call__(self) -> None:
        """Sweep once; tell the audit log if anything went. Motion maps that cannot be removed are logged and tried
        again the next time.

        :raises JournalError: if events cannot be forgotten
        """
        now = self._clock_ns()
        files = 0
        try:
            files = self._keeper.sweep(evidence_before_ns=now - self._evidence_ns)
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.error("old motion maps cannot be removed: %s", error)
            self._failing = True
        events = self._keeper.journal.prune(now=now)
        if events or files:
            self._audit("data.expired", {"events": events, "files": files})
