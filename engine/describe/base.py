"""The seam between evidence and words: what every describer promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from mellm.engine.types import Description, Evidence

Recipe: TypeAlias = Literal["mellm-v1", "mellm-v3", "live"]


@dataclass(frozen=True, slots=True)
class DescribeContext:
    """What is known about the expression besides its picture.

    :param expression: its id
    :param duration_ms: onset to offset
    :param unit_scores: action unit → probability from the spotter network, without sides; may be empty
    :param deadline_s: seconds that are left for an answer
    :param score: the spotter's; ``None`` where nothing was spotted
    :param source: id of its camera or recording
    """

    expression: str = ""
    duration_ms: float = 0.0
    unit_scores: tuple[tuple[int, float], ...] = ()
    deadline_s: float = 10.0
    score: float | None = None
    source: str = ""


class Describer(Protocol):
    """Turns evidence into words. Synchronous, callable from several threads at once.

    ``describe`` either returns a :class:`Description` (``abstained`` set when it will not say) or raises a
    :class:`mellm.stream.errors.DescriberError`. A model's error is an error, never a description.
    """

    @property
    def name(self) -> str:
        """The model as it appears in results."""
        ...

    @property
    def profile(self) -> str:
        """How it is asked, with a version."""
        ...

    @property
    def recipe(self) -> Recipe:
        """The evidence recipe it was made for."""
        ...

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Describe one expression before ``context.deadline_s`` has passed."""
        ...

    def close(self) -> None:
        """Release connections and sessions. Safe to call twice."""
        ...
