"""ELAN annotation files (EAF 2.7 to 3.0), read: anybody's, not only those that we wrote.

Times of a document count from its own zero; each medium says in ``TIME_ORIGIN`` where in itself that is. Values are
plain text or point into a controlled vocabulary. A tier is time-aligned, or refers to the annotations of another tier,
or hangs below one in time; independent tiers belong together by overlap.
"""

from __future__ import annotations

import json
import math
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from mellm.engine.export import eaf
from mellm.stream.errors import RunError

MAX_BYTES = 64 << 20
"""Larger files are no annotations."""

Exact: TypeAlias = Mapping[tuple[int, int, int], tuple[str, float, float, float]]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation
    :param start: whole milliseconds on a player's clock of the recording.
    :param end: as ``start``
    """

    id: str
    start: int
    end: int
    value: str


class Document:
    """An EAF document, its tiers by name.

    :param media: name of the recording it is about; of several media the one of that name gives the origin
    :raises RunError: it cannot be read, or is no ELAN file
    """

    def __init__(self, path: Path, media: str | None = None) -> None:
        self.path = path
        self.notes: list[str] = []
        try:
            # expat, from 2.4 on, refuses entities that grow without bounds
            self.root = ET.fromstring(_bytes(path))
        except (ET.ParseError, LookupError, ValueError) as error:  # an unknown encoding is a LookupError
            raise RunError(f"{path} is no ELAN file ({error})", remedy="save it in ELAN again") from error
        if self.root.tag != "ANNOTATION_DOCUMENT":
            raise RunError(
                f"{path} is no ELAN file (it holds {self.root.tag})", remedy="give an .eaf file of ELAN"
            )
        self.scale = self._scale()
        self.origin = self._origin(media)
        self._slots = self._times()
        self._words = {
            entry.get("CVE_ID", ""): (entry.findtext("CVE_VALUE") or "").strip()
            for entry in self.root.iterfind("CONTROLLED_VOCABULARY/CV_ENTRY_ML")
        }
        self.tiers = {t.get("TIER_ID", ""): t for t in self.root.iterfind("TIER")}

    def aligned(self, tier: ET.Element | None) -> list[Annotation]:
        """The annotations of a time-aligned tier, in the order of the file."""
        return [] if tier is None else [*self._aligned(tier)]

    def _aligned(self, tier: ET.Element) -> Iterator[Annotation]:
        for body in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
            name = body.get("ANNOTATION_ID", "")
            times = [self._slots.get(body.get(f"TIME_SLOT_REF{n}", "")) for n in (1, 2)]
            start, end = times
            if start is None or end is None:
                raise RunError(
                    f"{self.path}: annotation {name} of tier {tier.get('TIER_ID')!r} has no times",
                    remedy="align or delete it in ELAN",
                )
            yield Annotation(name, start + self.origin, end + self.origin, self._value(body))

    def notes_of(self, tier: ET.Element | None, parents: Sequence[Annotation]) -> dict[str, str]:
        """Id of the parent annotation → value of the tier for it.

        A tier that refers to annotations is followed up to the parents, over tiers between. An independent one, aligned
        in time, gives each parent what overlaps it, in order of time, joined by ``+``.
        """
        if tier is None:
            return {}
        known = {p.id for p in parents}
        found: dict[str, list[str]] = {}
        for body in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
            at: str | None = body.get("ANNOTATION_REF", "")
            for _ in range(len(self.tiers)):
                if at in known or at is None:
                    break
                at = self._references.get(at)
            if at in known and at is not None:
                found.setdefault(at, []).append(self._value(body))
        for mine in sorted(self.aligned(tier), key=lambda a: a.start):
            best = max(parents, key=lambda p: _overlap(mine, p), default=None)
            if best is not None and _overlap(mine, best) > 0:
                found.setdefault(best.id, []).append(mine.value)
            elif mine.value.strip():
                self.notes.append(
                    f"{tier.get('TIER_ID')!r} at {mine.start} ms ({mine.value.strip()[:40]!r}) lies in no interval"
                )
        return {key: "+".join(v for v in values if v.strip()) for key, values in found.items()}

    @property
    def _references(self) -> dict[str, str]:
        return {
            body.get("ANNOTATION_ID", ""): body.get("ANNOTATION_REF", "")
            for body in self.root.iterfind("TIER/ANNOTATION/REF_ANNOTATION")
        }

    def _value(self, body: ET.Element) -> str:
        said = body.findtext("ANNOTATION_VALUE") or ""
        return said if said.strip() else self._words.get(body.get("CVE_REF", ""), said)

    def exact(self) -> Exact:
        """(track, start, end) as ELAN shows them → id and exact times of the run's expression."""
        text = self._property(eaf.EXACT)
        if text is None:
            return {}
        try:
            return dict(_exact(json.loads(text or "{}"), self.scale))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise RunError(
                f"{self.path}: property {eaf.EXACT} is damaged ({error})", remedy="export the run again"
            ) from error

    def _property(self, name: str) -> str | None:
        entries = [e for e in self.root.iterfind("HEADER/PROPERTY") if e.get("NAME") == name]
        return None if not entries else entries[0].text or ""

    def _scale(self) -> float:
        text = self._property(eaf.SCALE)
        try:
            scale = 1.0 if text is None else float(text)
            if not 0 < scale < 1e4:
                raise ValueError(text)
        except ValueError as error:
            raise RunError(
                f"{self.path}: property {eaf.SCALE} is damaged ({error})", remedy="export the run again"
            ) from error
        return scale

    def _origin(self, media: str | None) -> int:
        """Where in the recording the document's zero is, milliseconds."""
        entries = list(self.root.iterfind("HEADER/MEDIA_DESCRIPTOR"))
        origins: list[tuple[str, int]] = []
        for entry in entries:
            address = entry.get("RELATIVE_MEDIA_URL") or entry.get("MEDIA_URL") or ""
            try:
                at = round(float(entry.get("TIME_ORIGIN") or 0))
            except (ValueError, OverflowError) as error:
                raise RunError(
                    f"{self.path}: TIME_ORIGIN of {address!r} is damaged ({error})",
                    remedy="save it in ELAN again",
                ) from error
            origins.append((unquote(PurePosixPath(address).name), at))
        if media is not None and (mine := [at for name, at in origins if _same(name, media)]):
            return mine[0]
        pictures = [
            o for e, o in zip(entries, origins, strict=True) if "audio" not in (e.get("MIME_TYPE") or "")
        ]
        chosen = (pictures or origins or [("", 0)])[0]
        if len({at for _, at in pictures}) > 1:
            names = ", ".join(f"{name} ({at} ms)" for name, at in pictures)
            self.notes.append(f"media with different origins: {names}; times are those of {chosen[0]}")
        return chosen[1]

    def _times(self) -> dict[str, int]:
        """Slot → milliseconds; slots that were never aligned lie evenly between those that were."""
        slots = list(self.root.iterfind("TIME_ORDER/TIME_SLOT"))
        values: list[int | None] = []
        for slot in slots:
            text = slot.get("TIME_VALUE")
            try:
                values.append(None if text is None else int(text))
            except ValueError:
                values.append(None)
        fixed = [i for i, v in enumerate(values) if v is not None]
        found: dict[str, int] = {}
        for i, slot in enumerate(slots):
            at = values[i]
            if at is None:
                k = bisect_left(fixed, i)
                if not 0 < k < len(fixed):
                    continue
                a, b = fixed[k - 1], fixed[k]
                low, high = values[a] or 0, values[b] or 0
                at = round(low + (high - low) * (i - a) / (b - a))
            found[slot.get("TIME_SLOT_ID", "")] = at
        return found


def _exact(
    times: Mapping[str, Sequence[float]], scale: float
) -> Iterator[tuple[tuple[int, int, int], tuple[str, float, float, float]]]:
    for name, (track, *moments) in times.items():
        onset, apex, offset = map(float, moments)
        if not (math.isfinite(apex) and onset <= offset):
            raise ValueError(f"times of {name}")
        yield (int(track), *eaf.interval(onset, offset, scale)), (name, onset, apex, offset)


def _overlap(a: Annotation, b: Annotation) -> int:
    return min(a.end, b.end) - max(a.start, b.start)


def _same(a: str, b: str) -> bool:
    return unicodedata.normalize("NFC", a).casefold() == unicodedata.normalize("NFC", b).casefold()


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{path} is larger than {MAX_BYTES >> 20} MiB", remedy="give an annotation file")
        return path.read_bytes().lstrip()
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error.strerror or error})", remedy="check the path"
        ) from error
