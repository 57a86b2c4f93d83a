"""Who may connect, and from where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.server.auth import Authenticator, OriginPolicy, bearer, check_bind, is_loopback
from mellm.engine.server.tokens import Token
from mellm.stream.errors import UsageError
from mellm.stream.protocol.access import Principal

TOKEN = "0123456789abcdef-token"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("", False),
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.example", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.5"])
@pytest.mark.parametrize(("token", "tls"), [(False, False), (True, False), (False, True)])
def test_other_addresses_need_a_token_and_tls(host: str, token: bool, tls: bool) -> None:
    with pytest.raises(UsageError, match="--insecure") as caught:
        check_bind(host, token=token, tls=tls, insecure=False)
    assert ("a token" in str(caught.value)) is not token
    assert ("TLS" in str(caught.value)) is not tls
    check_bind(host, token=token, tls=tls, insecure=True)
    check_bind(host, token=True, tls=True, insecure=False)


def test_loopback_needs_neither() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_bind(host, token=False, tls=False, insecure=False)
    with pytest.raises(UsageError):
        check_bind("192.0.2.1", token=False, tls=False, insecure=False)


LAB, DOOR = Principal("lab"), Principal("door", frozenset(), frozenset({"door"}), expires_ns=1000)
TOKENS = (Token.of(TOKEN, LAB), Token.of(TOKEN[::-1], DOOR))


@given(st.text())
def test_only_the_token_is_the_token(other: str) -> None:
    authenticator = Authenticator(TOKENS[:1])
    assert authenticator.needed
    assert authenticator.check(TOKEN) == LAB
    assert (authenticator.check(other) is None) == (other != TOKEN)


def test_each_token_stands_for_its_own_until_it_expires() -> None:
    now = 999
    authenticator = Authenticator(TOKENS, clock_ns=lambda: now)
    assert [authenticator.check(each) for each in (TOKEN, TOKEN[::-1], "")] == [LAB, DOOR, None]
    now = 1000
    assert [authenticator.check(each) for each in (TOKEN, TOKEN[::-1])] == [LAB, None]


def test_tokens_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(UsageError, match="same secret"):
        Authenticator((Token.of(TOKEN, LAB), Token.of(TOKEN, DOOR)))
    with pytest.raises(UsageError, match="same name"):
        Authenticator((Token.of(TOKEN, LAB), Token.of(TOKEN[::-1], LAB)))


def test_without_a_token_everybody_is_local() -> None:
    authenticator = Authenticator()
    assert not authenticator.needed
    assert authenticator.check("") == Principal("local")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("", None),
        (None, None),
    ],
)
def test_bearer(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("http://127.0.0.1:8765", True),
        ("HTTP://127.0.0.1:8765", True),
        ("https://lab.example", True),
        ("http://127.0.0.1:9999", False),
        ("http://lab.example", False),
        ("https://lab.example.evil.org", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_this_host_and_of_the_list_may_connect(origin: str | None, accepted: bool) -> None:
    policy = OriginPolicy.of(["https://LAB.example"], loopback_only=True)
    assert policy.accepts_origin(origin, "127.0.0.1:8765") is accepted


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("localhost:8765", True),
        ("127.0.0.1", True),
        ("[::1]:8765", True),
        ("evil.example:8765", False),
        ("", False),
        (None, False),
        ("[", False),
    ],
)
def test_a_name_that_merely_resolves_to_loopback_is_refused(host: str | None, accepted: bool) -> None:
    assert OriginPolicy.of([], loopback_only=True).accepts_host(host) is accepted
    assert OriginPolicy.of([], loopback_only=False).accepts_host(host)


@pytest.mark.parametrize("origin", ["lab.example", "*", "https://lab.example/page", "ws://lab.example", ""])
def test_a_list_entry_that_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match="origin"):
        OriginPolicy.of([origin], loopback_only=True)
