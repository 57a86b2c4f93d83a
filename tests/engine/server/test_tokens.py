"""Tokens of a configuration: their secrets stand elsewhere, and a missing one is an error."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mellm.engine.config import Settings, TokenSettings, load
from mellm.engine.server.auth import Authenticator
from mellm.engine.server.tokens import load as load_tokens
from mellm.stream.errors import ConfigError, UsageError
from mellm.stream.protocol.access import Principal, Scope

TOKEN = "0123456789abcdef-token"
SOURCE = {"id": "desk", "uri": "synthetic:"}


def settings(**changes: Any) -> TokenSettings:
    return TokenSettings.model_validate({"name": "wall", "sources": ["*"], **changes})


def test_three_places_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(TOKEN + "\n")
    for place in (
        {"env": "WALL"},
        {"file": tmp_path / "secret"},
        {"sha256": hashlib.sha256(TOKEN.encode()).hexdigest()},
    ):
        authenticator = Authenticator(load_tokens([settings(**place)], {"WALL": TOKEN}))
        assert authenticator.check(TOKEN) == Principal("wall", frozenset({Scope.EVENTS_READ}))
        assert authenticator.check(TOKEN + "\n") is None


def test_what_a_token_allows() -> None:
    wall = settings(
        env="WALL", scopes=["media:read", "admin"], sources=["desk"], expires="2027-01-01T01:00:00+01:00"
    )
    (token,) = load_tokens([wall], {"WALL": TOKEN})
    assert token.principal == Principal(
        "wall", frozenset({Scope.MEDIA_READ, Scope.ADMIN}), frozenset({"desk"}), 1_798_761_600_000_000_000
    )
    assert TOKEN not in repr(token)
    assert token.digest.hex() not in repr(token)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"env": "NOT_SET"}, "environment variable NOT_SET .* is not set"),
        ({"env": "EMPTY"}, "not set"),
        ({"env": "SHORT"}, "7 characters"),
        ({"file": "/nowhere/at/all"}, "cannot be read"),
    ],
)
def test_a_configured_token_without_a_secret_does_not_leave_the_server_open(place: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load_tokens([settings(**place)], {"EMPTY": "", "SHORT": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "exactly one of env, file, sha256"),
        ({"env": "A", "file": "b"}, "exactly one of env, file, sha256"),
        ({"sha256": "abc"}, r"tokens\[1\]\.sha256"),
        ({"env": "A", "scopes": ["events:write"]}, r"tokens\[1\]\.scopes\[1\]"),
        ({"env": "A", "scopes": []}, r"tokens\[1\]\.scopes"),
        ({"env": "A", "sources": []}, r"tokens\[1\]\.sources"),
        ({"env": "A", "sources": ["dsk"]}, "names no source of this configuration: 'dsk'"),
        ({"env": "A", "expires": "2027-01-01T00:00:00"}, "timezone"),
        ({"env": "A", "scope": ["admin"]}, "did you mean 'scopes'"),
        ({"token": TOKEN, "env": "A"}, r"unknown key 'tokens\[1\]\.token'"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, {"sources": [SOURCE], "tokens": [{"name": "wall", "sources": ["desk"], **changes}]})


def test_access_to_sources_must_be_stated() -> None:
    with pytest.raises(ConfigError, match=r"tokens\[1\]\.sources"):
        load(None, {"sources": [SOURCE], "tokens": [{"name": "wall", "env": "A"}]})
    assert Settings().tokens == ()
