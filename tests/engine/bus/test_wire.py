from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.bus.base import MAX_BYTES
from mellm.engine.bus.wire import MAX_HEAD, VERSION, pack, unpack
from mellm.stream.errors import MessageInvalid


def test_head_and_picture_come_back() -> None:
    head, blob = unpack(pack("event", {"a": [1, "ü"]}, b"\n\x00\xff\n"), "event")
    assert (head, blob) == ({"a": [1, "ü"]}, b"\n\x00\xff\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "end of its first line"),
        (b"{}\n", "version None"),
        (b'{"v":2,"kind":"event"}\n', "same version"),
        (b'{"v":true,"kind":"event"}\n', "version True"),
        (b'{"v":"1","kind":"event"}\n', "version '1'"),
        (b'{"v":1,"kind":"result"}\n', "where 'event' belongs"),
        (b'{"v":1,"v":1,"kind":"event"}\n', "twice"),
        (b'{"v":1,"kind":"event","x":NaN}\n', "NaN"),
        (b"[1]\n", "object"),
        (b"[" * 10_000 + b"\n", "JSON"),
        (b"x" * (MAX_BYTES + 1), "may be sent"),
        (pickle.dumps({"v": 1, "kind": "event"}) + b"\n", "JSON"),
    ],
)
def test_what_is_not_ours_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(MessageInvalid, match=said):
        unpack(body, "event")


def test_fields_of_a_later_program_are_passed_over() -> None:
    line = json.dumps({"v": VERSION, "kind": "event", "a": 1, "new": {"x": 1}}).encode()
    assert unpack(line + b"\n", "event")[0]["a"] == 1


def test_too_much_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MessageInvalid):
        pack("event", {"a": "x" * MAX_HEAD})
    with pytest.raises(MessageInvalid):
        pack("event", {}, b"x" * MAX_BYTES)
    with pytest.raises(MessageInvalid):
        pack("event", {"a": float("nan")})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        head, _ = unpack(body, "event")
    except MessageInvalid:
        return
    assert isinstance(head, dict)
