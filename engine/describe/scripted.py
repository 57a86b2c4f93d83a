"""A describer that says what it was told to: for tests of everything around describers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from threading import Lock
from typing import TypeAlias

from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.types import ActionUnit, Description, Emotion, Evidence
from mellm.stream.errors import DescriberError

Step: TypeAlias = "Description | DescriberError | Callable[[Evidence, DescribeContext], Description]"

DEFAULT = Description(
    text="Scripted description.",
    action_units=(ActionUnit(4, "both", 0.9),),
    emotion=Emotion("negative", {"negative": 0.8, "positive": 0.1, "surprise": 0.1}),
    model="scripted",
    profile="scripted-1",
    prompt_version="1",
)


class ScriptedDescriber:
    """Plays a list of answers and errors, round and round.

    :param steps: descriptions to return, errors to raise, or functions to call
    :param delay_s: how long each answer takes
    """

    name = "scripted"
    profile = "scripted-1"
    recipe: Recipe = "live"

    def __init__(self, steps: Iterable[Step] = (DEFAULT,), *, delay_s: float = 0.0) -> None:
        self._steps: Iterator[Step] = cycle(list(steps))
        self._lock = Lock()
        self._delay_s = delay_s
        self.calls: list[DescribeContext] = []
        self.closed = False

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Play the next step."""
        with self._lock:
            self.calls.append(context)
            step = next(self._steps)
        if self._delay_s:
            time.sleep(self._delay_s)
        if isinstance(step, DescriberError):
            raise step
        return step if isinstance(step, Description) else step(evidence, context)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
