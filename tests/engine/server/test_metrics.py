"""Sums that balance, and the text that Prometheus reads."""

import random
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mellm.engine.server.metrics import Metrics
from mellm.stream.log.subscriber import Totals


def stats(captured: int, analysed: int, dropped: dict[str, int], waiting: int) -> dict[str, Any]:
    return {
        "captured": captured,
        "analysed": analysed,
        "dropped": dropped,
        "waiting": waiting,
        "fps": 30.0,
        "score_p95_ms": 410.0,
    }


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and label values (in the order of the labels' names) → value."""
    text, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_frames_are_summed_over_sources_and_the_latest_word_counts() -> None:
    metrics = Metrics()
    metrics.observe("stats", "a", stats(5, 5, {}, 0))
    metrics.observe("stats", "a", stats(10, 7, {"overflow": 2}, 1))
    metrics.observe("stats", "b", stats(4, 3, {"decode": 1}, 0))
    metrics.observe("stats", "", {"captured": 99})
    assert metrics.snapshot()["frames"] == {
        "captured": 14,
        "analysed": 10,
        "dropped": {"overflow": 2, "decode": 1},
        "waiting": 1,
    }
    assert metrics.imbalances() == []
    found = samples(metrics)
    assert found["mellm_frames_captured_total", "a"] == 10
    assert found["mellm_frames_dropped_total", "overflow", "a"] == 2
    assert found["mellm_score_p95_seconds", "b"] == 0.41


def test_a_source_of_which_less_is_analysed_shows_until_all_of_it_is() -> None:
    metrics = Metrics()
    metrics.observe("stats", "a", stats(5, 5, {}, 0))
    metrics.observe("source.degraded", "b", {"degraded": True})
    found = samples(metrics)
    assert (found["mellm_source_degraded", "a"], found["mellm_source_degraded", "b"]) == (0, 1)
    metrics.observe("source.degraded", "b", {"degraded": False})
    assert samples(metrics)["mellm_source_degraded", "b"] == 0


def test_a_frame_that_is_lost_shows() -> None:
    metrics = Metrics()
    metrics.observe("stats", "a", stats(10, 7, {}, 1))
    assert metrics.imbalances() == ["frames captured: 10 in, 8 accounted for"]


def test_every_expression_is_pending_or_has_one_end() -> None:
    metrics = Metrics()
    ends = [
        ("described", None),
        ("abstained", "motion_low"),
        ("dropped", "deadline"),
        ("dropped", "overflow"),
    ]
    for i in range(20):
        metrics.observe("expression.spotted", "cam", {"id": f"e{i}"})
        assert metrics.imbalances() == []
    order = list(range(16))
    random.Random(0).shuffle(order)
    for i in order:
        state, reason = ends[i % 4]
        metrics.observe(f"expression.{state}", "cam", {"id": f"e{i}", "reason": reason})
        assert metrics.imbalances() == []
    assert metrics.snapshot()["expressions"] == {
        "spotted": 20,
        "resumed": 0,
        "described": 4,
        "abstained": {"motion_low": 4},
        "dropped": {"deadline": 4, "overflow": 4},
        "pending": 4,
    }
    found = samples(metrics)
    assert found["mellm_expressions_total", "", "cam", "spotted"] == 20
    assert found["mellm_expressions_total", "deadline", "cam", "dropped"] == 4
    assert found["mellm_expressions_pending", "cam"] == 4


def test_two_ends_of_one_expression_show() -> None:
    metrics = Metrics()
    metrics.observe("expression.spotted", "cam", {"id": "e"})
    metrics.observe("expression.described", "cam", {"id": "e"})
    metrics.observe("expression.dropped", "cam", {"id": "e", "reason": "deadline"})
    assert metrics.imbalances() == ["expressions spotted and resumed: 1 in, 2 accounted for"]
    assert samples(metrics)["mellm_expressions_stray_ends_total",] == 1


def test_delivery_adds_up_clients_that_are_here_and_that_are_gone() -> None:
    metrics = Metrics()
    metrics.session_opened()
    metrics.session_opened()
    metrics.delivered(Totals(offered=10, delivered_reliable=6, delivered_lossy=1, coalesced=1, abandoned=2))
    metrics.session_closed(4409)
    metrics.watch(lambda: [(Totals(offered=5, delivered_reliable=3), 2)], lambda: {"journal_last_seq": 8.0})
    metrics.requested("/healthz", 200)
    assert metrics.imbalances() == []
    assert metrics.snapshot()["clients"] == 1
    found = samples(metrics)
    assert found["mellm_events_delivered_total", "reliable"] == 9
    assert found["mellm_events_waiting",] == 2
    assert found["mellm_sessions_closed_total", "4409"] == 1
    assert found["mellm_http_requests_total", "/healthz", "200"] == 1
    assert found["mellm_journal_last_seq",] == 8
