"""What people decided about the expressions of a run: the file format, and what a run looks like with it.

The file is JSON (``corrections.json`` in a run folder; the report saves and opens the same)::

    {"format": "mellm-corrections/1",
     "run": "run-3f…",                            epoch of run.json, "" where it is not known
     "items": [
       {"id": "a3…",                              of the run's expression; of "add": null, or an id of the coder's own
        "verdict": "accept",                      accept | reject | correct | add
        "source": "p01", "track": 1,              of "add"; else null
        "onset_s": 2.4, "apex_s": 2.48, "offset_s": 2.6,   null where the run's times stand
        "units": "1+2+R12",                       null: not coded; "": coded that there is none
        "class": "surprise",                      null: not coded
        "comment": "",
        "who": "coder-a", "when": "2026-11-29T10:00:00Z"}]}

Of several items about one expression the last one holds; each says all, so that a change of mind needs no history. A
run keeps them all. What the engine found stays in ``expressions.jsonl`` untouched. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from mellm.engine.facs.action_units import COARSE, UNITS, notation, parse
from mellm.engine.results.expressions import ExpressionRecord
from mellm.engine.types import ActionUnit, Description, Emotion, Side
from mellm.stream import private
from mellm.stream.errors import RunError, UsageError
from mellm.stream.files import replacing
from mellm.stream.tables import read_text

FORMAT: Final = "mellm-corrections/1"
FILE: Final = "corrections.json"
"""In a run folder: every correction that was applied, oldest first."""

Verdict: TypeAlias = Literal["accept", "reject", "correct", "add"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
Units: TypeAlias = frozenset[tuple[int, Side]]

CORRECTED: Final = "corrected"
"""Field of a line of results that holds a :class:`Mark`; only what was looked at has it."""

PROFILE: Final = FORMAT
MAX_TEXT: Final = 2000
MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Correction:
    """One decision.

    :param verdict: ``correct``: it is one, and something about it is otherwise; ``add``: the engine missed it
    :param who: who decided, a pseudonym or initials
    :param when: ISO 8601 with its offset from UTC
    :param id: of the expression; ``None`` for an added one without an id
    :param source: recording of an added one; may be ``None`` where the run holds one recording
    :param track: face of an added one
    :param onset_s: media time, seconds; ``None``: the run's stands
    :param apex_s: as ``onset_s``; of an added one without, the middle
    :param offset_s: as ``onset_s``
    :param units: ``None``: not coded; empty: coded that there is none
    :param emotion: class as written, lower case (``class`` in JSON); ``None``: not coded
    """

    verdict: Verdict
    who: str
    when: str
    id: str | None = None
    source: str | None = None
    track: int | None = None
    onset_s: float | None = None
    apex_s: float | None = None
    offset_s: float | None = None
    units: Units | None = None
    emotion: str | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        if not self.who.strip():
            raise ValueError("has no who")
        if self.verdict != "add" and self.id is None:
            raise ValueError("has no id")
        if self.verdict == "add" and (self.onset_s is None or self.offset_s is None):
            raise ValueError("adds an expression without onset_s and offset_s")
        times = [t for t in (self.onset_s, self.apex_s, self.offset_s) if t is not None]
        if times != sorted(times):
            raise ValueError("has times out of order: onset, apex, offset")

    @property
    def key(self) -> str:
        """What it is about: the id, or one made of place and time."""
        if self.id is not None:
            return self.id
        told = f"{self.source}\n{self.track}\n{self.onset_s}\n{self.offset_s}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """An item of the file."""
        return {
            **{name: getattr(self, name) for name in ("id", "verdict", "source", "track")},
            **{name: getattr(self, name) for name in ("onset_s", "apex_s", "offset_s")},
            "units": None if self.units is None else notation(sorted(self.units)),
            "class": self.emotion,
            **{name: getattr(self, name) for name in ("comment", "who", "when")},
        }

    @classmethod
    def from_json(cls, item: Any) -> Correction:
        """An item of the file.

        :raises ValueError: it is none; the message says what is wrong, without a subject
        """
        if not isinstance(item, dict):
            raise ValueError("is not an object")
        if unknown := sorted(set(map(str, item)) - _FIELDS):
            raise ValueError(f"has an unknown field {unknown[0]!r}")
        if item.get("verdict") not in VERDICTS:
            raise ValueError(f"has the verdict {item.get('verdict')!r}, not {', '.join(VERDICTS)}")
        units = _text(item, "units")
        try:
            coded = None if units is None else frozenset((u.au, u.side) for u in parse(units))
        except UsageError as error:
            raise ValueError(f"has units that cannot be read: {error}") from None
        track = item.get("track")
        if track is not None and type(track) is not int:
            raise ValueError(f"has the track {track!r}, not a whole number")
        return cls(
            item["verdict"],
            _text(item, "who") or "",
            _moment(_text(item, "when") or ""),
            _text(item, "id"),
            _text(item, "source"),
            track,
            onset_s=_seconds(item, "onset_s"),
            apex_s=_seconds(item, "apex_s"),
            offset_s=_seconds(item, "offset_s"),
            units=coded,
            emotion=(_text(item, "class") or "").strip().lower() or None,
            comment=_text(item, "comment") or "",
        )


_FIELDS: Final = {"class" if f.name == "emotion" else f.name for f in fields(Correction)}


@dataclass(frozen=True, slots=True)
class Corrections:
    """A file of corrections, oldest first.

    :param run: epoch of the run they are about, empty where it is not known
    """

    items: tuple[Correction, ...]
    run: str = ""

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {"format": FORMAT, "run": self.run, "items": [each.to_json() for each in self.items]}

    def plus(self, more: Iterable[Correction]) -> Corrections:
        """With later ones; those that are there already, word for word, are not doubled."""
        known = set(self.items)
        return replace(self, items=(*self.items, *(m for m in dict.fromkeys(more) if m not in known)))

    def without(self, *, ids: Iterable[str] = (), sources: Iterable[str] = ()) -> Corrections:
        """Without what is about these expressions and recordings."""
        gone, from_here = set(ids), set(sources)
        left = (c for c in self.items if c.key not in gone and c.source not in from_here)
        return replace(self, items=tuple(left))

    def holding(self) -> dict[str, Correction]:
        """Expression → the decision that holds. An added one stays added when it is corrected later."""
        found: dict[str, Correction] = {}
        for item in self.items:
            before = found.get(item.key)
            key = item.key
            if before is not None and before.verdict == "add" and item.verdict in ("accept", "correct"):
                given = {f: v for f in _CODED if (v := getattr(item, f)) is not None}
                # its id stays, also where that was made of the times that move now
                item = replace(before, id=key, **given, who=item.who, when=item.when, comment=item.comment)
            found[key] = item
        return found


NONE: Final = Corrections(())

_CODED: Final = ("onset_s", "apex_s", "offset_s", "units", "emotion")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a corrected record says about its correction.

    :param emotion: class that was coded; also one that is none of the coarse three
    :param changes: field (``onset_ms``, ``units``, ``class``) → before and after, as text
    """

    verdict: Verdict
    by: str
    at: str
    comment: str = ""
    emotion: str | None = None
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The field :data:`CORRECTED` of a line."""
        return {
            **{name: getattr(self, name) for name in ("verdict", "by", "at", "comment")},
            "class": self.emotion,
            "changes": {name: list(pair) for name, pair in self.changes.items()},
        }


def mark_of(record: ExpressionRecord) -> Mark | None:
    """How a record was corrected; ``None`` where nobody decided about it."""
    found = record.extra.get(CORRECTED)
    if not isinstance(found, dict) or found.get("verdict") not in VERDICTS:
        return None
    said = found.get("changes")
    changes = {str(k): (str(v[0]), str(v[1])) for k, v in said.items()} if isinstance(said, dict) else {}
    emotion = found.get("class")
    return Mark(
        found["verdict"],
        str(found.get("by") or ""),
        str(found.get("at") or ""),
        str(found.get("comment") or ""),
        None if emotion is None else str(emotion),
        changes,
    )


def was_added(record: ExpressionRecord) -> bool:
    """Whether a person added it: its score and frames are none of the engine's."""
    mark = mark_of(record)
    return mark is not None and mark.verdict == "add"


def read(path: Path) -> Corrections:
    """Read a file of corrections.

    :raises RunError: it is none, or an item in it cannot be obeyed
    """
    try:
        found = json.loads(read_text(path))
    except UsageError as error:
        raise RunError(error.message, remedy=error.remedy) from error
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not valid JSON ({error})", remedy="save it again from the report"
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        told = found.get("format") if isinstance(found, dict) else None
        raise RunError(
            f"{path} is not a file of corrections (format {told!r})",
            remedy=f"its format has to be {FORMAT!r}",
        )
    listed = found.get("items")
    if not isinstance(listed, list):
        raise RunError(f"{path} has no list of items", remedy='an empty one is "items": []')
    items = []
    for number, item in enumerate(listed, 1):
        try:
            items.append(Correction.from_json(item))
        except ValueError as error:
            raise RunError(f"{path}: item {number} {error}", remedy="correct or remove the item") from None
    return Corrections(tuple(items), str(found.get("run") or ""))


def write(path: Path, corrections: Corrections) -> None:
    """Write a file of corrections in one step.

    :raises RunError: it cannot be written
    """
    text = json.dumps(corrections.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    try:
        with replacing(path, durable=True) as part, open(part, "wb", opener=private.opener) as file:
            file.write(text.encode() + b"\n")
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from error


def apply(
    records: Sequence[ExpressionRecord], corrections: Corrections, rates: Mapping[str, float]
) -> tuple[tuple[ExpressionRecord, ...], tuple[ExpressionRecord, ...]]:
    """A run's expressions as the corrections leave them.

    :param rates: recording → frames a second, to number the frames of times that a person set
    :returns: those that stand, each recording's in order of time once something was added or moved; and those rejected
    :raises RunError: an item is about an expression or a recording that the run does not have
    """
    holding = corrections.holding()
    known = {r.id for r in records}
    known_or_added = known | {c.key for c in corrections.items if c.verdict == "add"}
    if lost := next((key for key in holding if key not in known_or_added), None):
        raise RunError(
            f"the corrections are about expression {lost!r}, which the run does not have",
            remedy="give the corrections of this run",
        )
    stand: list[ExpressionRecord] = []
    rejected: list[ExpressionRecord] = []
    for record in records:
        decided = holding.get(record.id)
        if decided is None:
            stand.append(record)
        else:
            (rejected if decided.verdict == "reject" else stand).append(_corrected(record, decided, rates))
    added = [c for key, c in holding.items() if c.verdict == "add" and key not in known]
    stand += [_added(c, rates) for c in added]
    if added or any("onset_ms" in m.changes for m in map(mark_of, stand) if m is not None):
        order = {source: n for n, source in enumerate(rates)}
        stand.sort(key=lambda r: (order[r.source], r.onset_ns, r.track))
    return tuple(stand), tuple(rejected)


def _corrected(record: ExpressionRecord, decided: Correction, rates: Mapping[str, float]) -> ExpressionRecord:
    if decided.verdict != "correct":
        return _marked(record, record, decided)
    moved = record
    for name in ("onset", "apex", "offset"):
        seconds = getattr(decided, f"{name}_s")
        if seconds is None or round(1000 * seconds, 3) == getattr(record, f"{name}_ms"):
            continue
        ns = round(seconds * 1e9)
        shift = round((ns - getattr(record, f"{name}_ns")) / 1e9 * rates.get(record.source, 0.0))
        frame = max(0, getattr(record, f"{name}_frame") + shift)
        moved = replace(moved, **{f"{name}_ns": ns, f"{name}_frame": frame})
    if not moved.onset_ns <= moved.apex_ns <= moved.offset_ns:
        if decided.apex_s is not None:
            raise RunError(
                f"the corrections leave expression {record.id!r} with times out of order",
                remedy="onset, apex and offset follow each other",
            )
        at = min(max(moved.onset_ns, moved.apex_ns), moved.offset_ns)
        shift = round((at - moved.apex_ns) / 1e9 * rates.get(record.source, 0.0))
        moved = replace(moved, apex_ns=at, apex_frame=max(0, moved.apex_frame + shift))
    if decided.units is not None or decided.emotion is not None:
        moved = _coded(moved, decided)
    return _marked(record, moved, decided)


def _coded(record: ExpressionRecord, decided: Correction) -> ExpressionRecord:
    """With the person's units and class in place of the describer's; what the person did not code stays."""
    before = record.description
    same = decided.units is not None and units_of(record) == decided.units
    if decided.units is None or same:
        units = record.action_units
        text = record.text
    else:
        units = tuple(ActionUnit(au, side, 1.0) for au, side in sorted(decided.units))
        text = said(decided.units)
    emotion = record.emotion if decided.emotion is None else _emotion(decided.emotion)
    described = Description(
        text,
        units,
        emotion,
        before.model if before is not None and same else f"coder {decided.who}",
        PROFILE,
        "",
    )
    return replace(record, state="described", reason=None, description=described)


def _added(decided: Correction, rates: Mapping[str, float]) -> ExpressionRecord:
    source = decided.source or (next(iter(rates)) if len(rates) == 1 else None)
    if source is None or source not in rates:
        told = "names no recording" if source is None else f"is of {source!r}, which the run does not have"
        raise RunError(
            f"the expression added at {decided.onset_s:g} s {told}",
            remedy=f"give its source: {', '.join(rates)}",
        )
    onset, offset = decided.onset_s or 0.0, decided.offset_s or 0.0  # an addition has both
    apex = (onset + offset) / 2 if decided.apex_s is None else decided.apex_s
    (onset_ns, onset_frame), (apex_ns, apex_frame), (offset_ns, offset_frame) = (
        (round(at * 1e9), round(at * rates[source])) for at in (onset, apex, offset)
    )
    record = ExpressionRecord(
        id=decided.key,
        source=source,
        segment=0,
        track=decided.track or 1,
        onset_ns=onset_ns,
        apex_ns=apex_ns,
        offset_ns=offset_ns,
        onset_frame=onset_frame,
        apex_frame=apex_frame,
        offset_frame=offset_frame,
        score=1.0,
        state="abstained",
        reason=NOT_CODED,
    )
    if decided.units is not None or decided.emotion is not None:
        record = _coded(record, decided)
    return _marked(record, record, decided)


NOT_CODED: Final = "not_coded"
"""Reason of an added expression without units and class."""


def _marked(before: ExpressionRecord, after: ExpressionRecord, decided: Correction) -> ExpressionRecord:
    pairs = {
        **{name: (f"{getattr(before, name):g}", f"{getattr(after, name):g}") for name in _TIMES},
        "units": (_facs(before), _facs(after)),
        "class": (_class(before), decided.emotion or _class(after)),
    }
    changes = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    mark = Mark(decided.verdict, decided.who, decided.when, decided.comment, decided.emotion, changes)
    return replace(after, extra={**after.extra, CORRECTED: mark.to_json()})


_TIMES: Final = ("onset_ms", "apex_ms", "offset_ms")


def units_of(record: ExpressionRecord) -> Units:
    """Units and sides that a record names."""
    return frozenset((u.au, u.side) for u in record.action_units)


def said(units: Units) -> str:
    """A plain sentence for units that a person coded."""
    named = []
    for au, side in sorted(units):
        action = UNITS[au].action if au in UNITS else f"action unit {au}"
        named.append(action if side == "both" else f"{action} ({side} side)")
    return f"Coded by a person: {', '.join(named)}." if named else "Coded by a person: no action unit."


def _facs(record: ExpressionRecord) -> str:
    return notation(sorted(units_of(record)))


def _class(record: ExpressionRecord) -> str:
    return "" if record.emotion is None else record.emotion.coarse


def _emotion(name: str) -> Emotion | None:
    coarse = next((c for c in COARSE if c == name), None)
    return None if coarse is None else Emotion(coarse, {c: float(c == coarse) for c in COARSE})


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    if value is None:
        return None
    longest = MAX_TEXT if name in ("comment", "units") else MAX_NAME
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError(f"has a {name} that is not a text of at most {longest} characters")
    return value


def _seconds(item: Mapping[str, Any], name: str) -> float | None:
    value = item.get(name)
    if value is None:
        return None
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if not number or not math.isfinite(value) or not 0 <= value < 1e9:
        raise ValueError(f"has the {name} {value!r}, not a time in seconds")
    return float(value)


def _moment(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"has the when {text!r}, not a time such as 2026-11-29T10:00:00Z")
    return text
