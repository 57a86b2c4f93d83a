"""What clients may ask of sessions: agree, begin, save. Called from threads, one request at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, Protocol

from mellm.engine.analysis.live import LiveEngine
from mellm.engine.analysis.sessions import Saved, Sessions, free_folder
from mellm.engine.governance.consent_record import ConsentText, keep
from mellm.engine.governance.purpose import Audit
from mellm.stream.errors import ConsentMissing, MellmError, RunError, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.protocol.events import SOURCE_OFFLINE, SOURCE_SESSION, rfc3339
from mellm.stream.sources.push import PushInlet

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 10.0
"""For descriptions that are under way when a session is saved."""

WAITING: Final = ConsentMissing(
    "waiting for consent", remedy="show the consent text to the person on camera and answer it on the page"
)


class Runs(Protocol):
    """Sessions as clients see them."""

    def facts(self) -> dict[str, Any] | None:
        """For ``session.created``; ``None`` where no sessions are kept."""
        ...

    def agree(self, source: str, sha256: str, by: str) -> str:
        """Somebody before this source has answered yes; the reference of the record."""
        ...

    def begin(self, source: str, by: str) -> str:
        """Begin a session, ending the one before; the name of its folder."""
        ...

    def save(self, source: str, by: str) -> tuple[str, int]:
        """End a session; the name of its folder and how many expressions it holds."""
        ...


class NoRuns:
    """Of a server that keeps no sessions."""

    def facts(self) -> None:
        """None are kept."""

    def agree(self, source: str, sha256: str, by: str) -> str:
        """Refused.

        :raises UsageError: always
        """
        raise _refused()

    def begin(self, source: str, by: str) -> str:
        """Refused.

        :raises UsageError: always
        """
        raise _refused()

    def save(self, source: str, by: str) -> tuple[str, int]:
        """Refused.

        :raises UsageError: always
        """
        raise _refused()


def _refused() -> UsageError:
    return UsageError("this server keeps no sessions", remedy="start it with --runs FOLDER")


class RunControl:
    """Begins and ends sessions, and starts sources whose consent is given on the page.

    With a consent text, every session has a consent of its own: its source starts with the yes and stops when the
    session is saved. Without one, a source has a session whenever it runs; saving it begins the next.

    :param folder: gets a run folder for each session
    :param consents: source → consent reference under which it runs; shared with the withdrawal
    :param text: what a person on camera is asked to agree to
    :param waiting: sources that start with a yes only
    """

    def __init__(
        self,
        folder: Path,
        sessions: Sessions,
        engine: LiveEngine,
        hub: Hub,
        consents: MutableMapping[str, str],
        audit: Audit,
        *,
        purpose: str,
        text: ConsentText | None = None,
        waiting: frozenset[str] = frozenset(),
        inlets: MutableMapping[str, PushInlet] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._sessions = sessions
        self._engine = engine
        self._hub = hub
        self._consents = consents
        self._audit = audit
        self._purpose = purpose
        self._text = text
        self._waiting = waiting
        self._inlets = inlets or {}
        self._clock_ns = clock_ns
        self._agreed: set[str] = set()
        self._lock = threading.Lock()

    def facts(self) -> dict[str, Any]:
        """See :class:`Runs`."""
        found: dict[str, Any] = {"video": self._sessions.options.video}
        if self._text is not None:
            found |= {"consent_text": self._text.text, "consent_sha256": self._text.sha256}
        return found

    def may_run(self, source: str) -> bool:
        """Whether pictures of this source may be taken now."""
        return source not in self._waiting or source in self._agreed

    def start(self) -> None:
        """Begin the sessions of the sources that run from the start; before the engine starts.

        :raises MellmError: a folder cannot be written
        """
        for source in self._engine.sources:
            if source not in self._waiting:
                self._begin(source, "server", fresh=True)
        for source in self._waiting:
            self._tell_waiting(source)

    def agree(self, source: str, sha256: str, by: str) -> str:
        """See :class:`Runs`. The source starts under a new reference.

        :raises UsageError: nobody asks for consent here, or the text was another
        :raises RunError: the record cannot be written: the source stays off
        """
        with self._lock:
            if self._text is None or source not in self._waiting:
                raise UsageError(
                    f"consent for {source!r} is not given on the page", remedy="see --consent-text"
                )
            if sha256 != self._text.sha256:
                raise UsageError("the consent text has changed", remedy="load the page again and read it")
            if source in self._agreed:
                raise UsageError(f"{source!r} has a consent already", remedy="save its session first")
            moment = rfc3339(self._clock_ns())
            try:
                reference = keep(
                    self._folder, self._text, source=source, by=by, purpose=self._purpose, moment=moment
                )
            except OSError as error:
                raise RunError(f"the consent cannot be written down ({error.strerror or error})") from error
            facts = {"source": source, "consent": reference, "by": by, "text_sha256": sha256}
            self._audit("consent.given", facts)
            self._consents[source] = reference
            self._hub.consent(source, reference)
            self._hub.hear(source)
            self._agreed.add(source)
            if source in self._inlets:
                self._inlets[source].reopen()
            self._sessions.forget(source)
            self._engine.begin(source)
            return reference

    def begin(self, source: str, by: str) -> str:
        """See :class:`Runs`.

        :raises ConsentMissing: the person on camera has not agreed yet
        :raises MellmError: the folder cannot be written
        """
        with self._lock:
            if not self.may_run(source):
                raise WAITING
            if self._sessions.running(source) is not None:
                self._save(source, by)
            return self._begin(source, by)

    def save(self, source: str, by: str) -> tuple[str, int]:
        """See :class:`Runs`.

        :raises UsageError: there is no session
        :raises MellmError: the folder could not be written
        """
        with self._lock:
            saved = self._save(source, by)
            if source in self._waiting:
                self._rest(source)
            else:
                self._begin(source, by)
            return saved.path.name, saved.expressions

    def withdraw(self, source: str) -> None:
        """See :class:`mellm.engine.governance.withdrawal.Stops`: the session ends where it is, to be erased."""
        self._engine.withdraw(source)
        with self._lock:
            self._agreed.discard(source)
            if self._sessions.running(source) is not None:
                try:
                    self._sessions.save(source, patience_s=0.0)
                except MellmError as error:
                    logger.warning("%s: the session was not complete: %s", source, error)

    def _begin(self, source: str, by: str, *, fresh: bool = False) -> str:
        path = free_folder(self._folder, source, rfc3339(self._clock_ns()))
        begun = self._sessions.begin(source, path, consent=self._consents.get(source), fresh=fresh)
        self._audit("session.begun", {"source": source, "run": path.name, "by": by, "video": begun.films})
        self._tell(source, path.name, "begun", begun.films)
        return path.name

    def _save(self, source: str, by: str) -> Saved:
        films = self._sessions.options.video
        saved = self._sessions.save(source, PATIENCE_S)
        facts = {"source": source, "run": saved.path.name, "expressions": saved.expressions, "by": by}
        self._audit("session.saved", facts)
        self._tell(source, saved.path.name, "saved", films, saved.expressions)
        return saved

    def _rest(self, source: str) -> None:
        self._agreed.discard(source)
        self._engine.rest(source)
        if source in self._inlets:
            self._inlets[source].reopen()
        self._consents.pop(source, None)
        self._tell_waiting(source)

    def _tell_waiting(self, source: str) -> None:
        data = {"code": WAITING.code, "message": str(WAITING)}
        self._hub.publish_threadsafe(SOURCE_OFFLINE, source, data)

    def _tell(self, source: str, run: str, state: str, video: bool, expressions: int | None = None) -> None:
        data: dict[str, Any] = {"run": run, "state": state, "video": video}
        if expressions is not None:
            data["expressions"] = expressions
        self._hub.publish_threadsafe(SOURCE_SESSION, source, data)
