"""The JSON Schema (2020-12) of ``mellm.v1``, made from the tables of the code.

What clients may say comes from :data:`mellm.stream.protocol.client_messages.MESSAGES`, which is also how it is read.
What the server says is listed here, and every message of the protocol's tests is checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mellm.stream.protocol import events, wire
from mellm.stream.protocol.client_messages import MESSAGES, REF, SHOWN
from mellm.stream.protocol.wire import CONTROL, PROTOCOL

Schema: TypeAlias = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Said:
    """One type of message from the server.

    :param summary: one sentence
    :param data: fields of ``data``
    :param optional: those that may be missing
    :param picture: whether it comes as a binary message, the envelope before a picture
    """

    summary: str
    data: Mapping[str, Schema]
    optional: frozenset[str] = frozenset()
    picture: bool = False


def _of(type: str | list[str], description: str = "", **more: Any) -> Schema:
    return {"type": type, **({"description": description} if description else {}), **more}


def _record(
    properties: Mapping[str, Schema], *, optional: frozenset[str] = frozenset(), **more: Any
) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": sorted(set(properties) - optional),
        **more,
    }


def _media(*names: str) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for name in names:
        found[f"{name}_ns"] = _of("string", "media time, integer nanoseconds", pattern="^-?[0-9]+$")
        found[f"{name}_ms"] = _of("number", "the same in milliseconds")
    return found


TEXT: Final = _of("string")
COUNT: Final = _of("integer", minimum=0)
NUMBER: Final = _of("number")
SCORE: Final = _of("number", minimum=0, maximum=1)
COUNTS: Final = _of("object", "by reason or type", additionalProperties=COUNT)
TEXT_OR_NOT: Final = _of(["string", "null"])
ASKED_REF: Final = _of(["string", "null"], "the id of your message")
CONSENT: Final = _of("string", "the operator's reference to the consent of those before this camera")
SESSION: Final = _of(["string", "null"], "name of the run folder that its session is kept in")
PLACE: Final = _record({"epoch": TEXT, "seq": COUNT})
NAMES_OR_ALL: Final = _of(["array", "null"], "null: all", items=TEXT)
BOX: Final = _of("array", "x, y, width, height; pixels", items=NUMBER)
POINTS: Final = _of("array", "68 pairs x, y in pixels: iBUG order", items=_of("array", items=_of("integer")))
MEDIA_TYPE: Final = {"enum": ["image/png", "image/jpeg"]}

_LIMITS = (
    "message_bytes",
    "event_bytes",
    "picture_bytes",
    "messages_per_s",
    "backlog_events",
    "backlog_bytes",
    "auth_s",
)
_SOURCE = {
    "id": TEXT,
    "state": {"enum": ["online", "offline", "reconnecting", "ended"]},
    "preview": _of("boolean", "whether the scope media:read may watch it"),
    "push": _of("boolean", "whether the scope sources:write may send its pictures"),
}
_STATUS: dict[str, Schema] = {
    "uri": _of("string", "without credentials"),
    "kind": TEXT,
    "width": COUNT,
    "height": COUNT,
    "rotation": _of("integer", "degrees, applied already"),
    "flipped": _of("boolean", "a flip that the recording asks for was applied"),
    "remarks": _of("array", "what a person should know about the source", items=TEXT),
    "codec": TEXT_OR_NOT,
    "declared_fps": _of(["number", "null"]),
    "segment": COUNT,
    "code": _of("string", "of the error"),
    "message": _of("string", "for people"),
    "attempt": COUNT,
    "delay_s": NUMBER,
    "early": _of("boolean", "a recording ended before its declared end"),
    "frames": COUNT,
}
_QUALITY = _record(
    {
        "verdict": TEXT,
        "reasons": _of("array", items=TEXT),
        **dict.fromkeys(("fps", "face_width", "blur", "yaw", "pitch", "occlusion", "motion"), NUMBER),
    }
)
SENSITIVITY: Final[Schema] = {
    "description": "the smallest motion of each half of the face, per cent of the eye distance, that would have been"
    " found with a probability of 0.8; 10 stands for 10 or more, null for not known",
    "oneOf": [_of("null"), _record({"upper": _of("number", minimum=0), "lower": _of("number", minimum=0)})],
}
_JUDGED_S = {
    "judged_s": _of(
        "object",
        "seconds in which a motion of so many per cent of the eye distance would have been found",
        additionalProperties=_of("number", minimum=0),
    )
}
_JUDGED_HALF = _record(
    {
        **_JUDGED_S,
        "median": _of("number", "middle of the sensitivity over time, per cent of the eye distance"),
    }
)
JUDGED: Final[Schema] = _record(
    {
        "face_s": _of("number", "seconds with a face that was analysed", minimum=0),
        "upper": _JUDGED_HALF,
        "lower": _JUDGED_HALF,
        "either": _record(_JUDGED_S),
    },
    optional=frozenset({"upper", "lower", "either"}),
)
_EXPRESSION: dict[str, Schema] = {
    "id": TEXT,
    "source": TEXT,
    "segment": COUNT,
    "track": COUNT,
    **_media("onset", "apex", "offset", "t"),
    "onset_frame": COUNT,
    "apex_frame": COUNT,
    "offset_frame": COUNT,
    "score": SCORE,
    "sensitivity": SENSITIVITY,
    "quality": _QUALITY,
    "regions": _of(
        "object",
        "motion from onset to apex, head motion removed: x to the picture's right and y down, hundredths of the"
        " inter-ocular distance",
        additionalProperties=_of("array", items=NUMBER, minItems=2, maxItems=2),
    ),
    "notice": _of("string", "what the result is not; show it with the result"),
}
_DESCRIPTION = _record(
    {
        "text": TEXT,
        "action_units": _of(
            "array",
            items=_record(
                {
                    "au": COUNT,
                    "side": TEXT,
                    "score": SCORE,
                    "readings": _of("integer", "readings of the moment that name it", minimum=0),
                },
                optional=frozenset({"readings"}),
            ),
        ),
        "emotion": {
            "oneOf": [
                _of("null"),
                _record({"coarse": TEXT, "scores": _of("object", additionalProperties=SCORE)}),
            ]
        },
        "model": TEXT,
        "profile": TEXT,
        "latency_ms": NUMBER,
        "readings": _of("integer", "how often the moment was read", minimum=1),
        "agreement": _of("number", "mean overlap of the units of two readings", minimum=0, maximum=1),
        "fallback": _record({"model": TEXT, "reason": TEXT}),
    },
    optional=frozenset({"readings", "agreement", "fallback"}),
)
_RESTART = frozenset({"t_ns", "t_ms", "notice", "regions", "sensitivity"})
"""What an expression lacks that a crash has cut off from its end, or that an older version has written."""


def _ended(state: str, description: Schema) -> dict[str, Schema]:
    reason = _of("null") if state == "described" else _of("string", "a code")
    return {
        **_EXPRESSION,
        "state": {"const": state},
        "reason": reason,
        "description": description,
        "evidence": _of("null", "motion maps are asked for with evidence.get"),
    }


_SERVICE = _record(
    {
        "fps": _of("number", "frames a second that are analysed; 0: the source is set aside", minimum=0),
        "faces": _of(["integer", "null"], "followed at most; null: as many as the settings allow", minimum=0),
        "gaps": _of("boolean", "nothing more could be lowered: whole stretches are dropped"),
    }
)
_STATS: dict[str, Schema] = {
    "captured": COUNT,
    "analysed": COUNT,
    "dropped": COUNTS,
    "waiting": COUNT,
    "spotted": COUNT,
    "fps": NUMBER,
    "score_p95_ms": NUMBER,
    "judged": JUDGED,
    "setup": _record(
        {
            "ready": _of("boolean", "whether what the source shows now can be judged"),
            "checks": _of(
                "array",
                "face, turn of the head, light and rate, each with what to change",
                items=_record({"name": TEXT, "level": {"enum": ["ok", "warn", "bad"]}, "text": TEXT}),
            ),
        }
    ),
    "frames": _of("object", "of the whole server: captured = analysed + dropped + waiting"),
    "expressions": _of("object", "of the whole server, by stage"),
    "delivery": _of("object", "of the whole server, over all clients"),
    "clients": COUNT,
}
_PICTURE: dict[str, Schema] = {"media_type": MEDIA_TYPE, "bytes": COUNT}

SAID: Final[Mapping[str, Said]] = {
    wire.HELLO: Said(
        "The first message: what this server is, what it allows, and the notice to show.",
        {
            "server": TEXT,
            "protocol": {"const": PROTOCOL},
            "limits": _record(dict.fromkeys(_LIMITS, NUMBER)),
            "heartbeat": _record({"interval_s": NUMBER, "timeout_s": NUMBER}),
            "auth_needed": _of("boolean", "whether session.auth must follow"),
            "purpose": TEXT,
            "basis": TEXT_OR_NOT,
            "notice": _of("string", "to be shown to whoever uses the results"),
        },
    ),
    wire.SESSION_CREATED: Said(
        "You are in: what you may do, which sources there are, and what can be replayed.",
        {
            "access": _record(
                {
                    "name": TEXT,
                    "scopes": _of("array", items=TEXT),
                    "sources": NAMES_OR_ALL,
                }
            ),
            "sources": _of(
                "array",
                items=_record(
                    {**_SOURCE, **_STATUS, "consent": CONSENT, "session": SESSION},
                    optional=frozenset(_STATUS) | {"consent", "session"},
                ),
            ),
            "models": _of("object", "in use, by name"),
            "evidence": _of("array", "pictures that evidence.get may find", items={"enum": list(SHOWN)}),
            "replay": _record({"epoch": TEXT, "from_seq": COUNT, "to_seq": COUNT}),
            "sessions": _record(
                {
                    "video": _of("boolean", "whether pictures are kept too"),
                    "consent_text": _of("string", "to be shown to the person on camera before it starts"),
                    "consent_sha256": _of("string", "of that text, for consent.give"),
                },
                optional=frozenset({"consent_text", "consent_sha256"}),
            ),
        },
        frozenset({"sessions"}),
    ),
    wire.SUBSCRIBED: Said(
        "The filter as understood; what follows comes after the place.",
        {
            "ref": ASKED_REF,
            "sources": NAMES_OR_ALL,
            "types": NAMES_OR_ALL,
            "min_score": SCORE,
            "from": PLACE,
        },
    ),
    wire.UNSUBSCRIBED: Said("No more events follow.", {"ref": ASKED_REF}),
    wire.REPLAY_TRUNCATED: Said(
        "Not everything asked for is there; what follows comes after another place.",
        {"reason": {"enum": ["retention", "epoch", "ahead"]}, "asked": PLACE, "from": PLACE},
    ),
    wire.REPLAY_DONE: Said("What follows is live.", {"epoch": TEXT, "seq": COUNT, "events": COUNT}),
    wire.STREAM_SKIPPED: Said("Lossy events that later ones have replaced, by type.", {"counts": COUNTS}),
    wire.EVIDENCE: Said(
        "A picture of an expression, as asked for.",
        {"ref": ASKED_REF, "expression": TEXT, "shown": {"enum": list(SHOWN)}, **_PICTURE},
        picture=True,
    ),
    wire.PUSH_ACCEPTED: Said(
        "Send pictures: JPEG, each in a binary message after a head of its own.",
        {"ref": ASKED_REF, "pushed": TEXT, "picture_bytes": COUNT, "pictures_per_s": NUMBER},
    ),
    wire.PUSH_ENDED: Said(
        "No more pictures are taken.", {"ref": ASKED_REF, "pushed": TEXT, "pictures": COUNT}
    ),
    wire.CONSENT_WITHDRAWN: Said(
        "The source was stopped, and what it showed under this consent is erased.",
        {"ref": ASKED_REF, "withdrawn": TEXT, "events": COUNT, "expressions": COUNT, "files": COUNT},
    ),
    wire.CONSENT_GIVEN: Said(
        "The yes is written down, and the source starts under this reference.",
        {"ref": ASKED_REF, "agreed": TEXT, "reference": CONSENT},
    ),
    wire.RUN_CHANGED: Said(
        "A session has begun, or was saved, as asked for.",
        {
            "ref": ASKED_REF,
            "of": _of("string", "id of the source"),
            "state": {"enum": ["begun", "saved"]},
            "run": _of("string", "name of the run folder"),
            "expressions": _of("integer", "that a saved one holds", minimum=0),
        },
        frozenset({"expressions"}),
    ),
    wire.ERROR: Said(
        "A message of yours that cannot be obeyed, or why the session ends.",
        {"code": _of("string", "stable"), "message": _of("string", "for people"), "ref": ASKED_REF},
    ),
    wire.SESSION_CLOSED: Said(
        "The session ends with this code; where to resume.",
        {
            "code": COUNT,
            "reason": TEXT,
            "totals": _of("object", additionalProperties=COUNT),
            "resume": {"oneOf": [_of("null"), PLACE]},
        },
    ),
    events.SOURCE_ONLINE: Said("A source delivers pictures.", _STATUS, frozenset(_STATUS)),
    events.SOURCE_OFFLINE: Said("A source does not.", _STATUS, frozenset(_STATUS)),
    events.SOURCE_RECONNECTING: Said("A source is tried again.", _STATUS, frozenset(_STATUS)),
    events.SOURCE_ENDED: Said("A recording has been played.", _STATUS, frozenset(_STATUS)),
    events.SOURCE_GAP: Said(
        "Frames are missing; nothing is interpolated over them.",
        {
            **_media("from", "to", "t"),
            "reason": {"enum": ["overflow", "decode", "reconnect", "pts", "takeover"]},
            "frames": COUNT,
        },
    ),
    events.SOURCE_DEGRADED: Said(
        "Less of a source is analysed, because frames come faster than they can be measured, or more again.",
        {
            "from": _SERVICE,
            "to": _SERVICE,
            "reason": {"enum": ["overload", "recovered"]},
            "degraded": _of("boolean", "whether it is still less than all"),
            "message": _of("string", "for people, with what can be done"),
            **_media("t"),
        },
    ),
    events.SOURCE_PICTURE: Said(
        "The picture froze, went dark, or lives again.",
        {"state": {"enum": ["live", "frozen", "dark"]}, **_media("at", "t")},
    ),
    events.SOURCE_SESSION: Said(
        "A session of a source begins, or was saved as a run folder.",
        {
            "run": _of("string", "name of the run folder"),
            "state": {"enum": ["begun", "saved"]},
            "video": _of("boolean", "whether pictures are kept too"),
            "expressions": _of("integer", "that a saved one holds", minimum=0),
        },
        frozenset({"expressions"}),
    ),
    events.FACE_APPEARED: Said(
        "A face is followed from now on.",
        {"track": COUNT, "box": BOX, **_media("t")},
    ),
    events.FACE_LOST: Said("A face is followed no longer.", {"track": COUNT, **_media("t")}),
    events.EXPRESSION_SPOTTED: Said(
        "An expression was found; what it is follows.",
        _EXPRESSION,
        frozenset({"notice", "regions", "sensitivity"}),
    ),
    events.EXPRESSION_DESCRIBED: Said("What an expression is.", _ended("described", _DESCRIPTION), _RESTART),
    events.EXPRESSION_ABSTAINED: Said(
        "Nothing is said of an expression, and why.",
        _ended("abstained", {"oneOf": [_of("null"), _DESCRIPTION]}),
        _RESTART,
    ),
    events.EXPRESSION_DROPPED: Said(
        "Nobody described an expression, and why.", _ended("dropped", _of("null")), _RESTART
    ),
    events.MARKER: Said(
        "An outside event on the media clock.",
        {
            "label": TEXT,
            "by": TEXT,
            "ref": ASKED_REF,
            **_media("t"),
            "clocks": _of(
                "object",
                "media time by source, when the marker names none",
                additionalProperties=_record({"t_ns": TEXT}),
            ),
        },
        frozenset({"clocks", "t_ns", "t_ms"}),
    ),
    events.SERVER_WORKER: Said(
        "A part of the server failed and is started again, or works again.",
        {
            "worker": _of("string", "which part, such as previews or retention; of a source, with its id"),
            "state": {"enum": ["failed", "recovered"]},
            "code": _of("string", "of a failure; internal when nobody foresaw it"),
            "message": _of("string", "for people"),
        },
        frozenset({"code", "message"}),
    ),
    events.EVENTS_ERASED: Said(
        "Events of this source were erased; delete your copies too.",
        {
            "reason": _of("string", "purge or withdrawal"),
            "events": _of("integer", "how many of those numbered from_seq to to_seq", minimum=1),
            "from_seq": COUNT,
            "to_seq": COUNT,
        },
    ),
    events.SCORE: Said(
        "What the spotter makes of a face at a moment.",
        {
            "track": COUNT,
            "me": SCORE,
            "apex": SCORE,
            "macro": SCORE,
            "sensitivity": SENSITIVITY,
            "box": BOX,
            "landmarks": POINTS,
            **_media("t"),
        },
        frozenset({"box", "landmarks", "sensitivity"}),
    ),
    events.STATS: Said(
        "Counts of a source, or (without one) of the whole server.", _STATS, frozenset(_STATS)
    ),
    events.PREVIEW: Said(
        "A small picture of a source.",
        {**_PICTURE, "width": COUNT, "height": COUNT, **_media("t")},
        picture=True,
    ),
}
"""Every type of message from the server."""


def document(*, strict: bool = False) -> Schema:
    """The schema: ``$defs`` holds ``client``, ``server``, ``envelope`` and one definition for each type.

    :param strict: refuse unknown fields and types of the server too. Readers must let them pass, since newer servers
        may send them; tests must not
    """
    definitions: dict[str, Schema] = {}
    for name, fields in MESSAGES.items():
        definitions[name] = {
            "type": "object",
            "properties": {
                "type": {"const": name},
                "id": dict(REF),
                **{field: dict(each.schema) for field, each in fields.items()},
            },
            "required": ["type", *(field for field, each in fields.items() if each.required)],
            "additionalProperties": False,
        }
    for name, said in SAID.items():
        definitions[name] = _envelope(name, said, strict)
    definitions["envelope"] = _any_envelope()
    definitions["client"] = {
        "description": "what clients may send; anything else is refused",
        "oneOf": [_ref(name) for name in MESSAGES],
    }
    server: Schema = {"description": "what the server sends; let unknown types and fields pass"}
    if strict:
        server["oneOf"] = [_ref(name) for name in SAID]
    else:
        server |= _ref("envelope") | {
            "allOf": [{"if": {"properties": {"type": {"const": name}}}, "then": _ref(name)} for name in SAID]
        }
    definitions["server"] = server
    return {
        "$schema": DIALECT,
        "$id": f"urn:mellm-live:{PROTOCOL}",
        "title": PROTOCOL,
        "description": "Made by `mellm schema`. Binary messages hold an envelope of this kind before a picture.",
        "anyOf": [_ref("client"), _ref("server")],
        "$defs": definitions,
    }


def _any_envelope() -> Schema:
    return _record(
        {
            "type": _of("string", minLength=1),
            "id": _of("string", "what it is about; the stages of one expression share one"),
            "seq": _of(["integer", "null"], "place in the log of this epoch, without holes", minimum=1),
            "epoch": _of("string", "names the log"),
            "source": _of("string", "empty when it is about the whole server"),
            "time": _of("string", "wall clock, for latency only", format="date-time"),
            "data": _of("object"),
        }
    )


def _envelope(name: str, said: Said, strict: bool) -> Schema:
    whole = _any_envelope()
    fields = whole["properties"]
    fields["type"] = {"const": name}
    if name in events.RELIABLE:
        fields["seq"] = _of("integer", "place in the log of this epoch, without holes", minimum=1)
    else:
        fields["seq"] = _of("null", "not in the log")
    if name in CONTROL:
        fields["source"] = {"const": ""}
    data, optional = dict(said.data), said.optional
    if name in events.RELIABLE and name != events.EVENTS_ERASED:
        data["consent"], optional = CONSENT, optional | {"consent"}
    fields["data"] = _record(data, optional=optional)
    if strict:
        whole["additionalProperties"] = fields["data"]["additionalProperties"] = False
    return {"description": said.summary, **whole}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
