"""The run folder: one JSON line for each recording or clip, appended as it is done, so that a run can go on.

``settings.json`` says what decides the rows. Each data set has a stamp, the hash of the settings and of its annotation;
each row carries it. Rows of other settings are never mixed in: the folder is refused, and told why. What only decides
how rows are *scored* is no part of the stamp, so a finished folder can be scored anew in seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from mellm.stream import files
from mellm.stream.closing import Closing
from mellm.stream.errors import RunError

FORMAT: Final = 1
ROWS, SETTINGS, LOCK = "rows.jsonl", "settings.json", ".lock"
Row = dict[str, Any]


def stamp_of(settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """Twelve hex digits that stand for everything that decides a row."""
    text = json.dumps([settings, dataset], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def encoded(record: Mapping[str, Any]) -> bytes:
    """One JSON line."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


@dataclass(slots=True)
class EvalFolder(Closing):
    """Open with :meth:`create`, use as a context manager.

    :ivar rows: key → the newest row; :ivar found: rows that were there when it was opened
    """

    path: Path
    stamps: Mapping[str, str]
    rows: dict[str, Row] = field(default_factory=dict)
    found: int = 0
    _out: BinaryIO | None = None
    _lock: BinaryIO | None = None

    @classmethod
    def create(
        cls, path: Path, kind: str, settings: Mapping[str, Any], datasets: Mapping[str, Mapping[str, Any]]
    ) -> EvalFolder:
        """Start a run in ``path``, or go on with the one that is there. Other data sets may join later.

        :param kind: what is evaluated
        :param settings: what decides the rows of every data set
        :param datasets: name → what decides its rows alone
        :raises RunError: it cannot be written, is in use, holds something else, or rows of other settings
        """
        settings, datasets = json.loads(json.dumps([settings, datasets], default=str))
        folder = cls(path, {name: stamp_of(settings, facts) for name, facts in datasets.items()})
        try:
            path.mkdir(parents=True, exist_ok=True)
            file = path / SETTINGS
            if not file.exists() and any(p.name != LOCK for p in path.iterdir()):
                raise RunError(f"{path} is not empty and holds no evaluation", remedy="name another --out")
            folder._take()
            before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"datasets": {}}
            if file.exists():
                _compare(path, before, kind, settings, datasets)
            known = {**before["datasets"], **datasets}
            _write(file, {"format": FORMAT, "kind": kind, "settings": settings, "datasets": known})
            folder._read()
            folder._out = (path / ROWS).open("ab")
        except json.JSONDecodeError as error:
            folder.close()
            raise RunError(f"{path / SETTINGS} is damaged ({error})", remedy="name another --out") from error
        except OSError as error:
            folder.close()
            raise RunError(
                f"{path} cannot be written ({error.strerror})", remedy="name another --out"
            ) from error
        except RunError:
            folder.close()
            raise
        return folder

    def done(self, key: str, *, failed_too: bool = True) -> bool:
        """Whether there is a row; without ``failed_too`` a row of an error is none."""
        row = self.rows.get(key)
        return row is not None and (failed_too or row["state"] != "failed")

    def append(self, dataset: str, row: Mapping[str, Any]) -> None:
        """Put a row on disk; it is there when this returns.

        :param row: with ``key`` and ``state``
        :raises RunError: it cannot be written
        """
        whole = {**row, "settings": self.stamps[dataset]}
        try:
            assert self._out is not None
            self._out.write(encoded(whole))
            self._out.flush()
            os.fsync(self._out.fileno())
        except OSError as error:
            raise RunError(f"{self.path / ROWS} cannot be written ({error.strerror})") from error
        self.rows[row["key"]] = whole

    def close(self) -> None:
        """Release files and lock. Safe to call twice."""
        for stream in (self._out, self._lock):
            if stream is not None:
                stream.close()
        self._out = self._lock = None

    def _take(self) -> None:
        self._lock = (self.path / LOCK).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"another run is writing into {self.path}", remedy="wait for it, or name another --out"
            ) from None

    def _read(self) -> None:
        file = self.path / ROWS
        if not file.exists():
            return
        whole = 0

        def wrong(number: int, problem: str) -> RunError:
            return RunError(f"{file}, line {number}: {problem}", remedy="name another --out")

        for number, (row, end) in enumerate(files.json_lines(file, wrong), 1):
            if "key" not in row or "state" not in row:
                raise wrong(number, "no row of an evaluation")
            dataset = str(row.get("dataset"))
            if dataset in self.stamps and row.get("settings") != self.stamps[dataset]:
                was, now = row.get("settings"), self.stamps[dataset]
                raise wrong(number, f"a row of other settings ({was}, not {now})")
            self.rows[row["key"]] = row
            whole = end
        if whole < file.stat().st_size:
            os.truncate(file, whole)  # the last line of a killed run may be cut
        self.found = len(self.rows)


def _compare(
    path: Path,
    before: Mapping[str, Any],
    kind: str,
    settings: Mapping[str, Any],
    datasets: Mapping[str, Mapping[str, Any]],
) -> None:
    """Refuse what would mix rows, by the name of what differs."""
    if before.get("format") != FORMAT or before.get("kind") != kind:
        was = f"{before.get('kind')}, format {before.get('format')}"
        raise RunError(f"{path} holds an evaluation of another kind ({was})", remedy="name another --out")
    changed = _changed("", before["settings"], settings)
    for name, facts in datasets.items():
        if name in before["datasets"]:
            changed += _changed(f"{name}.", before["datasets"][name], facts)
    if changed:
        raise RunError(
            f"{path} holds rows of other settings: {'; '.join(changed)}",
            remedy="name another --out, or go back to the settings of before",
        )


def _changed(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted({*before, *now})
    return [
        f"{prefix}{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _write(file: Path, data: Mapping[str, Any]) -> None:
    files.write(file, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_json(file: Path, data: Mapping[str, Any]) -> None:
    """Write a report.

    :raises RunError: it cannot be written
    """
    try:
        _write(file, data)
    except OSError as error:
        raise RunError(f"{file} cannot be written ({error.strerror})") from error
