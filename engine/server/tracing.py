"""A span for each expression, for operators who run OpenTelemetry (``pip install 'mellm-live[otel]'``).

A span begins when the expression was spotted and ends when it was described, abstained or dropped. It carries ids,
scores and reasons; no picture, no text of a model, no name. Where spans go is set by OpenTelemetry's own variables
(``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mellm.stream.errors import UsageError
from mellm.stream.protocol.events import EXPRESSION_ENDS, EXPRESSION_SPOTTED

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
MAX_OPEN: Final = 4096
"""Spans that may be open; the describe queue is far shorter."""


class ExpressionSpans:
    """Makes spans of events. Register with :meth:`mellm.stream.log.hub.Hub.observe`. Thread-safe.

    :param shutdown: sends what is left and ends the thread that sends
    """

    def __init__(self, tracer: Tracer, shutdown: Callable[[], object] = lambda: None) -> None:
        self._tracer = tracer
        self._shutdown = shutdown
        self._lock = threading.Lock()
        self._open: dict[str, Span] = {}

    def __call__(self, type: str, source: str, data: Mapping[str, Any]) -> None:
        """The observer."""
        if type == EXPRESSION_SPOTTED:
            facts = {"mellm.expression": str(data.get("id", "")), "mellm.source": source}
            span = self._tracer.start_span("expression", attributes=facts)
            _set(span, "mellm.score", data.get("score"))
            with self._lock:
                late = self._open.pop(next(iter(self._open))) if len(self._open) >= MAX_OPEN else None
                self._open[str(data.get("id", ""))] = span
            if late is not None:
                late.end()
        elif type in EXPRESSION_ENDS:
            with self._lock:
                ended = self._open.pop(str(data.get("id", "")), None)
            if ended is None:
                return
            ended.set_attribute("mellm.end", type.partition(".")[2])
            _set(ended, "mellm.reason", data.get("reason"))
            description = data.get("description") or {}
            _set(ended, "mellm.describer", description.get("model"))
            _set(ended, "mellm.describe_ms", description.get("latency_ms"))
            ended.end()

    def close(self) -> None:
        """End what is open, it will be taken up under another span by the next process; then send what is left."""
        with self._lock:
            left, self._open = list(self._open.values()), {}
        for span in left:
            span.end()
        self._shutdown()


def from_environment(environment: Mapping[str, str] = os.environ) -> ExpressionSpans | None:
    """Spans that go where the environment says; ``None`` when it says nothing.

    :raises UsageError: if it does and OpenTelemetry is not installed
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError(
            f"{ENDPOINTS[0]} is set, but OpenTelemetry is not installed",
            remedy="pip install 'mellm-live[otel]', or unset the variable",
        ) from error
    provider = TracerProvider()  # and if nobody closes it, it sends what is left when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return ExpressionSpans(provider.get_tracer("mellm-live"), provider.shutdown)


def _set(span: Span, key: str, value: Any) -> None:
    if isinstance(value, str | int | float):
        span.set_attribute(key, value)
