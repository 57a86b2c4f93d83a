"""ELAN annotation files (EAF 3.0), written.

Five tiers for each face, named as corpora do, ``TIER@track1``:

``expression``
    onset to offset, time-aligned; its value is the spotting score.
``apex``
    one frame inside of it (stereotype *Included In*).
``action units``, ``emotion``, ``description``
    one each for an expression (*Symbolic Association*): whoever drags an expression takes them along.

and one tier ``markers`` for the recording. ELAN counts whole milliseconds; the exact times of the run stand in a
document property, from which :mod:`mellm.engine.export.corrections` takes them where nobody moved the interval.
"""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

from mellm.engine.export import words
from mellm.engine.facs.action_units import COARSE
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.results.run_reader import Run, recording
from mellm.stream.errors import UsageError

EXPRESSION, APEX, UNITS, EMOTION, TEXT = "expression", "apex", "action units", "emotion", "description"
MARKERS = "markers"
EXACT = "mellm:exact"
"""Document property: expression id → [track, onset, apex, offset] in milliseconds with their fractions."""

SCALE = "mellm:time_scale"
"""Document property: milliseconds of the document for one of media time; 4 where 100 frames are played as 25."""

MARKER_MS = 1000
"""A marker is a moment; ELAN shows intervals."""

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_TOP, _INSIDE, _EACH, _EMOTIONS = "expressions", "moments", "notes", "emotions"
_CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps allowed within this "
    "interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Annotations refering to the same parent "
    "are ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
}
"""The four stereotypes that ELAN writes into every file, in its words."""


def to_eaf(run: Run, beside: Path | None = None, scale: float = 1.0, *, absolute: bool = False) -> str:
    """One recording as an EAF document.

    :param run: of one recording
    :param beside: folder the file will lie in, to which the path of the recording is made relative
    :param scale: what a player shows for one second, see :func:`mellm.engine.results.run_reader.time_scale`
    :param absolute: name the recording's full path too, which tells the folders of whoever exports
    :raises UsageError: the run holds several recordings, or none
    """
    if len(run.sources) != 1:
        raise UsageError(
            f"an ELAN file is about one recording, the run has {len(run.sources)}",
            remedy="choose one with --source",
        )
    return _Document(run, run.sources[0], beside, scale, absolute).text()


class _Document:
    """Collects time slots and annotations; ids are given in the order of writing."""

    def __init__(self, run: Run, source: str, beside: Path | None, scale: float, absolute: bool) -> None:
        ET.register_namespace("xsi", _XSI)
        self._run, self._scale = run, scale
        self._root = ET.Element(
            "ANNOTATION_DOCUMENT",
            {
                "AUTHOR": "mellm",
                # the run has no date of its own: the same run gives the same file
                "DATE": "1970-01-01T00:00:00Z",
                "FORMAT": "3.0",
                "VERSION": "3.0",
                f"{{{_XSI}}}noNamespaceSchemaLocation": SCHEMA,
            },
        )
        self._header(source, beside, absolute)
        self._order = ET.SubElement(self._root, "TIME_ORDER")
        self._slots: list[int] = []
        self._annotations = 0
        for track in sorted({r.track for r in run.expressions}) or [1]:
            self._track(track)
        self._markers()
        properties = {
            "lastUsedAnnotationId": str(self._annotations),
            EXACT: _exact(run),
            SCALE: f"{scale:.9g}",
        }
        for name, value in properties.items():
            ET.SubElement(self._head, "PROPERTY", NAME=name).text = value
        self._time_order()
        self._types()

    def text(self) -> str:
        """The document."""
        ET.indent(self._root, "    ")
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(self._root, encoding="unicode") + "\n"

    def _header(self, source: str, beside: Path | None, absolute: bool) -> None:
        self._head = ET.SubElement(self._root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
        media = recording(self._run, source)
        relative = os.path.relpath(media, beside) if beside is not None and media.exists() else media.name
        mime = mimetypes.guess_type(media.name)[0] or "unknown"
        ET.SubElement(
            self._head,
            "MEDIA_DESCRIPTOR",
            # unless asked, only the relative path leads there: a file that is passed on tells nobody's folders
            MEDIA_URL=media.resolve().as_uri() if absolute else "file:///" + quote(media.name),
            MIME_TYPE=mime,
            RELATIVE_MEDIA_URL="./" + quote(Path(relative).as_posix()),
        )

    def _track(self, track: int) -> None:
        mine = [r for r in self._run.expressions if r.track == track]
        who = f"track{track}"
        parent = self._tier(EXPRESSION, who, _TOP)
        ids = [
            self._aligned(parent, *interval(r.onset_ms, r.offset_ms, self._scale), words.score(r))
            for r in mine
        ]
        apexes = self._tier(APEX, who, _INSIDE, parent)
        for record in mine:
            self._aligned(apexes, *apex_interval(record, self._scale), "apex")
        for name, said in ((UNITS, words.facs), (EMOTION, words.coarse), (TEXT, _text)):
            tier = self._tier(name, who, _EMOTIONS if name == EMOTION else _EACH, parent)
            for record, annotation in zip(mine, ids, strict=True):
                if value := said(record):
                    self._noted(tier, annotation, value)

    def _markers(self) -> None:
        tier = ET.SubElement(self._root, "TIER", TIER_ID=MARKERS, LINGUISTIC_TYPE_REF=_TOP)
        following = [*(self._scale * m.t_ms for m in self._run.markers), float("inf")][1:]
        for marker, until in zip(self._run.markers, following, strict=True):
            start = round(self._scale * marker.t_ms)
            # annotations of one tier must not overlap
            end = min(start + MARKER_MS, until)
            self._aligned(tier, start, max(start + 1, round(end)), marker.label)

    def _tier(self, name: str, who: str, kind: str, parent: ET.Element | None = None) -> ET.Element:
        attributes = {
            "TIER_ID": f"{name}@{who}",
            "PARTICIPANT": who,
            "ANNOTATOR": "mellm",
            "LINGUISTIC_TYPE_REF": kind,
        }
        if parent is not None:
            attributes["PARENT_REF"] = parent.attrib["TIER_ID"]
        return ET.SubElement(self._root, "TIER", attributes)

    def _aligned(self, tier: ET.Element, start: int, end: int, value: str) -> str:
        slots = {}
        for number, at in enumerate((start, end), 1):
            self._slots.append(max(0, at))
            slots[f"TIME_SLOT_REF{number}"] = f"ts{len(self._slots)}"
        return self._annotation(tier, "ALIGNABLE_ANNOTATION", slots, value)

    def _noted(self, tier: ET.Element, parent: str, value: str) -> str:
        return self._annotation(tier, "REF_ANNOTATION", {"ANNOTATION_REF": parent}, value)

    def _annotation(self, tier: ET.Element, kind: str, where: Mapping[str, str], value: str) -> str:
        self._annotations += 1
        name = f"a{self._annotations}"
        body = ET.SubElement(ET.SubElement(tier, "ANNOTATION"), kind, {"ANNOTATION_ID": name, **where})
        ET.SubElement(body, "ANNOTATION_VALUE").text = printable(value)
        return name

    def _time_order(self) -> None:
        # ELAN wants slots in order of time; ids need not follow it
        for at, number in sorted((at, number) for number, at in enumerate(self._slots, 1)):
            ET.SubElement(self._order, "TIME_SLOT", TIME_SLOT_ID=f"ts{number}", TIME_VALUE=str(at))

    def _types(self) -> None:
        each = {"TIME_ALIGNABLE": "false", "CONSTRAINTS": "Symbolic_Association"}
        kinds: dict[str, dict[str, str]] = {
            _TOP: {"TIME_ALIGNABLE": "true"},
            _INSIDE: {"TIME_ALIGNABLE": "true", "CONSTRAINTS": "Included_In"},
            _EACH: each,
            _EMOTIONS: each | {"CONTROLLED_VOCABULARY_REF": _EMOTIONS},
        }
        for name, more in kinds.items():
            attributes = {"LINGUISTIC_TYPE_ID": name, "GRAPHIC_REFERENCES": "false", **more}
            ET.SubElement(self._root, "LINGUISTIC_TYPE", attributes)
        ET.SubElement(
            self._root,
            "LANGUAGE",
            LANG_ID="eng",
            LANG_DEF="http://cdb.iso.org/lg/CDB-00138502-001",
            LANG_LABEL="English",
        )
        for stereotype, said in _CONSTRAINTS.items():
            ET.SubElement(self._root, "CONSTRAINT", STEREOTYPE=stereotype, DESCRIPTION=said)
        vocabulary = ET.SubElement(self._root, "CONTROLLED_VOCABULARY", CV_ID=_EMOTIONS)
        ET.SubElement(vocabulary, "DESCRIPTION", LANG_REF="eng").text = "Coarse class of an expression"
        for number, name in enumerate((*COARSE, "other"), 1):
            entry = ET.SubElement(vocabulary, "CV_ENTRY_ML", CVE_ID=f"cve{number}")
            ET.SubElement(entry, "CVE_VALUE", LANG_REF="eng", DESCRIPTION="").text = name


def interval(onset_ms: float, offset_ms: float, scale: float = 1.0) -> tuple[int, int]:
    """Whole milliseconds of the document, and never empty."""
    start = round(scale * onset_ms)
    return start, max(start + 1, round(scale * offset_ms))


def apex_interval(record: ExpressionRecord, scale: float = 1.0) -> tuple[int, int]:
    """The apex as a stretch of a frame's length that stays inside of the expression."""
    start, end = interval(record.onset_ms, record.offset_ms, scale)
    fps = (record.quality.fps if record.quality else 0) or 50.0
    at = min(max(start, round(scale * record.apex_ms)), end - 1)
    return at, min(end, at + max(1, round(1000 * scale / fps)))


def printable(value: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(
        c
        for c in value
        if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )


def _text(record: ExpressionRecord) -> str:
    return words.text(record) or words.headline(record)


def _exact(run: Run) -> str:
    times = {r.id: [r.track, r.onset_ms, r.apex_ms, r.offset_ms] for r in run.expressions}
    return json.dumps(times, separators=(",", ":"))
