import pytest

from mellm.engine.server import tracing
from mellm.engine.server.tracing import ExpressionSpans, from_environment
from mellm.stream.errors import UsageError
from tests.stream.spoken import ended, spotted

trace = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")


@pytest.fixture
def kept() -> object:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def spans(kept: object) -> ExpressionSpans:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = trace.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return ExpressionSpans(provider.get_tracer("t"))


def test_a_span_from_spotting_to_the_end(spans, kept) -> None:  # type: ignore[no-untyped-def]
    spans("expression.spotted", "cam", spotted("e1", "cam", 0.9))
    spans("expression.spotted", "cam", spotted("e2", "cam", 0.5))
    answer = {"text": "secret", "model": "nano", "latency_ms": 12.5}
    spans("expression.described", "cam", ended("e1", "described", None, description=answer))
    spans("expression.dropped", "cam", ended("e2", "dropped", "deadline"))
    spans("expression.dropped", "cam", ended("stray"))
    first, second = kept.get_finished_spans()
    assert dict(first.attributes) == {
        "mellm.expression": "e1",
        "mellm.source": "cam",
        "mellm.score": 0.9,
        "mellm.end": "described",
        "mellm.describer": "nano",
        "mellm.describe_ms": 12.5,
    }
    assert (second.attributes["mellm.end"], second.attributes["mellm.reason"]) == ("dropped", "deadline")


def test_what_never_ends_is_bounded(spans, kept, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(tracing, "MAX_OPEN", 3)
    for number in range(5):
        spans("expression.spotted", "cam", spotted(f"e{number}"))
    assert [s.attributes["mellm.expression"] for s in kept.get_finished_spans()] == ["e0", "e1"]
    spans.close()
    assert len(kept.get_finished_spans()) == 5


def test_nothing_is_made_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment({}) is None
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    made = from_environment(asked)
    assert isinstance(made, ExpressionSpans)
    made.close()  # and the thread that sends ends with it
    made.close()
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match="otel"):
        from_environment(asked)
