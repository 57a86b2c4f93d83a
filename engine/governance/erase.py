"""Erasing what was found about somebody: events, motion maps, jobs that wait, lines of run folders.

Bytes are overwritten or their files removed. What a disk, a snapshot or a backup keeps below the file system is out of
reach from here; encrypt the disk.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.results import corrections
from mellm.engine.results.corrections import NONE, Corrections
from mellm.engine.results.run_folder import EVENTS, EXPRESSIONS, RUN, STUDY, curves_name, evidence_name, line
from mellm.engine.results.score_series import forget, path_of
from mellm.stream.errors import RunError
from mellm.stream.log.erasure import Erased, Selection
from mellm.stream.log.journal import Journal, Retention
from mellm.stream.protocol.client_messages import SHOWN
from mellm.stream.protocol.events import rfc3339

OPEN = "open"
"""Below the evidence folder: jobs that wait for their description, see :mod:`mellm.engine.analysis.spool`."""

MADE = (
    "report.html",
    "expressions.csv",
    "recordings.csv",
    "changes.csv",
    "run.xlsx",
    "expressions.sav",
    "run.rrd",
)
MADE_OF_ONE = (".eaf", ".vtt", ".srt", ".TextGrid", "_events.tsv", "_events.json")
"""What `mellm export` leaves in a run folder, of all recordings and of one: it goes too, and can be made again from
what is left."""

OF_STUDY = ("index.html", "recordings.csv", "expressions.csv", "conditions.csv", "study.xlsx")
"""Two folders above the run of a study, what is made of all its runs: it goes too, and the study makes it anew."""

_FILE = re.compile(r"(?P<id>[0-9a-zA-Z._-]{1,128}?)(?:\.faces)?\.(?:png|npz|part|png\.part|npz\.part)")


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was erased in one place, or would be.

    :param unknown: motion maps of whom the log does not know any more: only their age can select them
    """

    events: int = 0
    expressions: tuple[str, ...] = ()
    files: int = 0
    unknown: int = 0
    wiped: bool = True
    sources: frozenset[str] = field(default_factory=frozenset)
    from_seq: int | None = None
    to_seq: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the audit log and for scripts; sources are named, expressions counted."""
        return {
            "events": self.events,
            "expressions": len(self.expressions),
            "files": self.files,
            "unknown_files": self.unknown,
            "wiped": self.wiped,
            "sources": sorted(self.sources),
        }


class DataStore:
    """The places where a server keeps what it found.

    :param folder: of motion maps, as ``keep_evidence`` names it
    :param memory: those in memory
    :param runs: folder with a run folder for each session
    """

    def __init__(
        self,
        journal: Journal,
        folder: Path | None = None,
        memory: EvidenceStore | None = None,
        runs: Path | None = None,
    ) -> None:
        self.journal = journal
        self.folder = folder
        self._memory = memory
        self._runs = runs

    def erase(
        self, what: Selection, *, reason: str, dry_run: bool = False, vacuum: bool = False
    ) -> ErasureReport:
        """Erase events, and the motion maps and waiting jobs of their expressions.

        :param reason: stands in the tombstones
        :param vacuum: see :meth:`mellm.stream.log.journal.Journal.erase`
        :raises JournalError: if the log cannot be changed; its evidence is gone then
        :raises OSError: if a motion map cannot be removed; the events are left, so that it can be tried again
        """
        found = self.journal.erase(what, reason=reason, dry_run=True)
        named = set(found.expressions)
        old = self._files(lambda path, id: id in named or _older(path, what))
        unknown = 0
        if what.before_ns is None and what.expression is None:
            unknown = len(
                self._files(lambda path, id: id not in named and not self.journal.about(id, limit=1))
            )
        if not dry_run:
            # evidence first: without its events nobody could say any more whose it is
            for path in old:
                path.unlink(missing_ok=True)
            for id in found.expressions:
                if self._memory is not None:
                    self._memory.forget(id)
            found = self._events(what, found, reason, vacuum)
        first, last = found.from_seq, found.to_seq
        sessions = self._sessions(what, reason, dry_run)
        return ErasureReport(
            found.events,
            tuple(dict.fromkeys((*found.expressions, *(id for each in sessions for id in each.expressions)))),
            len(old) + sum(each.files for each in sessions),
            unknown,
            found.wiped,
            found.sources.union(*(each.sources for each in sessions)),
            first,
            last,
        )

    def _sessions(self, what: Selection, reason: str, dry_run: bool) -> list[ErasureReport]:
        """From the run folders of sessions that have ended.

        :raises OSError: one of them cannot be changed
        """
        if self._runs is None or not self._runs.is_dir():
            return []
        moment = rfc3339(time.time_ns())
        try:
            return [
                erase_run(each.parent, what, reason=reason, moment=moment, dry_run=dry_run)
                for each in sorted(self._runs.glob(f"*/{RUN}"))
            ]
        except RunError as error:
            raise OSError(str(error)) from error

    def _events(self, what: Selection, foreseen: Erased, reason: str, vacuum: bool) -> Erased:
        if what.before_ns is not None and what.only_age:
            # the old end of the log is forgotten whole; nothing needs to stand there
            self.journal.prune(Retention(max_age_s=1e-9), now=what.before_ns)
            rest = self.journal.erase(what, reason=reason, vacuum=vacuum)
            return replace(foreseen, wiped=rest.wiped)
        return self.journal.erase(what, reason=reason, vacuum=vacuum)

    def sweep(self, *, evidence_before_ns: int) -> int:
        """Remove motion maps that are older; how many.

        :raises OSError: if one cannot be removed
        """
        old = self._files(lambda path, id: path.stat().st_mtime_ns < evidence_before_ns)
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _files(self, chosen: Callable[[Path, str], bool]) -> list[Path]:
        if self.folder is None:
            return []
        found = []
        for folder in (self.folder, self.folder / OPEN):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                match = _FILE.fullmatch(path.name)
                if match and path.is_file() and not path.is_symlink() and chosen(path, match["id"]):
                    found.append(path)
        return found


def _older(path: Path, what: Selection) -> bool:
    """Whether age alone selects this file: it may belong to an event that is forgotten already."""
    return what.only_age and path.stat().st_mtime_ns < (what.before_ns or 0)


def erase_run(
    folder: Path, what: Selection, *, reason: str, moment: str, dry_run: bool = False
) -> ErasureReport:
    """Erase from a run folder that nobody is writing to. ``run.json`` keeps what was erased, when and why; a source
    that was erased is not analysed again there.

    Recordings have no wall clock: the age is that of the last line that was written.

    :raises RunError: it holds no run, or cannot be changed
    """
    run = folder / RUN
    try:
        state: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))
        events, expressions = (_lines(folder / name) for name in (EVENTS, EXPRESSIONS))
        if not _concerns(what, state, folder):
            return ErasureReport()
        gone_ids = {r["id"] for r in expressions if _chosen(r, r["id"], what)}
        kept = {
            EVENTS: [r for r in events if not _chosen(r, r["data"].get("id"), what)],
            EXPRESSIONS: [r for r in expressions if r["id"] not in gone_ids],
        }
        known = {*state["sources"], *(r["source"] for r in (*events, *expressions))}
        whole = {s for s in known if what.source in (None, s)} if what.expression is None else set()
        touched = {r["source"] for r in expressions if r["id"] in gone_ids}
        decided = _decided(folder)
        left = decided.without(ids=gone_ids | {what.expression or ""}, sources=whole)
        if whole >= set(state["sources"]):
            left = NONE  # an added expression need not name the only recording
        names = {f"{source}{suffix}" for source in touched for suffix in MADE_OF_ONE}
        names |= set(MADE) if touched or left != decided else set()
        files = [folder / name for name in sorted(names) if (folder / name).is_file()]
        above = folder.resolve().parent.parent
        if names and (above / STUDY).is_file():
            files += [above / name for name in OF_STUDY if (above / name).is_file()]
        files += [path for source in sorted(whole) if (path := path_of(folder, source)).is_file()]
        files += [
            path
            for id in sorted(gone_ids)
            for name in (*(evidence_name(id, kind) for kind in SHOWN), curves_name(id))
            if (path := folder / name).is_file()
        ]
        spans = {
            source: [(r["onset_ms"], r["offset_ms"]) for r in expressions if r["id"] in gone_ids]
            for source in touched - whole
        }
        films = _films(folder, state, whole, spans)
        files += films
        series = {
            path_of(folder, source): forget(path_of(folder, source), of) for source, of in spans.items()
        }
        lines = len(events) + len(expressions) - len(kept[EVENTS]) - len(kept[EXPRESSIONS])
        lines += len(decided.items) - len(left.items)
        fresh = {source for source in whole if state["sources"].get(source, {}).get("state") != "erased"}
        gone = ErasureReport(lines, tuple(sorted(gone_ids)), len(files), sources=frozenset(fresh))
        if dry_run or not (lines or files or fresh):
            return gone
        for path in files:
            path.unlink(missing_ok=True)
        for path, content in series.items():
            if content is not None:
                _replace(path, content)
        for name, records in kept.items():
            _replace(folder / name, b"".join(map(line, records)))
            state.setdefault("sizes", {})[name] = (folder / name).stat().st_size
        if left != decided:
            _replace(folder / corrections.FILE, json.dumps(left.to_json(), ensure_ascii=False).encode())
        for source in whole:
            state["sources"][source] = {"state": "erased"}
        for summary in state["sources"].values():
            if "video" in summary:
                summary["video"] = [each for each in summary["video"] if folder / each["file"] not in films]
        told = {"time": moment, "reason": reason, "lines": lines, "expressions": len(gone_ids)}
        state.setdefault("erased", []).append({**told, "sources": sorted(fresh)})
        _replace(run, json.dumps(state, indent=1, ensure_ascii=False, allow_nan=False).encode())
    except FileNotFoundError:
        raise RunError(
            f"{folder} holds no run", remedy="give the folder that `mellm analyze --out` wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"cannot erase from the run folder {folder}: {error}") from error
    return gone


def _films(
    folder: Path,
    state: Mapping[str, Any],
    whole: Iterable[str],
    spans_ms: Mapping[str, Iterable[tuple[float, float]]],
) -> list[Path]:
    """Video files of sources that go whole, and those that show one of the stretches."""
    found = []
    for source, summary in state["sources"].items():
        for each in summary.get("video") or ():
            shown = any(
                each["from_ms"] <= to and start <= each["to_ms"] for start, to in spans_ms.get(source, ())
            )
            path = (folder / each["file"]).resolve()
            # a run folder may come from somebody else: nothing outside of it is touched
            if (shown or source in whole) and path.is_relative_to(folder.resolve()) and path.is_file():
                found.append(folder / each["file"])
    return found


def _decided(folder: Path) -> Corrections:
    path = folder / corrections.FILE
    return corrections.read(path) if path.is_file() else NONE


def _concerns(what: Selection, state: Mapping[str, Any], folder: Path) -> bool:
    if what.consent is not None and state["settings"].get("consent") != what.consent:
        return False
    if what.before_ns is None:
        return True
    return max((folder / name).stat().st_mtime_ns for name in (RUN, EVENTS, EXPRESSIONS)) < what.before_ns


def _chosen(record: Mapping[str, Any], id: str | None, what: Selection) -> bool:
    if what.expression is not None and id != what.expression:
        return False
    return what.source in (None, record["source"])


def _lines(path: Path) -> list[dict[str, Any]]:
    return list(_whole(path.read_bytes().splitlines(keepends=True)))


def _whole(raw: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for each in raw:
        if each.endswith(b"\n"):  # the last line of a killed run may be cut
            yield json.loads(each)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        os.fchmod(file.fileno(), path.stat().st_mode & 0o777)  # whoever could read it, and nobody else
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
