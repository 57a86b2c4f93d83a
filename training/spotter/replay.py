"""A network asked once for each clip, and decoded as often as there are options to try."""

from __future__ import annotations

import time

from mellm.detectors.stepmodel import StepModel
from mellm.detectors.types import F32
from mellm.stream.errors import ModelOutputInvalid


class Replay:
    """A step model that answers a clip from memory; the first time it asks the true one and keeps the times.

    :ivar step_s: seconds that each step took when it was asked for the first time
    """

    def __init__(self, model: StepModel) -> None:
        self._model = model
        self.delay_steps, self.threshold = model.delay_steps, model.threshold
        self._rows: list[F32 | None] = []  # None: no valid answer
        self._next = 0
        self.step_s: list[float] = []

    def rewind(self) -> None:
        """The clip begins anew."""
        self._next = 0

    @property
    def sensitivity(self) -> None:
        """None: scores are compared, and nothing is said of time."""

    def start(self) -> F32:
        return self._model.start()

    def step(self, features: F32, state: F32) -> tuple[F32, F32]:
        """See :class:`mellm.detectors.stepmodel.StepModel`; a replayed state is the one given."""
        if self._next == len(self._rows):
            began = time.perf_counter()
            try:
                y, state = self._model.step(features, state)
            except ModelOutputInvalid:
                self._rows.append(None)
            else:
                self._rows.append(y)
            self.step_s.append(time.perf_counter() - began)
        known = self._rows[self._next]
        self._next += 1
        if known is None:
            raise ModelOutputInvalid("the network answered this step with no number")
        return known, state
