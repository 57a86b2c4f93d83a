"""Questions to the held-out subjects: what the model answers, held against the reference answers.

Reference and answer are read by the same reader, so every form of the instruction data can be scored: JSON, prose
with ``AU4``, lists of unit names, class words. Where a record says what is true (``coarse``, ``abstain``), that counts
and not what its reference says of it: a reference that reasons from units alone may lean to another class. Intervals
are 95 %, by resampling subjects, because pairs of one person are not independent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from mellm.engine.describe.parse import clean, parse_json
from mellm.engine.describe.prose import parse_prose
from mellm.engine.facs.names import UNITS
from mellm.engine.types import Coarse
from mellm.training.mellm.finetune.collate import Encoder, collate
from mellm.training.mellm.finetune.data import Record

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RESAMPLES = 1000
_ABSTAINS = re.compile(r"\bno (?:micro-?)?expression\b|没有(?:微)?表情|读不出表情", re.IGNORECASE)
_NAMES = {name.lower(): au for au, both in UNITS.items() for name in both}
# the longest first, so that no name is read inside another
_NAMED = re.compile("|".join(re.escape(name) for name in sorted(_NAMES, key=lambda name: -len(name))))


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says.

    :param readable: whether it says anything of what it was asked"""

    units: frozenset[int] = frozenset()
    coarse: str | None = None
    abstains: bool = False
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; ``None`` where nothing was there to measure."""

    value: float | None
    low: float | None = None
    high: float | None = None
    of: int = 0

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f}), n = {self.of}"


@dataclass(frozen=True, slots=True)
class Scores:
    """Held-out results.

    :param units: micro-F1 of action units, sides left aside
    :param coarse: mean of the F1 of the classes that occur
    :param abstains: share of abstentions where abstaining is right
    :param withheld: where it is wrong
    :param readable: share of answers that can be read
    :param exact: share of answers equal to the reference, by task
    """

    records: int
    subjects: int
    units: Estimate
    coarse: Estimate
    abstains: Estimate
    withheld: Estimate
    readable: Estimate
    exact: dict[str, Estimate]

    def flat(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def read_answer(text: str) -> Reading:
    """What an answer says, whatever its form."""
    if text.lstrip().startswith(("{", "```")):
        parsed = parse_json(text)
        if parsed.problem is not None:
            return Reading(
                abstains=parsed.problem == "model_abstained", readable=parsed.problem == "model_abstained"
            )
        return Reading(
            frozenset(u.au for u in parsed.action_units), parsed.emotion.coarse if parsed.emotion else None
        )
    parsed = parse_prose(text)
    lowered = clean(text).lower()
    if any(_ABSTAINS.match(line.strip()) for line in text.splitlines()):
        return Reading(abstains=True)  # "No expression: this is a blink" names no unit
    named = {_NAMES[name] for name in _NAMED.findall(lowered)}
    units = frozenset(named | {u.au for u in parsed.action_units})
    coarse = parsed.emotion.coarse if parsed.emotion else None
    abstains = not units and _ABSTAINS.search(lowered) is not None
    return Reading(units, None if abstains else coarse, abstains, bool(lowered))


def truth_of(record: Record) -> Reading:
    """What is true: what the reference says, the class and the abstention as the record itself has them."""
    said = read_answer(record.answer)
    abstains, coarse = record.extra.get("abstain"), record.extra.get("coarse")
    if isinstance(abstains, bool) and abstains != said.abstains:
        said = replace(said, abstains=abstains)
    if record.extra.get("task") == "fine":
        return replace(said, coarse=None)  # asked for the emotion, not for its class
    if said.coarse is not None and coarse in get_args(Coarse):
        said = replace(said, coarse=coarse)
    return said


def spread(records: Sequence[Record], limit: int) -> list[Record]:
    """At most ``limit`` records, evenly over the file."""
    if len(records) <= limit:
        return list(records)
    return [records[i * len(records) // limit] for i in range(limit)]


@torch.inference_mode()
def ask(
    model: PreTrainedModel,
    encoder: Encoder,
    records: Sequence[Record],
    *,
    max_tokens: int,
    batch: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Greedy answers to the questions of the records."""
    was = model.training
    model.eval()
    tokenizer = encoder.processor.tokenizer
    pad = int(tokenizer.pad_token_id or 0)
    answers: list[str] = []
    for i in range(0, len(records), batch):
        prompts = [encoder.prompt(r) for r in records[i : i + batch]]
        inputs = {k: v.to(model.device) for k, v in collate(prompts, pad, left=True).items()}
        generate: Any = model.generate
        said = generate(
            **inputs,
            do_sample=False,
            use_cache=True,
            max_new_tokens=max_tokens,
            eos_token_id=sorted(encoder.end_tokens),
            pad_token_id=pad,
        )
        start = inputs["input_ids"].shape[1]
        answers += tokenizer.batch_decode(said[:, start:], skip_special_tokens=True)
        if on_progress:
            on_progress(len(answers), len(records))
    model.train(was)
    return answers


def score(records: Sequence[Record], answers: Sequence[str], seed: int = 1) -> Scores:
    """Hold answers against references."""
    rows = [_row(r, a) for r, a in zip(records, answers, strict=True)]
    subjects = sorted({r.subject for r in records})
    of_subject: dict[str, list[int]] = {s: [] for s in subjects}
    for i, r in enumerate(records):
        of_subject[r.subject].append(i)
    rng = np.random.default_rng(seed)
    draws = [
        [i for s in rng.choice(len(subjects), len(subjects)) for i in of_subject[subjects[int(s)]]]
        for _ in range(RESAMPLES if len(subjects) > 1 else 0)
    ]

    def estimate(
        measure: Callable[[Sequence[_Row]], float | None], wanted: Callable[[_Row], bool]
    ) -> Estimate:
        value = measure([r for r in rows if wanted(r)])
        again = [measure([rows[i] for i in draw if wanted(rows[i])]) for draw in draws]
        known = [v for v in again if v is not None]
        if value is None:
            return Estimate(None)
        low, high = np.percentile(known, [2.5, 97.5]) if known else (value, value)
        return Estimate(round(value, 4), round(float(low), 4), round(float(high), 4), sum(map(wanted, rows)))

    return Scores(
        records=len(records),
        subjects=len(subjects),
        units=estimate(_micro_f1, lambda r: bool(r.truth.units)),
        coarse=estimate(_uf1, lambda r: r.truth.coarse is not None),
        abstains=estimate(_abstained, lambda r: r.truth.abstains),
        withheld=estimate(_abstained, lambda r: not r.truth.abstains),
        readable=estimate(_readable, lambda r: True),
        exact={
            task: estimate(_exact, lambda r, task=task: r.task == task)  # type: ignore[misc]
            for task in sorted({r.task for r in rows})
        },
    )


@dataclass(frozen=True, slots=True)
class _Row:
    task: str
    truth: Reading
    said: Reading
    exact: bool


def _row(record: Record, answer: str) -> _Row:
    truth, said = truth_of(record), read_answer(answer)
    form = "json" if record.answer.lstrip().startswith("{") else "prose"
    return _Row(str(record.extra.get("task", form)), truth, said, _plain(answer) == _plain(record.answer))


def _plain(text: str) -> str:
    return clean(text).lower().strip(" .。")


def _share(hits: Iterable[bool]) -> float | None:
    counted = list(hits)
    return sum(counted) / len(counted) if counted else None


def _abstained(rows: Sequence[_Row]) -> float | None:
    return _share(r.said.abstains for r in rows)


def _readable(rows: Sequence[_Row]) -> float | None:
    return _share(r.said.readable for r in rows)


def _exact(rows: Sequence[_Row]) -> float | None:
    return _share(r.exact for r in rows)


def _micro_f1(rows: Sequence[_Row]) -> float | None:
    hits = sum(len(r.truth.units & r.said.units) for r in rows)
    false = sum(len(r.said.units - r.truth.units) for r in rows)
    missed = sum(len(r.truth.units - r.said.units) for r in rows)
    return 2 * hits / (2 * hits + false + missed) if rows else None


def _uf1(rows: Sequence[_Row]) -> float | None:
    """Mean F1 over the classes that occur in the truth; an answer without a class is wrong."""
    confusion: Mapping[tuple[str | None, str | None], int] = Counter(
        (r.truth.coarse, r.said.coarse) for r in rows
    )
    classes = {truth for truth, _ in confusion}
    each = []
    for name in classes:
        hits = confusion[name, name]
        missed = sum(n for (truth, said), n in confusion.items() if truth == name != said)
        false = sum(n for (truth, said), n in confusion.items() if said == name != truth)
        each.append(2 * hits / (2 * hits + missed + false))
    return sum(each) / len(each) if each else None
