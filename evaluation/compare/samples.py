"""What a page shows of a run: some questions with small pictures, and every system's answer to them.

The questions of a task are read once more, one at a time. All are counted; of each sub-task at most :data:`MOST` are
kept, spread evenly, so that a page of MME stays a page. What a task says of a question in :attr:`Question.meta`
decides where it stands: ``domain``, ``subtask`` (or ``kind``), ``title``, ``points`` (what a good answer says), all
optional.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mellm.evaluation.compare.requests import media_type
from mellm.evaluation.compare.types import Answer, Question, State, TaskResult, Technique
from mellm.stream.errors import UsageError
from mellm.stream.sources.headers import HEAD_BYTES, picture_size

MOST: Final = 24
"""Samples of a sub-task that are shown; between half of it and all of it where there are more."""

SIDE: Final = 640
"""Longest side of a picture on the page, in pixels."""

SMALL_SIDE: Final = 240
PICTURES: Final = 8
"""Pictures that are shown of a question that has more; beyond two they are small."""

MAX_PIXELS: Final = 64_000_000
KEPT_BYTES: Final = 60_000
QUALITY: Final = 82

Place = tuple[str, str]
"""Domain and sub-task, empty where a task has none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """:param url: ``data:`` address; ``None`` where the file cannot be shown, :attr:`why` then says why"""

    url: str | None = field(repr=False)
    width: int = 0
    height: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what became of it.

    :param answers: system's name → answer"""

    id: str
    prompt: str
    technique: Technique
    truth: str | None
    points: tuple[str, ...]
    shots: int
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Sample:
    """Successive questions about the same pictures.

    :param left_out: pictures that are not shown
    """

    task: str
    domain: str
    subtask: str
    title: str
    pictures: tuple[Picture, ...]
    asked: tuple[Asked, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A task on the page.

    :param questions: all that were asked
    :param samples: those that are shown, in the order of asking
    :param states: place → system's name → how all its questions ended
    """

    task: str
    questions: int
    samples: tuple[Sample, ...]
    states: Mapping[Place, Mapping[str, Mapping[State, int]]]

    @property
    def shown(self) -> int:
        """Questions that are shown."""
        return sum(len(sample.asked) for sample in self.samples)


def gather(result: TaskResult, most: int = MOST) -> Shown:
    """Read a task's questions again, and put the answers to them.

    :param most: samples of each sub-task
    :raises MellmError: what the task raises when its questions cannot be read any more
    """
    kept: dict[Place, _Spread] = {}
    states: dict[Place, dict[str, Counter[State]]] = {}
    count = 0
    for number, questions in enumerate(_together(result.task.questions())):
        place = place_of(questions[0])
        for question in questions:
            count += 1
            for name, answers in result.answers.items():
                if question.id in answers:
                    states.setdefault(place, {}).setdefault(name, Counter())[answers[question.id].state] += 1
        spread = kept.setdefault(place, _Spread(most))
        if spread.wants():
            spread.samples.append((number, _sample(questions, result)))
            spread.thin()
    ordered = sorted((pair for spread in kept.values() for pair in spread.samples), key=lambda pair: pair[0])
    return Shown(result.task.name, count, tuple(sample for _, sample in ordered), states)


def place_of(question: Question) -> Place:
    """Where a question belongs."""
    meta = question.meta
    return _text(meta, "domain"), _text(meta, "subtask") or _text(meta, "kind")


class _Spread:
    """Keeps every second, fourth, eighth … of a stream whose length nobody knows."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._step = 1
        self._seen = -1
        self.samples: list[tuple[int, Sample]] = []

    def wants(self) -> bool:
        self._seen += 1
        return self._seen % self._step == 0

    def thin(self) -> None:
        if len(self.samples) > self._most:
            self.samples = self.samples[::2]
            self._step *= 2


def _together(questions: Iterator[Question]) -> Iterator[list[Question]]:
    """Successive questions of one place and about the same pictures, without keeping others' pictures."""
    group: list[Question] = []
    for question in questions:
        same = (
            bool(group)
            and question.images == group[0].images
            and bool(question.images)
            and place_of(question) == place_of(group[0])
        )
        if group and not same:
            yield group
            group = []
        group.append(question)
    if group:
        yield group


def _sample(questions: Sequence[Question], result: TaskResult) -> Sample:
    first = questions[0]
    chosen = spaced(first.images, PICTURES)
    side = SIDE if len(chosen) <= 2 else SMALL_SIDE
    domain, subtask = place_of(first)
    return Sample(
        first.task,
        domain,
        subtask,
        _text(first.meta, "title"),
        tuple(picture(raw, side) for raw in chosen),
        tuple(_asked(question, result) for question in questions),
        len(first.images) - len(chosen),
    )


def _asked(question: Question, result: TaskResult) -> Asked:
    points = question.meta.get("points", ())
    return Asked(
        question.id,
        question.prompt,
        question.technique,
        question.truth,
        tuple(str(point) for point in points) if isinstance(points, list | tuple) else (str(points),),
        len(question.shots),
        {name: answers[question.id] for name, answers in result.answers.items() if question.id in answers},
    )


def spaced(pictures: Sequence[bytes], most: int) -> list[bytes]:
    """At most so many of them, spread evenly, the first and the last among them."""
    if len(pictures) <= most:
        return list(pictures)
    return [pictures[round(k * (len(pictures) - 1) / (most - 1))] for k in range(most)]


def picture(raw: bytes, side: int = SIDE) -> Picture:
    """A picture small enough for a page. A small PNG stays as it is; other files lose what cameras write into them.

    :param raw: PNG, JPEG or WebP
    :param side: longest side in pixels
    """
    try:
        kind = media_type(raw)
    except UsageError as error:
        return Picture(None, why=error.message)
    size = picture_size(raw[:HEAD_BYTES])
    if size is None:
        return Picture(None, why="the picture has no size")
    if size[0] * size[1] > MAX_PIXELS:
        return Picture(None, why=f"{size[0]}×{size[1]} is too large a picture")
    try:
        decoded = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        decoded = None
    if decoded is None or decoded.size == 0:
        return Picture(None, why="the picture cannot be decoded")
    if kind == "image/png" and max(size) <= side and len(raw) <= KEPT_BYTES:
        return Picture(_url(kind, raw), *size)  # drawn, most likely: lines stay sharp
    small = _fitted(_opaque(decoded), side)
    ok, webp = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not ok:
        return Picture(None, why="the picture cannot be shown")
    return Picture(_url("image/webp", webp.tobytes()), small.shape[1], small.shape[0])


def _opaque(decoded: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """H×W×3 uint8, BGR; what is transparent becomes white."""
    if decoded.dtype != np.uint8:
        top = float(np.iinfo(decoded.dtype).max) if decoded.dtype.kind == "u" else float(decoded.max() or 1)
        decoded = (decoded * (255.0 / top)).clip(0, 255).astype(np.uint8)
    if decoded.ndim == 2:
        return np.repeat(decoded[..., None], 3, axis=2)
    if decoded.shape[2] == 4:
        alpha = decoded[..., 3:].astype(np.float32) / 255
        return (decoded[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return decoded


def _fitted(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, wanted, interpolation=cv2.INTER_AREA), np.uint8)


def _url(kind: str, raw: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode('ascii')}"


def _text(meta: Mapping[str, Any], key: str) -> str:
    value = meta.get(key, "")
    return value if isinstance(value, str) else ""
