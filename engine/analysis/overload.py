"""Less work, evenly, when frames come faster than they can be measured.

First the rate of a source is halved, again and again and never below what the spotter needs; then one face is
followed instead of all; then the source of the lowest priority is set aside. Whole stretches are dropped only where
nothing of that is left. What was taken goes in the reverse order, later than it came, and later still each time that
it was too early.

Free of threads and clocks: whoever analyses a source tells how it goes (:meth:`Overload.look`) and hears what to do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

FLOOR_FPS: Final = 24.0
"""A rate is not lowered to less: the spotter refuses faces below 20 frames a second and warns below 50."""

LATE_S: Final = 0.5
"""Of media that waits, half of what may; growing beyond it is overload."""

CALM_S: Final = 0.125

TREND_S: Final = 0.25
"""Over which waiting media must have grown: a backlog that shrinks is no overload."""

STUBBORN_S: Final = 2.0
"""Overload for so long, with nothing else left, costs a source."""

SETTLE_S: Final = 3.0
"""After a source was set aside, until another is."""

FORGET_S: Final = 3.0
"""Without a sign of overload, until the next one counts as new."""

PATIENCE_S: Final = 5.0
"""Of calm, on all sources, before something is given back."""

MOST_PATIENCE_S: Final = 320.0

RELAPSE_S: Final = 30.0
"""Overload so soon after something was given back: it was too early, and patience doubles."""

ROOM: Final = 0.85
"""Share of its time that a source's thread may be expected to need."""

CROWDED: Final = 0.25
"""Share of a thread's work that it waited for a processor: others are in its way, and less of them helps it."""

REMEDY: Final = (
    "lower the camera's rate or size, follow fewer faces or cameras, or take a faster machine;"
    " `mellm bench --plan` says what fits"
)


@dataclass(frozen=True, slots=True)
class Service:
    """What of a source is analysed.

    :param keep_every: every so many frames one
    :param faces: at most so many, ``None`` for as many as were asked for
    :param on: ``False``: set aside
    :param gaps: nothing more could be lowered, and whole stretches are dropped
    """

    keep_every: int = 1
    faces: int | None = None
    on: bool = True
    gaps: bool = False

    def told(self, fps: float) -> dict[str, Any]:
        """As it stands in an event.

        :param fps: frames a second that arrive
        """
        return {
            "fps": round(fps / self.keep_every, 1) if self.on else 0.0,
            "faces": self.faces if self.on else 0,
            "gaps": self.gaps,
        }

    def words(self, fps: float) -> str:
        """For people."""
        if not self.on:
            return "set aside"
        said = f"{fps / self.keep_every:.0f} frames a second"
        if self.faces is not None:
            said += ", one face"
        return said + (", with stretches missing" if self.gaps else "")


FULL: Final = Service()


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """Less of a source is analysed from a moment on, or more.

    :param fps: frames a second that arrive
    """

    before: Service
    after: Service
    fps: float
    t_ns: int


def degraded(changed: ServiceChanged) -> dict[str, Any]:
    """The ``data`` of a ``source.degraded``."""
    before, after, fps = changed.before, changed.after, changed.fps
    reason = "overload" if _rank(after) > _rank(before) else "recovered"
    message = f"{before.words(fps)} → {after.words(fps)}"
    if reason == "overload":
        message = f"frames come faster than they can be measured: {message} - {REMEDY}"
    return {
        "from": before.told(fps),
        "to": after.told(fps),
        "reason": reason,
        "degraded": after != FULL,
        "message": message,
    }


def _rank(service: Service) -> tuple[bool, bool, bool, int]:
    return not service.on, service.gaps, service.faces is not None, service.keep_every


@dataclass(frozen=True, slots=True)
class Load:
    """How it goes with one source.

    :param lag_s: media that waits to be analysed
    :param fps: frames a second that arrive, all of them
    :param busy: share of the time in which its thread worked
    :param starved: share of that in which the thread waited for a processor
    :param faces: that are followed
    :param overflowed: frames that were dropped because nothing else helped, since the start
    """

    lag_s: float
    fps: float = 0.0
    busy: float = 0.0
    starved: float = 0.0
    faces: int = 1
    overflowed: int = 0


@dataclass(slots=True)
class _Source:
    priority: tuple[int, int]
    here: bool = False
    service: Service = FULL
    load: Load = Load(0.0)
    seen: deque[tuple[float, float]] = field(default_factory=deque)  # moments and lags, of TREND_S
    late_since: float | None = None
    late_last: float = 0.0
    calm_since: float | None = None
    settled_at: float = 0.0

    def lowerable(self) -> bool:
        keeps = self.service.keep_every
        return self.service.on and self.load.fps / (2 * keeps) >= FLOOR_FPS

    def narrowable(self) -> bool:
        return self.service.on and self.service.faces is None and self.load.faces > 1


class Overload:
    """Decides for all sources of one engine. Thread-safe; never waits.

    :param priorities: source → the higher the more important; of equals the first ones are
    """

    def __init__(self, priorities: Mapping[str, int]) -> None:
        self._lock = threading.Lock()
        self._sources = {
            name: _Source((priority, -place)) for place, (name, priority) in enumerate(priorities.items())
        }
        self._patience_s = PATIENCE_S
        self._given_back_at: float | None = None
        self._set_aside_at: float | None = None
        self._changed_at = 0.0

    def add(self, source: str, priority: int = 0) -> None:
        """One more source; one that is known keeps its place."""
        with self._lock:
            if source not in self._sources:
                self._sources[source] = _Source((priority, -len(self._sources)))

    def begins(self, source: str) -> None:
        """It is analysed from now on, all of it at first."""
        with self._lock:
            self._sources[source] = _Source(self._sources[source].priority, here=True)

    def ended(self, source: str) -> None:
        """It is not analysed any more, so nobody waits for its calm. Safe to call twice."""
        with self._lock:
            self._sources[source].here = False

    def look(self, source: str, load: Load, now_s: float) -> Service:
        """How it goes now; a source that was set aside says nothing about itself, and is asked all the same.

        :param now_s: any clock that only goes forwards
        :returns: what of it shall be analysed from now on
        """
        with self._lock:
            it = self._sources[source]
            lost = load.overflowed > it.load.overflowed
            it.load = load
            if it.service.on:
                if self._is_late(it, now_s) or lost:
                    it.late_since = now_s if it.late_since is None else it.late_since
                    it.late_last, it.calm_since = now_s, None
                    self._lower(it, now_s)
                else:
                    self._rest(it, now_s)
            self._raise(now_s)
            return it.service

    def _is_late(self, it: _Source, now_s: float) -> bool:
        it.seen.append((now_s, it.load.lag_s))
        before = None
        while len(it.seen) > 1 and it.seen[1][0] <= now_s - TREND_S:
            it.seen.popleft()
        if it.seen[0][0] <= now_s - TREND_S:
            before = it.seen[0][1]
        return it.load.lag_s > LATE_S and before is not None and it.load.lag_s > before

    def _rest(self, it: _Source, now_s: float) -> None:
        if it.late_since is not None and now_s - it.late_last > FORGET_S:
            it.late_since = None
        if it.load.lag_s > CALM_S:
            it.calm_since = None
        elif it.calm_since is None:
            it.calm_since = now_s

    # -- less -----------------------------------------------------------------------------------------

    def _lower(self, it: _Source, now_s: float) -> None:
        if now_s < it.settled_at:
            return
        others = [each for each in self._on() if each is not it] if it.load.starved > CROWDED else []
        fastest = sorted(others, key=lambda each: -each.load.fps / each.service.keep_every)
        for each in (it, *fastest):
            if each.lowerable():
                return self._give(
                    each, replace(each.service, keep_every=2 * each.service.keep_every), now_s, TREND_S
                )
        for each in (it, *fastest):
            if each.narrowable():
                return self._give(each, replace(each.service, faces=1), now_s, 2 * TREND_S)
        if it.late_since is None or now_s - it.late_since < STUBBORN_S:
            return
        if others and now_s - (self._set_aside_at or -SETTLE_S) >= SETTLE_S:
            self._set_aside_at = now_s
            last = min(self._on(), key=lambda each: each.priority)
            return self._give(last, replace(last.service, on=False), now_s, SETTLE_S)
        if not others and not it.service.gaps:
            self._give(it, replace(it.service, gaps=True), now_s, SETTLE_S)

    def _give(self, it: _Source, service: Service, now_s: float, settle_s: float) -> None:
        if self._given_back_at is not None and now_s - self._given_back_at < RELAPSE_S:
            self._patience_s = min(MOST_PATIENCE_S, 2 * self._patience_s)
            self._given_back_at = None
        it.service = service
        it.settled_at = now_s + settle_s
        self._changed_at = now_s
        for each in self._on():
            each.calm_since = None

    # -- more -----------------------------------------------------------------------------------------

    def _raise(self, now_s: float) -> None:
        on = self._on()
        calm = [each.calm_since for each in on]
        if any(since is None or now_s - since < self._patience_s for since in calm):
            return
        if now_s - self._changed_at < self._patience_s:
            return
        more = self._next(on, now_s - self._changed_at)
        if more is None:
            if self._given_back_at is not None and now_s - self._given_back_at > 2 * MOST_PATIENCE_S:
                self._patience_s = PATIENCE_S
            return
        it, service = more
        it.service = service
        it.seen.clear()
        it.late_since = None
        self._given_back_at = self._changed_at = now_s
        for each in self._on():
            each.calm_since = None

    def _next(self, on: list[_Source], calm_s: float) -> tuple[_Source, Service] | None:
        """What was taken last is given back first."""
        for each in on:
            if each.service.gaps:
                return each, replace(each.service, gaps=False)
        aside = [each for each in self._sources.values() if each.here and not each.service.on]
        if aside:
            # a whole source more is much: whoever goes on must have had it easy for long, and have room for it
            room = max((each.load.busy for each in on), default=0.0) * (len(on) + 1) <= ROOM * len(on)
            if on and not (room and calm_s >= 3 * self._patience_s):
                return None
            first = max(aside, key=lambda each: each.priority)
            return first, replace(first.service, on=True)
        for each in sorted(on, key=lambda each: each.priority, reverse=True):
            if each.service.faces is not None and each.load.busy <= ROOM / 2:
                return each, replace(each.service, faces=None)
        slowest = sorted(on, key=lambda each: each.load.fps / each.service.keep_every)
        for each in slowest:
            if each.service.keep_every > 1 and 2 * each.load.busy <= ROOM:
                return each, replace(each.service, keep_every=each.service.keep_every // 2)
        return None

    def _on(self) -> list[_Source]:
        return [each for each in self._sources.values() if each.here and each.service.on]
