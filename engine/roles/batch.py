"""Many recordings over many machines: one job each, one whole run folder each, whatever is killed.

A worker analyses into a folder of its own beside the others, and renames it when it is whole: the file system lets one
of several win. A job whose worker has died comes back by itself; one that failed is tried once more, and is then named
with its error.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from mellm.engine.bus import wire
from mellm.engine.bus.base import ACK_WAIT_S, Bus, Delivery
from mellm.engine.results.run_folder import EXPRESSIONS, RUN
from mellm.engine.roles.membership import Membership, tasks
from mellm.stream.errors import BusConflict, BusError, MellmError, MessageInvalid, RunError, UsageError

logger = logging.getLogger(__name__)

JobState: TypeAlias = Literal["waiting", "running", "done", "failed"]

MOST_FAILURES: Final = 2
MOST_TRIES: Final = 5
"""Of a recording that brings its workers down."""

AGAIN_S: Final = 1.0
TAKE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """One recording of a batch.

    :param name: of its run folder
    :param fps: of image folders and raw streams
    """

    batch: str
    number: int
    path: str
    name: str
    fps: float | None = None
    consent: str | None = None

    @property
    def key(self) -> str:
        """Where its state is kept."""
        return f"{self.batch}.{self.number}"

    def pack(self) -> bytes:
        """As a message."""
        return wire.pack("job", asdict(self))

    @classmethod
    def unpack(cls, body: bytes) -> Job:
        """Read a message.

        :raises MessageInvalid: it is none
        """
        head, _ = wire.unpack(body, "job")
        known = {"batch": str, "number": int, "path": str, "name": str}
        for name, kind in known.items():
            if type(head.get(name)) is not kind:
                raise MessageInvalid(f"a job whose {name} is {head.get(name)!r:.40}")
        if "/" in head["name"] or head["name"].startswith("."):
            raise MessageInvalid(f"a job with the folder name {head['name']!r:.80}")
        fps, consent = head.get("fps"), head.get("consent")
        return cls(
            **{name: head[name] for name in known},
            fps=None if fps is None else float(fps),
            consent=None if consent is None else str(consent),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one job is.

    :param failures: how often it failed
    :param took_s: for the last try
    """

    state: JobState = "waiting"
    path: str = ""
    name: str = ""
    worker: str = ""
    failures: int = 0
    error: str = ""
    expressions: int = 0
    took_s: float = 0.0

    def encode(self) -> bytes:
        """The value of its key."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Progress:
        """Read a value; what is not known is passed over."""
        found: dict[str, Any] = json.loads(raw)
        return cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})


Analyse: TypeAlias = Callable[[Job, Path], int]
"""Analyse a job's recording into a folder; how many expressions there are. On a thread."""


def shard(paths: Sequence[str], index: int, count: int) -> list[str]:
    """The part of the paths that one of ``count`` equal tasks takes; together they take each once.

    :param index: from 1
    :raises UsageError: there is no such part
    """
    if count < 1 or not 1 <= index <= count:
        raise UsageError(f"shard {index}/{count} is none", remedy="write --shard I/N with I from 1 to N")
    return [path for number, path in enumerate(paths) if number % count == index - 1]


def jobs_of(
    paths: Sequence[str], batch: str, *, fps: float | None = None, consent: str | None = None
) -> list[Job]:
    """A job for each recording; two of one name get folders of different names.

    :raises UsageError: a path is named twice
    """
    if len(set(paths)) != len(paths):
        twice = Counter(paths).most_common(1)[0][0]
        raise UsageError(f"{twice} is named twice", remedy="name each recording once")
    stems = Counter(Path(path).stem for path in paths)
    found = []
    for number, path in enumerate(paths):
        name = Path(path).stem.lstrip(".") or "recording"
        if stems[Path(path).stem] > 1:
            name += "-" + hashlib.sha256(path.encode()).hexdigest()[:8]
        found.append(Job(batch, number, path, name, fps, consent))
    return found


async def submit(bus: Bus, jobs: Sequence[Job]) -> None:
    """Put jobs on the bus; again after a break, without doing any twice.

    :raises BusError: the bus is away
    """
    for job in jobs:
        state = Progress(path=job.path, name=job.name)
        try:
            await bus.put("job", job.key, state.encode(), 0)
        except BusConflict:
            pass  # it was submitted before the break
        await bus.append(f"job.{job.batch}.{job.number}", job.pack(), id=job.key)


async def progress(bus: Bus, jobs: Sequence[Job]) -> list[Progress]:
    """How far each is, in the order of the jobs.

    :raises BusError: the bus is away
    """
    found = []
    for job in jobs:
        entry = await bus.get("job", job.key)
        found.append(Progress.decode(entry.value) if entry else Progress(path=job.path, name=job.name))
    return found


def left_s(states: Sequence[Progress]) -> float | None:
    """An estimate of the time until all have ended; ``None`` before the first."""
    took = [each.took_s for each in states if each.state == "done" and each.took_s > 0]
    waiting = sum(each.state in ("waiting", "running") for each in states)
    workers = len({each.worker for each in states if each.state == "running"}) or 1
    return None if not took else sum(took) / len(took) * waiting / workers


@dataclass
class Worker:
    """Takes jobs and analyses them, one at a time. Everything belongs to one loop; the analysis runs on a thread.

    :param out: folder of the run folders, on storage that all workers share
    :param name: unique on the bus
    """

    bus: Bus
    name: str
    out: Path
    analyse: Analyse
    counts: Counter[str] = field(default_factory=Counter)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """End after the recording in hand."""
        self._stop.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Work until :meth:`stop`.

        :param until_empty: or until there is no job that nobody has
        """
        self.out.mkdir(parents=True, exist_ok=True)
        membership = Membership(self.bus, self.name, "worker", lambda: {"counts": dict(self.counts)})
        async with tasks(membership.run):
            while not self._stop.is_set():
                try:
                    taken = await self.bus.take("job", TAKE_S)
                except BusError as error:
                    logger.warning("no job can be taken: %s", error)
                    await asyncio.sleep(AGAIN_S)
                    continue
                if taken is not None:
                    await self._hold(taken)
                elif until_empty:
                    return

    async def _hold(self, taken: Delivery) -> None:
        beating = asyncio.create_task(self._beat(taken))
        try:
            await self.one(taken)
        except BusError as error:
            logger.warning("%s comes back: %s", taken.message.subject, error)
        finally:
            beating.cancel()

    async def _beat(self, taken: Delivery) -> None:
        while True:
            await asyncio.sleep(ACK_WAIT_S / 3)
            try:
                await self.bus.busy(taken)
            except BusError:
                pass

    async def one(self, taken: Delivery) -> None:
        """What is done with one job.

        :raises BusError: the bus is away; the job comes back
        """
        try:
            job = Job.unpack(taken.message.body)
        except MessageInvalid as error:
            logger.error("%s: %s", taken.message.subject, error)
            self.counts["unreadable"] += 1
            await self.bus.done(taken)
            return
        entry = await self.bus.get("job", job.key)
        state = Progress.decode(entry.value) if entry else Progress(path=job.path, name=job.name)
        if state.state in ("done", "failed"):
            await self.bus.done(taken)
            return
        if taken.tries > MOST_TRIES:
            await self._say(
                job, replace(state, state="failed", error=state.error or "its workers ended without a word")
            )
            await self.bus.done(taken)
            self.counts["failed"] += 1
            return
        state = replace(state, state="running", worker=self.name)
        await self._say(job, state)
        started = time.monotonic()
        try:
            found = await asyncio.to_thread(self._whole, job)
        except Exception as error:
            if not isinstance(error, MellmError):
                logger.exception("%s failed", job.path)
            said = " ".join(str(error).split()) or type(error).__name__
            failures = state.failures + 1
            last = failures >= MOST_FAILURES
            took_s = time.monotonic() - started
            self.counts["failed"] += last
            await self._say(
                job,
                replace(
                    state, state="failed" if last else "waiting", failures=failures, error=said, took_s=took_s
                ),
            )
            await (self.bus.done(taken) if last else self.bus.again(taken, AGAIN_S))
            return
        took_s = time.monotonic() - started
        self.counts["done"] += 1
        await self._say(job, replace(state, state="done", error="", expressions=found, took_s=took_s))
        await self.bus.done(taken)

    async def _say(self, job: Job, state: Progress) -> None:
        await self.bus.put("job", job.key, state.encode(), None)

    def _whole(self, job: Job) -> int:
        """On a thread: the run folder, if it is not there yet. The number of expressions in it."""
        target = self.out / job.name
        if (target / RUN).is_file():
            return _expressions(target)
        mine = self.out / f".{job.name}.{self.name}.part"
        shutil.rmtree(mine, ignore_errors=True)  # of a process before this one
        try:
            found = self.analyse(job, mine)
            try:
                mine.rename(target)
            except OSError as error:
                if not (target / RUN).is_file():
                    raise RunError(f"{target} cannot be made: {error.strerror}") from error
                found = _expressions(target)  # another worker was first
        finally:
            shutil.rmtree(mine, ignore_errors=True)
        for left in self.out.glob(".*.part"):  # a name may hold what a pattern would read
            if left.name.startswith(f".{job.name}."):
                shutil.rmtree(left, ignore_errors=True)
        return found


def _expressions(run: Path) -> int:
    """Lines of a run's expressions."""
    return (run / EXPRESSIONS).read_bytes().count(b"\n")


def batch_name() -> str:
    """A name that no other batch has."""
    return time.strftime("%Y%m%d-%H%M%S-") + os.urandom(3).hex()
