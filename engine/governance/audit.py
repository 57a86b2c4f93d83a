"""Who did what, in a file that shows when somebody has changed it.

JSON lines. Each names its number and the SHA-256 of the line before it, so that a line that was edited, removed or
moved breaks the chain there. A cut at the end breaks nothing; it is found with the *head* file beside the log
(``FILE.head``), which holds the number and hash of the last line that is safely on disk. Whoever may write both files
can make up a new history: keep copies of the head where they cannot (``mellm audit verify --head COPY``).

::

    {"n":1,"time":"2026-11-23T15:00:00.000000Z","action":"server.started","facts":{…},"previous":"000…0"}
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mellm.stream import private
from mellm.stream.closing import Closing
from mellm.stream.errors import AuditError
from mellm.stream.protocol.events import rfc3339
from mellm.stream.sources.addresses import redact
from mellm.stream.worker import Turn, Vitals, Worker

logger = logging.getLogger(__name__)

START: Final = "0" * 64
"""What the first line names as the hash of the line before it."""

SEAL_S: Final = 0.1
"""How long a line may wait for its way to the disk."""

MAX_LINE: Final = 64 * 1024
_BEGIN: Final = b'{"n":1,"time":'
_KEYS: Final = {"n", "time", "action", "facts", "previous"}


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log.

    :param lines: how many it has
    :param sha256: of the last one, without its line feed
    """

    lines: int = 0
    sha256: str = START


@dataclass(frozen=True, slots=True)
class Verdict:
    """What :func:`verify` found.

    :param lines: that hold together, from the first
    :param line: the first that does not; ``None`` when all is well
    :param reason: what is wrong with it, empty when all is well
    """

    lines: int
    line: int | None = None
    reason: str = ""

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return self.line is None


class AuditLog(Closing):
    """Appends lines: call it with an action and its facts, from any thread.

    It is an :data:`mellm.engine.governance.purpose.Audit`.

    A line is with the operating system when the call returns (it survives the process, not a loss of power); a thread
    brings it to the disk and then moves the head. Several processes may write to one log.

    :param path: made with its folder, readable by its owner only
    :raises AuditError: if it cannot be written, or its end is not what the head says
    """

    def __init__(
        self, path: Path, *, clock_ns: Callable[[], int] = time.time_ns, vitals: Vitals | None = None
    ) -> None:
        self.path = path
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._missed = 0
        self._closed = self._failing = False
        self._wake = threading.Event()
        try:
            private.folder(path.parent)
            self._file = private.opener(str(path), os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise AuditError(
                f"cannot open the audit log {path}: {error.strerror}", remedy="name a writable file"
            ) from error
        try:
            with self._alone():
                self._cut = self._mend()
                self._end, self._size = self._last()
                self._check_head()
                if self._end.lines == 0:
                    _prepare_head(head_path(path), self._end).replace(head_path(path))
        except (OSError, ValueError) as error:
            os.close(self._file)
            raise AuditError(
                f"cannot use the audit log {path}: {error}",
                remedy="look at it with `mellm audit verify`, keep it and its head elsewhere, and begin a new one",
            ) from error
        except AuditError:
            os.close(self._file)
            raise
        self._worker = Worker("audit", self._keep_sealing, vitals=vitals)
        self._worker.start()
        if self._cut:
            self("audit.mended", {"bytes_cut": self._cut})

    def __call__(self, action: str, facts: Mapping[str, Any]) -> None:
        """Append a line. A disk that refuses stops nothing: it is logged, and the number of lines that are missing
        stands in the next one that can be written."""
        with self._lock:
            try:
                self._append(action, facts)
                self._missed = 0
            except OSError as error:
                self._missed += 1
                if self._missed == 1:
                    logger.error("the audit log %s cannot be written: %s", self.path, error.strerror)
                return
        self._wake.set()

    def seal(self) -> None:
        """Bring what was appended to the disk and move the head there.

        :raises OSError: if the disk refuses
        """
        with self._lock:
            end = self._end
        os.fsync(self._file)
        part = _prepare_head(head_path(self.path), end)
        # callers wait for the lock, and must not wait for the disk
        with self._lock, self._alone():
            known = _read_head(head_path(self.path)) or Head()
            if end.lines > known.lines:  # another process may be further
                part.replace(head_path(self.path))
        part.unlink(missing_ok=True)

    def close(self) -> None:
        """Seal and close. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._worker.stop()
        self._wake.set()
        self._worker.join()
        self._try_to_seal()
        os.close(self._file)

    def _append(self, action: str, facts: Mapping[str, Any]) -> None:
        with self._alone():
            size = os.fstat(self._file).st_size
            if size != self._size:  # another process has written
                self._mend()
                self._end, self._size = self._last()
            if self._missed:
                facts = {**facts, "lines_missed_before": self._missed}
            number = self._end.lines + 1
            line = _line(number, rfc3339(self._clock_ns()), action, facts, self._end.sha256)
            at = self._size
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._file, line[written:])
            except OSError:
                os.ftruncate(self._file, at)  # half a line would break the chain
                raise
            self._end, self._size = Head(number, _hash(line[:-1])), at + len(line)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _mend(self) -> int:
        """Cut half a line off the end, which a crash may have left; how many bytes."""
        size = os.fstat(self._file).st_size
        if not os.pread(self._file, len(_BEGIN), 0).startswith(_BEGIN[:size]):
            raise ValueError("it is not an audit log")
        tail = os.pread(self._file, min(size, 2 * MAX_LINE), max(0, size - 2 * MAX_LINE))
        whole = tail.rfind(b"\n") + 1
        cut = len(tail) - whole
        if cut:
            os.ftruncate(self._file, size - cut)
        return cut

    def _last(self) -> tuple[Head, int]:
        size = os.fstat(self._file).st_size
        if size == 0:
            return Head(), 0
        tail = os.pread(self._file, min(size, 2 * MAX_LINE), max(0, size - 2 * MAX_LINE))
        line = tail[:-1].rpartition(b"\n")[2]
        told = json.loads(line)
        if not isinstance(told, dict) or set(told) != _KEYS:
            raise ValueError("its last line is not a line of an audit log")
        return Head(int(told["n"]), _hash(line)), size

    def _check_head(self) -> None:
        """Going on after a cut would bury it under new lines."""
        known = _read_head(head_path(self.path))
        if known is None and self._end.lines:
            raise ValueError("its head file is gone")
        if known is not None and (
            known.lines > self._end.lines or (known.lines == self._end.lines and known != self._end)
        ):
            raise ValueError(f"it should have {known.lines} lines, and its last is {self._end.lines}")

    def _keep_sealing(self, turn: Turn) -> None:
        while not turn.over:
            turn.rest()
            self._wake.wait()
            self._worker.stopping.wait(SEAL_S)  # a crowd that connects costs one flush, not one each
            self._wake.clear()
            turn.heartbeat()
            self._try_to_seal()
            turn.worked()

    def _try_to_seal(self) -> None:
        try:
            self.seal()
            self._failing = False
        except (OSError, ValueError) as error:
            if not self._failing:
                logger.error("the head of the audit log %s cannot be written: %s", self.path, error)
            self._failing = True


def verify(path: Path, head: Path | None = None) -> Verdict:
    """Follow the chain from the first line to the last, and compare with the head.

    :param head: another copy of the head file than the one beside the log
    :raises AuditError: if the log or the named head cannot be read
    """
    at = head or head_path(path)
    try:
        known = _read_head(at)
        verdict, hashes_at = _follow(path, known)
    except (OSError, ValueError) as error:
        raise AuditError(
            f"cannot read the audit log {path}: {error}", remedy="name a readable file"
        ) from error
    if not verdict.intact:
        return verdict
    after = verdict.lines + 1
    if known is None:
        if head is not None:
            raise AuditError(f"there is no head file {head}", remedy="name the copy that was kept")
        return Verdict(
            verdict.lines, after, "the head file is gone: whether lines are missing here is unknown"
        )
    if known.lines > verdict.lines:
        gone = f"{after}" if known.lines == after else f"{after} to {known.lines}"
        return Verdict(verdict.lines, after, f"the end was cut off: {gone} are gone")
    if hashes_at is not None and hashes_at != known.sha256:
        return Verdict(known.lines - 1, known.lines, "the line is not the one that the head names")
    return verdict


def _follow(path: Path, known: Head | None) -> tuple[Verdict, str | None]:
    """The verdict on the chain alone, and the hash of the line that the head is about."""
    before, number, found = START, 0, None
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            wrong = _wrong(raw, number, before)
            if wrong:
                return Verdict(number - 1, number, wrong), None
            before = _hash(raw[:-1])
            if known is not None and known.lines == number:
                found = before
    return Verdict(number), found


def _wrong(raw: bytes, number: int, before: str) -> str:
    """What is wrong with a line; empty when nothing is."""
    if not raw.endswith(b"\n"):
        return "the line is cut"
    try:
        line = json.loads(raw)
    except ValueError:
        return "the line is no JSON"
    if not isinstance(line, dict) or set(line) != _KEYS:
        return "the line is not a line of an audit log"
    if line["n"] != number:
        return f"the line calls itself number {line['n']}: lines were removed, added or moved"
    if line["previous"] != before:
        return f"the line does not follow from line {number - 1}: one of the two was changed"
    return ""


def head_path(path: Path) -> Path:
    """Where the head of a log is."""
    return path.with_name(path.name + ".head")


def _line(number: int, moment: str, action: str, facts: Mapping[str, Any], previous: str) -> bytes:
    body = {"n": number, "time": moment, "action": action, "facts": _plain(facts), "previous": previous}
    line = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE:
        return _line(number, moment, action, {"too_large": len(line)}, previous)
    return line


def _plain(value: Any) -> Any:
    """As JSON; addresses without their passwords, whoever forgot."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    return redact(str(value).encode(errors="replace").decode())


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _read_head(path: Path) -> Head | None:
    try:
        told = json.loads(path.read_bytes())
        return Head(int(told["lines"]), str(told["sha256"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its head file {path.name} is damaged") from error


def _prepare_head(path: Path, head: Head) -> Path:
    """A head on disk that only needs its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb", opener=private.opener) as file:
        file.write(json.dumps({"lines": head.lines, "sha256": head.sha256}).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return part
