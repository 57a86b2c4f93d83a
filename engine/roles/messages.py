"""What the roles say to each other, as typed values and as messages of :mod:`mellm.engine.bus.wire`.

Subjects: ``evidence.<camera>.<expression>``, ``result.<camera>.<expression>``, ``event.<camera>.<epoch of its lease>``,
``control.<camera>``. A picture travels as PNG beside the JSON; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import cv2
import numpy as np

from mellm.engine.bus import wire
from mellm.engine.bus.base import Message, name_of, word
from mellm.engine.describe.base import DescribeContext
from mellm.engine.results.expressions import description_json, description_of
from mellm.engine.types import Evidence, Outcome, RegionMotion
from mellm.stream.errors import MessageInvalid
from mellm.stream.protocol.events import EVENT_TYPES

MAX_SIDE: Final = 2048
"""Pixels of a motion map; ours have some hundred."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A piece of evidence that wants words.

    :param left_s: for the answer, when it was appended
    """

    evidence: Evidence
    context: DescribeContext
    left_s: float

    @property
    def subject(self) -> str:
        """Where it lies."""
        return f"evidence.{word(self.context.source)}.{self.context.expression}"

    def pack(self) -> bytes:
        """As a message.

        :raises MessageInvalid: too large
        """
        evidence, context = self.evidence, self.context
        head = {
            "source": context.source,
            "expression": context.expression,
            "duration_ms": context.duration_ms,
            "unit_scores": [list(pair) for pair in context.unit_scores],
            "left_s": self.left_s,
            "regions": [asdict(region) for region in evidence.regions],
            "flow_stats": evidence.flow_stats,
            "recipe": evidence.recipe,
            "mirrored": evidence.mirrored,
        }
        return wire.pack("evidence", head, png_of(evidence.motion_map))

    @classmethod
    def unpack(cls, body: bytes) -> Asked:
        """Read a message.

        :raises MessageInvalid: it is none
        """
        head, png = wire.unpack(body, "evidence")
        try:
            context = DescribeContext(
                str(head["expression"]),
                float(head["duration_ms"]),
                tuple((int(unit), float(score)) for unit, score in head["unit_scores"]),
                source=str(head["source"]),
            )
            evidence = Evidence(
                picture_of(png),
                tuple(RegionMotion(**region) for region in head["regions"]),
                {str(name): float(value) for name, value in head["flow_stats"].items()},
                str(head["recipe"]),
                mirrored=bool(head.get("mirrored", False)),
            )
            return cls(evidence, context, float(head["left_s"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MessageInvalid(f"evidence that cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """How a describer's work on one expression ended.

    :param by: its node
    """

    source: str
    expression: str
    outcome: Outcome
    by: str

    @property
    def subject(self) -> str:
        """Where it lies."""
        return f"result.{word(self.source)}.{self.expression}"

    def pack(self) -> bytes:
        """As a message."""
        said = self.outcome.description
        return wire.pack(
            "result",
            {
                "source": self.source,
                "expression": self.expression,
                "state": self.outcome.state,
                "reason": self.outcome.reason,
                "description": None
                if said is None
                else {**description_json(said), "prompt_version": said.prompt_version},
                "by": self.by,
            },
        )

    @classmethod
    def unpack(cls, body: bytes) -> Answer:
        """Read a message.

        :raises MessageInvalid: it is none
        """
        head, _ = wire.unpack(body, "result")
        try:
            state: Literal["described", "abstained", "dropped"] = head["state"]
            if state not in ("described", "abstained", "dropped"):
                raise ValueError(state)
            told = head["description"]
            said = None if told is None else description_of(told)
            reason = None if head["reason"] is None else str(head["reason"])
            return cls(
                str(head["source"]), str(head["expression"]), Outcome(state, reason, said), str(head["by"])
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MessageInvalid(f"an answer that cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a camera, as its node's journal holds it.

    :param epoch: of the lease under which it was found
    :param owned: whether the node was certain then that the lease was its own
    """

    type: str
    source: str
    id: str
    data: Mapping[str, Any]
    epoch: int
    owned: bool

    @property
    def subject(self) -> str:
        """Where it lies."""
        return f"event.{word(self.source)}.{self.epoch}"

    def pack(self) -> bytes:
        """As a message."""
        return wire.pack("event", asdict(self))

    @classmethod
    def unpack(cls, body: bytes) -> Told:
        """Read a message.

        :raises MessageInvalid: it is none
        """
        head, _ = wire.unpack(body, "event")
        try:
            told = cls(**{name: head[name] for name in ("type", "source", "id", "data", "epoch", "owned")})
        except KeyError as error:
            raise MessageInvalid(f"an event without {error}") from error
        kinds = (str, str, str, dict, int, bool)
        for (name, value), kind in zip(asdict(told).items(), kinds, strict=True):
            if type(value) is not kind:
                raise MessageInvalid(f"an event whose {name} is {value!r:.40}")
        if told.type not in EVENT_TYPES:
            raise MessageInvalid(f"an event of the unknown type {told.type!r:.40}")
        return told


Order: TypeAlias = Literal["withdraw", "stopped"]


@dataclass(frozen=True, slots=True)
class Control:
    """An order that outlives whoever gave it.

    :param order: ``withdraw``: nobody may see this camera any more; ``stopped``: its node has obeyed
    :param by: who asked
    """

    order: Order
    source: str
    by: str

    @property
    def subject(self) -> str:
        """Where it lies."""
        return f"control.{word(self.source)}"

    def pack(self) -> bytes:
        """As a message."""
        return wire.pack("control", asdict(self))

    @classmethod
    def unpack(cls, body: bytes) -> Control:
        """Read a message.

        :raises MessageInvalid: it is none
        """
        head, _ = wire.unpack(body, "control")
        try:
            made = cls(head["order"], str(head["source"]), str(head["by"]))
        except KeyError as error:
            raise MessageInvalid(f"an order without {error}") from error
        if made.order not in ("withdraw", "stopped"):
            raise MessageInvalid(f"an unknown order {made.order!r:.40}")
        return made


def camera_of(message: Message) -> str:
    """The camera that a subject names: rights are given by it, so it counts and not what the message says."""
    return name_of(message.subject.split(".")[1])


def png_of(picture: Any) -> bytes:
    """An H×W×3 uint8 picture as PNG."""
    done, png = cv2.imencode(".png", picture)
    if not done:
        raise MessageInvalid(f"a motion map of {picture.shape} cannot be encoded")
    return bytes(png.tobytes())


def picture_of(png: bytes) -> Any:
    """An H×W×3 uint8 picture.

    :raises ValueError: it is none, or too large
    """
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    if png[:8] != b"\x89PNG\r\n\x1a\n" or not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(f"no PNG of at most {MAX_SIDE} × {MAX_SIDE}")
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a PNG that cannot be decoded")
    return picture
