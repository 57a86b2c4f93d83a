"""The session's state machine, without sockets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mellm.stream.protocol import client_messages as said
from mellm.stream.protocol import wire
from mellm.stream.protocol.access import Principal, Scope
from mellm.stream.protocol.events import MARKER, Filter, Position
from mellm.stream.protocol.server_session import (
    Action,
    AddMarker,
    FetchEvidence,
    Hangup,
    Send,
    ServerSession,
    SessionRules,
    StartPush,
    StartStream,
    State,
    StopPush,
    StopStream,
    TakePicture,
    Withdraw,
)

LOCAL = Principal("local")
LAB = Principal("lab")


def make(**changes: Any) -> ServerSession:
    rules = {
        "hello": lambda: {"protocol": wire.PROTOCOL},
        "created": lambda principal: {"sources": sorted(principal.visible({"cam"}))},
        "authenticate": lambda token: LAB if token == "right" else None,
        "sources": lambda: frozenset({"cam"}),
    }
    return ServerSession(SessionRules(**{**rules, **changes}))


def opened(principal: Principal = LOCAL, **changes: Any) -> ServerSession:
    session = make(**changes)
    session.open(principal)
    return session


def say(session: ServerSession, now: float = 0.0, **message: Any) -> list[Action]:
    return session.receive(json.dumps(message), now)


def test_a_local_client_is_greeted_and_admitted_at_once() -> None:
    session = make()
    hello, created = session.open(LOCAL)
    assert hello == Send(wire.HELLO, {"protocol": wire.PROTOCOL, "auth_needed": False})
    assert created == Send(wire.SESSION_CREATED, {"sources": ["cam"]})
    assert (session.state, session.principal) == (State.READY, LOCAL)
    with pytest.raises(RuntimeError):
        session.open(LOCAL)


def test_a_token_in_the_first_message_admits() -> None:
    session = make()
    (hello,) = session.open(None)
    assert isinstance(hello, Send)
    assert hello.data["auth_needed"] is True
    assert say(session, type="session.auth", token="right") == [
        Send(wire.SESSION_CREATED, {"sources": ["cam"]})
    ]
    assert session.principal == LAB
    assert session.auth_expired() == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "session.auth", "token": "wrong"}, wire.UNAUTHORISED),
        ({"type": "subscribe"}, wire.UNAUTHORISED),
        ({"type": "session.auth", "tokens": "right"}, wire.BAD_MESSAGE),
        ({"type": "session.close"}, 1000),
    ],
)
def test_without_a_token_nothing_else_is_heard(message: dict, code: int) -> None:
    session = make()
    session.open(None)
    *_, last = say(session, **message)
    assert isinstance(last, Hangup)
    assert last.code == code
    assert session.principal is None
    assert say(session, type="session.auth", token="right") == []


def test_the_time_to_present_a_token_ends() -> None:
    session = make()
    session.open(None)
    assert session.auth_expired()[-1] == Hangup(wire.AUTH_TIMEOUT, "auth_timeout")
    assert session.state is State.CLOSED


def test_subscribing_replacing_and_stopping() -> None:
    session = opened()
    message = {"type": "subscribe", "sources": ["cam"], "types": [MARKER], "after": {"epoch": "e", "seq": 3}}
    wanted = Filter(frozenset({"cam"}), frozenset({MARKER}))
    assert say(session, **message, id="1") == [StartStream(wanted, wanted, Position("e", 3), "1")]
    assert say(session, type="subscribe") == [StartStream(Filter(), Filter(), None, None)]
    assert session.state is State.STREAMING
    assert say(session, type="unsubscribe", id="2") == [StopStream(), Send(wire.UNSUBSCRIBED, {"ref": "2"})]
    (refused,) = say(session, type="unsubscribe")
    assert isinstance(refused, Send)
    assert refused.data["code"] == "not_subscribed"


def test_unknown_sources_are_refused_by_name_where_a_list_is_kept() -> None:
    (refused,) = say(opened(), type="subscribe", sources=["cam", "door"], id="7")
    assert refused == Send(
        wire.ERROR, {"code": "unknown_source", "message": "unknown source 'door'; there are: cam", "ref": "7"}
    )
    (started,) = say(opened(sources=frozenset), type="subscribe", sources=["door"])
    assert isinstance(started, StartStream)


def test_markers() -> None:
    session = opened()
    assert say(session, type="marker.add", label="question 3", source="cam", time_ns="5", id="m") == [
        AddMarker("question 3", "cam", 5, "m")
    ]
    (refused,) = say(session, type="marker.add", label="x", source="door")
    assert isinstance(refused, Send)
    assert refused.data["code"] == "unknown_source"


def test_a_second_token_is_unexpected_and_the_session_goes_on() -> None:
    session = opened()
    (refused,) = say(session, type="session.auth", token="right")
    assert isinstance(refused, Send)
    assert refused.data["code"] == "unexpected"
    assert session.state is State.READY


def test_an_unknown_field_is_refused_by_name_and_the_session_goes_on() -> None:
    session = opened()
    (refused,) = say(session, type="subscribe", source=["cam"], id="9")
    assert isinstance(refused, Send)
    assert (refused.data["code"], refused.data["ref"]) == ("unknown_field", "9")
    assert "'source'" in refused.data["message"]
    assert "did you mean 'sources'" in refused.data["message"]
    assert say(session, type="subscribe")


@pytest.mark.parametrize("payload", [b"{}", "nonsense", '{"x":NaN}', '"' + "x" * wire.MAX_CLIENT_BYTES + '"'])
def test_what_is_no_message_ends_the_session(payload: str | bytes) -> None:
    session = opened()
    error, hangup = session.receive(payload, 0.0)
    assert isinstance(error, Send)
    assert isinstance(hangup, Hangup)
    assert hangup.code == wire.BAD_MESSAGE


def test_a_client_that_is_wrong_too_often_is_sent_away() -> None:
    session = opened(max_errors=3)
    answers = [say(session, type="nope")[-1] for _ in range(3)]
    assert [isinstance(answer, Hangup) for answer in answers] == [False, False, True]


def test_rate_is_a_bucket_that_refills() -> None:
    session = opened(messages_per_s=10.0, burst=5)
    for _ in range(5):
        assert isinstance(say(session, 0.0, type="subscribe")[0], StartStream)
    assert isinstance(say(session, 0.1, type="subscribe")[0], StartStream)
    assert say(session, 0.1, type="subscribe")[-1] == Hangup(wire.TOO_MANY_MESSAGES, "rate")


ALL_BUT = {scope: Principal("lab", frozenset(Scope) - {scope}) for scope in Scope}


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (Scope.EVENTS_READ, {"type": "subscribe"}),
        (Scope.MEDIA_READ, {"type": "subscribe", "types": ["preview"]}),
        (Scope.MEDIA_READ, {"type": "evidence.get", "expression": "e1"}),
        (Scope.SOURCES_WRITE, {"type": "marker.add", "label": "x"}),
    ],
)
def test_each_request_needs_its_scope_and_the_session_goes_on_without(scope: Scope, message: dict) -> None:
    session = opened(ALL_BUT[scope])
    (refused,) = say(session, **message, id="7")
    assert refused == Send(
        wire.ERROR, {"code": "forbidden", "message": f"this needs the scope {scope}", "ref": "7"}
    )
    assert session.state is State.READY
    for other in set(Scope) - {scope, Scope.EVENTS_READ}:  # previews need both, being events with pictures
        assert not isinstance(say(opened(ALL_BUT[other]), **message)[0], Send)


def test_asking_again_and_again_for_what_is_forbidden_ends_in_4403() -> None:
    session = opened(ALL_BUT[Scope.MEDIA_READ], max_errors=2)
    say(session, type="evidence.get", expression="e1")
    assert say(session, type="evidence.get", expression="e1")[-1] == Hangup(wire.FORBIDDEN, "forbidden")


def test_a_token_that_allows_nothing_here_ends_in_4403() -> None:
    session = make()
    actions = session.open(Principal("scraper", frozenset({Scope.ADMIN})))
    assert actions[-1] == Hangup(wire.FORBIDDEN, "forbidden")
    assert session.state is State.CLOSED


def test_a_source_that_a_client_may_not_see_does_not_exist_for_it() -> None:
    sources = {"sources": lambda: frozenset({"cam", "door"})}
    session = opened(Principal("lab", sources=frozenset({"cam"})), **sources)
    for message in ({"type": "subscribe", "sources": ["door"]}, {"type": "subscribe", "sources": ["attic"]}):
        (refused,) = say(session, **message)
        assert isinstance(refused, Send)
        assert refused.data["code"] == "unknown_source"
        assert refused.data["message"].endswith("there are: cam")
    (started,) = say(session, type="subscribe")
    assert isinstance(started, StartStream)
    assert started.wanted == Filter()
    assert started.granted == Filter(sources=frozenset({"cam"}), whole_server=False)


def test_a_marker_without_a_source_stays_in_the_clients_own() -> None:
    sources = {"sources": lambda: frozenset({"cam", "door", "hall"})}
    session = opened(Principal("lab", sources=frozenset({"cam"})), **sources)
    assert say(session, type="marker.add", label="x") == [AddMarker("x", "cam", None, None)]
    session = opened(Principal("lab", sources=frozenset({"cam", "door"})), **sources)
    (refused,) = say(session, type="marker.add", label="x")
    assert isinstance(refused, Send)
    assert refused.data["code"] == "missing_field"


def test_evidence_is_looked_for() -> None:
    assert say(opened(), type="evidence.get", expression="e1", id="7") == [FetchEvidence("e1", "7")]
    faces = say(opened(), type="evidence.get", expression="e1", shown="faces")
    assert faces == [FetchEvidence("e1", None, "faces")]
    (refused,) = say(opened(), type="evidence.get", expression="e1", shown="soul")
    assert isinstance(refused, Send)
    assert refused.data["code"] == "bad_value"


def test_consent_is_withdrawn_by_whoever_may_write_and_sees_the_source() -> None:
    sources = {"sources": lambda: frozenset({"cam", "door"})}
    asked = {"type": "consent.withdraw", "source": "cam", "id": "9"}
    assert say(opened(**sources), **asked) == [Withdraw("cam", "9")]
    for principal, code in (
        (ALL_BUT[Scope.SOURCES_WRITE], "forbidden"),
        (Principal("lab", sources=frozenset({"door"})), "unknown_source"),
    ):
        (refused,) = say(opened(principal, **sources), **asked)
        assert isinstance(refused, Send)
        assert refused.data["code"] == code
    (refused,) = say(opened(**sources), type="consent.withdraw")
    assert isinstance(refused, Send)
    assert refused.data["code"] == "missing_field"


def test_a_token_that_expires_ends_the_session() -> None:
    session = opened()
    assert session.token_expired()[-1] == Hangup(wire.UNAUTHORISED, "expired")
    assert session.token_expired() == []


@given(st.lists(st.text(max_size=60) | st.binary(max_size=60), max_size=12))
def test_no_input_raises(payloads: list[str | bytes]) -> None:
    session = opened()
    for payload in payloads:
        session.receive(payload, 0.0)


class Sessions(RuleBasedStateMachine):
    """Any order of messages keeps the promises of the state diagram."""

    def __init__(self) -> None:
        super().__init__()
        self.session = make(messages_per_s=1e9, burst=10**9)
        self.hung_up = 0
        self.streaming = False
        self.now = 0.0

    def take(self, actions: list[Action]) -> None:
        for position, action in enumerate(actions):
            if isinstance(action, Hangup):
                self.hung_up += 1
                assert position == len(actions) - 1
            elif isinstance(action, StartStream):
                assert self.session.principal is not None
                assert self.session.principal.may(Scope.EVENTS_READ)
                self.streaming = True
            elif isinstance(action, StopStream):
                assert self.streaming
                self.streaming = False
            elif isinstance(action, (AddMarker, FetchEvidence, Withdraw)):
                scope = Scope.MEDIA_READ if isinstance(action, FetchEvidence) else Scope.SOURCES_WRITE
                assert self.session.principal is not None
                assert self.session.principal.may(scope)

    @precondition(lambda self: self.session.state is State.OPENING)
    @rule(principal=st.sampled_from([None, LOCAL, *ALL_BUT.values(), Principal("none", frozenset())]))
    def open(self, principal: Principal | None) -> None:
        self.take(self.session.open(principal))

    @rule(
        message=st.sampled_from(
            [
                {"type": "session.auth", "token": "right"},
                {"type": "session.auth", "token": "wrong"},
                {"type": "subscribe"},
                {"type": "subscribe", "sources": ["door"]},
                {"type": "push.start", "source": "cam"},
                {"type": "push.stop"},
                {"type": "subscribe", "nope": 1},
                {"type": "unsubscribe"},
                {"type": "subscribe", "types": ["preview"]},
                {"type": "marker.add", "label": "x"},
                {"type": "evidence.get", "expression": "e1"},
                {"type": "consent.withdraw", "source": "cam"},
                {"type": "session.close"},
            ]
        )
    )
    def hear(self, message: dict[str, Any]) -> None:
        silent = self.session.state in (State.OPENING, State.CLOSED)
        actions = say(self.session, self.now, **message)
        assert not (silent and actions)
        self.take(actions)

    @rule()
    def expire(self) -> None:
        self.take(self.session.auth_expired())

    @invariant()
    def promises(self) -> None:
        assert self.hung_up <= 1
        assert (self.session.state is State.CLOSED) == (self.hung_up == 1)
        if self.session.state in (State.READY, State.STREAMING):
            assert self.session.principal is not None
            assert self.streaming == (self.session.state is State.STREAMING)


TestSessions = Sessions.TestCase


# -- pictures that clients send -----------------------------------------------------------------------

PICTURE = said.encode_push(b"jpeg", 5)


def pushing(**changes: Any) -> ServerSession:
    session = opened(pushable=lambda: frozenset({"cam"}), **changes)
    assert say(session, type="push.start", source="cam", id="p") == [StartPush("cam", "p")]
    return session


def test_pictures_follow_a_push_start() -> None:
    session = pushing()
    assert session.receive(PICTURE, 0.0) == [TakePicture(b"jpeg", 5)]
    assert say(session, type="push.stop", id="q") == [StopPush("q")]
    (error, hangup) = session.receive(PICTURE, 0.0)
    assert isinstance(error, Send)
    assert hangup == Hangup(4400, "bad_message")


@pytest.mark.parametrize(
    ("principal", "pushable", "source", "code"),
    [
        (LOCAL, {"cam"}, "door", "unknown_source"),
        (LOCAL, set(), "cam", "not_pushable"),
        (Principal("r", frozenset({Scope.EVENTS_READ})), {"cam"}, "cam", "forbidden"),
        (Principal("r", sources=frozenset({"door"})), {"cam"}, "cam", "unknown_source"),
    ],
)
def test_who_may_not_push_is_told(principal: Principal, pushable: set[str], source: str, code: str) -> None:
    session = opened(principal, pushable=lambda: frozenset(pushable))
    (error,) = say(session, type="push.start", source=source)
    assert isinstance(error, Send)
    assert error.data["code"] == code
    assert session.pushing is None


def test_one_push_a_client_and_again_after_a_refusal() -> None:
    session = pushing()
    (error,) = say(session, type="push.start", source="cam")
    assert isinstance(error, Send)
    assert error.data["code"] == "busy"
    session.push_refused()
    assert say(session, type="push.start", source="cam") == [StartPush("cam", None)]


def test_pictures_have_a_rate_of_their_own() -> None:
    session = pushing(pictures_per_s=30.0, burst=4)
    for number in range(300):
        assert session.receive(PICTURE, number / 30) != []
        assert session.state is State.READY
    for _ in range(40):
        last = session.receive(PICTURE, 10.0)
    assert (session.state, last) == (State.CLOSED, [])


@given(st.binary(max_size=80))
def test_what_is_no_picture_ends_the_session_and_raises_nothing(payload: bytes) -> None:
    session = pushing()
    actions = session.receive(payload, 0.0)
    assert isinstance(actions[0], TakePicture) or actions[-1] == Hangup(4400, "bad_message")


@given(st.binary(max_size=200), st.integers(0, 2**63 - 1))
def test_pushed_pictures_round_trip(jpeg: bytes, time_ns: int) -> None:
    assert said.decode_push(said.encode_push(jpeg, time_ns)) == (jpeg, time_ns)
