"""The embedded describer: mellm-nano in this process, on ONNX Runtime, without torch and without network.

What its scores are: a unit's score is the probability that the model gave to the unit's number where it wrote it, given
what it had written before; for the first unit, how sure the model is that this one is the first. The scores of the
classes are the numbers that it wrote.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Final

from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.describe.nano_folder import Language
from mellm.engine.describe.nano_graph import Written, shared
from mellm.engine.describe.profiles import nano
from mellm.engine.describe.words import clean
from mellm.engine.types import Description, Evidence, Usage
from mellm.stream.errors import AnswerInvalid, ModelOutputInvalid

SHIPPED: Final = Path(__file__).parent / "models" / "nano"

_LOOP: Final = re.compile(r"(.{2,60}?)\1{5}")
"""Words that a model in a loop repeats; no canonical answer says anything six times running."""
NOTHING: Final = Usage()
_NUMBER: Final = re.compile(rb'"au":(\d+)')


@dataclass(frozen=True, slots=True)
class Reading:
    """A description with what the model let see of itself, for evaluation.

    :param raw: what it wrote; empty where it was not asked
    :param abstains: its probability of abstaining; ``None`` where it was not asked or wrote something else
    """

    description: Description
    raw: str = ""
    abstains: float | None = None


class NanoDescriber:
    """See the module. Thread-safe; all describers of one folder in a process share its sessions.

    :param folder: a model folder; the shipped one if not given
    :param constrained: write canonical answers only (see :mod:`mellm.engine.describe.grammar`)
    :param gate: evidence under the motion floor is not shown to the model
    :param limit: most tokens of an answer
    :raises ModelMissing: the folder is incomplete or damaged
    :raises ModelCorrupt: the folder is incomplete or damaged
    :raises MissingExtra: ONNX Runtime is not installed
    """

    profile = f"{nano.PROFILE.name}/{nano.PROFILE.version}"
    recipe: Recipe = "live"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        language: Language = "en",
        constrained: bool = True,
        gate: bool = True,
        limit: int = nano.MAX_TOKENS,
    ) -> None:
        self._graph = shared(folder or SHIPPED)
        self._language: Language = language
        self._constrained = constrained
        self._gate = gate
        self._limit = limit

    @property
    def name(self) -> str:
        """The model with the version of its weights."""
        return f"mellm-nano-{self._graph.folder.version}"

    def describe(self, evidence: Evidence, context: DescribeContext) -> Description:
        """Describe one expression. See :class:`mellm.engine.describe.base.Describer`.

        Abstains with the evidence's own reason where it was refused, with ``model_abstained`` where the model does,
        and with ``unparsable`` and the raw answer where it is cut short, repeats itself or is no canonical answer.

        :raises DescriberTimeout: the deadline passed between two tokens
        :raises AnswerInvalid: the network answered with NaN
        """
        return self.read_many([evidence], deadline_s=context.deadline_s)[0].description

    def describe_many(
        self, evidences: Iterable[Evidence], *, deadline_s: float = float("inf"), batch: int = 8
    ) -> list[Description]:
        """Describe several expressions, ``batch`` together; in their order.

        :raises DescriberTimeout: as :meth:`describe`, for all of them
        :raises AnswerInvalid: as :meth:`describe`, for all of them
        """
        return [r.description for r in self.read_many(evidences, deadline_s=deadline_s, batch=batch)]

    def read_many(
        self, evidences: Iterable[Evidence], *, deadline_s: float = float("inf"), batch: int = 8
    ) -> list[Reading]:
        """As :meth:`describe_many`, with the raw answers and the probabilities of abstaining."""
        deadline = time.monotonic() + deadline_s
        left, found = iter(evidences), []
        while some := list(islice(left, batch)):
            found += self._read(some, deadline)
        return found

    def close(self) -> None:
        """Nothing to release: the sessions are the process's."""

    def _read(self, evidences: Sequence[Evidence], deadline: float) -> list[Reading]:
        started = time.monotonic()
        shown = [e for e in evidences if not (self._gate and e.refused)]
        written = iter(self._write(shown, deadline) if shown else ())
        latency_ms = (time.monotonic() - started) * 1e3
        readings = [
            self._refused(e) if self._gate and e.refused else self._reading(next(written)) for e in evidences
        ]
        return [replace(r, description=replace(r.description, latency_ms=latency_ms)) for r in readings]

    def _write(self, evidences: Sequence[Evidence], deadline: float) -> list[Written]:
        folder = self._graph.folder
        try:
            return self._graph.write(
                [nano.picture(e, folder.side) for e in evidences],
                language=self._language,
                limit=self._limit,
                constrained=self._constrained,
                abstain_at=folder.abstain_at,
                deadline=deadline,
            )
        except ModelOutputInvalid as error:
            raise AnswerInvalid(
                error.message, remedy="try again; if it stays, install mellm-live again"
            ) from error

    def _refused(self, evidence: Evidence) -> Reading:
        return Reading(self._description(abstained=evidence.refused))

    def _reading(self, written: Written) -> Reading:
        raw = self._graph.folder.text(written.ids)
        used = Usage(len(self._graph.folder.prompts[self._language]), len(written.ids) + written.whole)
        parsed = nano.PROFILE.parse(raw)
        read = written.whole and parsed.problem in (None, "model_abstained")
        if not read or _LOOP.search(parsed.text):
            said = self._description(clean(raw), abstained="unparsable", usage=used)
        else:
            scores = unit_scores(written, self._graph.folder.tokens)
            units = (replace(u, score=round(scores.get(u.au, u.score), 4)) for u in parsed.action_units)
            said = replace(
                self._description(parsed.text, abstained=parsed.problem, usage=used),
                action_units=tuple(units),
                emotion=parsed.emotion,
            )
        return Reading(said, raw, written.abstains)

    def _description(self, text: str = "", *, abstained: str | None, usage: Usage = NOTHING) -> Description:
        return Description(
            text=text,
            action_units=(),
            emotion=None,
            model=self.name,
            profile=self.profile,
            prompt_version=nano.PROFILE.version,
            abstained=abstained,
            usage=usage,
        )


def unit_scores(written: Written, tokens: Sequence[bytes]) -> dict[int, float]:
    """Unit → probability of the token or tokens that its number was written with, where it was written first."""
    spans, at = [], 0
    for i, share in zip(written.ids, written.shares, strict=True):
        spans.append((at, at + len(tokens[i]), share))
        at += len(tokens[i])
    scores: dict[int, float] = {}
    for found in _NUMBER.finditer(b"".join(tokens[i] for i in written.ids)):
        first, last = found.span(1)
        shares = [share for begin, end, share in spans if begin < last and end > first]
        scores.setdefault(int(found[1]), prod(shares))
    return scores
