"""Another describer for when the first one cannot answer; what it says is marked as its own."""

from __future__ import annotations

import logging
from dataclasses import replace

from mellm.engine.describe.base import DescribeContext, Describer, Recipe
from mellm.engine.types import Description, Evidence, Fallback
from mellm.stream.errors import DescriberError, UsageError

logger = logging.getLogger(__name__)

RESERVE_S = 1.0
"""Of a job's deadline, what is kept for the second describer: p95 of the embedded one on a busy core."""


class FallbackDescriber:
    """Asks ``first``; on an error of any kind asks ``second`` instead.

    The description then carries the second one's model and profile, and :class:`mellm.engine.types.Fallback` says
    who should have answered and why it did not. A model that abstains has answered.

    :raises UsageError: the two read different evidence, so one picture cannot serve both
    """

    def __init__(self, first: Describer, second: Describer) -> None:
        if first.recipe != second.recipe:
            raise UsageError(
                f"{second.name} cannot stand in for {first.name}: "
                f"it reads {second.recipe} evidence, not {first.recipe}",
                remedy="use the generic profile, or no fallback",
            )
        self._first = first
        self._second = second
        self._failing: str | None = None

    @property
    def name(self) -> str:
        """Of the first describer: this is who should answer."""
        return self._first.name

    @property
    def profile(self) -> str:
        """Of the first describer."""
        return self._first.profile

    @property
    def recipe(self) -> Recipe:
        """Of both."""
        return self._first.recipe

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """The first describer's answer, or the second one's with a mark.

        :raises DescriberError: the second one failed, too
        """
        reserve = min(RESERVE_S, context.deadline_s / 2)
        try:
            answer = self._first.describe(evidence, replace(context, deadline_s=context.deadline_s - reserve))
        except DescriberError as error:
            if self._failing != error.code:  # once for each cause, not for every expression
                logger.warning("%s answers for %s: %s", self._second.name, self._first.name, error)
            self._failing = error.code
            answer = self._second.describe(evidence, replace(context, deadline_s=reserve))
            return replace(answer, fallback=Fallback(self._first.name, error.code))
        if self._failing is not None:
            logger.warning("%s answers again", self._first.name)
            self._failing = None
        return answer

    def close(self) -> None:
        """Close both."""
        self._first.close()
        self._second.close()
