"""The codec: exact for what is ours, strict with clients, lenient as a client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.errors import ProtocolError
from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import EVENT_TYPES, EXPRESSION_SPOTTED, Event
from tests import REPO

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.builds(
        Event,
        names,
        names,
        st.none() | st.integers(1, 2**53),
        names,
        names,
        st.integers(0, 4 * 10**15).map(lambda us: us * 1000),
        st.dictionaries(names, values, max_size=4),
    )
)
def test_an_event_survives_the_wire(event: Event) -> None:
    assert wire.decode(wire.encode(event)) == event


def test_nan_and_arrays_never_leave() -> None:
    event = Event(EXPRESSION_SPOTTED, "e", 1, "epoch", "cam", 0, {"score": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.encode(event)
    with pytest.raises(TypeError):
        wire.encode(Event(EXPRESSION_SPOTTED, "e", 1, "epoch", "cam", 0, {"score": object()}))
    with pytest.raises(ValueError, match="over the bound"):
        wire.encode(
            Event(EXPRESSION_SPOTTED, "e", 1, "epoch", "cam", 0, {"text": "x" * wire.MAX_EVENT_BYTES})
        )


def test_half_a_character_does_not_stop_an_event() -> None:
    event = wire.decode(wire.encode(Event("marker", "m", 1, "epoch", "", 0, {"label": "a\ud800b"})))
    assert event.data == {"label": "a?b"}


def test_a_client_passes_over_fields_and_types_from_the_future() -> None:
    payload = b'{"type":"face.winked","time":"2026-01-01T00:00:00Z","data":{"a":1},"later":true}'
    event = wire.decode(payload)
    assert (event.type, event.seq, event.data) == ("face.winked", None, {"a": 1})


@pytest.mark.parametrize(
    "payload",
    [
        '{"data": {}}',
        '{"type":"a","time":7,"data":{}}',
        '{"type":"a","time":"x"}',
        '{"type":"a","seq":"1","time":"x"}',
        "[]",
    ],
)
def test_a_client_refuses_what_is_no_envelope(payload: str) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(payload)


def test_the_documentation_names_every_word() -> None:
    text = (REPO / "docs" / "protocol.md").read_text()
    words = {*EVENT_TYPES, *wire.CONTROL, *said.MESSAGES}
    words |= {name for fields in said.MESSAGES.values() for name in fields}
    assert {word for word in words if f"`{word}`" not in text} == set()
    codes = {value for name, value in vars(wire).items() if isinstance(value, int) and 4400 <= value < 4600}
    assert {code for code in codes if f"| {code} |" not in text} == set()
