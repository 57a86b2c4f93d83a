"""Samples by domain and sub-task, for people to read side by side.

A suite is a folder with ``suite.toml`` and pictures. Each ``[[samples]]`` has ``id``, ``domain``, ``subtask``,
``title``, ``prompt``, ``images``, ``technique`` and ``points``: what a good answer says, each a list of wordings of
which one is enough. The score is the share of points whose words occur. It finds words and understands nothing: read
the answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from mellm.engine.sections import Section, explain, read_toml
from mellm.evaluation.compare import published as known
from mellm.evaluation.compare.config import QualitativeTask
from mellm.evaluation.compare.types import Answer, Answers, Published, Question, Row, Shot, Table, Technique
from mellm.evaluation.metrics.counts import mean
from mellm.evaluation.metrics.errors import MetricsError

SHIPPED: Final = Path(__file__).parents[1] / "suite"
MANIFEST: Final = "suite.toml"
MAX_PICTURE: Final = 32 << 20

Wordings = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Example(Section):
    """A solved example before the question."""

    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    images: tuple[Path, ...] = ()


class Sample(Section):
    """One question of a suite."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    domain: str = Field(min_length=1)
    subtask: str = Field(min_length=1)
    title: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    images: tuple[Path, ...] = ()
    technique: Technique = "plain"
    points: tuple[Wordings, ...] = ()
    truth: str | None = None
    shots: tuple[Example, ...] = ()


class Suite(Section):
    """A whole manifest."""

    title: str = Field(min_length=1)
    samples: tuple[Sample, ...] = Field(min_length=1)


class Qualitative:
    """The task.

    :raises MetricsError: a suite that cannot be read, a picture that is not there, two samples of one id
    """

    def __init__(self, settings: QualitativeTask) -> None:
        self.name = settings.name
        self._folder = settings.folder or SHIPPED
        suite = read(self._folder)
        domains = {sample.domain for sample in suite.samples}
        if unknown := sorted(set(settings.domains) - domains):
            raise MetricsError(
                f"{self._folder} has no domain {unknown[0]!r}",
                remedy=f"choose of {', '.join(sorted(domains))}",
            )
        chosen = [s for s in suite.samples if not settings.domains or s.domain in settings.domains]
        self._title = suite.title
        self._samples = tuple(chosen[: settings.limit])

    def __length_hint__(self) -> int:
        return len(self._samples)

    def questions(self) -> Iterator[Question]:
        """In the order of the manifest."""
        for sample in self._samples:
            yield Question(
                self.name,
                sample.id,
                sample.prompt,
                self._pictures(sample.images),
                truth=sample.truth,
                technique=sample.technique,
                shots=tuple(Shot(s.prompt, s.answer, self._pictures(s.images)) for s in sample.shots),
                meta={
                    "domain": sample.domain,
                    "subtask": sample.subtask,
                    "title": sample.title,
                    "points": [" / ".join(wordings) for wordings in sample.points],
                },
            )

    def score(self, answers: Answers, published: Sequence[Published] = ()) -> tuple[Table, ...]:
        """Shares of points that were said, by domain, by sub-task and by prompt technique."""
        notes = (
            "share of expected points whose words occur in the answer; it finds words and understands nothing",
            "the survey judged by eye; no model has published numbers for these samples",
        )
        tables = []
        for key, title, place in (
            ("domains", "by domain", lambda s: s.domain),
            ("subtasks", "by sub-task", lambda s: s.subtask),
            ("techniques", "by prompt technique", lambda s: s.technique),
        ):
            tables.append(self._table(key, f"{self._title}, {title}", place, answers, published, notes))
        return tuple(tables)

    def _table(
        self,
        key: str,
        title: str,
        place: Callable[[Sample], str],
        answers: Answers,
        published: Sequence[Published],
        notes: tuple[str, ...],
    ) -> Table:
        scored = [sample for sample in self._samples if sample.points]
        groups = list(dict.fromkeys(place(sample) for sample in scored))
        rows = []
        for name, by_id in answers.items():
            shares = {sample.id: share(sample, by_id[sample.id]) for sample in scored}
            cells = [mean([shares[s.id] for s in scored if place(s) == group]) for group in groups]
            rows.append(Row(name, (*cells, mean(list(shares.values())))))
        columns = (*groups, "all")
        rows += known.rows(published, columns)
        return Table(key, title, columns, tuple(rows), notes=notes)

    def _pictures(self, names: Sequence[Path]) -> tuple[bytes, ...]:
        return tuple((self._folder / name).read_bytes() for name in names)


def share(sample: Sample, answer: Answer) -> float:
    """Points of the sample that the answer says, of all it has; 0 for what is no answer."""
    if answer.state != "answered" or not answer.text:
        return 0.0
    said = " ".join(answer.text.split())
    return mean([float(any(_wording(w).search(said) for w in point)) for point in sample.points])


@cache
def _wording(words: str) -> re.Pattern[str]:
    # whole words, whatever stands between them: "3" is not in "13", "x = 3" is "x=3"
    parts = [re.escape(part) for part in re.findall(r"\w+|[^\w\s]", words)]
    return re.compile(r"(?<!\w)" + r"\s*".join(parts) + r"(?!\w)", re.IGNORECASE)


def read(folder: Path) -> Suite:
    """A suite, checked, its pictures all there.

    :raises ConfigError: it cannot be read, or a key is wrong
    :raises MetricsError: see :class:`Qualitative`
    """
    path = folder / MANIFEST
    data = read_toml(path, "suite")
    try:
        suite = Suite.model_validate(data)
    except ValidationError as error:
        raise explain(error, Suite, path, data) from error
    ids = [sample.id for sample in suite.samples]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        raise MetricsError(f"{path}: two samples are called {twice[0]!r}", remedy="give each its own id")
    for sample in suite.samples:
        for name in (*sample.images, *(image for shot in sample.shots for image in shot.images)):
            _there(folder, name, sample.id)
    return suite


def _there(folder: Path, name: Path, sample: str) -> None:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > MAX_PICTURE:
        raise MetricsError(
            f"{sample}: there is no picture {name} in {folder} (or it is over {MAX_PICTURE >> 20} MiB)",
            remedy="pictures lie below the suite's folder",
        )
