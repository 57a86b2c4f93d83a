"""Intervals that people draw or mend: read from ELAN files and from tables."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from mellm.engine.export import eaf
from mellm.engine.facs.action_units import parse
from mellm.engine.results.run_reader import Marker
from mellm.engine.types import Side
from mellm.stream.errors import RunError, UsageError

MAX_BYTES = 64 << 20
"""Larger files are no annotations."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One expression as a person left it.

    :param track: face, ``None`` where the file does not say; :param source: recording, likewise
    :param apex_ms: ``None`` where it was not marked
    :param units: as ``(number, side)``; ``None`` where none were coded, empty where it was coded that there is none
    :param emotion: as written, lower case; ``None`` where it was not coded
    :param id: of the run's expression it was: where ELAN's interval was not moved, or where a table keeps the id
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

    def __post_init__(self) -> None:
        if self.offset_ms < self.onset_ms:
            raise RunError(
                f"an interval ends at {self.offset_ms:g} ms, before it begins at {self.onset_ms:g} ms",
                remedy="swap its ends",
            )


def read_corrections(path: Path) -> list[Interval]:
    """Read intervals from an ``.eaf`` file, or from a table (``.csv``, ``.tsv``) with ``onset_ms`` and ``offset_ms``.

    :raises RunError: the file cannot be read, or something in it is no interval, unit or time
    :raises UsageError: neither ELAN nor a table
    """
    match path.suffix.lower():
        case ".eaf":
            return _from_eaf(path)
        case ".csv" | ".tsv":
            return [
                _from_row(row, f"{path}, line {number}")
                for number, row in _rows(path, ("onset_ms", "offset_ms"))
            ]
    raise UsageError(
        f"{path} is neither an ELAN file nor a table", remedy="give a file that ends in .eaf, .csv or .tsv"
    )


def read_markers(path: Path) -> list[Marker]:
    """Markers from an ``.eaf`` file (tier ``markers``), or a table with ``label`` and ``time_ms`` or ``time_s``.

    :raises RunError: :raises UsageError: as :func:`read_corrections`
    """
    match path.suffix.lower():
        case ".eaf":
            document = _Eaf(path)
            tier = document.tiers.get(eaf.MARKERS)
            return (
                [] if tier is None else [Marker(float(s), v) for s, _, v in document.aligned(tier).values()]
            )
        case ".csv" | ".tsv":
            return [_marker(row, f"{path}, line {n}") for n, row in _rows(path, ("label",))]
    raise UsageError(
        f"{path} is neither an ELAN file nor a table", remedy="give a file that ends in .eaf, .csv or .tsv"
    )


class _Eaf:
    """An EAF document, its tiers by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # expat, from 2.4 on, refuses entities that grow without bounds
            self.root = ET.fromstring(_bytes(path))
        except ET.ParseError as error:
            raise RunError(f"{path} is no ELAN file ({error})") from error
        if self.root.tag != "ANNOTATION_DOCUMENT":
            raise RunError(f"{path} is no ELAN file (it holds {self.root.tag})")
        self.slots = {
            s.get("TIME_SLOT_ID", ""): s.get("TIME_VALUE") for s in self.root.iterfind("TIME_ORDER/TIME_SLOT")
        }
        self.start_ms = self._start()
        self.tiers = {t.get("TIER_ID", ""): t for t in self.root.iterfind("TIER")}

    def aligned(self, tier: ET.Element | None) -> dict[str, tuple[int, int, str]]:
        """Annotation id → start, end in milliseconds of media time, value."""
        found: dict[str, tuple[int, int, str]] = {}
        if tier is None:
            return found
        for body in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
            times = [self.slots.get(body.get(f"TIME_SLOT_REF{n}", "")) for n in (1, 2)]
            try:
                start, end = (int(str(t)) + self.start_ms for t in times)
            except ValueError as error:
                name = body.get("ANNOTATION_ID")
                raise RunError(
                    f"{self.path}: annotation {name} of tier {tier.get('TIER_ID')!r} has no times"
                ) from error
            found[body.get("ANNOTATION_ID", "")] = (start, end, body.findtext("ANNOTATION_VALUE") or "")
        return found

    def _start(self) -> int:
        """Media time that the document calls zero, whole milliseconds as its slots."""
        for entry in self.root.iterfind("HEADER/PROPERTY"):
            if entry.get("NAME") == eaf.START:
                try:
                    return round(float(entry.text or "0"))
                except (ValueError, OverflowError) as error:
                    raise RunError(f"{self.path}: property {eaf.START} is damaged ({error})") from error
        return 0

    def notes(self, tier: ET.Element | None) -> dict[str, str]:
        """Id of the annotation that is spoken of → value."""
        if tier is None:
            return {}
        bodies = tier.iterfind("ANNOTATION/REF_ANNOTATION")
        return {b.get("ANNOTATION_REF", ""): b.findtext("ANNOTATION_VALUE") or "" for b in bodies}

    def exact(self) -> dict[tuple[int, int, int], tuple[str, float, float, float]]:
        """(track, start, end) as ELAN shows them → id and exact times of the run's expression."""
        for entry in self.root.iterfind("HEADER/PROPERTY"):
            if entry.get("NAME") == eaf.EXACT:
                try:
                    return dict(_exact(json.loads(entry.text or "{}")))
                except (ValueError, TypeError, AttributeError, OverflowError) as error:
                    raise RunError(f"{self.path}: property {eaf.EXACT} is damaged ({error})") from error
        return {}


def _exact(
    times: Mapping[str, Sequence[float]],
) -> Iterator[tuple[tuple[int, int, int], tuple[str, float, float, float]]]:
    for name, (track, *moments) in times.items():
        onset, apex, offset = map(float, moments)
        if not (math.isfinite(apex) and onset <= offset):
            raise ValueError(f"times of {name}")
        yield (int(track), *eaf.interval(onset, offset)), (name, onset, apex, offset)


def _from_eaf(path: Path) -> list[Interval]:
    document = _Eaf(path)
    named = {
        name: tier
        for name, tier in document.tiers.items()
        if name.partition("@")[0].strip().lower() == eaf.EXPRESSION
    }
    if not named:
        tiers = ", ".join(document.tiers) or "none"
        raise RunError(
            f"{path} has no tier {eaf.EXPRESSION!r} (tiers: {tiers})",
            remedy=f"call the tier with the intervals {eaf.EXPRESSION} or {eaf.EXPRESSION}@track1",
        )
    exact = document.exact()
    found = [i for name, tier in named.items() for i in _of_tier(document, name, tier, exact)]
    return sorted(found, key=lambda i: (i.onset_ms, i.offset_ms, i.track or 0))


def _of_tier(
    document: _Eaf,
    name: str,
    tier: ET.Element,
    exact: Mapping[tuple[int, int, int], tuple[str, float, float, float]],
) -> Iterator[Interval]:
    who = name.partition("@")[2]
    digits = re.fullmatch(r"\D*(\d+)", who)
    track = int(digits[1]) if digits else None
    beside = {
        kind: document.tiers.get(f"{kind}@{who}" if who else kind)
        for kind in (eaf.APEX, eaf.UNITS, eaf.EMOTION, eaf.TEXT)
    }
    apexes = sorted(document.aligned(beside[eaf.APEX]).values())
    units, emotions, texts = (document.notes(beside[kind]) for kind in (eaf.UNITS, eaf.EMOTION, eaf.TEXT))
    for annotation, (start, end, _) in document.aligned(tier).items():
        known = exact.get((track or 0, start, end))
        inside = [at for at, _, _ in apexes if start <= at <= end]
        apex: float | None = inside[0] if inside else None
        if known is not None and apex is not None and apex == max(start, min(end - 1, round(known[2]))):
            apex = known[2]
        yield Interval(
            onset_ms=known[1] if known else float(start),
            offset_ms=known[3] if known else float(end),
            track=track,
            apex_ms=apex,
            units=_units(units[annotation], f"{document.path}: {annotation}")
            if annotation in units
            else None,
            emotion=_word(emotions.get(annotation)),
            text=texts.get(annotation, ""),
            id=known[0] if known else None,
        )


def _from_row(row: Mapping[str, str], where: str) -> Interval:
    units = row.get("action_units")
    track, apex = row.get("track", ""), row.get("apex_ms", "")
    # the columns of our own table: a row without a description says nothing about units
    coded = units is not None and (units != "" or row.get("state", "described") == "described")
    return Interval(
        onset_ms=_number(row["onset_ms"], where),
        offset_ms=_number(row["offset_ms"], where),
        track=int(_number(track, where)) if track else None,
        source=row.get("source") or None,
        apex_ms=_number(apex, where) if apex else None,
        units=_units(units or "", where) if coded else None,
        emotion=_word(row.get("emotion")),
        text=row.get("text") or "",
        id=row.get("id") or None,
    )


def _marker(row: Mapping[str, str], where: str) -> Marker:
    if row.get("time_ms"):
        at = _number(row["time_ms"], where)
    elif row.get("time_s"):
        at = 1000 * _number(row["time_s"], where)
    else:
        raise RunError(f"{where}: no time", remedy="give the table a column time_ms or time_s")
    return Marker(at, row["label"], row.get("source") or None)


def _rows(path: Path, needed: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8 ({error.reason})", remedy="save the table as UTF-8") from error
    first = text.partition("\n")[0]
    # spreadsheets of some countries write semicolons
    mark = "\t" if path.suffix.lower() == ".tsv" else ";" if first.count(";") > first.count(",") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=mark)
    try:
        columns = [c.strip() for c in reader.fieldnames or ()]
        missing = [name for name in needed if name not in columns]
        if missing:
            raise RunError(
                f"{path} has no column {missing[0]}", remedy=f"its columns: {', '.join(columns) or 'none'}"
            )
        for row in reader:
            yield reader.line_num, {str(k).strip(): _plain(v) for k, v in row.items() if k is not None}
    except csv.Error as error:
        raise RunError(f"{path} is no table ({error})") from error


def _plain(cell: Any) -> str:
    said = str(cell or "").strip()
    # the apostrophe that our table puts in front of what a spreadsheet would run
    return said[1:] if re.match(r"'[=+\-@]", said) else said


def _units(notation: str, where: str) -> frozenset[tuple[int, Side]]:
    try:
        return frozenset((c.au, c.side) for c in parse(notation.strip()))
    except UsageError as error:
        raise RunError(f"{where}: {error.message}", remedy=error.remedy) from error


def _word(value: str | None) -> str | None:
    return value.strip().lower() or None if value else None


def _number(value: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 <= number < 1e12:
        raise RunError(
            f"{where}: {value!r} is not a valid time or track number",
            remedy="write milliseconds, such as 2400",
        )
    return number


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from error
