"""What clients say: read strictly, refused by name."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.errors import ProtocolError
from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.events import EVENT_TYPES, Filter, Position
from tests.stream.protocol.test_wire import names, values

positions = st.builds(Position, names, st.integers(0, said.MAX_NS))
filters = st.builds(
    Filter,
    st.none() | st.frozensets(names, min_size=1, max_size=4),
    st.none() | st.frozensets(st.sampled_from(sorted(EVENT_TYPES)), min_size=1),
    st.floats(0, 1),
)
ids = st.none() | names
messages = st.one_of(
    st.builds(said.Auth, names, ids),
    st.builds(said.Subscribe, filters, st.none() | positions, ids),
    st.builds(said.Unsubscribe, ids),
    st.builds(said.MarkerAdd, names, st.just("") | names, st.none() | st.integers(0, said.MAX_NS), ids),
    st.builds(said.EvidenceGet, st.from_regex(said.EXPRESSION_ID, fullmatch=True), ids),
    st.builds(said.ConsentWithdraw, names, ids),
    st.builds(said.Close, ids),
)


@given(messages)
def test_a_clients_message_survives_the_wire(message: said.ClientMessage) -> None:
    assert said.decode_client(said.encode_client(message)) == message


@given(st.text(max_size=200) | st.binary(max_size=200) | values.map(json.dumps))
def test_whatever_a_client_sends_ends_in_a_message_or_a_protocol_error(payload: str | bytes) -> None:
    read: said.ClientMessage | None = None
    with contextlib.suppress(ProtocolError):
        read = said.decode_client(payload)
    assert read is None or said.decode_client(said.encode_client(read)) == read


@pytest.mark.parametrize(
    ("message", "code", "hint"),
    [
        (
            {"type": "subscribe", "source": ["a"]},
            "unknown_field",
            r"'source' in subscribe \(did you mean 'sources'\?\)",
        ),
        (
            {"type": "subscribe", "xyz": 1},
            "unknown_field",
            "expected: type, id, sources, types, min_score, after",
        ),
        (
            {"type": "subscribe", "after": {"epoch": "e", "sequence": 1}},
            "unknown_field",
            "'sequence' in after",
        ),
        ({"type": "subscribe", "after": {"epoch": "e", "seq": True}}, "bad_value", "integer"),
        ({"type": "subscribe", "after": {"epoch": "e", "seq": -1}}, "bad_value", "from 0"),
        ({"type": "subscribe", "after": 7}, "bad_value", "object"),
        ({"type": "subscribe", "sources": []}, "bad_value", "leave it out for all"),
        ({"type": "subscribe", "sources": [7]}, "bad_value", "sources must be"),
        (
            {"type": "subscribe", "types": ["expresion.spotted"]},
            "unknown_type",
            "did you mean 'expression.spotted'",
        ),
        ({"type": "subscribe", "types": ["nothing.*"]}, "unknown_type", "known: "),
        ({"type": "subscribe", "min_score": 1.5}, "bad_value", "0 to 1"),
        ({"type": "subscribe", "min_score": True}, "bad_value", "0 to 1"),
        ({"type": "marker.add"}, "missing_field", "'label'"),
        ({"type": "marker.add", "label": "a\nb"}, "bad_value", "printable"),
        ({"type": "marker.add", "label": "a", "time_ns": 5}, "bad_value", "string of digits"),
        ({"type": "marker.add", "label": "a", "time_ns": "9" * 19}, "bad_value", "digits"),
        ({"type": "marker.add", "label": "a", "source": ""}, "bad_value", "source must be"),
        ({"type": "session.auth", "token": ""}, "bad_value", "token"),
        ({"type": "subscrib"}, "unknown_message", "did you mean 'subscribe'"),
        ({"type": 7}, "bad_value", "type is missing"),
        ({"type": "subscribe", "id": 7}, "bad_value", "id must be"),
    ],
)
def test_refusals_name_what_was_wrong_and_what_is_expected(message: dict, code: str, hint: str) -> None:
    with pytest.raises(said.Refused, match=hint) as caught:
        said.decode_client(json.dumps(message))
    assert caught.value.reason == code


def test_a_refusal_refers_to_the_message() -> None:
    with pytest.raises(said.Refused) as caught:
        said.decode_client('{"type": "subscribe", "id": "mine", "nope": 1}')
    assert caught.value.ref == "mine"


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "[]",
        "nonsense",
        '{"type": "subscribe", "min_score": NaN}',
        '{"type": "subscribe", "min_score": 1e999}',
        '{"type": "subscribe", "type": "session.close"}',
        '{"a":' * 10_000,
        "[" * 60_000,
        '{"type": "subscribe", "min_score": ' + "9" * 5000 + "}",
        b"\xff\xfe",
        '{"a": "' + "x" * wire.MAX_EVENT_BYTES + '"}',
    ],
)
def test_what_is_not_json_as_the_standard_has_it_breaks_the_protocol(payload: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        said.decode_client(payload)
    assert not isinstance(caught.value, said.Refused)
    assert caught.value.close_code == wire.BAD_MESSAGE


def test_brackets_inside_strings_are_no_depth() -> None:
    label = '[[[[[[[[[[[["{{{\\'
    assert said.decode_client(json.dumps({"type": "marker.add", "label": label})) == said.MarkerAdd(label)


def test_families_of_types_and_names_of_control_messages() -> None:
    assert said.expand_types(["expression.*", "stream.skipped"]) == {
        name for name in EVENT_TYPES if name.startswith("expression.")
    }


def test_a_token_is_never_shown() -> None:
    assert "secret" not in repr(said.Auth("secret"))
