"""Expressions as typed records, and the one place where they become JSON and are read from it.

A record is a line of ``expressions.jsonl``, and with exact times the data of an ``expression.*`` event. Standard
library only, so that a remote client can read events with it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, get_args

from mellm.detectors.expressions import Expression, Quality, Sensitivity, Verdict
from mellm.engine.results.reasons import MOTION_LARGE
from mellm.engine.types import (
    ActionUnit,
    Coarse,
    Description,
    Emotion,
    Fallback,
    Outcome,
    RegionMotion,
    Side,
    State,
)
from mellm.stream.frames import FrameRef
from mellm.stream.protocol.events import expression_data

# stands in every result: lines are copied out of their file, and events out of their stream
DISCLAIMER = (
    "A measurement of facial motion, with errors. Not a lie detector. Do not use it to decide about people."
)

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExpressionRecord:
    """One expression as results show it: spotted, and once ``state`` is set also ended.

    :param source: id of the camera or recording
    :param segment: rises where a source was interrupted
    :param track: number of the face within the source
    :param onset_ns: media time, nanoseconds
    :param apex_ns: as ``onset_ns``
    :param offset_ns: as ``onset_ns``
    :param onset_frame: index of the frame in its source
    :param apex_frame: as ``onset_frame``
    :param offset_frame: as ``onset_frame``
    :param score: of the spotter, 0…1
    :param sensitivity: how small a motion would have been found just before it
    :param regions: region → motion from onset to apex, x to the picture's right and y down, hundredths of the
        inter-ocular distance
    :param state: how it ended, ``None`` as long as it waits for its description
    :param reason: code, set where there is no description
    :param description: also set where a describer abstained and said something
    :param evidence: path of the motion map relative to the run folder, ``None`` when it is not kept
    :param extra: fields of a line that this version does not know; they are written again
    """

    id: str
    source: str
    segment: int
    track: int
    onset_ns: int
    apex_ns: int
    offset_ns: int
    onset_frame: int
    apex_frame: int
    offset_frame: int
    score: float
    sensitivity: Sensitivity | None = None
    quality: Quality | None = None
    regions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    state: State | None = None
    reason: str | None = None
    description: Description | None = None
    evidence: str | None = None
    extra: Json = field(default_factory=dict)

    @property
    def onset_ms(self) -> float:
        """Media time, milliseconds to the microsecond."""
        return _ms(self.onset_ns)

    @property
    def apex_ms(self) -> float:
        """Media time, milliseconds to the microsecond."""
        return _ms(self.apex_ns)

    @property
    def offset_ms(self) -> float:
        """Media time, milliseconds to the microsecond."""
        return _ms(self.offset_ns)

    @property
    def duration_ms(self) -> float:
        """From onset to offset."""
        return round(self.offset_ms - self.onset_ms, 3)

    @property
    def is_counted(self) -> bool:
        """Whether it counts as a micro-expression that was found: motion above the ceiling does not."""
        return self.reason != MOTION_LARGE

    @property
    def text(self) -> str:
        """The describer's sentence, empty without one."""
        return "" if self.description is None else self.description.text

    @property
    def action_units(self) -> tuple[ActionUnit, ...]:
        """Units that the description names, with the subject's own side."""
        return () if self.description is None else self.description.action_units

    @property
    def emotion(self) -> Emotion | None:
        """Coarse class with its probabilities; ``None`` where the description gives none."""
        return None if self.description is None else self.description.emotion

    @classmethod
    def of(cls, expression: Expression, regions: Iterable[RegionMotion] = ()) -> ExpressionRecord:
        """What is known before anybody describes it, rounded to what it is worth.

        :param regions: motion from onset to apex
        """
        return cls(
            id=expression.id,
            source=expression.source,
            segment=expression.segment,
            track=expression.track,
            onset_ns=expression.onset.pts_ns,
            apex_ns=expression.apex.pts_ns,
            offset_ns=expression.offset.pts_ns,
            onset_frame=expression.onset.index,
            apex_frame=expression.apex.index,
            offset_frame=expression.offset.index,
            score=round(expression.score, 4),
            sensitivity=_cut(expression.sensitivity),
            quality=_rounded(expression.quality),
            regions={each.region: (round(each.dx, 2), round(each.dy, 2)) for each in regions},
        )

    def ended(self, outcome: Outcome, evidence: str | None = None) -> ExpressionRecord:
        """The same with how it ended.

        :param evidence: path of the motion map relative to the run folder
        """
        return replace(
            self,
            state=outcome.state,
            reason=outcome.reason,
            description=outcome.description,
            evidence=evidence,
        )

    def to_json(self) -> dict[str, Any]:
        """A line of ``expressions.jsonl``; what only an ended expression has is left out before."""
        line: dict[str, Any] = {
            "id": self.id,
            "source": self.source,
            "segment": self.segment,
            "track": self.track,
            "onset_ms": self.onset_ms,
            "apex_ms": self.apex_ms,
            "offset_ms": self.offset_ms,
            "onset_frame": self.onset_frame,
            "apex_frame": self.apex_frame,
            "offset_frame": self.offset_frame,
            "score": self.score,
            "sensitivity": sensitivity_json(self.sensitivity),
            "quality": None if self.quality is None else quality_json(self.quality),
            "regions": {name: list(moved) for name, moved in self.regions.items()},
            "notice": DISCLAIMER,
        }
        if self.state is not None:
            line |= {
                "state": self.state,
                "reason": self.reason,
                "description": None if self.description is None else description_json(self.description),
                "evidence": self.evidence,
            }
        for name, value in self.extra.items():
            known = line.get(name)
            line[name] = {**known, **value} if isinstance(known, dict) else value
        return line

    def event_data(self) -> dict[str, Any]:
        """The data of an ``expression.*`` event: the line, with exact media times beside the milliseconds. Motion maps
        have no path there, they are asked for."""
        line = replace(self, evidence=None).to_json()
        return expression_data(line, onset_ns=self.onset_ns, apex_ns=self.apex_ns, offset_ns=self.offset_ns)

    @classmethod
    def from_json(cls, line: Json) -> ExpressionRecord:
        """A record from a line of ``expressions.jsonl`` or the data of an ``expression.*`` event, of this version or
        of an older one.

        :raises FieldInvalid: a field that is counted with is missing or of the wrong kind
        """
        read = _Reader(line)
        description, quality = line.get("description"), line.get("quality")
        extra = {name: value for name, value in line.items() if name not in _KNOWN}
        for name, found, known in (
            ("description", description, _DESCRIPTION),
            ("quality", quality, _QUALITY),
        ):
            if isinstance(found, dict) and (unknown := {k: v for k, v in found.items() if k not in known}):
                extra[name] = unknown
        state, reason = line.get("state"), read.optional("reason")
        said = read.parsed("description", description_of)
        if said is not None and state == "abstained":
            said = replace(said, abstained=reason)
        return cls(
            id=read.text("id"),
            source=read.text("source"),
            segment=read.integer("segment", 0),
            track=read.integer("track"),
            onset_ns=read.time("onset"),
            apex_ns=read.time("apex"),
            offset_ns=read.time("offset"),
            onset_frame=read.integer("onset_frame"),
            apex_frame=read.integer("apex_frame"),
            offset_frame=read.integer("offset_frame"),
            score=read.number("score"),
            sensitivity=read.parsed("sensitivity", _sensitivity),
            quality=read.parsed("quality", _quality),
            regions=read.parsed("regions", _regions) or {},
            state=None if state is None else read.choice("state", get_args(State)),
            reason=reason,
            description=said,
            evidence=read.optional("evidence"),
            extra=extra,
        )


class FieldInvalid(ValueError):
    """A field of a record is missing or of the wrong kind; ``name`` is the field's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no usable {name}")
        self.name = name


def expression_id(source: str, segment: int, track: int, onset: FrameRef, apex: FrameRef) -> str:
    """Sixteen hexadecimal digits, the same for the same expression in every run."""
    key = f"{source}\n{segment}\n{track}\n{onset.pts_ns}\n{apex.pts_ns}"
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def description_json(description: Description) -> dict[str, Any]:
    """A describer's answer as JSON. ``latency_ms`` is the only field that differs between two equal runs.

    ``readings`` (how often the moment was read; beside each unit, how many of them name it) and ``agreement`` are there
    only where it was read several times, ``fallback`` only when a stand-in answered: the model that was to answer and
    why it did not.
    """
    emotion, fallback = description.emotion, description.fallback
    return {
        "text": description.text,
        "action_units": [
            {"au": u.au, "side": u.side, "score": round(u.score, 4)}
            | ({} if u.readings is None else {"readings": u.readings})
            for u in description.action_units
        ],
        "emotion": None
        if emotion is None
        else {"coarse": emotion.coarse, "scores": {k: round(v, 4) for k, v in emotion.scores.items()}},
        "model": description.model,
        "profile": description.profile,
        "latency_ms": round(description.latency_ms, 1),
        **(
            {}
            if description.agreement is None
            else {"readings": description.readings, "agreement": round(description.agreement, 4)}
        ),
        **({} if fallback is None else {"fallback": {"model": fallback.model, "reason": fallback.reason}}),
    }


def sensitivity_json(said: Sensitivity | None) -> dict[str, float] | None:
    """How small a motion would have been found, per cent of the eye distance; ``None`` where that is not known."""
    return None if said is None else {"upper": round(said.upper, 2), "lower": round(said.lower, 2)}


def quality_json(quality: Quality) -> dict[str, Any]:
    """The quality record as JSON, rounded to what it is worth."""
    return {
        "verdict": quality.verdict,
        "reasons": list(quality.reasons),
        **{name: round(getattr(quality, name), digits) for name, digits in _DIGITS.items()},
    }


_DIGITS: Final = {
    "fps": 2,
    "face_width": 1,
    "blur": 1,
    "yaw": 1,
    "pitch": 1,
    "occlusion": 3,
    "motion": 2,
}
_QUALITY: Final = frozenset({"verdict", "reasons", *_DIGITS})
_DESCRIPTION: Final = frozenset(
    {"text", "action_units", "emotion", "model", "profile", "latency_ms", "fallback", "readings", "agreement"}
)
_EXACT: Final = frozenset({"onset_ns", "apex_ns", "offset_ns", "t_ns", "t_ms"})
"""What an event has beside the line."""
_KNOWN: Final = _EXACT | {
    *("id", "source", "segment", "track", "score", "sensitivity", "quality", "regions", "notice"),
    *("onset_ms", "apex_ms", "offset_ms", "onset_frame", "apex_frame", "offset_frame"),
    *("state", "reason", "description", "evidence"),
}


def _rounded(quality: Quality) -> Quality:
    return replace(
        quality, **{name: round(getattr(quality, name), digits) for name, digits in _DIGITS.items()}
    )


def _cut(said: Sensitivity | None) -> Sensitivity | None:
    return None if said is None else Sensitivity(round(said.upper, 2), round(said.lower, 2))


def _ms(ns: int) -> float:
    return round(ns / 1e6, 3)


class _Reader:
    """Fields of a line, held to what is counted with. A run may be old, edited, or somebody else's."""

    def __init__(self, line: Json) -> None:
        self._line = line

    def text(self, name: str) -> str:
        value = self._line.get(name)
        if not isinstance(value, str):
            raise FieldInvalid(name)
        return value

    def optional(self, name: str) -> str | None:
        return None if self._line.get(name) is None else self.text(name)

    def choice(self, name: str, among: tuple[str, ...]) -> Any:
        if (value := self.text(name)) not in among:
            raise FieldInvalid(name)
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._line.get(name, default)
        if type(value) is not int:
            raise FieldInvalid(name)
        return value

    def number(self, name: str) -> float:
        return _finite(self._line.get(name), name)

    def time(self, name: str) -> int:
        """Nanoseconds: the exact ones of an event, else from the milliseconds of a line."""
        exact = self._line.get(f"{name}_ns")
        if isinstance(exact, str):
            try:
                return int(exact)
            except ValueError:
                raise FieldInvalid(f"{name}_ns") from None
        return round(self.number(f"{name}_ms") * 1e6)

    def parsed(self, name: str, parse: Any) -> Any:
        """An object by ``parse``, ``None`` where there is none."""
        value = self._line.get(name)
        if value is None:
            return None
        try:
            return parse(value)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise FieldInvalid(name) from None


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FieldInvalid(name)
    return float(value)


def _among(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(value)
    return value


def _quality(found: Json) -> Quality:
    numbers = {name: _finite(found[name], name) for name in _DIGITS}
    verdict = _among(found["verdict"], get_args(Verdict))
    return Quality(**numbers, verdict=verdict, reasons=tuple(map(str, found["reasons"])))


def _sensitivity(found: Json) -> Sensitivity:
    return Sensitivity(_finite(found["upper"], "upper"), _finite(found["lower"], "lower"))


def _regions(found: Json) -> dict[str, tuple[float, float]]:
    return {str(name): (_finite(x, name), _finite(y, name)) for name, (x, y) in found.items()}


def description_of(found: Json) -> Description:
    """The answer that :func:`description_json` has written; its prompt's version is not kept there.

    :raises KeyError, TypeError, ValueError, AttributeError: it is none
    """
    emotion, fallback = found.get("emotion"), found.get("fallback")
    return Description(
        text=str(found.get("text") or ""),
        action_units=tuple(
            ActionUnit(
                int(u["au"]),
                _among(u["side"], get_args(Side)),
                _finite(u["score"], "score"),
                None if u.get("readings") is None else int(u["readings"]),
            )
            for u in found.get("action_units") or ()
        ),
        emotion=None
        if emotion is None
        else Emotion(
            _among(emotion["coarse"], get_args(Coarse)),
            {str(name): _finite(share, name) for name, share in emotion["scores"].items()},
        ),
        model=str(found.get("model") or ""),
        profile=str(found.get("profile") or ""),
        prompt_version="",
        latency_ms=_finite(found.get("latency_ms", 0.0), "latency_ms"),
        readings=int(found.get("readings", 1)),
        agreement=None if found.get("agreement") is None else _finite(found["agreement"], "agreement"),
        fallback=None if fallback is None else Fallback(str(fallback["model"]), str(fallback["reason"])),
    )
