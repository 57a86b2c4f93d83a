"""Leases on a clock that is turned by hand; two nodes, one key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.bus.base import Entry
from mellm.engine.bus.lease import MARGIN_S, PATIENCE_S, RENEW_S, TTL_S, Claim, Lease, Step
from mellm.stream.errors import MessageInvalid


class Key:
    """A key that changes by compare-and-set."""

    def __init__(self) -> None:
        self.entry: Entry | None = None

    def write(self, step: Step) -> int | None:
        if step.revision != (self.entry.revision if self.entry else 0):
            return None
        self.entry = Entry(step.lease.encode(), step.revision + 1)
        return self.entry.revision


def look(claim: Claim, key: Key, now: float, *, eager: bool = True, lag_s: float = 0.0) -> Step | None:
    """One look, and the step if it went through."""
    claim.saw(key.entry, now)
    step = claim.step(now, eager=eager)
    if step is None or (revision := key.write(step)) is None:
        return None
    claim.wrote(step, revision, now - lag_s)
    return step


def test_the_first_takes_and_renews_and_the_second_waits() -> None:
    key, a, b = Key(), Claim("a"), Claim("b")
    taken = look(a, key, 0.0)
    assert taken is not None
    assert (taken.kind, a.epoch, a.certain(0.0)) == ("take", 1, True)
    assert look(a, key, RENEW_S - 0.1) is None
    for tenth in range(1, 400):
        now = tenth / 10
        look(a, key, now)
        assert look(b, key, now) is None
        assert a.certain(now)
        assert b.other == Lease("a", 1)


def test_a_dead_owner_is_followed_within_twelve_seconds_with_a_higher_epoch() -> None:
    key, a, b = Key(), Claim("a"), Claim("b")
    look(a, key, 0.0)
    dead_at, now = 2.9, 0.0
    while not b.owned:
        now += 0.5
        if now < dead_at:
            look(a, key, now)
        look(b, key, now)
    assert b.epoch == 2
    assert now - dead_at <= 12.0
    assert not a.certain(now)
    assert a.saw(key.entry, now) is True
    assert not a.owned
    assert look(a, key, now) is None


def test_what_was_given_back_is_taken_at_once_and_by_the_others_after_a_while() -> None:
    key, a, b, c = Key(), Claim("a"), Claim("b"), Claim("c")
    look(a, key, 0.0)
    give = a.give()
    assert give is not None
    revision = key.write(give)
    assert revision is not None
    a.wrote(give, revision, 1.0)
    assert not a.owned
    assert look(c, key, 1.1, eager=False) is None
    assert look(c, key, 1.1 + PATIENCE_S - 0.1, eager=False) is None
    again = look(b, key, 2.0)
    assert again is not None
    assert again.lease == Lease("b", 2)
    assert look(c, key, 1.1 + PATIENCE_S + 1, eager=False) is None


def test_a_node_that_comes_back_takes_its_own_lease_without_waiting() -> None:
    key = Key()
    look(Claim("a"), key, 0.0)
    later = Claim("a")
    step = look(later, key, 0.5)
    assert step is not None
    assert step.lease == Lease("a", 2)


def test_an_owner_whose_broker_was_away_still_has_it_if_nobody_came() -> None:
    key, a = Key(), Claim("a")
    look(a, key, 0.0)
    hour = 3600.0
    assert a.owned
    assert not a.certain(hour)
    look(a, key, hour)
    assert a.certain(hour)
    assert a.epoch == 1


def test_a_lost_key_is_taken_with_a_higher_epoch() -> None:
    """Such as a broker whose disk is new."""
    key, a = Key(), Claim("a")
    look(a, key, 0.0)
    key.entry = None
    assert a.saw(None, 1.0) is True
    step = a.step(1.0, eager=True)
    assert step is not None
    assert (step.lease.epoch, step.revision) == (2, 0)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"owner":1,"epoch":1}', b'{"owner":"a","epoch":0}', b"\xff"])
def test_what_is_no_lease_is_refused(raw: bytes) -> None:
    with pytest.raises(MessageInvalid):
        Lease.decode(raw)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0.05, 4.0), st.booleans(), st.floats(0.0, MARGIN_S / 2)),
        max_size=120,
    )
)
def test_no_two_nodes_are_certain_at_the_same_moment(turns: list[tuple[str, float, bool, float]]) -> None:
    """Whoever looks when, and whoever is cut off meanwhile; writes arrive later than they were sent."""
    key, claims, now = Key(), {name: Claim(name) for name in "abc"}, 0.0
    highest = 0
    for name, pause_s, reachable, lag_s in turns:
        now += pause_s
        if reachable:
            step = look(claims[name], key, now, lag_s=lag_s)
            if step is not None and step.kind == "take":
                assert step.lease.epoch == highest + 1
                highest = step.lease.epoch
        certain = [each for each in "abc" if claims[each].certain(now)]
        assert len(certain) <= 1
    assert TTL_S > RENEW_S + MARGIN_S
