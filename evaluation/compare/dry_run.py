"""What a run would send and cost, without sending anything."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from mellm.evaluation.compare import requests
from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.config import Comparison, OpenAISystem
from mellm.evaluation.compare.limits import WINDOW_S
from mellm.evaluation.compare.measures import Prices
from mellm.evaluation.compare.types import Question, Task
from mellm.stream.errors import UsageError

MINUTE: Final = WINDOW_S / 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What one endpoint would be sent. Tokens and cost are estimates; of the answers, the most that is allowed.

    :param key: ``none needed``, or whether the variable is set; never what it holds
    :param cached: questions that are answered already
    :param send: those that would be sent
    :param unsendable: questions with a picture that endpoints do not take
    :param minutes: the least that the limits of the file allow; ``None`` without limits
    :param example: the first request, pictures by type and size; ``None`` where there is none
    """

    name: str
    model: str
    where: str
    key: str
    questions: int
    cached: int
    send: int
    unsendable: int
    tokens_in: int
    tokens_out_most: int
    cost_most: float | None
    minutes: float | None
    example: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class DryRun:
    """:param questions: task → questions

    :param silent: systems that are sent nothing, with the reason"""

    questions: dict[str, int]
    plans: tuple[Plan, ...]
    silent: dict[str, str]
    currency: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


_SILENT = {
    "embedded": "answers in this process",
    "rules": "answers in this process",
    "recorded": "answers from its records",
    "published": "is printed and not run",
}


class _Draft:
    def __init__(self, settings: OpenAISystem) -> None:
        self.settings = settings
        self.questions = self.cached = self.send = self.unsendable = self.tokens_in = 0
        self.example: dict[str, Any] | None = None

    def add(self, question: Question, cache: Cache | None) -> None:
        self.questions += 1
        try:
            fingerprint = requests.fingerprint(self.settings, question)
            shown = requests.shown(self.settings, question) if self.example is None else None
        except UsageError:
            self.unsendable += 1
            return
        if cache is not None and cache.get(fingerprint, self.settings.name, question) is not None:
            self.cached += 1
            return
        self.send += 1
        self.tokens_in += requests.tokens(self.settings, question)
        self.example = self.example or shown

    def plan(self) -> Plan:
        s = self.settings
        out = self.send * s.max_tokens
        cost = None
        if s.price_in is not None and s.price_out is not None:
            cost = Prices(s.price_in, s.price_out).cost(self.tokens_in, out)
        paces = [
            self.send / s.requests_per_minute if s.requests_per_minute else 0.0,
            self.tokens_in / s.tokens_per_minute if s.tokens_per_minute else 0.0,
        ]
        key = "none needed"
        if s.api_key_env:
            key = f"{s.api_key_env} is {'set' if os.environ.get(s.api_key_env, '').strip() else 'NOT set'}"
        return Plan(
            name=s.name,
            model=s.model,
            where=s.base_url,
            key=key,
            questions=self.questions,
            cached=self.cached,
            send=self.send,
            unsendable=self.unsendable,
            tokens_in=self.tokens_in,
            tokens_out_most=out,
            cost_most=cost,
            minutes=max(paces) * MINUTE if any(paces) else None,
            example=self.example,
        )


def dry_run(comparison: Comparison, tasks: Sequence[Task], cache: Cache | None = None) -> DryRun:
    """Go through all questions as a run would, and add up.

    :param cache: answers that need not be asked for again
    :raises MellmError: what a task raises when its questions cannot be read
    """
    drafts = [_Draft(c) for c in comparison.systems if isinstance(c, OpenAISystem)]
    counts = {}
    for task in tasks:
        counts[task.name] = 0
        for question in task.questions():
            counts[task.name] += 1
            for draft in drafts:
                draft.add(question, cache)
    silent = {c.name: _SILENT[c.kind] for c in comparison.systems if c.kind != "openai"}
    return DryRun(counts, tuple(draft.plan() for draft in drafts), silent, comparison.currency)


def lines(found: DryRun) -> list[str]:
    """The dry run for people."""
    asked = ", ".join(f"{task} {count:,}" for task, count in found.questions.items())
    out = [f"questions: {asked}", "nothing was sent"]
    for plan in found.plans:
        out += ["", f"{plan.name}: {plan.model} at {plan.where} (key: {plan.key})"]
        cached = f", {plan.cached:,} answered already" if plan.cached else ""
        out.append(f"  would send {plan.send:,} of {plan.questions:,} questions{cached}")
        if plan.unsendable:
            out.append(f"  {plan.unsendable:,} questions have a picture that is neither PNG, JPEG nor WebP")
        out.append(
            f"  tokens, estimated: {plan.tokens_in:,} in, at most {plan.tokens_out_most:,} out; "
            + (
                "no prices in the file"
                if plan.cost_most is None
                else f"at most {plan.cost_most:.2f} {found.currency}"
            )
        )
        if plan.minutes is not None:
            out.append(f"  takes at least {plan.minutes:.1f} min under the limits of the file")
        if plan.example is not None:
            out.append("  first request:")
            shown = json.dumps(plan.example, indent=2, ensure_ascii=False)
            out += [f"    {line}" for line in shown.splitlines()]
    if found.silent:
        out += ["", *(f"{name}: {reason}" for name, reason in found.silent.items())]
    return out
