"""What strangers can send, as functions of bytes. Each may raise the typed error it promises, and nothing else."""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Callable
from typing import Final

from mellm.engine.describe.parse import parse_json
from mellm.evaluation.datasets.units import FACS, parse_units
from mellm.stream.errors import MellmError, ProtocolError
from mellm.stream.protocol import client_messages, wire
from mellm.stream.protocol.access import Principal
from mellm.stream.protocol.server_session import Hangup, ServerSession, SessionRules, State
from mellm.stream.sources.addresses import redact, scheme_of
from mellm.stream.sources.timestamps import StampMender

SECRET: Final = "hunter2"


def codec(data: bytes) -> None:
    """A message of the server; what decodes encodes again to the same event."""
    for read in (wire.decode, wire.decode_picture):
        try:
            event = read(data)
        except ProtocolError:
            continue
        try:
            again = wire.encode(event)
        except ValueError:
            assert len(data) > wire.MAX_EVENT_BYTES // 8  # escapes may grow it past the bound
            continue
        assert wire.decode(again).data == event.data


def messages(data: bytes) -> None:
    """A message of a client; what is understood can be said again."""
    try:
        message = client_messages.decode_client(data)
    except ProtocolError:
        return
    assert client_messages.decode_client(client_messages.encode_client(message)) == message


def session(data: bytes) -> None:
    """Lines of a client in a row, before and after it is let in. After a farewell nothing is said."""
    rules = SessionRules(
        hello=dict,
        created=lambda principal: {"sources": sorted(principal.visible({"cam"}))},
        authenticate=lambda token: Principal("lab") if token == "right" else None,
        sources=lambda: frozenset({"cam"}),
    )
    for principal in (None, Principal("local")):
        one = ServerSession(rules)
        one.open(principal)
        for number, line in enumerate(data.split(b"\n")[:64]):
            ended = one.state is State.CLOSED
            actions = one.receive(line, number / 100)
            assert not (ended and actions)
            assert sum(isinstance(action, Hangup) for action in actions) <= 1


def stamps(data: bytes) -> None:
    """Presentation times of a broken camera: what comes out always grows within a segment."""
    mender = StampMender()
    last: int | None = None
    for (raw,) in struct.iter_unpack("<q", data[: len(data) // 8 * 8]):
        stamp = mender.push(None if raw % 7 == 0 else raw)
        assert last is None or stamp.new_segment or stamp.pts_ns > last
        if stamp.gap_from_ns is not None:
            assert stamp.gap_from_ns <= stamp.pts_ns
        last = stamp.pts_ns


def addresses(data: bytes) -> None:
    """What a user may write as a source: read or refused, and a password never shows."""
    text = data.decode("utf-8", "replace").replace(SECRET, "")
    slip = re.sub(r"[/?#@]", "", text)
    for uri in (text, f"rtsp://me:{SECRET}@{text}", f"{slip}://me:{SECRET}@cam/1", f"{slip}me:{SECRET}@cam"):
        shown = [redact(uri)]
        try:
            scheme_of(uri)
        except MellmError as error:
            shown.append(str(error))
        assert not any(SECRET in each for each in shown), uri


def action_units(data: bytes) -> None:
    """A cell of an annotation sheet: no unit that its digits do not spell."""
    text = data.decode("utf-8", "replace")
    found = parse_units(text)
    spelt = {int(run) for run in re.findall(r"\d+", unicodedata.normalize("NFKC", text)) if len(run) < 9}
    assert {unit.number for unit in found.sure | found.possible} <= spelt & FACS


def answers(data: bytes) -> None:
    """What a model may answer: read, or named as a problem; text without control characters."""
    found = parse_json(data.decode("utf-8", "replace"))
    assert found.problem or found.text
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in found.text)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each for each in (codec, messages, session, stamps, addresses, action_units, answers)
}
