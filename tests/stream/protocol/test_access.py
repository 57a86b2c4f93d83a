"""What is not granted is refused."""

from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.log.journal import Journal
from mellm.stream.protocol.access import ALL_SCOPES, SESSION_SCOPES, Principal, Scope
from mellm.stream.protocol.events import MARKER, Filter

ids = st.sampled_from(["", "cam", "door", "hall"])
choices = st.none() | st.frozensets(ids.filter(bool))


def test_names_of_scopes_are_fixed() -> None:
    assert {str(scope) for scope in ALL_SCOPES} == {"events:read", "media:read", "sources:write", "admin"}
    assert Scope.ADMIN not in SESSION_SCOPES


@given(st.frozensets(st.sampled_from(Scope)))
def test_no_scope_includes_another(scopes: frozenset[Scope]) -> None:
    assert {scope for scope in Scope if Principal("lab", scopes).may(scope)} == scopes


@given(choices, choices, ids)
def test_a_narrowed_filter_passes_what_is_wanted_and_seen(
    granted: frozenset[str] | None, asked: frozenset[str] | None, source: str
) -> None:
    principal, wanted = Principal("lab", sources=granted), Filter(sources=asked)
    passes = principal.narrow(wanted).matches(MARKER, source, None)
    assert passes == (wanted.matches(MARKER, source, None) and principal.sees(source))


@given(choices, choices)
def test_the_journal_reads_with_the_same_eyes(
    granted: frozenset[str] | None, asked: frozenset[str] | None
) -> None:
    wanted = Principal("lab", sources=granted).narrow(Filter(sources=asked))
    with Journal() as journal:
        written = [journal.append(MARKER, source, {}, time=0) for source in ("", "cam", "door", "hall")]
        read = journal.read(0, wanted=wanted)
        assert read == [each for each in written if wanted.matches(each.type, each.source, None)]


def test_whoever_sees_all_sources_sees_new_ones_too() -> None:
    assert Principal("lab").visible({"cam", "new"}) == {"cam", "new"}
    assert Principal("lab", sources=frozenset({"cam"})).visible({"cam", "new"}) == {"cam"}
    assert not Principal("lab", sources=frozenset()).visible({"cam"})
