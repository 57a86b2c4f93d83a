"""Asks a running server how it is: alive, ready, and whether its three sums balance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from mellm.clients.link import address
from mellm.stream.errors import ProtocolError

State = Literal["ok", "warning", "error"]

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 8 << 20
LATE_S: Final = 0.5
"""Capture to score: above this a camera's results are late (L1 of docs/results/reliability.md)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report."""

    what: str
    state: State
    said: str


class Samples:
    """The numbers of a Prometheus text exposition.

    :raises ProtocolError: if it is no such text
    """

    def __init__(self, text: str) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        self._values: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    self._values[sample.name].append((dict(sample.labels), float(sample.value)))
        except (ValueError, KeyError, IndexError) as error:
            raise ProtocolError(f"/metrics is no Prometheus text: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def total(self, name: str, **labels: str) -> float:
        """Sum of all samples with these labels."""
        return sum(v for have, v in self._values.get(name, ()) if labels.items() <= have.items())

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Sums by one label."""
        sums: dict[str, float] = defaultdict(float)
        for have, value in self._values.get(name, ()):
            if labels.items() <= have.items():
                sums[have.get(label, "")] += value
        return dict(sums)


def check_server(url: str, token: str | None = None, *, transport: Any = None) -> list[Finding]:
    """Everything that can be learnt from outside in three requests.

    :param url: of the server, ``ws`` or ``http``, with or without the stream's path
    :param token: needs the scope ``admin`` for the counts; without it only health is told
    :param transport: of httpx, for tests
    :raises UsageError: for something that is no address
    """
    import httpx

    base = _http(url)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    findings = []
    with httpx.Client(
        base_url=base, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False
    ) as http:
        try:
            findings.append(_health(http.get("/healthz")))
            findings.append(_readiness(http.get("/readyz")))
            answer = http.get("/metrics")
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            said = f"no answer from {base}: {why}; check the address, and that `mellm serve` runs"
            return [*findings, Finding("server", "error", said)]
    if answer.status_code in (401, 403):
        said = "the counts need a token with the scope admin (--token-env)"
        return [*findings, Finding("accounting", "warning", said)]
    if answer.status_code != 200 or len(answer.content) > MAX_BYTES:
        said = f"/metrics answered HTTP {answer.status_code} with {len(answer.content)} bytes"
        return [*findings, Finding("accounting", "error", said)]
    try:
        samples = Samples(answer.text)
    except ProtocolError as error:
        return [*findings, Finding("accounting", "error", error.message)]
    return [*findings, *read_metrics(samples)]


def read_metrics(samples: Samples) -> list[Finding]:
    """What the counts say: the three sums, each camera, the journal."""
    if "mellm_events_offered_total" not in samples:
        return [Finding("accounting", "error", "/metrics is not of a mellm server")]
    return [*_sums(samples), *_sources(samples), *_journal(samples)]


def _sums(samples: Samples) -> Iterable[Finding]:
    total = samples.total
    captured = total("mellm_frames_captured_total")
    parts = {
        "analysed": total("mellm_frames_analysed_total"),
        **_named("dropped", samples.by("mellm_frames_dropped_total", "reason")),
        "waiting": total("mellm_frames_waiting"),
    }
    yield _sum("frames", {"captured": captured}, parts)

    def stage(name: str) -> float:
        return total("mellm_expressions_total", stage=name)

    spotted = {"spotted": stage("spotted"), "resumed": stage("resumed")}
    ends = {
        "described": stage("described"),
        **_named("abstained", samples.by("mellm_expressions_total", "reason", stage="abstained")),
        **_named("dropped", samples.by("mellm_expressions_total", "reason", stage="dropped")),
        "pending": total("mellm_expressions_pending"),
    }
    yield _sum("expressions", spotted, ends)
    delivery = {
        "delivered": total("mellm_events_delivered_total"),
        "coalesced": total("mellm_events_coalesced_total"),
        "abandoned": total("mellm_events_abandoned_total"),
        "waiting": total("mellm_events_waiting"),
    }
    yield _sum("delivery", {"offered": total("mellm_events_offered_total")}, delivery)
    yield Finding("clients", "ok", f"{total('mellm_clients'):.0f} connected")


def _sum(what: str, left: Mapping[str, float], right: Mapping[str, float]) -> Finding:
    into, out = sum(left.values()), sum(right.values())
    words = f"{_terms(left)} = {_terms(right)}"
    if into == out:
        return Finding(what, "ok", words)
    return Finding(what, "error", f"{words}: {abs(into - out):,.0f} unaccounted for")


def _sources(samples: Samples) -> Iterable[Finding]:
    late = samples.by("mellm_score_p95_seconds", "source")
    for source, fps in sorted(samples.by("mellm_source_fps", "source").items()):
        captured = samples.total("mellm_frames_captured_total", source=source)
        dropped = samples.total("mellm_frames_dropped_total", source=source)
        share = dropped / captured if captured else 0.0
        after = late.get(source, 0.0)
        said = f"{fps:.1f} frames a second, {share:.1%} dropped, scores after {1000 * after:.0f} ms (p95)"
        less = samples.total("mellm_source_degraded", source=source) > 0
        said += "; overloaded: lower its rate, or `mellm bench --plan` for what fits" if less else ""
        slow = less or share > 0.01 or after > LATE_S
        yield Finding(f"source {source}", "warning" if slow else "ok", said)


def _journal(samples: Samples) -> Iterable[Finding]:
    if lost := samples.total("mellm_events_unjournalled"):
        said = f"{lost:.0f} events could not be written and were not sent: make room on the disk"
        yield Finding("journal", "error", said)


def _named(name: str, by_reason: Mapping[str, float]) -> dict[str, float]:
    return {f"{name} ({reason})": value for reason, value in sorted(by_reason.items()) if value}


def _terms(parts: Mapping[str, float]) -> str:
    return " + ".join(f"{value:,.0f} {name}" for name, value in parts.items())


def _health(answer: Any) -> Finding:
    if answer.status_code == 200:
        return Finding("health", "ok", "all workers running")
    return Finding("health", "error", f"HTTP {answer.status_code}: {_reason(answer)}")


def _readiness(answer: Any) -> Finding:
    if answer.status_code == 200:
        return Finding("readiness", "ok", "takes clients")
    return Finding("readiness", "error", f"HTTP {answer.status_code}: {_reason(answer)}")


def _reason(answer: Any) -> str:
    try:
        return str(answer.json()["reason"])[:200]
    except (ValueError, KeyError, TypeError):
        return str(answer.text)[:200]


def _http(url: str) -> str:
    parts = urlsplit(address(url))
    return urlunsplit(({"ws": "http", "wss": "https"}[parts.scheme], parts.netloc, "", "", ""))
