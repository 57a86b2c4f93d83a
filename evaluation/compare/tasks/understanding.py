"""Action units and coarse class of a data set's clips, asked with the motion map between onset and apex.

Endpoints see what a describer of the product sees: the same map, the same words. Embedded describers answer from the
evidence itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2

from mellm.engine.describe import profiles
from mellm.engine.describe.base import DescribeContext
from mellm.engine.describe.parse import Parsed
from mellm.engine.types import Evidence
from mellm.evaluation.compare import published as known
from mellm.evaluation.compare.config import UnderstandingTask
from mellm.evaluation.compare.types import Answer, Answers, Cell, Published, Question, Row, Table
from mellm.evaluation.dataset_runs import describing
from mellm.evaluation.datasets import Clip, load
from mellm.evaluation.datasets.errors import DatasetError
from mellm.evaluation.metrics import priors
from mellm.evaluation.metrics.action_units import action_unit_score
from mellm.evaluation.metrics.recognition import recognition_score
from mellm.stream.errors import FaceError


@dataclass(frozen=True, slots=True)
class Case:
    """A clip that can be asked about."""

    clip: Clip
    evidence: Evidence
    picture: bytes


class Understanding:
    """The task. Clips without frames, moments or a face cannot be asked about; the notes count them by reason.

    :raises DatasetError: unknown data set or folder, or no clip of it can be asked about
    :raises ModelMissing: the face models were not pulled
    :raises UsageError: no such profile
    """

    def __init__(self, settings: UnderstandingTask) -> None:
        self.name = settings.name
        self._profile = profiles.get(settings.profile)
        data = load(
            settings.dataset,
            settings.root,
            apex_policy=settings.apex_policy,
            offset_policy=settings.offset_policy,
        )
        self._title = data.spec.title
        analyzer = describing.analyzer("cpu")
        self._left_out: Counter[str] = Counter()
        self._cases: dict[str, Case] = {}
        for clip in data.clips:
            if settings.limit is not None and len(self._cases) >= settings.limit:
                break
            try:
                evidence, _ = describing.evidence_of(clip, analyzer, self._profile.recipe)
            except (DatasetError, FaceError) as error:
                self._left_out[error.code] += 1
                continue
            done, png = cv2.imencode(".png", evidence.motion_map)
            assert done
            self._cases[describing.key_of(clip)] = Case(clip, evidence, png.tobytes())
        if not self._cases:
            raise DatasetError(
                f"no clip of {self._title} below {settings.root} can be asked about ({_counted(self._left_out)})",
                remedy="`mellm dataset inspect` says what is missing",
            )

    def __length_hint__(self) -> int:
        return len(self._cases)

    def questions(self) -> Iterator[Question]:
        """One for each clip, in the order of the annotation."""
        for key, case in self._cases.items():
            duration = describing.duration_ms(case.clip)
            context = DescribeContext(key, duration)
            system, prompt = _words(self._profile.messages(case.evidence, context))
            yield Question(
                self.name,
                key,
                prompt,
                (case.picture,),
                truth=_truth(case.clip),
                system=system,
                evidence=case.evidence,
                meta={
                    "domain": "micro-expressions",
                    "subtask": case.clip.dataset,
                    "title": key,
                    "points": [_truth(case.clip)],
                    "duration_ms": duration,
                },
            )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        """Units over clips with sure units, coarse class over clips that have one; all answers that could not be read
        count as wrong."""
        rows = []
        with_units = [case for case in self._cases.values() if case.clip.action_units.sure]
        with_class = [case for case in self._cases.values() if case.clip.coarse]
        for name, by_id in answers.items():
            said = {key: self._read(by_id[key]) for key in self._cases}
            rows.append(Row(name, (*_units(with_units, said), *_coarse(with_class, said))))
        columns = ("units macro F1", "units set F1", "coarse UF1", "coarse UAR", "could not be read")
        rows.append(Row(priors.PRIOR, _never_looking(with_units, with_class)))
        known_rows = {row.name: _numbers(columns[1:4], row.cells[1:4]) for row in rows}
        unlike = [
            priors.no_better(name, numbers, known_rows[priors.PRIOR])
            for name, numbers in known_rows.items()
            if name != priors.PRIOR
        ]
        notes = [
            f"{self._title}: {len(self._cases)} clips, {len(with_units)} with units, {len(with_class)} with a class"
        ]
        if self._left_out:
            notes.append(f"not asked about: {_counted(self._left_out)}")
        notes += [sentence for sentence in unlike if sentence]
        notes.append(f"{priors.PRIOR}: the commonest units and class of other people")
        notes.append("an abstention is an answer without units and class")
        rows += known.rows(published, columns)
        return (
            Table(
                "understanding",
                f"{self._title}: units and class",
                columns,
                tuple(rows),
                digits=3,
                notes=tuple(notes),
            ),
        )

    def _read(self, answer: Answer) -> Parsed | None:
        if answer.state != "answered" or not answer.text:
            return None
        read = self._profile.parse(answer.text)
        return None if read.problem and read.problem != "model_abstained" else read


def _never_looking(with_units: Sequence[Case], with_class: Sequence[Case]) -> tuple[Cell, ...]:
    """Scores of the commonest units and class of other people."""
    units: tuple[Cell, Cell] = None, None
    if with_units:
        true = [case.clip.action_units.numbers for case in with_units]
        people = [case.clip.subject for case in with_units]
        said = priors.likeliest([""] * len(true), people, [frozenset(numbers) for numbers in true])
        scored = action_unit_score(true, said)
        units = scored.macro_f1, scored.set_f1
    classes: tuple[Cell, Cell] = None, None
    if with_class:
        truth = [str(case.clip.coarse) for case in with_class]
        people = [case.clip.subject for case in with_class]
        score = recognition_score(truth, priors.likeliest([""] * len(truth), people, truth))
        classes = score.uf1, score.uar
    return (*units, *classes, None)


def _numbers(columns: Sequence[str], cells: Sequence[Cell]) -> dict[str, float]:
    return {name: cell for name, cell in zip(columns, cells, strict=True) if isinstance(cell, float)}


def _units(cases: Sequence[Case], said: dict[str, Parsed | None]) -> tuple[Cell, Cell]:
    if not cases:
        return None, None
    got = [said[describing.key_of(case.clip)] for case in cases]
    score = action_unit_score(
        [case.clip.action_units.numbers for case in cases],
        [None if read is None else frozenset(u.au for u in read.action_units or ()) for read in got],
    )
    return score.macro_f1, score.set_f1


def _coarse(cases: Sequence[Case], said: dict[str, Parsed | None]) -> tuple[Cell, Cell, Cell]:
    unread = sum(read is None for read in said.values())
    if not cases:
        return None, None, unread
    got = [said[describing.key_of(case.clip)] for case in cases]
    score = recognition_score(
        [str(case.clip.coarse) for case in cases],
        [read.emotion.coarse if read is not None and read.emotion is not None else None for read in got],
    )
    return score.uf1, score.uar, unread


def _words(messages: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """System message and the text of the question; the picture goes beside it."""
    system, prompt = "", ""
    for message in messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [p["text"] for p in content if p["type"] == "text"]
        if message["role"] == "system":
            system = "\n".join(parts)
        else:
            prompt = "\n".join(parts)
    return system, prompt


def _truth(clip: Clip) -> str:
    units = ", ".join(map(str, sorted(clip.action_units.sure))) or "no sure unit"
    return f"units {units}; {clip.coarse or 'no coarse class'} ({clip.emotion or 'no emotion'})"


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "it is empty"
