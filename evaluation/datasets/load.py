"""Loads a data set: ``load("casme2", "~/data/CASME2")``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from evaluation.datasets import emotions
from evaluation.datasets.clips import Clip, Frames, Kind
from evaluation.datasets.errors import DatasetError, SheetError
from evaluation.datasets.folders import Tree
from evaluation.datasets.rows import Repair, Row
from evaluation.datasets.sheets import SUFFIXES, Header, Sheet, blank, find_header, read_workbook
from evaluation.datasets.specs import SPECS, Place, Spec
from evaluation.datasets.units import ActionUnits, Unit, parse_units

T = TypeVar("T")

# an offset policy gets apex and frames per second, an apex policy onset and offset
OffsetPolicy = Callable[[int, float | None], int | None]
ApexPolicy = Callable[[int, int], int | None]
OFFSET_POLICIES: Final[dict[str, OffsetPolicy]] = {
    "unknown": lambda apex, fps: None,
    "apex": lambda apex, fps: apex,
    "apex+20": lambda apex, fps: apex + 20,
    "apex+2/3s": lambda apex, fps: None if fps is None else apex + round(fps * 2 / 3),
}
APEX_POLICIES: Final[dict[str, ApexPolicy]] = {
    "unknown": lambda onset, offset: None,
    "midpoint": lambda onset, offset: (onset + offset) // 2,
    "onset+40%": lambda onset, offset: onset + round(0.4 * (offset - onset)),
}


@dataclass(frozen=True, slots=True)
class DataSet:
    """What was read.

    :param sources: annotation files
    :param repairs: every oddity, in the order of the rows
    """

    spec: Spec
    root: Path
    sources: tuple[Path, ...]
    clips: tuple[Clip, ...]
    repairs: tuple[Repair, ...]


def load(
    name: str, root: Path | str, *, apex_policy: str = "unknown", offset_policy: str = "unknown"
) -> DataSet:
    """Read the annotation of a data set and find the folder of each clip. No picture is opened.

    :param apex_policy: a key of :data:`APEX_POLICIES`, for clips whose apex is unknown
    :param offset_policy: a key of :data:`OFFSET_POLICIES`, for clips whose offset is unknown
    :raises DatasetError: unknown data set or policy, no such folder, no annotation file in it
    :raises SheetError: an annotation file that cannot be read without guessing
    """
    spec = _known(SPECS, name, "data set")
    policies = (
        _known(OFFSET_POLICIES, offset_policy, "offset policy"),
        _known(APEX_POLICIES, apex_policy, "apex policy"),
    )
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DatasetError(f"{path} is no folder", remedy=f"point at the folder that holds {spec.title}")
    tree = Tree(path)
    repairs: list[Repair] = []
    clips: list[Clip] = []
    sources = _annotation(spec, tree, repairs)
    for source in sources:
        book = read_workbook(source)
        sheet, header = _table(spec, source, book, repairs)
        clips += _Reader(spec, tree, repairs, _codes(book)).clips(sheet, header)
    if not clips:
        raise SheetError("no clip below the headings", sheet=sources[0].name)
    if spec.joins:
        clips = _joined(spec, tree, clips, repairs)
    clips = [_filled(clip, policies, repairs) for clip in _numbered(clips, repairs)]
    return DataSet(spec, path, tuple(sources), tuple(clips), tuple(repairs))


def _known(table: dict[str, T], key: str, what: str) -> T:
    if key not in table:
        raise DatasetError(f"there is no {what} {key!r}", remedy=f"known are {', '.join(table)}")
    return table[key]


def _annotation(spec: Spec, tree: Tree, repairs: list[Repair]) -> list[Path]:
    """The first file that fits a pattern, or one for each pattern."""
    here = tree.files(SUFFIXES)
    chosen: list[Path] = []
    for pattern in spec.files:
        fitting = [p for p in here if re.search(pattern, p.name, re.IGNORECASE) and p not in chosen]
        # a spreadsheet is closer to the release than a text file somebody made of it
        fitting.sort(key=lambda p: (p.suffix.lower() not in (".xlsx", ".xls", ".csv"), len(p.parts)))
        if fitting:
            chosen.append(fitting[0])
            repairs += [
                Repair("annotation-choice", p.name, was=str(p.relative_to(tree.root)), became=fitting[0].name)
                for p in fitting[1:]
            ]
            if not spec.every:
                break
    if not chosen:
        raise DatasetError(
            f"no annotation file of {spec.title} below {tree.root} (name patterns: {', '.join(spec.files)})",
            remedy="put the spreadsheet of the release into that folder",
        )
    return chosen


def _table(spec: Spec, source: Path, book: tuple[Sheet, ...], repairs: list[Repair]) -> tuple[Sheet, Header]:
    """The sheet with the clips and where its columns are."""
    if not book:
        raise SheetError("holds no cell", sheet=source.name)
    order = sorted(book, key=lambda s: not (spec.sheets and re.search(spec.sheets, s.title, re.IGNORECASE)))
    error: SheetError | None = None
    for sheet in order:
        try:
            header = find_header(sheet, spec.aliases, spec.required) or _by_position(spec, sheet)
        except SheetError as problem:
            error = error or problem
            continue
        if header is None:
            continue
        repairs += [Repair("encoding", sheet.name, was=note) for note in sheet.notes]
        if header.row < 0:
            repairs.append(Repair("no-heading", sheet.name))
        return sheet, header
    raise error or SheetError(
        "neither headings nor columns in the usual order",
        sheet=book[0].name,
        row=1,
        column=spec.aliases[spec.required[0]][0],
        remedy=f"headings that are needed: {', '.join(spec.required)}",
    )


def _by_position(spec: Spec, sheet: Sheet) -> Header | None:
    """Columns by their place, believed where at least half of the rows that hold numbers have the right shape."""
    if not spec.positions or not sheet.rows or len(sheet.rows[0]) <= max(spec.positions.values()) - 1:
        return None
    columns = {role: c for role, c in spec.positions.items() if c < len(sheet.rows[0])}
    filled = [row for row in sheet.rows if sum(not blank(cell) for cell in row) > len(spec.required) // 2]
    shaped = [
        row
        for row in filled
        if all(
            re.search(s, str(row[columns[role]] or "").strip(), re.IGNORECASE)
            for role, s in spec.shapes.items()
        )
    ]
    return Header(-1, columns) if shaped and 2 * len(shaped) >= len(filled) else None


def _codes(book: tuple[Sheet, ...]) -> dict[str, str]:
    """Pairs of the small sheets of CAS(ME)^2, both ways: word of a video → its code, number → subject."""
    codes: dict[str, str] = {}
    for sheet in book[1:]:
        for row in sheet.rows:
            texts = [str(cell).strip() for cell in row if not blank(cell)]
            if len(texts) >= 2 and re.fullmatch(r"\d{3,4}", texts[-2]):
                codes[texts[-1].casefold()] = texts[-2].zfill(4)
            elif len(texts) >= 2 and re.fullmatch(r"s\d+", texts[-2], re.IGNORECASE):
                codes[f"subject {int(float(texts[-1]))}"] = texts[-2]
    return codes


class _Reader:
    """Makes clips of the rows of one table."""

    def __init__(self, spec: Spec, tree: Tree, repairs: list[Repair], codes: dict[str, str]) -> None:
        self.spec = spec
        self.tree = tree
        self.repairs = repairs
        self.codes = codes

    def clips(self, sheet: Sheet, header: Header) -> list[Clip]:
        found: list[Clip] = []
        flags = _flag_columns(sheet, header)
        for index in range(header.row + 1, len(sheet.rows)):
            if all(blank(cell) for cell in sheet.rows[index]):
                continue
            row = Row(sheet, header, index, self.repairs)
            if row.is_remark(tuple(self.spec.required)) or (
                header.row < 0 and not self.shaped(row) and not found
            ):
                row.note("note-row", was=row.words())
                continue
            for role in self.spec.aliases:
                if row.has(role) and (index, header.columns[role]) in sheet.merged:
                    row.note("merged-cells", role, became=row.text(role))
            found += self.of_row(row, flags)
        return found

    def shaped(self, row: Row) -> bool:
        """Whether a row of a table without headings looks like a clip; above the first one there is prose."""
        return all(re.search(s, row.text(role), re.IGNORECASE) for role, s in self.spec.shapes.items())

    def of_row(self, row: Row, flags: dict[int, int]) -> Iterator[Clip]:
        """The clip of a row, or several where the row holds several intervals."""
        spec = self.spec
        name = row.text("name")
        if not name:
            raise row.error("the file name is missing", "name")
        number, subject = self.subject(row, name)
        emotion, coarse = self.emotion(row)
        units = self.units(row, flags)
        kind = self.kind(row)
        fps = self.fps(row)
        spans = [(row.frame("onset"), row.frame("apex"), row.frame("offset"))]
        first = row.frame("first") if row.has("first") else spans[0][0] if spec.trimmed else None
        further = [k for k in range(2, 6) if not blank(row.cell(f"onset{k}"))]
        spans += [(row.frame(f"onset{k}", "onset"), None, row.frame(f"offset{k}", "offset")) for k in further]
        for k, span in enumerate(spans, 1):
            onset, apex, offset = self.span(row, *span)
            place = Place(number, name, onset, emotion)
            if kind == "micro" and fps and onset and offset and (offset - onset + 1) / fps > 0.5:
                row.note("longer-than-half-a-second", "offset", f"{(offset - onset + 1) / fps:.2f} s")
            yield Clip(
                subject,
                spec.clip_id(place) + (f"#{k}" if k > 1 else ""),
                Frames(self.folder(row, place), first),
                fps,
                onset,
                apex,
                offset,
                units,
                emotion,
                coarse,
                spec.name,
                kind,
                spec.video(place) if spec.video else "",
            )

    def subject(self, row: Row, name: str) -> tuple[int, str]:
        text = row.text("subject")
        # a text file may hold 1.0 where the release has 1
        numbers = re.findall(r"\d+", re.sub(r"(?<=\d)\.0+$", "", text))
        inside = (
            re.search(self.spec.subject_in_name, name, re.IGNORECASE) if self.spec.subject_in_name else None
        )
        if not numbers and inside:
            row.note("subject-from-name", "subject", text, inside[1])
            numbers = [inside[1]]
        if not numbers:
            raise row.error(f"{text!r} names no subject", "subject")
        number = int(numbers[-1])
        if inside and int(inside[1]) != number:
            raise row.error(f"subject {text!r} does not go with file {name!r}", "subject")
        return number, self.codes.get(f"subject {number}", self.spec.subject.format(number))

    def emotion(self, row: Row) -> tuple[str | None, str | None]:
        text = row.text("emotion")
        emotion = emotions.canonical(text)
        if emotion and emotion != text.casefold():
            row.note("emotion-spelling", "emotion", text, emotion)
        if emotions.strange(emotion):
            row.note("emotion-strange", "emotion", text, emotion)
        if not row.has("class"):
            return emotion, emotions.coarse(emotion)
        given = emotions.canonical(row.text("class"))
        return emotion or given, emotions.coarse(given)

    def units(self, row: Row, flags: dict[int, int]) -> ActionUnits:
        units = parse_units(row.cell("units"), question=self.spec.question)
        if units.unread:
            row.note("units-unread", "units", units.text, units)
        if flags:
            shown = row.flags(flags)
            strange = {u for u in units.sure if u.number in flags and u.number not in shown}
            extra = frozenset(Unit(n) for n in shown - units.numbers - units.possible_numbers)
            if strange or extra:
                units = replace(units, sure=units.sure - strange, possible=units.possible | strange | extra)
                row.note("units-differ", "units", units.text, units)
        return units

    def kind(self, row: Row) -> Kind:
        text = row.text("kind").casefold()
        if text.startswith("ma"):
            return "macro"
        if text and not text.startswith("mi"):
            raise row.error(f"{text!r} is neither a micro- nor a macro-expression", "kind")
        return self.spec.kind

    def fps(self, row: Row) -> float | None:
        text = row.text("fps") or row.text("part")
        if not text:
            if self.spec.fps is None:
                row.note("frame-rate-unknown")
            return self.spec.fps
        if row.has("part") and text.upper() in self.spec.parts:
            return self.spec.parts[text.upper()]
        try:
            return float(text)
        except ValueError:
            raise row.error(f"{text!r} is no frame rate", "fps" if row.has("fps") else "part") from None

    def span(
        self, row: Row, onset: int | None, apex: int | None, offset: int | None
    ) -> tuple[int | None, int | None, int | None]:
        if onset is not None and offset is not None and offset < onset:
            row.note("offset-before-onset", "offset", f"{onset}..{offset}", "unknown")
            offset = None
        if apex is not None and (
            (onset is not None and apex < onset) or (offset is not None and apex > offset)
        ):
            row.note("apex-outside", "apex", f"{apex} of {onset}..{offset}", "unknown")
            apex = None
        if apex is not None and apex in (onset, offset):
            row.note("apex-at-an-end", "apex", apex, apex)
        return onset, apex, offset

    def folder(self, row: Row, place: Place) -> Path | None:
        if self.codes:
            word = place.name.rsplit("_", 1)[0].casefold()
            place = replace(
                place, subject=self.codes.get(f"subject {place.number}", ""), code=self.codes.get(word, "")
            )
        found = self.tree.find(self.spec.tails(place), self.spec.prefer, self.spec.avoid)
        if not found and place.code:
            own = re.sub(r"\D", "", place.subject)
            pattern = rf"^s?0*{int(own or place.number)}_{place.code}"
            found = self.tree.matching(pattern)
        if len(found) > 1:
            row.note("folder-choice", "name", f"{len(found)} folders", found[0].relative_to(self.tree.root))
        return found[0] if found else None


def _flag_columns(sheet: Sheet, header: Header) -> dict[int, int]:
    """Unit → column, for releases with a column for each action unit."""
    if header.row < 0:
        return {}
    matches = (
        (c, re.fullmatch(r"\s*AU\s*(\d+)\s*", str(cell), re.IGNORECASE))
        for c, cell in enumerate(sheet.rows[header.row])
    )
    return {int(match[1]): c for c, match in matches if match}


def _joined(spec: Spec, tree: Tree, clips: list[Clip], repairs: list[Repair]) -> list[Clip]:
    """Emotions of the micro-expressions from another release below the same root, by the name of the file."""
    other = SPECS[spec.joins]
    try:
        (source,) = _annotation(other, tree, [])
    except DatasetError:
        return clips
    sheet, header = _table(other, source, read_workbook(source), [])
    known = {clip.id: clip for clip in _Reader(other, tree, [], {}).clips(sheet, header)}
    result = []
    for clip in clips:
        match = known.get(clip.id) if clip.kind == "micro" and clip.emotion is None else None
        if match is not None:
            repairs.append(Repair("emotion-joined", sheet.name, was=clip.id, became=str(match.emotion)))
            clip = replace(clip, emotion=match.emotion, coarse=match.coarse)
        result.append(clip)
    return result


def _numbered(clips: list[Clip], repairs: list[Repair]) -> Iterator[Clip]:
    """Clips whose name is taken get ``~2``, ``~3`` …"""
    seen: Counter[tuple[str, str]] = Counter()
    for clip in clips:
        key = (clip.subject, clip.id)
        seen[key] += 1
        if seen[key] > 1:
            name = f"{clip.id}~{seen[key]}"
            repairs.append(Repair("duplicate-id", clip.dataset, was=f"{clip.subject} {clip.id}", became=name))
            clip = replace(clip, id=name)
        yield clip


def _filled(clip: Clip, policies: tuple[OffsetPolicy, ApexPolicy], repairs: list[Repair]) -> Clip:
    offset_policy, apex_policy = policies
    if clip.offset is None and clip.apex is not None:
        offset = offset_policy(clip.apex, clip.fps)
        if offset is not None:
            repairs.append(
                Repair("offset-filled", clip.dataset, was=f"{clip.subject} {clip.id}", became=str(offset))
            )
            clip = replace(clip, offset=offset)
    if clip.apex is None and clip.onset is not None and clip.offset is not None:
        apex = apex_policy(clip.onset, clip.offset)
        if apex is not None:
            repairs.append(
                Repair("apex-filled", clip.dataset, was=f"{clip.subject} {clip.id}", became=str(apex))
            )
            clip = replace(clip, apex=apex)
    return clip
