"""The folder an offline run leaves behind, and how an interrupted run goes on in it.

``run.json`` says how far each source has come: a source that was finished is never analysed again. Of one that
was not, or that failed, the lines are taken out and kept in memory, and the answers among them are reused when the
same expression is spotted again, so that no describer is asked twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from mellm.engine.results.about import KEY, About
from mellm.engine.results.expressions import ExpressionRecord, FieldInvalid
from mellm.stream import private
from mellm.stream.errors import RunError
from mellm.stream.protocol import wire
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import (
    SOURCE_ENDED,
    SOURCE_OFFLINE,
    SOURCE_ONLINE,
    SOURCE_RECONNECTING,
    Event,
    media_time,
)

if TYPE_CHECKING:  # it knows the spotter's types, and readers of a run do not need those
    from mellm.engine.results.score_series import ScoreWriter

FORMAT = 2
"""Of what is written. 1 had events of its own shape; it is still read."""

READ = (1, 2)
STATES = (SOURCE_ONLINE, SOURCE_OFFLINE, SOURCE_RECONNECTING, SOURCE_ENDED)
"""Events about a source's own state; they have no media time in their data."""

RUN, EVENTS, EXPRESSIONS, EVIDENCE = "run.json", "events.jsonl", "expressions.jsonl", "evidence"


STUDY, RUNS = "study.json", "runs"
"""In the folder of a study: what is the same for all of it, and the folder of its runs."""


def run_folders(path: Path) -> list[Path]:
    """The runs of a study; of any other folder, that folder itself."""
    if not (path / STUDY).is_file():
        return [path]
    return sorted(each.parent for each in (path / RUNS).glob(f"*/{RUN}"))


def line(record: Mapping[str, Any]) -> bytes:
    """One JSON line: stable key order as built, no spaces, UTF-8, never NaN."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class RunStore(Protocol):
    """Where an analysis puts what it finds: :class:`RunFolder`, or :class:`Unkept`.

    ``answered``: expressions that an earlier, interrupted analysis had ended, by id.
    """

    @property
    def path(self) -> Path: ...

    @property
    def answered(self) -> Mapping[str, ExpressionRecord]: ...

    def summary(self, source: str) -> Mapping[str, Any] | None:
        """What was written of a source that is finished, ``None`` where it is not."""
        ...

    def event(self, type: str, source: str, t_ns: int, data: Mapping[str, Any]) -> None:
        """Keep an event."""
        ...

    def expression(self, record: ExpressionRecord) -> None:
        """Keep an expression that has ended."""
        ...

    def series(self, source: str) -> ScoreWriter:
        """What keeps the scores of a recording that is begun."""
        ...

    def evidence(self, expression: str, png: bytes) -> str | None:
        """Keep a motion map; its path relative to the run, ``None`` where none is kept."""
        ...

    def curves(self, expression: str, curves: Mapping[str, Any]) -> None:
        """Keep how the strongest regions moved around an expression, see
        :meth:`mellm.engine.results.region_curves.RegionCurves.to_json`."""
        ...

    def finish_source(self, source: str, summary: Mapping[str, Any]) -> None:
        """Everything of this source has been handed over."""
        ...


@dataclass(slots=True)
class Unkept:
    """A run that leaves nothing on disk."""

    path: Path = Path()
    answered: Mapping[str, ExpressionRecord] = field(default_factory=dict)

    def summary(self, source: str) -> None:
        """Nothing was finished before."""

    def event(self, type: str, source: str, t_ns: int, data: Mapping[str, Any]) -> None:
        """Ignore."""

    def expression(self, record: ExpressionRecord) -> None:
        """Ignore: whoever follows the analysis has it."""

    def series(self, source: str) -> ScoreWriter:
        """Ignore."""
        from mellm.engine.results.score_series import ScoreWriter

        return ScoreWriter(None)

    def evidence(self, expression: str, png: bytes) -> None:
        """Ignore."""

    def curves(self, expression: str, curves: Mapping[str, Any]) -> None:
        """Ignore."""

    def finish_source(self, source: str, summary: Mapping[str, Any]) -> None:
        """Ignore."""


@dataclass(slots=True)
class RunFolder:
    """Open with :meth:`create`; close to release the files. One thread at a time."""

    path: Path
    state: dict[str, Any]
    answered: dict[str, ExpressionRecord] = field(default_factory=dict)
    _events: BinaryIO | None = None
    _expressions: BinaryIO | None = None
    _seq: int = 0

    @classmethod
    def create(
        cls, path: Path, settings: Mapping[str, Any], facts: Mapping[str, Any], about: About | None = None
    ) -> RunFolder:
        """Start a run in ``path``, or go on with the one that is there.

        :param settings: what decides the results; a folder that holds a run with others is refused
        :param facts: versions, models, machine: written down, not compared
        :param about: what the person who started it said; replaces what was said before
        :raises RunError: the folder cannot be written, holds something else, or another run
        """
        try:
            private.folder(path)
            run = path / RUN
            if run.exists():
                folder = cls._resume(path, json.loads(run.read_text(encoding="utf-8")), settings)
            elif any(path.iterdir()):
                raise RunError(
                    f"{path} is not empty and holds no run", remedy="name another folder with --out"
                )
            else:
                folder = cls(path, _fresh(settings))
            folder.state["facts"] = dict(facts)
            if about is not None:
                folder.state[KEY] = about.to_json()
            folder._seq = max((e["seq"] for e in _lines(path / EVENTS, 0)), default=0)
            folder._events = _private(path / EVENTS, "ab")
            folder._expressions = _private(path / EXPRESSIONS, "ab")
            folder.save()
        except (OSError, ValueError) as error:
            if isinstance(error, json.JSONDecodeError):
                raise RunError(
                    f"{path / RUN} is damaged ({error})", remedy="name another folder with --out"
                ) from error
            raise RunError(f"run folder {path} cannot be written ({error})") from error
        return folder

    @classmethod
    def _resume(cls, path: Path, state: dict[str, Any], settings: Mapping[str, Any]) -> RunFolder:
        if state.get("format") != FORMAT:
            raise RunError(
                f"{path} holds a run of format {state.get('format')!r}, this version writes {FORMAT}",
                remedy="name another folder with --out; the old one can still be exported",
            )
        if state["settings"] != json.loads(json.dumps(dict(settings))):
            changed = sorted(k for k, v in settings.items() if state["settings"].get(k) != v)
            raise RunError(
                f"{path} holds a run with other settings ({', '.join(changed)})",
                remedy="name another folder with --out",
            )
        folder = cls(path, state)
        sizes = state.get("sizes", {EVENTS: 0, EXPRESSIONS: 0})
        folder.answered |= {r.id: r for r in _records(path, sizes[EXPRESSIONS])}
        for name, size in sizes.items():
            target = path / name
            if target.exists():
                os.truncate(target, size)
        folder._forget_failed()
        return folder

    def _forget_failed(self) -> None:
        """Sources that failed are tried again: their lines go, the answers among them are kept for reuse."""
        sources: dict[str, Any] = self.state["sources"]
        failed = {name for name, summary in sources.items() if summary.get("state") not in ("done", "erased")}
        if not failed:
            return
        self.answered |= {r.id: r for r in _records(self.path, 0) if r.source in failed}
        for name in (EVENTS, EXPRESSIONS):
            left = [r for r in _lines(self.path / name, 0) if r["source"] not in failed]
            if name == EVENTS:
                left = [{**r, "seq": number} for number, r in enumerate(left, 1)]
            kept = b"".join(map(line, left))
            part = self.path / f"{name}.part"
            part.write_bytes(kept)
            part.replace(self.path / name)
            self.state["sizes"][name] = len(kept)
        for name in failed:
            del sources[name]

    def summary(self, source: str) -> Mapping[str, Any] | None:
        """What was written of a source that was already analysed, else ``None``.

        :raises RunError: its results were erased here: making them again would undo that without a word
        """
        summary: dict[str, Any] = self.state["sources"].get(source, {})
        if summary.get("state") == "erased":
            raise RunError(
                f"{self.path}: the results of {source!r} were erased", remedy="name another folder with --out"
            )
        return summary if summary.get("state") == "done" else None

    def event(self, type: str, source: str, t_ns: int, data: Mapping[str, Any]) -> None:
        """Append to ``events.jsonl``: an envelope of the wire.

        A recording has no wall clock: ``time`` is its media time, counted from 1970, so that two runs write the same.

        :param data: gets ``t_ns`` and ``t_ms`` unless the event is about the source's own state
        """
        self._seq += 1
        if type not in STATES:
            data = {**data, **media_time("t", t_ns)}
        id = data.get("id") or f"{self.state['epoch']}-{self._seq}"
        time = t_ns // 1000 * 1000
        event = Event(type, str(id), self._seq, self.state["epoch"], source, time, data)
        self._append(self._events, wire.encode(event) + b"\n")

    def expression(self, record: ExpressionRecord) -> None:
        """Append to ``expressions.jsonl``."""
        self._append(self._expressions, line(record.to_json()))

    def series(self, source: str) -> ScoreWriter:
        """The scores of a recording, in a file of their own; one of the same name is begun anew.

        :raises RunError: it cannot be written
        """
        from mellm.engine.results.score_series import ScoreWriter, path_of

        return ScoreWriter(path_of(self.path, source))

    def evidence(self, expression: str, png: bytes, shown: EvidenceKind = "motion") -> str:
        """Keep a motion map, or the faces at onset and apex.

        :returns: its path relative to the run folder
        """
        name = evidence_name(expression, shown)
        self._beside(name, png)
        return name

    def curves(self, expression: str, curves: Mapping[str, Any]) -> None:
        """Keep how the strongest regions moved around an expression."""
        self._beside(curves_name(expression), line(curves))

    def _beside(self, name: str, content: bytes) -> None:
        try:
            private.folder(self.path / EVIDENCE)
            with _private(self.path / name, "wb") as file:
                file.write(content)
        except OSError as error:
            raise RunError(f"evidence cannot be written to {self.path} ({error.strerror})") from error

    def finish_source(self, source: str, summary: Mapping[str, Any]) -> None:
        """Everything of this source is on disk: from here on a resumed run leaves it alone."""
        self.state["sources"][source] = dict(summary)
        sizes = {}
        for name, stream in ((EVENTS, self._events), (EXPRESSIONS, self._expressions)):
            assert stream is not None
            stream.flush()
            os.fsync(stream.fileno())
            sizes[name] = stream.tell()
        self.state["sizes"] = sizes
        self.save()

    def save(self) -> None:
        """Write ``run.json`` in one step: a reader sees the old one or the new one."""
        temporary = self.path / (RUN + ".part")
        with _private(temporary, "wb") as file:
            file.write(json.dumps(self.state, indent=1, ensure_ascii=False, allow_nan=False).encode())
        temporary.replace(self.path / RUN)

    def close(self) -> None:
        """Release the files. Safe to call twice."""
        for stream in (self._events, self._expressions):
            if stream is not None:
                stream.close()
        self._events = self._expressions = None

    def _append(self, stream: BinaryIO | None, raw: bytes) -> None:
        if stream is None:
            raise RunError(f"run folder {self.path} is closed")
        try:
            stream.write(raw)
            stream.flush()
        except OSError as error:
            raise RunError(f"run folder {self.path} cannot be written ({error.strerror})") from error


def evidence_name(expression: str, shown: EvidenceKind = "motion") -> str:
    """Where a picture of an expression lies, relative to the run folder."""
    return f"{EVIDENCE}/{expression}{'' if shown == 'motion' else '.' + shown}.png"


def curves_name(expression: str) -> str:
    """Where the curves of an expression lie, see :mod:`mellm.engine.results.region_curves`."""
    return f"{EVIDENCE}/{expression}.curves.json"


def _private(path: Path, mode: str) -> BinaryIO:
    """Opened for its owner only: a run tells of people."""
    return cast(BinaryIO, open(path, mode, opener=private.opener))


def _fresh(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a run that begins; its epoch follows from the settings, so that equal runs are equal."""
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True, default=str).encode()).hexdigest()
    return {"format": FORMAT, "epoch": f"run-{digest[:12]}", "settings": dict(settings), "sources": {}}


def read_expressions(path: Path) -> list[ExpressionRecord]:
    """All whole lines of a run's ``expressions.jsonl``.

    :raises RunError: there is no such run
    """
    if not (path / RUN).exists():
        raise RunError(f"{path} holds no run", remedy="give the folder that `mellm analyze --out` wrote")
    return list(_records(path, 0))


def _records(path: Path, start: int) -> Iterable[ExpressionRecord]:
    for found in _lines(path / EXPRESSIONS, start):
        try:
            yield ExpressionRecord.from_json(found)
        except FieldInvalid as error:
            raise RunError(f"{path / EXPRESSIONS}: expression {found.get('id')!r} has {error}") from error


def _lines(path: Path, start: int) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(start)
        for raw in stream:
            if raw.endswith(b"\n"):  # the last line of a killed run may be cut
                yield json.loads(raw)
