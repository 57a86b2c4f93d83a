"""The folder an offline run leaves behind, and how an interrupted run goes on in it.

``run.json`` says how far each source has come: a source that was finished is never analysed again. Of one that
was not, or that failed, the lines are taken out and kept in memory, and the answers among them are reused when the
same expression is spotted again, so that no describer is asked twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mellm.stream.errors import RunError

FORMAT = 1
RUN, EVENTS, EXPRESSIONS, EVIDENCE = "run.json", "events.jsonl", "expressions.jsonl", "evidence"


def line(record: Mapping[str, Any]) -> bytes:
    """One JSON line: stable key order as built, no spaces, UTF-8, never NaN."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


@dataclass(slots=True)
class RunFolder:
    """Open with :meth:`create`; close to release the files."""

    path: Path
    state: dict[str, Any]
    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    _events: BinaryIO | None = None
    _expressions: BinaryIO | None = None

    @classmethod
    def create(cls, path: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> RunFolder:
        """Start a run in ``path``, or go on with the one that is there.

        :param settings: what decides the results; a folder that holds a run with others is refused
        :param facts: versions, models, machine: written down, not compared
        :raises RunError: the folder cannot be written, holds something else, or another run
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            run = path / RUN
            if run.exists():
                folder = cls._resume(path, json.loads(run.read_text(encoding="utf-8")), settings)
            elif any(path.iterdir()):
                raise RunError(
                    f"{path} is not empty and holds no run", remedy="name another folder with --out"
                )
            else:
                folder = cls(path, {"format": FORMAT, "settings": dict(settings), "sources": {}})
            folder.state["facts"] = dict(facts)
            folder._events = (path / EVENTS).open("ab")
            folder._expressions = (path / EXPRESSIONS).open("ab")
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
                f"{path} holds a run of format {state.get('format')!r}, this version writes {FORMAT}"
            )
        if state["settings"] != json.loads(json.dumps(dict(settings))):
            changed = sorted(k for k, v in settings.items() if state["settings"].get(k) != v)
            raise RunError(
                f"{path} holds a run with other settings ({', '.join(changed)})",
                remedy="name another folder with --out",
            )
        folder = cls(path, state)
        sizes = state.get("sizes", {EVENTS: 0, EXPRESSIONS: 0})
        for record in _lines(path / EXPRESSIONS, sizes[EXPRESSIONS]):
            folder.answered[record["id"]] = record
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
        self.answered |= {r["id"]: r for r in _lines(self.path / EXPRESSIONS, 0) if r["source"] in failed}
        for name in (EVENTS, EXPRESSIONS):
            kept = b"".join(line(r) for r in _lines(self.path / name, 0) if r["source"] not in failed)
            part = self.path / f"{name}.part"
            part.write_bytes(kept)
            part.replace(self.path / name)
            self.state["sizes"][name] = len(kept)
        for name in failed:
            del sources[name]

    def is_done(self, source: str) -> bool:
        """Whether that source was already analysed; nothing to do.

        :raises RunError: its results were erased here: making them again would undo that without a word
        """
        state = self.state["sources"].get(source, {}).get("state")
        if state == "erased":
            raise RunError(
                f"{self.path}: the results of {source!r} were erased", remedy="name another folder with --out"
            )
        return bool(state == "done")

    def event(self, record: Mapping[str, Any]) -> None:
        """Append to ``events.jsonl``."""
        self._append(self._events, record)

    def expression(self, record: Mapping[str, Any]) -> None:
        """Append to ``expressions.jsonl``."""
        self._append(self._expressions, record)

    def evidence(self, expression: str, png: bytes) -> str:
        """Keep a motion map.

        :returns: its path relative to the run folder
        """
        name = f"{EVIDENCE}/{expression}.png"
        try:
            (self.path / EVIDENCE).mkdir(exist_ok=True)
            (self.path / name).write_bytes(png)
        except OSError as error:
            raise RunError(f"evidence cannot be written to {self.path} ({error.strerror})") from error
        return name

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
        temporary.write_text(
            json.dumps(self.state, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
        )
        temporary.replace(self.path / RUN)

    def close(self) -> None:
        """Release the files. Safe to call twice."""
        for stream in (self._events, self._expressions):
            if stream is not None:
                stream.close()
        self._events = self._expressions = None

    def _append(self, stream: BinaryIO | None, record: Mapping[str, Any]) -> None:
        if stream is None:
            raise RunError(f"run folder {self.path} is closed")
        try:
            stream.write(line(record))
            stream.flush()
        except OSError as error:
            raise RunError(f"run folder {self.path} cannot be written ({error.strerror})") from error


def read_expressions(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's ``expressions.jsonl``.

    :raises RunError: there is no such run
    """
    if not (path / RUN).exists():
        raise RunError(f"{path} holds no run", remedy="give the folder that `mellm analyze --out` wrote")
    return list(_lines(path / EXPRESSIONS, 0))


def _lines(path: Path, start: int) -> Iterable[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(start)
        for raw in stream:
            if raw.endswith(b"\n"):  # the last line of a killed run may be cut
                yield json.loads(raw)
