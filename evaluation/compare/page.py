"""The report as one page of HTML: tables, and the answers side by side. It loads nothing from anywhere.

Whatever a model, a file or a task says is text here: the template escapes it, and a policy in the page lets no script
run but its own, and no address be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mellm.evaluation.compare.layout import (
    Grid,
    change_grid,
    measure_grid,
    refusal_grid,
    score_grid,
    seconds,
)
from mellm.evaluation.compare.measures import style, words
from mellm.evaluation.compare.samples import Asked, Sample, Shown
from mellm.evaluation.compare.types import Answer, Entry, RunResult, State

FOLD: Final = 700
"""Characters of a text that are shown at once; the rest is folded away."""

FOLD_SLACK: Final = 200
STATES: Final[Mapping[State, str]] = {
    "answered": "answered",
    "refused": "refused",
    "failed": "failed",
    "unsupported": "unsupported",
}
_STYLES: Final = {"direct": "direct", "stepwise": "step by step", "other": ""}
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text in two parts.

    :param rest: folded away; empty of a short text"""

    head: str
    rest: str


def html(results: RunResult, shown: Sequence[Shown]) -> str:
    """The page.

    :param shown: of every task, in the order of the results
    """
    css, js = _asset("page.css"), _asset("page.js")
    names = [entry.name for entry in results.entries]
    samples = [sample for seen in shown for sample in seen.samples]
    page: str = (
        _environment()
        .get_template("page.html")
        .render(
            results=results,
            css=Markup(css),
            js=Markup(js),
            css_hash=_hash(css),
            js_hash=_hash(js),
            systems=list(_systems(results)),
            measures=measure_grid(results.entries).turned(),
            tasks=list(_tasks(results, shown)),
            changes=change_grid(results),
            change_text=change_text(results),
            samples=samples,
            shown=sum(seen.shown for seen in shown),
            questions=sum(seen.questions for seen in shown),
            names=names,
            domains=_distinct(sample.domain for sample in samples),
            task_names=_distinct(sample.task for sample in samples),
            techniques=_distinct(asked.technique for sample in samples for asked in sample.asked),
            states=STATES,
            fold=fold,
            answers=lambda asked: answers(asked, names),
            places=place,
            grid_rows=grid_rows,
            soft=soft,
        )
    )
    return page


def who(entry: Entry) -> str:
    """What sort of system it is, and where it answered."""
    where = re.sub(r"^https?://", "", entry.where)
    match entry.kind:
        case "openai":
            return f"{entry.model} at {where}"
        case "recorded":
            model = "" if entry.model == entry.name else f" of {entry.model}"
            return f"recorded answers{model}, {where}"
        case _:
            return f"{entry.model}, in {where}"


def change_text(results: RunResult) -> str:
    """One sentence about the last run."""
    if results.interrupted:
        return "This run is not complete, so that it is compared with none."
    if results.previous is None:
        return "No earlier complete run in this folder asked the same questions."
    if not results.changes:
        return f"No score changed since the run of {results.previous}."
    return f"{len(results.changes):,} scores changed since the run of {results.previous}."


def fold(text: str) -> Folded:
    """Cut a long text at a blank."""
    clean = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(clean) <= FOLD + FOLD_SLACK:
        return Folded(clean, "")
    at = max(clean.rfind(" ", FOLD - 80, FOLD), clean.rfind("\n", FOLD - 80, FOLD))
    at = FOLD if at < 0 else at
    return Folded(clean[:at], clean[at:])


def answers(asked: Asked, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Answers in the order of the systems, as the template wants them."""
    for name in names:
        answer = asked.answers.get(name)
        if answer is None:
            continue
        said = answer.text or ""
        yield {
            "name": name,
            "state": answer.state,
            "label": STATES[answer.state],
            "text": fold(said) if said.strip() else None,
            "error": fold(answer.error).head if answer.error and answer.state != "answered" else "",
            "facts": " · ".join(_facts(answer)),
        }


def _facts(answer: Answer) -> Iterator[str]:
    if answer.cut:
        yield "cut short"
    if answer.state == "answered" and answer.text is not None:
        count = words(answer.text)
        yield f"{count:,} word{'s' * (count != 1)}"
        if said := _STYLES[style(answer.text)]:
            yield said
    if answer.latency_s is not None:
        yield f"{seconds(answer.latency_s)} s"


def place(sample: Sample) -> str:
    """Where a sample belongs."""
    return " › ".join(part for part in (sample.task, sample.domain, sample.subtask) if part)


def soft(text: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup("_<wbr>").join(_clean(text).split("_"))


def grid_rows(grid: Grid) -> Iterator[list[dict[str, Any]]]:
    """Cells as the template wants them."""
    for r, row in enumerate(grid.text_rows()):
        yield [
            {"text": cell, "head": grid.heads[k], "word": k in grid.words, "best": (r, k) in grid.best}
            for k, cell in enumerate(row)
        ]


def _systems(results: RunResult) -> Iterator[dict[str, Any]]:
    for entry in results.entries:
        states = entry.measures.states
        total = sum(states.values())
        bars: list[dict[str, Any]] = []
        at = 0.0
        for state, label in STATES.items():
            share = 100 * states.get(state, 0) / total if total else 0.0
            bars.append(
                {"state": state, "label": label, "x": at, "width": share, "count": states.get(state, 0)}
            )
            at += share
        yield {
            "name": entry.name,
            "who": who(entry),
            "stopped": entry.stopped,
            "bars": [bar for bar in bars if bar["count"]],
        }


def _tasks(results: RunResult, shown: Sequence[Shown]) -> Iterator[dict[str, Any]]:
    for result, seen in zip(results.tasks, shown, strict=True):
        yield {
            "name": result.task.name,
            "questions": seen.questions,
            "tables": [score_grid(result.task.name, table) for table in result.tables],
            "measures": measure_grid(results.entries, result.task.name).turned()
            if len(results.tasks) > 1
            else None,
            "refusals": refusal_grid(seen),
        }


def _distinct(values: Iterator[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> str:
    return files("mellm.evaluation.compare").joinpath("web", name).read_text("utf-8")


def _clean(value: Any) -> Any:
    """Of every text on the page: what could turn or hide the rest of it is made visible."""
    return (
        value if isinstance(value, Markup) or not isinstance(value, str) else _CONTROLS.sub("\ufffd", value)
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
