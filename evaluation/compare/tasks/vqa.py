"""Questions about micro-expressions as the MEGC challenge gives them: one JSON object a line.

``id``, ``dataset``, ``subject``, ``filename``, ``question`` and ``answer``; ``onset_frame`` and ``offset_frame`` where
the clip lies in a longer recording. A line without an answer is asked and not scored.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mellm.evaluation.compare import published as known
from mellm.evaluation.compare.config import VqaTask
from mellm.evaluation.compare.types import Answers, Cell, Published, Question, Row, Table
from mellm.evaluation.datasets.clips import PICTURES, Frames
from mellm.evaluation.datasets.folders import plain
from mellm.evaluation.metrics import priors
from mellm.evaluation.metrics.errors import MetricsError, RowError
from mellm.evaluation.metrics.vqa import Row as Scored
from mellm.evaluation.metrics.vqa import VqaScore, task_of, vqa_score

MAX_FILE = 256 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """One question.

    :param subject: about whom
    :param clip: folder of its pictures
    :param span: labels of onset and offset, where given"""

    id: str
    question: str
    truth: str | None
    dataset: str
    subject: str
    clip: Path | None
    span: tuple[int, int] | None


class Vqa:
    """The task. Lines whose pictures are not below ``media`` are left out and counted in the table's notes.

    :raises MetricsError: no such file, or none of its clips lies below ``media``
    :raises RowError: a line that is no question
    """

    def __init__(self, settings: VqaTask) -> None:
        self.name = settings.name
        self._frames = settings.frames
        lines = list(_lines(settings.file, _Media(settings.media) if settings.media else None))
        self._without = 0
        if settings.media is not None:
            kept = [line for line in lines if line.clip is not None]
            self._without = len(lines) - len(kept)
            if not kept:
                raise MetricsError(
                    f"none of the {len(lines)} clips of {settings.file} lies below {settings.media}",
                    remedy="name the folder that holds the data sets' folders",
                )
            lines = kept
        self._lines = lines[: settings.limit]

    def __length_hint__(self) -> int:
        return len(self._lines)

    def questions(self) -> Iterator[Question]:
        """In the order of the file. Pictures are evenly spread from onset to offset."""
        for line in self._lines:
            yield Question(
                self.name,
                line.id,
                line.question,
                tuple(self._pictures(line)),
                truth=line.truth,
                meta={
                    "domain": "micro-expressions",
                    "subtask": task_of(line.question, line.truth or ""),
                    "title": f"{line.dataset} {line.id}".strip(),
                },
            )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        """Classes by exact match and by extraction, yes/no, units as sets, BLEU and ROUGE."""
        asked = [line for line in self._lines if line.truth]
        notes = []
        if self._without:
            notes.append(f"{self._without} questions were left out: their pictures are not there")
        if len(asked) < len(self._lines):
            notes.append(f"{len(self._lines) - len(asked)} questions have no answer in the file: not scored")
        if not asked:
            return (Table("vqa", "Questions about micro-expressions", (), (), notes=tuple(notes)),)
        scores = {
            name: vqa_score(
                [
                    Scored(line.question, line.truth or "", a.text if a.state == "answered" else None)
                    for line in asked
                    for a in (by_id[line.id],)
                ]
            )
            for name, by_id in answers.items()
        }
        blind = priors.answered(
            [Scored(line.question, line.truth or "", None) for line in asked],
            [f"{line.dataset}/{line.subject or line.id}" for line in asked],
        )
        prior = vqa_score(blind)
        for name, score in scores.items():
            told = priors.no_better(name, priors.figures(score), priors.figures(prior))
            notes += [told] if told else []
        cells = {name: _cells(score) for name, score in {**scores, priors.PRIOR: prior}.items()}
        columns = tuple(next(iter(cells.values()), {}))
        rows = [Row(name, tuple(each.get(column) for column in columns)) for name, each in cells.items()]
        rows += known.rows(published, columns)
        notes.append(f"{priors.PRIOR}: the commonest answer to the same question about other people")
        notes.append("exact and extracted labels, and BLEU and ROUGE by variant: teams report different ones")
        return (
            Table(
                "vqa", "Questions about micro-expressions", columns, tuple(rows), digits=3, notes=tuple(notes)
            ),
        )

    def _pictures(self, line: Line) -> Iterator[bytes]:
        if line.clip is None:
            return
        files = Frames(line.clip).files()
        labels = list(files)
        if line.span is not None and (inside := [n for n in labels if line.span[0] <= n <= line.span[1]]):
            labels = inside
        chosen = np.unique(
            np.linspace(0, len(labels) - 1, min(self._frames, len(labels))).round().astype(int)
        )
        for place in chosen:
            yield files[labels[place]].read_bytes()


def _cells(score: VqaScore) -> dict[str, Cell]:
    out: dict[str, Cell] = {}
    for name in ("coarse", "fine"):
        part = getattr(score, name)
        if part is not None:
            out |= {
                f"{name} UF1": part.extracted.uf1,
                f"{name} UAR": part.extracted.uar,
                f"{name} UF1, exact": part.exact.uf1,
            }
    for name, combined in score.combined.items():
        out[f"{name} UF1, combined"] = combined.uf1
    if score.yes_no is not None:
        out["yes/no"] = score.yes_no.accuracy_extracted
    if score.units is not None:
        out |= {"units F1": score.units.set_f1, "units Jaccard": score.units.jaccard}
    for name, measure in score.text.items():
        out[f"{name} ({measure.variant})"] = measure.value
    return out


class _Media:
    """Folders with pictures below a root, by name."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise MetricsError(
                f"{root} is not a folder", remedy="media names the folder of the clips' pictures"
            )
        self._by_name: dict[str, list[Path]] = {}
        for folder, _, files in _walk(root):
            if any(Path(name).suffix.lower() in PICTURES for name in files):
                self._by_name.setdefault(plain(folder.name), []).append(folder)

    def find(self, subject: str, name: str) -> Path | None:
        """The clip's folder; of several the one below the subject's."""
        found = self._by_name.get(plain(name), [])
        number = re.findall(r"\d+", subject)
        own = [p for p in found if number and plain(p.parent.name).endswith(plain(number[-1]))]
        return next(iter(own or found), None)


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:

    for folder, below, files in os.walk(root):
        yield Path(folder), below, files


def _lines(path: Path, media: _Media | None) -> Iterator[Line]:
    try:
        if path.stat().st_size > MAX_FILE:
            raise MetricsError(f"{path} has over {MAX_FILE >> 20} MiB", remedy="split it")
        texts = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetricsError(f"{path} cannot be read ({error})", remedy="give a file of JSON lines") from error
    seen: set[str] = set()
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        line = _line(path, number, text, media)
        if line.id in seen:
            raise RowError(f"the id {line.id!r} occurs twice", file=str(path), line=number)
        seen.add(line.id)
        yield line
    if not seen:
        raise MetricsError(f"{path} holds no question", remedy="give one JSON object a line")


def _line(path: Path, number: int, text: str, media: _Media | None) -> Line:
    try:
        said: dict[str, Any] = json.loads(text)
        question = str(said["question"]).strip()
        truth = str(said.get("answer") or "").strip() or None
        place = str(said.get("subject", "")), str(said.get("filename", ""))
        span = said.get("onset_frame"), said.get("offset_frame")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RowError(f"no question ({error})", file=str(path), line=number) from error
    if not question:
        raise RowError("the question is empty", file=str(path), line=number)
    onset, offset = span
    labels = (onset, offset) if isinstance(onset, int) and isinstance(offset, int) else None
    return Line(
        str(said.get("id", number)),
        question,
        truth,
        str(said.get("dataset", "")),
        place[0],
        media.find(*place) if media is not None else None,
        labels,
    )
