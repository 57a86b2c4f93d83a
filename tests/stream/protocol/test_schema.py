"""The schema says what the code does, and what is committed is what the code makes."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mellm.stream.errors import ProtocolError
from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.asyncapi import asyncapi
from mellm.stream.protocol.events import EVENT_TYPES, LOSSY
from mellm.stream.protocol.schema import SAID, document
from tests import REPO
from tests.stream.protocol.test_client_messages import messages
from tests.stream.spoken import ended, marker, problems, scored, spotted, validator

COMMITTED = REPO / "docs" / "schema"
CLIENT = Draft202012Validator({"$defs": document()["$defs"], "$ref": "#/$defs/client"})
SERVER = Draft202012Validator({"$defs": document()["$defs"], "$ref": "#/$defs/server"})


@pytest.mark.parametrize(
    ("name", "made"), [("mellm.v1.schema.json", document), ("mellm.v1.asyncapi.json", asyncapi)]
)
def test_what_is_committed_is_what_the_code_makes(name: str, made: Any) -> None:
    assert json.loads((COMMITTED / name).read_text()) == made(), "make them anew: mellm schema --help"


def test_both_forms_are_schemas_and_know_every_type() -> None:
    for strict in (False, True):
        Draft202012Validator.check_schema(document(strict=strict))
    assert set(SAID) == EVENT_TYPES | wire.CONTROL
    assert {name for name in SAID if SAID[name].picture} == {"preview", "evidence"}


@given(messages)
def test_what_the_codec_writes_for_a_client_is_valid(message: said.ClientMessage) -> None:
    assert [error.message for error in CLIENT.iter_errors(json.loads(said.encode_client(message)))] == []


near = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        0.5,
        1,
        2**63,
        "",
        "5",
        "cam",
        "e 1",
        "x" * 201,
        "9" * 20,
        "a\nb",
        [],
        ["cam"],
        [7],
        {},
    ]
)
fields = st.sampled_from(sorted({name for each in said.MESSAGES.values() for name in each} | {"id", "nope"}))
places = st.dictionaries(st.sampled_from(["epoch", "seq", "no"]), near, max_size=3)
types = st.lists(st.sampled_from(["marker", "expression.*", "hello", "nothing.*", "markr"]), max_size=3)


@given(st.sampled_from([*said.MESSAGES, "nope"]), st.dictionaries(fields, near | places | types, max_size=4))
def test_the_server_obeys_only_what_the_schema_allows(kind: str, rest: dict[str, Any]) -> None:
    """The other way round there are texts that a schema cannot tell apart: what is printable, and the last of the
    numbers of 19 digits."""
    message = {"type": kind, **rest}
    read = None
    with contextlib.suppress(ProtocolError):
        read = said.decode_client(json.dumps(message))
    valid = CLIENT.is_valid(message)
    assert valid or read is None
    texts = json.dumps(message)
    if valid and "\\n" not in texts and "9" * 19 not in texts:
        assert read is not None


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("expression.spotted", spotted()),
        ("expression.dropped", ended()),
        ("expression.abstained", ended(state="abstained", reason="motion")),
        ("marker", marker()),
        ("score", scored()),
    ],
)
def test_events_as_the_engine_makes_them_are_valid_and_a_missing_field_is_noticed(
    type: str, data: dict[str, Any]
) -> None:
    envelope = {"type": type, "id": "x", "seq": None if type in LOSSY else 1, "epoch": "e", "source": "cam"}
    whole = {**envelope, "time": "2026-01-31T09:30:00.123456Z", "data": data}
    assert problems(json.dumps(whole)) == ()
    assert problems(json.dumps({**whole, "seq": 1 if type in LOSSY else None}))
    for name in set(data) - {*SAID[type].optional, "t_ns", "t_ms"}:
        less = {key: value for key, value in data.items() if key != name}
        assert problems(json.dumps({**whole, "data": less}))
    more = {**whole, "data": {**data, "newer": 1}}
    assert problems(json.dumps(more))
    SERVER.validate(more)  # readers let pass what is newer than they are
    SERVER.validate({**whole, "type": "face.winked", "data": {}})
    assert not SERVER.is_valid({**whole, "data": {}})
    assert validator(type) is validator(type)


def test_asyncapi_points_at_what_is_there() -> None:
    whole = asyncapi()
    assert whole["asyncapi"] == "3.0.0"
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.append(value["$ref"])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(whole)
    assert len(found) > 90
    for ref in found:
        at: Any = whole
        for part in ref.removeprefix("#/").split("/"):
            at = at[part]
    assert set(whole["components"]["messages"]) == {*SAID, *said.MESSAGES}
    received = {each["$ref"].rpartition("/")[2] for each in whole["operations"]["receive"]["messages"]}
    assert received == set(said.MESSAGES)
