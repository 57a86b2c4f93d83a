"""Systems in this process: mellm-nano and the rule-based describer. They know micro-expressions and nothing else.

They answer from :attr:`Question.evidence`. A question without it is *unsupported*, and so is one that asks for what
they do not tell (the fine class, units beyond their own). Questions in the challenge's templates are answered in the
challenge's words, any other with the JSON object of the ``generic`` profile.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any, Final

from mellm.engine.describe import create
from mellm.engine.describe.base import DescribeContext, Describer
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Description
from mellm.evaluation.compare.config import EmbeddedSystem, RulesSystem
from mellm.evaluation.compare.types import Answer, Kind, Question
from mellm.stream.errors import DescriberError

_ASKS_COARSE: Final = re.compile(r"what is the coarse expression class\??", re.IGNORECASE)
_ASKS_FINE: Final = re.compile(r"fine-grained\s+expression", re.IGNORECASE)
_ASKS_UNITS: Final = re.compile(r"what (?:is|are) the action units?\??", re.IGNORECASE)
_ASKS_UNIT: Final = re.compile(r"is the action unit (.+?) shown on the face\??", re.IGNORECASE)
_ASKS_SIDE: Final = re.compile(
    r"is the action unit (.+?) located on the left or (?:the )?right (?:side of the )?face\??", re.IGNORECASE
)
_ASKS_TEXT: Final = re.compile(
    r"please analy[sz]e the micro-expression .*in detail\.?", re.IGNORECASE | re.DOTALL
)
_BY_NAME: Final = {unit.name.lower(): number for number, unit in facs.UNITS.items()}


class DescriberSystem:
    """A describer of this project as a system.

    :param describer: made by the caller, closed with the system
    """

    concurrency = 1  # one inference session; two are slower on two busy cores
    stopped: str | None = None
    where = "this process"

    def __init__(self, name: str, kind: Kind, describer: Describer, *, deadline_s: float = 60.0) -> None:
        self.name = name
        self.kind: Kind = kind
        self.model = f"{describer.name} ({describer.profile})"  # as results of this project name it
        self._describer = describer
        self._deadline_s = deadline_s

    def fingerprint(self, question: Question) -> str | None:
        """``None``: asking again is as quick as looking it up, and never stale."""
        return None

    async def close(self) -> None:
        """Close the describer."""
        self._describer.close()

    async def ask(self, question: Question) -> Answer:
        """Describe the evidence, then say what was asked."""
        evidence = question.evidence
        if evidence is None:
            return self._not(question, "unsupported", "no_evidence", "it reads motion evidence, not pictures")
        if _ASKS_FINE.search(question.prompt):
            return self._not(
                question, "unsupported", "fine_class", "action units alone do not settle a fine class"
            )
        unit = _ASKS_SIDE.search(question.prompt) or _ASKS_UNIT.search(question.prompt)
        if unit and unit[1].strip().lower() not in _BY_NAME:
            return self._not(
                question, "unsupported", "unit", f"it does not read {unit[1].strip()!r} from motion"
            )
        duration_ms = question.meta.get("duration_ms", 0.0)
        context = DescribeContext(
            question.id,
            float(duration_ms) if isinstance(duration_ms, int | float) else 0.0,
            deadline_s=self._deadline_s,
        )
        began = time.monotonic()
        try:
            said = await asyncio.to_thread(self._describer.describe, evidence, context)
        except DescriberError as error:
            return self._not(question, "failed", error.code, error.message)
        took = time.monotonic() - began
        text = reply(question.prompt, said)
        if text is None:
            return self._not(question, "refused", said.abstained or "abstained", "it abstains", took)
        return Answer(
            self.name,
            question.task,
            question.id,
            "answered",
            text,
            latency_s=took,
            tokens_in=said.usage.prompt_tokens,
            tokens_out=said.usage.completion_tokens,
            tries=1,
        )

    def _not(
        self, question: Question, state: Any, reason: str, error: str, took: float | None = None
    ) -> Answer:
        return Answer(
            self.name,
            question.task,
            question.id,
            state,
            reason=reason,
            error=error,
            latency_s=took,
            tries=0 if took is None else 1,
        )


def make(settings: EmbeddedSystem | RulesSystem) -> DescriberSystem:
    """The system that the file names.

    :raises ModelError: the model's folder is not there, incomplete or damaged
    """
    if isinstance(settings, RulesSystem):
        return DescriberSystem(settings.name, "rules", create("rules"))
    describer = create("nano", folder=settings.folder)
    return DescriberSystem(settings.name, "embedded", describer, deadline_s=settings.deadline_s)


def reply(prompt: str, said: Description) -> str | None:
    """A description in the words of the question; ``None`` where the describer abstained and only JSON can say so.

    Names of units are those of FACS in the challenge's spelling (``brow lowerer``), in the order of their numbers.
    """
    asked = " ".join(prompt.split())
    units = sorted({unit.au for unit in said.action_units})
    forms = (_ASKS_COARSE, _ASKS_UNITS, _ASKS_SIDE, _ASKS_UNIT, _ASKS_TEXT)
    form = next((form for form in forms if form.search(asked)), None)
    if form is None:
        return as_json(said)
    if said.abstained is not None:
        return None
    if form is _ASKS_COARSE:
        return said.emotion.coarse if said.emotion else None
    if form is _ASKS_UNITS:
        return ", ".join(facs.UNITS[au].name.lower() if au in facs.UNITS else f"AU{au}" for au in units)
    if form is _ASKS_TEXT:
        return said.text
    match = form.search(asked)
    assert match is not None
    wanted = _BY_NAME.get(match[1].strip().lower())
    if form is _ASKS_UNIT:
        return "yes" if wanted in units else "no"
    sides = {unit.side for unit in said.action_units if unit.au == wanted}
    return sides.pop() if len(sides) == 1 and not sides & {"both"} else None


def as_json(said: Description) -> str:
    """The object that the ``generic`` profile asks for, as :func:`mellm.engine.describe.parse.parse_json` reads it."""
    return json.dumps(
        {
            "text": said.text,
            "action_units": [{"au": u.au, "side": u.side, "score": u.score} for u in said.action_units],
            "emotion": said.emotion.scores if said.emotion else None,
            "abstain": said.abstained is not None,
        },
        ensure_ascii=False,
    )
