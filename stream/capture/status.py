"""What is said to and by a :class:`~mellm.stream.capture.runner.SourceRunner`: settings, statuses, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from mellm.stream.capture.buffer import BufferOptions
from mellm.stream.capture.reconnect import BackoffOptions
from mellm.stream.errors import MellmError
from mellm.stream.frames import SourceInfo
from mellm.stream.sources.base import EndReport

State: TypeAlias = Literal["online", "offline", "reconnecting", "ended"]


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How a source is kept alive.

    :param policy: ``live`` drops when the analysis is too slow, ``offline`` waits
    :param realtime: play recordings at the rate of their time stamps; by default under ``live``
    :param stall_s: a live source without a frame for this long is lost
    :param open_s: opening that takes longer is given up; above the source's own time-out
    :param buffer: bounds of what may wait for the analysis
    :param backoff: when to try again
    :param must_open: give up at once if the first opening fails, whatever the reason
    :param max_attempts: give up after so many tries in one outage, ``None`` for never
    :param seed: for a repeatable jitter
    """

    policy: Literal["live", "offline"] = "live"
    realtime: bool | None = None
    stall_s: float = 2.5
    open_s: float = 6.0
    buffer: BufferOptions = field(default_factory=BufferOptions)
    backoff: BackoffOptions = field(default_factory=BackoffOptions)
    must_open: bool = False
    max_attempts: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What happened to a source.

    :param info: of the source as it is now, where it is online
    :param error: why it is not
    :param attempt: tries in this outage; ``delay_s``: until the next one
    :param end: how a recording ended
    """

    source: str
    state: State
    segment: int = 0
    info: SourceInfo | None = None
    error: MellmError | None = None
    attempt: int = 0
    delay_s: float = 0.0
    end: EndReport | None = None

    def data(self) -> dict[str, Any]:
        """As the ``data`` of an event: plain JSON, no credentials."""
        out: dict[str, Any] = {}
        if self.info is not None:
            out |= {
                "uri": self.info.uri_redacted,
                "kind": self.info.kind,
                "width": self.info.width,
                "height": self.info.height,
                "rotation": self.info.rotation,
                "flipped": self.info.flipped,
                "remarks": list(self.info.remarks),
                "codec": self.info.codec,
                "declared_fps": self.info.declared_fps,
                "segment": self.segment,
            }
        if self.error is not None:
            out |= {"code": self.error.code, "message": str(self.error)}
        if self.state == "reconnecting":
            out |= {"attempt": self.attempt, "delay_s": round(self.delay_s, 3)}
        if self.end is not None:
            out |= {"early": self.end.early, "message": self.end.message, "frames": self.end.frames}
        return out


@dataclass(frozen=True, slots=True)
class RunnerCounts:
    """``captured`` pictures reached this machine; ``dropped`` of them, by reason, never reach the analysis.

    :param lag_s: media that waits
    :param fps: pictures a second of media, as they arrive
    """

    captured: int
    dropped: dict[str, int]
    waiting: int
    repaired: int
    losses: int
    lag_s: float
    fps: float = 0.0
