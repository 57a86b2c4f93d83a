"""Intervals and markers that people draw or mend: read from ELAN files and from tables, their own names included."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

from mellm.engine.export import eaf
from mellm.engine.export.elan import Annotation, Document, Exact
from mellm.engine.facs.action_units import parse
from mellm.engine.results.corrections import VERDICTS
from mellm.engine.results.run_reader import Marker
from mellm.engine.types import Side
from mellm.stream.errors import RunError, UsageError
from mellm.stream.tables import Table, find, lines, milliseconds, number, read_table

TIERS = {"expression": eaf.EXPRESSION, "apex": eaf.APEX, "units": eaf.UNITS, "emotion": eaf.EMOTION} | {
    "text": eaf.TEXT,
    "markers": eaf.MARKERS,
}
"""What a tier may hold → the name it has if nobody says another one (``--tier units=AU``)."""

ONSET = ("onset", "begin time", "begin", "start time", "start")
OFFSET = ("offset", "end time", "end", "stop")
APEX = ("apex", "apex time", "peak")
MOMENT = ("time", "timestamp", "t", *ONSET)
"""Headings of times, before their unit."""

UNITS_OF_TIME: tuple[tuple[str, float], ...] = (
    *((word, 1.0) for word in ("ms", "msec", "milliseconds")),
    *((word, 1000.0) for word in ("s", "sec", "seconds", "ss.msec", "hh:mm:ss.ms", "hh:mm:ss.msec", "mm:ss")),
)
FRAME = 0.0
"""Stands for times that are numbers of frames."""

LABEL = ("label", "marker", "name", "event", "annotation", "value", "text", "comment")
TRACK, SOURCE, STATE = ("track", "face"), ("source", "recording"), ("state",)
CODES, EMOTION, TEXT, ID = ("action_units", "units", "aus", "au"), ("emotion",), ("text", "comment"), ("id",)


@dataclass(frozen=True, slots=True)
class Interval:
    """One expression as a person left it.

    :param track: face, ``None`` where the file does not say
    :param source: recording, likewise
    :param apex_ms: ``None`` where it was not marked
    :param units: as ``(number, side)``; ``None`` where none were coded, empty where it was coded that there is none
    :param emotion: as written, lower case; ``None`` where it was not coded
    :param id: of the run's expression it was: where ELAN's interval was not moved, or where a table keeps the id
    :param verdict: where a table says so
    """

    onset_ms: float
    offset_ms: float
    track: int | None = None
    source: str | None = None
    apex_ms: float | None = None
    units: frozenset[tuple[int, Side]] | None = None
    emotion: str | None = None
    text: str = ""
    id: str | None = None
    verdict: Literal["accept", "reject"] | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        if self.offset_ms < self.onset_ms:
            raise RunError(
                f"an interval ends at {self.offset_ms:g} ms, before it begins at {self.onset_ms:g} ms",
                remedy="swap its ends",
            )


@dataclass(frozen=True, slots=True)
class Reading:
    """How other people's files are to be read.

    :param media: name of the recording, to choose among several media of an ELAN file
    :param tiers: kind of :data:`TIERS` → name of the tier
    :param fps: frame rate, for times that are numbers of frames
    :param notes: filled with what was not read, a sentence each
    """

    media: str | None = None
    tiers: Mapping[str, str] | None = None
    fps: float | None = None
    notes: list[str] | None = None

    def name(self, kind: str) -> str:
        """The tier that holds ``kind``."""
        return (self.tiers or {}).get(kind, TIERS[kind])

    def note(self, *sentences: str) -> None:
        """Tell the caller."""
        if self.notes is not None:
            self.notes.extend(sentences)


def parse_tiers(pairs: Iterable[str]) -> dict[str, str]:
    """``units=AU`` of a command line → kind and tier.

    :raises UsageError: no such kind
    """
    found = {}
    for pair in pairs:
        kind, mark, name = pair.partition("=")
        if not mark or kind not in TIERS or not name:
            raise UsageError(f"--tier {pair}: not KIND=NAME", remedy=f"kinds: {', '.join(TIERS)}")
        found[kind] = name
    return found


def read_corrections(path: Path, reading: Reading | None = None) -> list[Interval]:
    """Read intervals from an ``.eaf`` file, or from a table (``.csv``, ``.tsv``, ``.txt``) with onset and offset.

    :raises RunError: the file cannot be read, or something in it is no interval, unit or time
    :raises UsageError: neither ELAN nor a table
    """
    how = reading or Reading()
    if _is_elan(path):
        return _from_eaf(path, how)
    table = _table(path)
    onset = time_column(table, ONSET, "onset_ms", how)
    offset = time_column(table, OFFSET, "offset_ms", how)
    apex = time_column(table, APEX, None, how)
    return [_from_row(row, where, table, (onset, offset, apex), how) for where, row in lines(table)]


def read_markers(path: Path, reading: Reading | None = None) -> list[Marker]:
    """Markers from an ``.eaf`` file (tier ``markers``, or ``--tier markers=NAME``), or a table with a time and a label.

    :raises RunError: as :func:`read_corrections`
    :raises UsageError: as :func:`read_corrections`
    """
    how = reading or Reading()
    if not _is_elan(path):
        table = _table(path)
        label, source = find(table.columns, LABEL), find(table.columns, SOURCE)
        if label is None:
            raise RunError(
                f"{path} has no column label", remedy=f"its columns: {', '.join(table.columns) or 'none'}"
            )
        column = time_column(table, MOMENT, "time_ms or time_s", how)
        return [
            Marker(_time(row, column, where, how), row[label], (row[source] or None) if source else None)
            for where, row in lines(table)
        ]
    document = Document(path, how.media)
    tier = document.tiers.get(how.name("markers"))
    if tier is None:
        raise RunError(
            f"{path} has no tier {how.name('markers')!r} (tiers: {', '.join(document.tiers) or 'none'})",
            remedy="name the tier with the markers: --tier markers=NAME",
        )
    how.note(*document.notes)
    return [Marker(a.start / document.scale, a.value) for a in document.aligned(tier)]


# -- ELAN ---------------------------------------------------------------------------------------------------------


def _from_eaf(path: Path, how: Reading) -> list[Interval]:
    document = Document(path, how.media)
    wanted = how.name("expression").strip().lower()
    named = {
        name: tier
        for name, tier in document.tiers.items()
        if wanted in (name.strip().lower(), name.partition("@")[0].strip().lower())
    }
    units = (how.tiers or {}).get("units")
    if not named and units in document.tiers and document.aligned(document.tiers[units]):
        named = {units: document.tiers[units]}  # units that were coded in time are the intervals themselves
    if not named:
        tiers = ", ".join(document.tiers) or "none"
        raise RunError(
            f"{path} has no tier {how.name('expression')!r} (tiers: {tiers})",
            remedy="name the tier with the intervals: --tier expression=NAME (and --tier units=NAME for the units)",
        )
    exact = document.exact()
    read: set[str] = set(named)
    found = [i for name, tier in named.items() for i in _of_tier(document, name, tier, exact, how, read)]
    missing = [name for kind, name in (how.tiers or {}).items() if kind != "markers" and name not in read]
    if missing:
        raise RunError(
            f"{path} has no tier {missing[0]!r}", remedy=f"its tiers: {', '.join(document.tiers) or 'none'}"
        )
    unread = [name for name in document.tiers if name not in read and name != how.name("markers")]
    if unread:
        document.notes.append(f"tiers not read: {', '.join(unread)} (choose with --tier KIND=NAME)")
    how.note(*document.notes)
    return sorted(found, key=lambda i: (i.onset_ms, i.offset_ms, i.track or 0))


def _of_tier(
    document: Document, name: str, tier: ET.Element, exact: Exact, how: Reading, read: set[str]
) -> Iterator[Interval]:
    who = name.partition("@")[2]
    digits = re.fullmatch(r"\D*(\d+)", who)
    track = int(digits[1]) if digits else None
    beside: dict[str, ET.Element | None] = {}
    for kind in ("apex", "units", "emotion", "text"):
        called = how.name(kind)
        names = [f"{called}@{who}", called] if who else [called]
        chosen = next((n for n in names if n in document.tiers), None)
        beside[kind] = None if chosen is None else document.tiers[chosen]
        read |= {chosen} if chosen is not None else set()
    mine = document.aligned(tier)
    apexes = sorted(a.start for a in document.aligned(beside["apex"]))
    notes = {kind: document.notes_of(beside[kind], mine) for kind in ("units", "emotion", "text")}
    if beside["units"] is tier:
        notes["units"] = {a.id: a.value for a in mine}
    for annotation in mine:
        yield _interval(document, annotation, track, apexes, notes, exact)


def _interval(
    document: Document,
    annotation: Annotation,
    track: int | None,
    apexes: Sequence[int],
    notes: Mapping[str, Mapping[str, str]],
    exact: Exact,
) -> Interval:
    start, end = annotation.start, annotation.end
    known = exact.get((track or 0, start, end))
    inside = [at for at in apexes if start <= at <= end]
    apex = inside[0] / document.scale if inside else None
    if known is not None and inside:
        shown = max(start, min(end - 1, round(document.scale * known[2])))
        apex = known[2] if inside[0] == shown else apex
    units = notes["units"].get(annotation.id)
    where = f"{document.path}: {annotation.id}"
    return Interval(
        onset_ms=known[1] if known else start / document.scale,
        offset_ms=known[3] if known else end / document.scale,
        track=track,
        apex_ms=apex,
        units=None if units is None else _units(units, where),
        emotion=_word(notes["emotion"].get(annotation.id)),
        text=notes["text"].get(annotation.id, ""),
        id=known[0] if known else None,
    )


# -- tables -------------------------------------------------------------------------------------------------------


def time_column(
    table: Table, stems: Sequence[str], needed: str | None, how: Reading
) -> tuple[str, float] | None:
    """The column of a time and its unit: by heading: ``onset_ms``, ``Begin Time - ss.msec``, ``offset_frame``.

    :param needed: how the column is called in the message if there is none; ``None`` if it may be missing
    :returns: column and milliseconds per unit, :data:`FRAME` for numbers of frames
    :raises RunError: it is needed and not there, or it counts frames at an unknown rate
    """
    for unit, factor in UNITS_OF_TIME:
        if column := find(table.columns, [f"{stem} {unit}" for stem in stems]):
            return column, factor
    if (bare := find(table.columns, stems)) and all(":" in row[bare] for _, row in table.rows if row[bare]):
        return bare, 1000.0
    if column := find(
        table.columns, [f"{stem} {word}" for stem in stems for word in ("frame", "frames")] + ["frame"]
    ):
        if how.fps is None and needed is not None:
            raise RunError(
                f"{table.name}: {column!r} counts frames, and the frame rate is not known",
                remedy="give --fps",
            )
        return None if how.fps is None else (column, FRAME)
    if needed is None:
        return None
    if bare:
        raise RunError(
            f"{table.name}: {bare!r} does not say its unit", remedy=f"call the column {bare}_ms or {bare}_s"
        )
    raise RunError(
        f"{table.name} has no column {needed}",
        remedy=f"its columns: {', '.join(table.columns) or 'none'}",
    )


def _time(row: Mapping[str, str], column: tuple[str, float] | None, where: str, how: Reading) -> float:
    assert column is not None
    name, unit = column
    text = row[name]
    try:
        at = 1000 * number(text) / (how.fps or 1) if unit == FRAME else milliseconds(text, unit)
    except ValueError:
        at = float("nan")
    if not 0 <= at < 1e12:
        raise RunError(
            f"{where}: {text!r} is not a valid time",
            remedy="write milliseconds (2400), seconds (2.4 or 2,4) under a heading that says so, or 0:02.400",
        )
    return at


def _from_row(
    row: Mapping[str, str],
    where: str,
    table: Table,
    times: tuple[tuple[str, float] | None, ...],
    how: Reading,
) -> Interval:
    onset, offset, apex = times

    def cell(names: Sequence[str]) -> str | None:
        column = find(table.columns, names)
        return None if column is None else _plain(row[column])

    units, track = cell(CODES), cell(TRACK)
    # the columns of our own table: a row without a description says nothing about units
    coded = units is not None and (units != "" or (cell(STATE) or "described") == "described")
    return Interval(
        onset_ms=_time(row, onset, where, how),
        offset_ms=_time(row, offset, where, how),
        track=_track(track, where) if track else None,
        source=cell(SOURCE) or None,
        apex_ms=_time(row, apex, where, how) if apex is not None and row[apex[0]] else None,
        units=_units(units or "", where) if coded else None,
        emotion=_word(cell(EMOTION)),
        text=cell(TEXT) or "",
        id=cell(ID) or None,
        verdict=_verdict(cell(("verdict",)) or "", where),
        comment=cell(("comment",)) or "",
    )


def _verdict(text: str, where: str) -> Literal["accept", "reject"] | None:
    said = text.strip().lower()
    if said not in ("", *VERDICTS):
        raise RunError(f"{where}: {text!r} is not a verdict", remedy=f"write one of {', '.join(VERDICTS)}")
    return "accept" if said == "accept" else "reject" if said == "reject" else None


def _table(path: Path) -> Table:
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise UsageError(
            f"{path} is neither an ELAN file nor a table",
            remedy="give a file that ends in .eaf, .csv or .tsv",
        )
    try:
        return read_table(path)
    except UsageError as error:
        raise RunError(error.message, remedy=error.remedy) from error


def _is_elan(path: Path) -> bool:
    return path.suffix.lower() == ".eaf"


def _plain(cell: str) -> str:
    # the apostrophe that our table puts in front of what a spreadsheet would run
    return cell[1:] if re.match(r"'[=+\-@]", cell) else cell


def _units(notation: str, where: str) -> frozenset[tuple[int, Side]]:
    try:
        return frozenset((c.au, c.side) for c in parse(notation.strip()))
    except UsageError as error:
        raise RunError(f"{where}: {error.message}", remedy=error.remedy) from error


def _word(value: str | None) -> str | None:
    return value.strip().lower() or None if value else None


def _track(value: str, where: str) -> int:
    try:
        return int(number(value))
    except (ValueError, OverflowError):
        raise RunError(f"{where}: {value!r} is not a number of a track", remedy="write 1, 2, …") from None
