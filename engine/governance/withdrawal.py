"""Somebody before a camera does not agree any more: it stops, and what it showed is erased."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol, TypeAlias

from mellm.engine.governance.consent import not_erased, remember_withdrawal
from mellm.engine.governance.erase import DataStore, ErasureReport
from mellm.engine.governance.purpose import Audit
from mellm.stream.errors import ConsentWithdrawn, JournalError, MellmError
from mellm.stream.log.erasure import Selection
from mellm.stream.log.hub import Hub
from mellm.stream.protocol.events import EVENTS_ERASED, SOURCE_OFFLINE, rfc3339
from mellm.stream.sources.push import PushInlet

logger = logging.getLogger(__name__)

REASON: Final = "withdrawal"


class WithdrawalFailed(MellmError):
    """The source has stopped, and not everything is erased yet."""

    code = "not_erased"
    exit_code = 6


Withdraws: TypeAlias = Callable[[str, str], ErasureReport]
"""Source and name of whoever asks → what was erased; raises :class:`WithdrawalFailed`."""


class Stops(Protocol):
    """Whatever runs the sources: :class:`mellm.engine.analysis.live.LiveEngine`."""

    def withdraw(self, source: str) -> None:
        """Stop this source for good and end its jobs."""
        ...


class Withdrawal:
    """Carries out ``consent.withdraw``. A :data:`Withdraws`, from any thread; one at a time.

    What was decided is on disk before anything else happens: whatever ends the process after that, the source does not
    start again, and :func:`finish` goes on at the next start.

    :param consents: source → consent reference under which it runs
    """

    def __init__(
        self,
        engine: Stops,
        hub: Hub,
        keeper: DataStore,
        consents: Mapping[str, str],
        audit: Audit,
        *,
        inlets: Mapping[str, PushInlet] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._keeper = keeper
        self._consents = consents
        self._audit = audit
        self._inlets = inlets or {}
        self._clock_ns = clock_ns
        self._lock = threading.Lock()

    def __call__(self, source: str, by: str) -> ErasureReport:
        """Stop, then erase, then tell everybody; returns within about half a minute.

        :raises WithdrawalFailed: if the decision or the erasure could not be written
        """
        consent = self._consents.get(source, "")
        with self._lock:
            self._audit("consent.withdrawn", {"source": source, "consent": consent, "by": by})
            failed: JournalError | None = None
            try:
                remember_withdrawal(self._hub.journal, source, consent, rfc3339(self._clock_ns()))
            except JournalError as error:  # it is stopped all the same
                failed = error
            if source in self._inlets:
                self._inlets[source].shut()
            self._engine.withdraw(source)
            self._hub.silence(source)
            if failed is not None:
                raise WithdrawalFailed(
                    f"{source} has stopped; this could not be written down: {failed.message}"
                )
            gone = erase(self._hub, self._keeper, source, consent, self._audit, self._clock_ns)
            told = ConsentWithdrawn("consent was withdrawn", remedy="it starts again with a new consent")
            self._hub.publish_threadsafe(SOURCE_OFFLINE, source, {"code": told.code, "message": str(told)})
        return gone


def erase(
    hub: Hub,
    keeper: DataStore,
    source: str,
    consent: str,
    audit: Audit,
    clock_ns: Callable[[], int] = time.time_ns,
) -> ErasureReport:
    """Erase what a source showed under a consent that was withdrawn, and tell its readers.

    :raises WithdrawalFailed: if the disk refuses; it can be called again
    """
    try:
        gone = keeper.erase(Selection(source=source, consent=consent or None), reason=REASON)
        if gone.events:
            told = {"events": gone.events, "from_seq": gone.from_seq, "to_seq": gone.to_seq}
            hub.publish_threadsafe(EVENTS_ERASED, source, {"reason": REASON, **told})
        moment = rfc3339(clock_ns())
        remember_withdrawal(hub.journal, source, consent, moment, erased=gone.wiped)
    except (JournalError, OSError) as error:
        audit("data.not_erased", {"reason": REASON, "source": source, "consent": consent})
        logger.error("%s: consent was withdrawn, and its data cannot be erased: %s", source, error)
        raise WithdrawalFailed(
            f"{source} has stopped, and its data could not be erased", remedy="see the server's log"
        ) from error
    audit("data.erased", {"reason": REASON, "source": source, "consent": consent, **gone.as_dict()})
    return gone


def finish(hub: Hub, keeper: DataStore, audit: Audit) -> Iterable[str]:
    """At a start: erase what a process before this one was told to and did not; sources where that fails again."""
    failed = []
    for source, consent in not_erased(hub.journal):
        try:
            erase(hub, keeper, source, consent, audit)
        except WithdrawalFailed:
            failed.append(source)
    return failed


def nothing_to_withdraw(source: str, by: str) -> ErasureReport:
    """Of a server that runs no sources of its own.

    :raises WithdrawalFailed: always
    """
    raise WithdrawalFailed(f"this server has no source {source!r} that it could stop")
