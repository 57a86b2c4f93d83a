"""Loads a data set: ``load("casme2", "~/data/CASME2")``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from mellm.evaluation.datasets import tables
from mellm.evaluation.datasets.clips import Clip, Frames, Kind
from mellm.evaluation.datasets.errors import DatasetError, SheetError
from mellm.evaluation.datasets.folders import Tree
from mellm.evaluation.datasets.rows import Repair, Row
from mellm.evaluation.datasets.sheets import Header, Sheet, blank, letter, read_workbook
from mellm.evaluation.datasets.specs import SPECS, Place, Spec
from mellm.evaluation.datasets.units import ActionUnits, Unit, parse_units
from mellm.evaluation.metrics import emotions

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
        raise DatasetError(f"{path} is not a folder", remedy=f"point at the folder that holds {spec.title}")
    tree = Tree(path)
    repairs: list[Repair] = []
    clips: list[Clip] = []
    sources = tables.annotation(spec, tree, repairs)
    for source in sources:
        book = read_workbook(source)
        sheet, header = tables.table(spec, source, book, repairs)
        found = _Reader(spec, tree, repairs, tables.codes(book)).clips(sheet, header)
        if not found:
            first = letter(header.columns[spec.required[0]])
            raise SheetError("no clip below the headings", sheet=sheet.name, row=header.row + 2, column=first)
        clips += found
    if spec.joins:
        clips = _joined(spec, tree, clips, repairs)
    clips = [_filled(clip, policies, repairs) for clip in _numbered(clips, repairs)]
    return DataSet(spec, path, tuple(sources), tuple(clips), tuple(repairs))


def _known(table: dict[str, T], key: str, what: str) -> T:
    if key not in table:
        raise DatasetError(f"there is no {what} {key!r}", remedy=f"known are {', '.join(table)}")
    return table[key]


class _Reader:
    """Makes clips of the rows of one table."""

    def __init__(self, spec: Spec, tree: Tree, repairs: list[Repair], codes: dict[str, str]) -> None:
        self.spec = spec
        self.tree = tree
        self.repairs = repairs
        self.codes = codes

    def clips(self, sheet: Sheet, header: Header) -> list[Clip]:
        found: list[Clip] = []
        flags = tables.flag_columns(sheet, header)
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
        numbers = re.findall(r"\d+", text)
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
            raise row.error(f"{text!r} is not a frame rate", "fps" if row.has("fps") else "part") from None

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


def _joined(spec: Spec, tree: Tree, clips: list[Clip], repairs: list[Repair]) -> list[Clip]:
    """Emotions of the micro-expressions from another release below the same root, by the name of the file."""
    other = SPECS[spec.joins]
    try:
        (source,) = tables.annotation(other, tree, [])
    except DatasetError:
        return clips
    sheet, header = tables.table(other, source, read_workbook(source), [])
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
