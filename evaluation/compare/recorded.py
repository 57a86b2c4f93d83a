"""Systems whose answers are there already: a folder of official MME result files, or a JSONL file.

A line of JSONL is an object: ``id`` (of the question) and ``answer`` are needed; ``task``, ``system``, ``state``
(answered, refused, failed, unsupported), ``reason``, ``cut``, ``latency_s``, ``tokens_in`` and ``tokens_out`` may be
there. The ``answers.jsonl`` of a run has this shape. Lines of MME are found by sub-task, image and question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, cast, get_args

from mellm.evaluation.compare.config import RecordedSystem
from mellm.evaluation.compare.replies import refuses
from mellm.evaluation.compare.types import Answer, Kind, Question, State
from mellm.evaluation.metrics import mme
from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.stream.errors import RunError
from mellm.stream.files import replacing

MAX_LINE: Final = 1 << 20
_KNOWN: Final = frozenset(
    {
        *("id", "answer", "task", "system", "contestant", "model", "state", "reason", "error", "cut"),
        *("latency_s", "tokens_in", "tokens_out", "tries", "cached"),
    }
)
Key = tuple[str, ...]


class RecordedAnswers:
    """A system that only remembers. What it has no record of is *unsupported*, with reason ``not_recorded``.

    :param find: question → its record, named after nobody in particular
    """

    kind: Kind = "recorded"
    concurrency = 1
    stopped: str | None = None

    def __init__(self, settings: RecordedSystem, find: Callable[[Question], Answer | None]) -> None:
        self.name, self.model = settings.name, settings.model or settings.name
        self.where = settings.path.name
        self._task, self._find = settings.task, find

    def fingerprint(self, question: Question) -> str | None:
        """``None``: it is a record already."""
        return None

    async def close(self) -> None:
        """Nothing is open."""

    async def ask(self, question: Question) -> Answer:
        """Look it up."""
        found = self._find(question) if self._task in ("", question.task) else None
        if found is not None:
            return replace(found, system=self.name, task=question.task, question=question.id, cached=True)
        return Answer(
            self.name,
            question.task,
            question.id,
            "unsupported",
            reason="not_recorded",
            error="there is no record of an answer",
        )


def make(settings: RecordedSystem) -> RecordedAnswers:
    """Read the records.

    :raises MetricsError: no such file or folder, or nothing in it
    :raises RowError: a line that cannot be read, an answer that is there twice
    """
    path = settings.path
    if path.is_dir():
        return RecordedAnswers(settings, _from_mme(path))
    if not path.is_file():
        raise MetricsError(
            f"{settings.name}: there is no file or folder {path}",
            remedy="give a folder of MME result files, or a JSONL file",
        )
    return RecordedAnswers(settings, _from_jsonl(path, settings.model))


def save(path: Path, answers: Iterable[Answer]) -> Path:
    """Write answers as JSONL that :func:`make` reads again.

    :returns: ``path``
    :raises RunError: it cannot be written
    """
    try:
        with (
            replacing(path) as part,
            part.open("w", encoding="utf-8", errors="replace", newline="\n") as file,
        ):
            for answer in answers:
                row = asdict(answer)
                row |= {"id": row.pop("question"), "answer": row.pop("text")}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})") from error
    return path


def _from_mme(folder: Path) -> Callable[[Question], Answer | None]:
    found: dict[Key, Answer] = {}
    for task, pairs in mme.read_results(folder).tasks.items():
        for line in (line for pair in pairs for line in pair):
            # an empty response was given and is wrong; nobody knows why it is empty
            reason = "phrase" if refuses(line.response) else None
            found[task.lower(), line.image.strip(), _folded(line.question)] = _record(line.response, reason)

    def find(question: Question) -> Answer | None:
        subtask, image = question.meta.get("subtask"), question.meta.get("image")
        return found.get((str(subtask).lower(), str(image), _folded(question.prompt)))

    return find


def _from_jsonl(path: Path, model: str) -> Callable[[Question], Answer | None]:
    found: dict[Key, Answer] = {}
    for number, row in _rows(path):
        # files of before 0.2 say "contestant"
        if model and row.get("system", row.get("contestant", row.get("model", model))) != model:
            continue
        key = (str(row.get("task") or ""), str(row["id"]))
        if key in found:
            raise RowError(f"a second answer to {key[1]!r}", file=str(path), line=number)
        try:
            found[key] = _row_answer(row)
        except (TypeError, ValueError) as error:
            raise RowError(str(error), file=str(path), line=number) from error
    if not found:
        whose = f" of {model}" if model else ""
        raise MetricsError(
            f"{path} holds no answers{whose}", remedy="one JSON object a line with id and answer"
        )

    def find(question: Question) -> Answer | None:
        return found.get((question.task, question.id)) or found.get(("", question.id))

    return find


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line) if len(line) <= MAX_LINE else None
                except (ValueError, RecursionError) as error:
                    raise RowError(f"this is no JSON ({error})", file=str(path), line=number) from error
                if not isinstance(row, dict) or not {"id", "answer"} <= row.keys():
                    raise RowError("no object with id and answer", file=str(path), line=number)
                if unknown := sorted(row.keys() - _KNOWN):
                    raise RowError(
                        f"unknown key {unknown[0]!r}",
                        file=str(path),
                        line=number,
                        remedy=f"expected: {', '.join(sorted(_KNOWN))}",
                    )
                yield number, row
    except UnicodeDecodeError as error:
        raise MetricsError(f"{path} is no UTF-8 text", remedy="save it as UTF-8") from error
    except OSError as error:
        raise MetricsError(f"{path} cannot be read ({error.strerror})", remedy="check it") from error


def _row_answer(row: dict[str, Any]) -> Answer:
    text = row["answer"]
    if text is not None and not isinstance(text, str):
        raise ValueError(f"answer is {text!r}, not text")
    state, reason = row.get("state"), row.get("reason")
    if state is None:
        reason = "no_answer" if text is None else "phrase" if refuses(text) else None
        state = "failed" if text is None else "refused" if reason else "answered"
    if state not in get_args(State):
        raise ValueError(f"state {state!r} is none of {', '.join(get_args(State))}")
    if state != "answered":
        reason = str(reason or state)
    return Answer(
        *("", "", ""),
        cast(State, state),
        text,
        reason=reason,
        error=row.get("error"),
        cut=row.get("cut") is True,
        latency_s=_number(row, "latency_s"),
        tokens_in=_count(row, "tokens_in"),
        tokens_out=_count(row, "tokens_out"),
    )


def _record(text: str, reason: str | None) -> Answer:
    return Answer("", "", "", "refused" if reason else "answered", text, reason=reason)


def _number(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{key} is {value!r}")
    return float(value)


def _count(row: dict[str, Any], key: str) -> int | None:
    value = _number(row, key)
    if value is not None and value != int(value):
        raise ValueError(f"{key} is {value!r}, not a whole number")
    return None if value is None else int(value)


def _folded(question: str) -> str:
    """Questions as they are compared: copies differ in blanks and capitals, and some leave out the request."""
    return " ".join(question.split()).lower().removesuffix("please answer yes or no.").rstrip()
