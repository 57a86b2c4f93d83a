"""Building a data set: pairs in, a folder of motion maps and conversations out.

Work is done person by person. What a person gave is kept in ``.parts`` until all is done, so a build that was stopped
goes on with the same command; the same settings give the same bytes, whatever the number of workers.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeAlias

import cv2

from mellm.stream.errors import RunError, SourceEmpty, UsageError
from mellm.training.instruct import card, manifest, pairs, records
from mellm.training.instruct.pairs import FIRST, NEGATIVES, Pair
from mellm.training.instruct.records import IMAGES, SPLITS, Record, Wording
from mellm.training.spotter.sets import still_split
from mellm.training.synth.rig import Split

FORMAT: Final = 1
STATE, PARTS, CARD = "build.json", ".parts", "README.md"

SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "synth": ("rendered",),
    "stills": ("stills",),
    "both": ("rendered", "stills"),
    "csv": ("csv",),
}

SHARES: Final[Mapping[str, float]] = {"train": 0.8, "validation": 0.1, "test": 0.1}

STEP, REACH = 5_000, 75_000
"""Drawn people between those of one seed and the next, and after how many they come again."""

VERSIONS = 50
"""Scripts of each photograph between those of one seed and the next."""

_OF_RIG: Final[Mapping[str, Split]] = {"train": "train", "validation": "val", "test": "test"}

Progress: TypeAlias = Callable[[str, int, int], None]
Person: TypeAlias = Callable[..., Iterator[Pair]]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """:param counts: pairs of each split; those of a table are all taken where it is empty
    :param per_person: at most so many pairs of a person, half of them negatives
    """

    out: Path
    source: str = "synth"
    root: Path | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    per_person: int = 10
    wording: Wording = field(default_factory=Wording)
    workers: int = 1

    def settings(self) -> dict[str, Any]:
        """What decides the bytes."""
        w = self.wording
        return {
            "source": self.source,
            "counts": dict(self.counts),
            "per_person": self.per_person,
            "recipe": w.recipe,
            "languages": list(w.languages),
            "tasks": list(w.tasks),
            "style": w.style,
            "seed": w.seed,
            "licence": w.licence,
            "provenance": w.provenance,
            "table": manifest.digest(self.root) if self.source == "csv" and self.root else None,
        }


def split_counts(count: int) -> dict[str, int]:
    """``count`` pairs as 8 : 1 : 1, the rest to training."""
    held = {name: round(count * SHARES[name]) for name in ("validation", "test")}
    return {"train": count - sum(held.values()), **held}


def build(options: BuildOptions, progress: Progress | None = None) -> dict[str, Any]:
    """Build a data set, or go on with one that was stopped.

    :returns: counts of each split, see :func:`mellm.training.instruct.records.counts`
    :raises UsageError: unknown source, or a table's folder that is missing or not wanted
    :raises RunError: the folder holds something else, or cannot be written
    :raises SourceError: a table or a picture of it is unusable
    """
    if options.source not in SOURCES:
        raise UsageError(
            f"there is no source of pairs called {options.source!r}",
            remedy=f"choose one of {', '.join(SOURCES)}; annotated recordings of your own go in through csv",
        )
    if (options.source == "csv") != (options.root is not None):
        raise UsageError(
            "--root is the folder of an annotated table", remedy="give it with --from csv, and only there"
        )
    if min(options.counts.values(), default=0) < 0 or set(options.counts) - set(SPLITS):
        raise UsageError(f"counts {dict(options.counts)}", remedy=f"name splits of {', '.join(SPLITS)}")
    settings = options.settings()
    done = _open(options.out, settings)
    if done is not None:
        return done
    with _Crew(options.workers) as crew:
        written = {s: _write(options.out, s, _split(options, s, crew, progress)) for s in SPLITS}
    if not any(w.lines for w in written.values()):
        raise SourceEmpty("there is no pair to build from", remedy="ask for at least one with --count")
    return _finish(options.out, settings, written)


def _open(out: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Counts, where the data set is finished."""
    path = out / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if state is None and out.exists() and any(out.iterdir()):
            raise RunError(f"{out} is not empty and holds no data set", remedy="name another folder")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error})", remedy="name another folder") from error
    if state is None:
        records.write(path, _json({"format": FORMAT, "settings": settings}))
        return None
    if state.get("format") != FORMAT or state.get("settings") != settings:
        old = state.get("settings") or {}
        changed = ", ".join(k for k in settings if old.get(k) != settings[k]) or "format"
        raise RunError(
            f"{out} holds a data set with other settings ({changed})", remedy="name another folder"
        )
    counts: dict[str, Any] | None = state.get("splits")
    return counts


def _split(
    options: BuildOptions, split: str, crew: _Crew, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    """Pairs of a split (their records, the names of their pictures), person after person."""
    sources = SOURCES[options.source]
    wanted = options.counts.get(split, 0)
    everything = options.source == "csv" and not options.counts
    for i, source in enumerate(sources):
        quota = None if everything else wanted // len(sources) + (i < wanted % len(sources))
        if quota == 0:
            continue
        jobs = [
            _Job(options, split, source, number, person)
            for number, person in enumerate(_people(options, source, split, quota))
        ]
        yield from _quota(jobs, quota, crew, partial(_tell, progress, f"{split}, {source}"))


def _tell(progress: Progress | None, stage: str, done: int, total: int) -> None:
    if progress:
        progress(stage, done, total)


def _quota(
    jobs: Sequence[_Job], quota: int | None, crew: _Crew, tell: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    """So many pairs of people, or all of them.

    :raises SourceEmpty: they have not so many; a table may
    """
    given = done = 0

    def wanted() -> int:
        if quota is None:
            return len(jobs) - done
        return -(-(quota - given) // jobs[0].options.per_person) if jobs else 0

    for pairs_of_one in crew.each(jobs, wanted):
        done += 1
        for pair in islice(pairs_of_one, None if quota is None else quota - given):
            given += 1
            yield pair
        tell(given, quota or len(jobs))
        if quota is not None and given >= quota:
            return
    if quota is not None and jobs and jobs[0].source != "csv":
        raise SourceEmpty(
            f"only {given} of {quota} {jobs[0].source} pairs could be drawn for {jobs[0].split}"
        )


def _people(options: BuildOptions, source: str, split: str, quota: int | None) -> list[Person]:
    if source == "csv":
        assert options.root is not None
        return manifest.people(options.root, split)
    assert quota is not None
    # not everybody gives as many pairs as may be taken
    number = 2 * -(-quota // options.per_person) + 8
    name, seed = _OF_RIG[split], options.wording.seed
    if source == "rendered":
        return pairs.people("rendered", name, number, FIRST + seed * STEP % REACH)
    skip = seed * VERSIONS * len(still_split(name))
    return pairs.people("stills", name, skip + number)[skip:]


@dataclass(frozen=True, slots=True)
class _Job:
    options: BuildOptions
    split: str
    source: str
    number: int
    person: Person

    @property
    def turn(self) -> int:
        """Where this person is in the turns that people take; splits and sources begin at different places."""
        return zlib.crc32(f"{self.split}-{self.source}".encode()) % 97 + self.number

    @property
    def part(self) -> Path:
        return self.options.out / PARTS / f"{self.split}-{self.source}-{self.number:05d}.json"

    def run(self) -> None:
        """Write the pictures of a person's pairs, and then their records."""
        out, wording = self.options.out, self.options.wording
        limit = None if self.options.source == "csv" else self.options.per_person
        drawn = self.person() if limit is None else self.person(negatives=max(limit // 2, len(NEGATIVES)))
        found = []
        for pair in _chosen(drawn, limit, self.turn):
            lines, png = records.of_pair(pair, wording)
            name = records.image_name(png)
            if not (out / name).exists():
                records.write(out / name, png)
            found.append({"image": name, "records": lines})
        records.write(self.part, json.dumps(found, ensure_ascii=False).encode())

    def result(self) -> list[dict[str, Any]] | None:
        """What was written earlier; ``None`` where that is not there."""
        try:
            found: list[dict[str, Any]] = json.loads(self.part.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found


def _chosen(drawn: Iterator[Pair], limit: int | None, turn: int) -> Iterator[Pair]:
    """At most ``limit`` pairs, expressions and negatives in turns. Negatives come kind by kind: where not every kind
    finds room, the people take turns with which they show."""
    if limit is None:
        yield from drawn
        return
    everything = list(drawn)
    shown = [p for p in everything if p.kind == "expression"][: limit - limit // 2]
    others = [p for p in everything if p.kind != "expression"]
    count = len(others)
    quiet = [others[i] for i in sorted((turn + i) % count for i in range(min(limit // 2, count)))]
    for both in zip_longest(shown, quiet):
        yield from filter(None, both)


class _Crew:
    """Those who work on people: this process, or several others for the whole build."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def each(self, jobs: Sequence[_Job], wanted: Callable[[], int]) -> Iterator[list[dict[str, Any]]]:
        """Results in order; only what is missing is made.

        :param wanted: how many more people will be needed, as far as can be told: no more are begun
        """
        if self._workers <= 1:
            yield from map(_run, jobs)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), initializer=_quietly)
        ahead: deque[Future[list[dict[str, Any]]]] = deque()
        waiting = iter(jobs)
        try:
            while True:
                room = max(1, min(self._workers + 1, wanted())) - len(ahead)
                ahead.extend(self._pool.submit(_run, job) for job in islice(waiting, max(0, room)))
                if not ahead:
                    return
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process was ended from outside",
                remedy="give the same command again, with fewer --workers",
            ) from error
        finally:
            for future in ahead:
                future.cancel()


def _quietly() -> None:
    cv2.setNumThreads(1)


def _run(job: _Job) -> list[dict[str, Any]]:
    found = job.result()
    if found is None:
        job.run()
        found = job.result()
        assert found is not None
    return found


@dataclass(slots=True)
class _Written:
    """What was written of a split, without its words.

    :param samples: a whole record of each task, abstaining or not
    """

    lines: list[Record] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    samples: dict[tuple[str, bool], Record] = field(default_factory=dict)


def _write(out: Path, split: str, given: Iterator[dict[str, Any]]) -> _Written:
    """Write a split beside its place; :func:`_finish` puts it there when all are done."""
    path, written = out / PARTS / f"{split}.jsonl", _Written()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for pair in given:
                written.images.add(pair["image"])
                for record in pair["records"]:
                    file.write(records.line(record))
                    written.samples.setdefault((record["task"], record["abstain"]), record)
                    written.lines.append({k: v for k, v in record.items() if k != "messages"})
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})", remedy=records.FREE) from error
    return written


def _finish(out: Path, settings: Mapping[str, Any], written: Mapping[str, _Written]) -> dict[str, Any]:
    """Put everything in its place, and take away what nothing points at."""
    counts = {split: records.counts(w.lines) for split, w in written.items() if w.lines}
    samples: dict[tuple[str, bool], Record] = {}
    for w in written.values():
        samples = w.samples | samples
    records.write(out / CARD, card.text(settings, counts, list(samples.values())).encode())
    wanted = {image for w in written.values() for image in w.images}
    try:
        for split in counts:
            (out / PARTS / f"{split}.jsonl").replace(out / f"{split}.jsonl")
        for path in sorted((out / IMAGES).rglob("*")):
            if path.is_file() and path.relative_to(out).as_posix() not in wanted:
                path.unlink()
        for folder in sorted((out / IMAGES).iterdir()):
            if not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise RunError(f"{out} cannot be written ({error.strerror})", remedy=records.FREE) from error
    records.write(out / STATE, _json({"format": FORMAT, "settings": settings, "splits": counts}))
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return counts


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
