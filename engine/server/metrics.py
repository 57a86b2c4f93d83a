"""Counts of everything, arranged as sums that must balance.

::

    frames       captured = analysed + dropped by reason + waiting
    expressions  spotted + resumed = described + abstained + dropped by reason + pending
    delivery     offered  = delivered + coalesced + abandoned + waiting      (events × matching subscribers)

Each term is counted where it happens, none is computed from the others, so a leak shows as a difference.
Frame counts arrive inside each source's ``stats`` events, expression counts from the events themselves:
register :meth:`Metrics.observe` with the hub and nothing else is needed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mellm.stream.log.subscriber import Totals
from mellm.stream.protocol.events import EXPRESSION_ENDS, EXPRESSION_SPOTTED, SOURCE_DEGRADED, STATS

if TYPE_CHECKING:
    from prometheus_client.core import Metric


@dataclass(slots=True)
class FrameCounts:
    """Frames of one source since the start."""

    captured: int = 0
    analysed: int = 0
    waiting: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    fps: float | None = None
    score_p95_ms: float | None = None


class Metrics:
    """All counters of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: dict[str, FrameCounts] = {}
        self._degraded: dict[str, bool] = {}
        self._expressions: Counter[tuple[str, str, str]] = Counter()  # source, stage, reason
        self._pending: dict[str, str] = {}  # id → source
        self._stray_ends = 0
        self._events: Counter[str] = Counter()
        self._delivery = Totals()
        self._sessions = 0
        self._closes: Counter[int] = Counter()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._live: Callable[[], Iterable[tuple[Totals, int]]] = tuple
        self._facts: Callable[[], Mapping[str, float]] = dict

    # -- counting -------------------------------------------------------------------------------------

    def observe(self, type: str, source: str, data: Mapping[str, Any]) -> None:
        """Count an event; the observer for :meth:`mellm.stream.log.hub.Hub.observe`."""
        with self._lock:
            self._events[type] += 1
            if type == STATS and source:
                self._frames[source] = _frames(data)
            elif type == SOURCE_DEGRADED:
                self._degraded[source] = bool(data["degraded"])
            elif type == EXPRESSION_SPOTTED:
                self._expressions[source, "spotted", ""] += 1
                self._pending[str(data.get("id", ""))] = source
            elif type in EXPRESSION_ENDS:
                if self._pending.pop(str(data.get("id", "")), None) is None:
                    self._stray_ends += 1
                self._expressions[source, type.partition(".")[2], str(data.get("reason") or "")] += 1

    def resumed(self, expression: str, source: str) -> None:
        """An expression that a process before this one spotted and left open is taken over."""
        with self._lock:
            self._expressions[source, "resumed", ""] += 1
            self._pending[expression] = source

    def watch(
        self,
        live: Callable[[], Iterable[tuple[Totals, int]]],
        facts: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Where to read what is not counted here.

        :param live: totals and backlog of each subscriber that is connected now
        :param facts: gauges such as ``journal_last_seq``
        """
        self._live = live
        self._facts = facts

    def session_opened(self) -> None:
        """A client has connected."""
        with self._lock:
            self._sessions += 1

    def session_closed(self, code: int) -> None:
        """A client is gone."""
        with self._lock:
            self._closes[code] += 1

    def delivered(self, totals: Totals) -> None:
        """Add up a subscriber that has ended."""
        with self._lock:
            _add(self._delivery, totals)

    def requested(self, route: str, status: int) -> None:
        """An HTTP request was answered."""
        with self._lock:
            self._requests[route, status] += 1

    # -- reading --------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All sums as plain JSON, for ``stats`` events and run records."""
        delivery, backlog = self._delivery_now()
        with self._lock:
            stages: Counter[str] = Counter()
            reasons: dict[str, Counter[str]] = {"abstained": Counter(), "dropped": Counter()}
            for (_, stage, reason), count in self._expressions.items():
                stages[stage] += count
                if stage in reasons:
                    reasons[stage][reason or "unknown"] += count
            frames = self._frames.values()
            dropped: Counter[str] = Counter()
            for counts in frames:
                dropped.update(counts.dropped)
            return {
                "frames": {
                    "captured": sum(f.captured for f in frames),
                    "analysed": sum(f.analysed for f in frames),
                    "dropped": dict(dropped),
                    "waiting": sum(f.waiting for f in frames),
                },
                "expressions": {
                    "spotted": stages["spotted"],
                    "resumed": stages["resumed"],
                    "described": stages["described"],
                    "abstained": dict(reasons["abstained"]),
                    "dropped": dict(reasons["dropped"]),
                    "pending": len(self._pending),
                },
                "delivery": {
                    "offered": delivery.offered,
                    "delivered_reliable": delivery.delivered_reliable,
                    "delivered_lossy": delivery.delivered_lossy,
                    "coalesced": delivery.coalesced,
                    "abandoned": delivery.abandoned,
                    "waiting": backlog,
                },
                "clients": self._sessions - sum(self._closes.values()),
            }

    def imbalances(self) -> list[str]:
        """The sums that do not add up, in words; empty when all do."""
        now = self.snapshot()
        frames, found, delivery = now["frames"], now["expressions"], now["delivery"]
        sums = (
            (
                "frames captured",
                frames["captured"],
                frames["analysed"] + sum(frames["dropped"].values()) + frames["waiting"],
            ),
            (
                "expressions spotted and resumed",
                found["spotted"] + found["resumed"],
                found["described"]
                + sum(found["abstained"].values())
                + sum(found["dropped"].values())
                + found["pending"],
            ),
            (
                "events offered",
                delivery["offered"],
                sum(value for key, value in delivery.items() if key != "offered"),
            ),
        )
        return [f"{name}: {left} in, {right} accounted for" for name, left, right in sums if left != right]

    def exposition(self) -> tuple[bytes, str]:
        """The text for Prometheus and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _delivery_now(self) -> tuple[Totals, int]:
        total, backlog = Totals(), 0
        with self._lock:
            _add(total, self._delivery)
        for totals, waiting in self._live():
            _add(total, totals)
            backlog += waiting
        return total, backlog

    def _families(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily as Count
        from prometheus_client.core import GaugeMetricFamily as Gauge

        delivery, backlog = self._delivery_now()
        facts = self._facts()
        with self._lock:
            captured = Count("mellm_frames_captured", "Frames that arrived", labels=["source"])
            analysed = Count("mellm_frames_analysed", "Frames that were analysed", labels=["source"])
            dropped = Count(
                "mellm_frames_dropped", "Frames that were not, and why", labels=["source", "reason"]
            )
            waiting = Gauge("mellm_frames_waiting", "Frames not yet analysed", labels=["source"])
            fps = Gauge("mellm_source_fps", "Measured frames a second", labels=["source"])
            late = Gauge("mellm_score_p95_seconds", "Capture to score, 95th percentile", labels=["source"])
            for source, counts in self._frames.items():
                captured.add_metric([source], counts.captured)
                analysed.add_metric([source], counts.analysed)
                waiting.add_metric([source], counts.waiting)
                for reason, count in counts.dropped.items():
                    dropped.add_metric([source, reason], count)
                if counts.fps is not None:
                    fps.add_metric([source], counts.fps)
                if counts.score_p95_ms is not None:
                    late.add_metric([source], counts.score_p95_ms / 1000)
            yield from (captured, analysed, dropped, waiting, fps, late)
            less = Gauge(
                "mellm_source_degraded",
                "1 while less is analysed than was asked for, because the machine is too slow",
                labels=["source"],
            )
            for source in {**self._frames, **self._degraded}:
                less.add_metric([source], self._degraded.get(source, False))
            yield less

            found = Count(
                "mellm_expressions",
                "Expressions by stage; spotted + resumed = described + abstained + dropped + pending",
                labels=["source", "stage", "reason"],
            )
            for (source, stage, reason), count in self._expressions.items():
                found.add_metric([source, stage, reason], count)
            pending = Gauge("mellm_expressions_pending", "Spotted and not yet ended", labels=["source"])
            for source, count in Counter(self._pending.values()).items():
                pending.add_metric([source], count)
            stray = Count("mellm_expressions_stray_ends", "Ends without a spotting", value=self._stray_ends)
            yield from (found, pending, stray)

            events = Count("mellm_events_published", "Events by type", labels=["type"])
            for type, count in self._events.items():
                events.add_metric([type], count)
            offered = Count("mellm_events_offered", "Events × matching subscribers", value=delivery.offered)
            sent = Count("mellm_events_delivered", "Handed to subscribers", labels=["class"])
            sent.add_metric(["reliable"], delivery.delivered_reliable)
            sent.add_metric(["lossy"], delivery.delivered_lossy)
            merged = Count("mellm_events_coalesced", "Replaced by a later one", value=delivery.coalesced)
            left = Count("mellm_events_abandoned", "Left when a client went", value=delivery.abandoned)
            queued = Gauge("mellm_events_waiting", "In backlogs now", value=backlog)
            yield from (events, offered, sent, merged, left, queued)

            closed = sum(self._closes.values())
            yield Gauge("mellm_clients", "WebSocket clients now", value=self._sessions - closed)
            yield Count("mellm_sessions_opened", "WebSocket sessions", value=self._sessions)
            codes = Count("mellm_sessions_closed", "By close code", labels=["code"])
            for code, count in self._closes.items():
                codes.add_metric([str(code)], count)
            requests = Count("mellm_http_requests", "HTTP answers", labels=["route", "status"])
            for (route, status), count in self._requests.items():
                requests.add_metric([route, str(status)], count)
            yield from (codes, requests)
        for name, value in facts.items():
            yield Gauge(f"mellm_{name}", name.replace("_", " "), value=value)


class _Collector:
    """Reads the counters at the moment of the scrape; there is no second copy to drift."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics._families()


def _frames(data: Mapping[str, Any]) -> FrameCounts:
    return FrameCounts(
        captured=int(data.get("captured", 0)),
        analysed=int(data.get("analysed", 0)),
        waiting=int(data.get("waiting", 0)),
        dropped={str(reason): int(count) for reason, count in dict(data.get("dropped") or {}).items()},
        fps=data.get("fps"),
        score_p95_ms=data.get("score_p95_ms"),
    )


def _add(total: Totals, more: Totals) -> None:
    total.offered += more.offered
    total.delivered_reliable += more.delivered_reliable
    total.delivered_lossy += more.delivered_lossy
    total.coalesced += more.coalesced
    total.abandoned += more.abandoned
