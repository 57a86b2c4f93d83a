"""The table of a study: which recording is of whom, in which session and condition, with which consent."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mellm.engine.governance.purpose import reference
from mellm.engine.results.about import About
from mellm.stream.errors import UsageError
from mellm.stream.sources.formats import SUFFIXES
from mellm.stream.tables import Table, find, lines, read_table

COLUMNS: Final = ("recording", "subject", "session", "condition", "consent", "notes")
NEEDED: Final = ("recording", "subject")
HEADINGS: Final = ",".join(COLUMNS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table.

    :param name: of the recording, relative to the folder, with ``/``
    :param id: name of its run folder; depends on the other recordings only where two differ by their ending alone
    :param where: file and line, for messages
    :param consent: reference, ``None`` where the cell is empty
    """

    name: str
    id: str
    path: Path
    where: str
    consent: str | None
    about: About


@dataclass(frozen=True, slots=True)
class Plan:
    """A table and the folder that it is about.

    :param more: further columns, by their headings, in their order
    :param unlisted: recordings in the folder that no line is about; they are not analysed
    """

    folder: Path
    entries: tuple[Entry, ...]
    more: tuple[str, ...]
    unlisted: tuple[str, ...]


def in_folder(folder: Path) -> list[str]:
    """Recordings in a folder and below it, as a table names them; hidden ones are passed over.

    :raises UsageError: it is no folder
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", remedy="give the folder with the recordings")
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return sorted(p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts))


def read(table: Path, folder: Path, *, consent_needed: bool = False, waiting: bool = False) -> Plan:
    """Read and check the table; every line is held against the folder.

    :param consent_needed: the purpose asks for a consent reference on every line
    :param waiting: recordings may come later: lines without one are left out instead of refused
    :raises UsageError: the table cannot be read, or a line cannot be obeyed; the message names the line and the column
    """
    there = in_folder(folder)
    content = read_table(table)
    columns, more = _columns(content)
    entries: list[Entry] = []
    taken: dict[str, str] = {}
    ids = _ids(there)
    for where, row in lines(content):
        if not row[columns["recording"]]:
            raise UsageError(
                f"{where}, column recording: it is empty", remedy="name a file, or remove the line"
            )
        name = _named(row[columns["recording"]], there)
        if name is None:
            if waiting:
                continue
            raise UsageError(
                f"{where}, column recording: {row[columns['recording']]!r} is not in {folder}",
                remedy=_nearest(row[columns["recording"]], there),
            )
        if name in taken:
            raise UsageError(
                f"{where}, column recording: {name} is already in {taken[name]}",
                remedy="each recording has one line: remove one of them",
            )
        taken[name] = where
        entries.append(_entry(name, ids[name], folder / name, where, row, columns, more, consent_needed))
    if not entries and not waiting:
        raise UsageError(f"{table} has no lines under its headings", remedy="write a line for each recording")
    return Plan(folder, tuple(entries), more, tuple(name for name in there if name not in taken))


def _columns(table: Table) -> tuple[dict[str, str], tuple[str, ...]]:
    """Known columns by their names, and the headings of the others."""
    doubled = [name for name, count in Counter(table.columns).items() if count > 1 and name]
    if doubled:
        raise UsageError(f"{table.name}: two columns are called {doubled[0]!r}", remedy="rename one of them")
    found = {name: column for name in COLUMNS if (column := find(table.columns, [name])) is not None}
    more = tuple(c for c in table.columns if c and c not in found.values())
    absent = [name for name in COLUMNS if name not in found]
    for column in more:
        if near := difflib.get_close_matches(column.lower(), absent, 1, 0.75):
            raise UsageError(f"{table.name}: unknown column {column!r}", remedy=f"did you mean {near[0]!r}?")
    if missing := [name for name in NEEDED if name not in found]:
        raise UsageError(
            f"{table.name} has no column {missing[0]!r} (its columns: {', '.join(more) or 'none'})",
            remedy=f"the first line is: {HEADINGS}",
        )
    return found, more


def _entry(
    name: str,
    id: str,
    path: Path,
    where: str,
    row: dict[str, str],
    columns: dict[str, str],
    more: tuple[str, ...],
    consent_needed: bool,
) -> Entry:
    cells = {column: row[heading] for column, heading in columns.items()}
    if not cells["subject"]:
        raise UsageError(f"{where}, column subject: it is empty", remedy="give a pseudonym, such as p-014")
    given = cells.get("consent") or None
    if given is not None:
        try:
            given = reference(given)
        except ValueError as error:
            raise UsageError(f"{where}, column consent: {error}", remedy="give a short reference") from None
    elif consent_needed:
        raise UsageError(
            f"{where}, column consent: it is empty, and the purpose needs a consent reference",
            remedy="give the reference, such as study-7/p-014; recordings of yourself are the purpose self-use",
        )
    about = About(
        cells["subject"],
        cells.get("session", ""),
        cells.get("condition", ""),
        cells.get("notes", ""),
        more={heading: row[heading] for heading in more},
    )
    return Entry(name, id, path, where, given, about)


def _named(given: str, there: list[str]) -> str | None:
    """The recording that a cell means: by path, by name, or by name without its ending, if that is one only."""
    wanted = _composed(given.replace("\\", "/").removeprefix("./"))
    for same in (
        lambda name: name == wanted,
        lambda name: PurePosixPath(name).name == wanted,
        lambda name: str(PurePosixPath(name).with_suffix("")) == wanted or PurePosixPath(name).stem == wanted,
    ):
        found = [name for name in there if same(_composed(name))]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _composed(name: str) -> str:
    """With accents as most keyboards type them; macOS hands names out with separate ones."""
    return unicodedata.normalize("NFC", name)


def _nearest(given: str, there: list[str]) -> str:
    wanted = given.replace("\\", "/")
    same = [n for n in there if PurePosixPath(n).name == wanted or PurePosixPath(n).stem == wanted]
    if len(same) > 1:
        return f"several are called so, give the path: {', '.join(same[:3])}"
    near = difflib.get_close_matches(wanted, there, 1, 0.5)
    if near:
        return f"did you mean {near[0]}?"
    return (
        f"recordings there: {', '.join(there[:3])}{' …' if len(there) > 3 else ''}"
        if there
        else "it holds no recordings"
    )


def _ids(names: list[str]) -> dict[str, str]:
    """Recording → name of its run folder."""
    plain = {name: _safe(str(PurePosixPath(name).with_suffix(""))) for name in names}
    count = Counter(plain.values())
    whole = {name: id if count[id] == 1 else _safe(name) for name, id in plain.items()}
    return dict(_apart(whole))


def _apart(ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    seen: Counter[str] = Counter()
    for name, id in ids.items():
        seen[id] += 1
        yield name, id if seen[id] == 1 else f"{id}-{seen[id]}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-._") or "recording"
