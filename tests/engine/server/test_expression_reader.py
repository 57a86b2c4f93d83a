"""Findings are handed out to whom they concern."""

from collections.abc import Iterator
from typing import Any

import pytest

from mellm.engine.server.expression_reader import ExpressionReader
from mellm.stream.errors import JournalError
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.access import Principal

ALL, OWN, OTHER = (
    Principal("all"),
    Principal("own", sources=frozenset({"cam"})),
    Principal("other", sources=frozenset()),
)


@pytest.fixture
def journal() -> Iterator[Journal]:
    with Journal() as journal:
        journal.append("expression.spotted", "cam", {"id": "e1"}, time=0, id="e1")
        journal.append("marker", "cam", {"id": "e1"}, time=0, id="e1")
        yield journal


MAPS = {("e1", "motion"): b"map", ("e9", "motion"): b"unjournalled"}


def look(id: str, shown: str) -> bytes | None:
    return MAPS.get((id, shown))


async def test_only_expressions_of_sources_that_are_seen(journal: Journal) -> None:
    audited: list[Any] = []
    library = ExpressionReader(journal, look, lambda *facts: audited.append(facts))
    assert [len(await library.expression("e1", who)) for who in (ALL, OWN, OTHER)] == [1, 1, 0]
    assert [await library.picture("e1", "motion", who) for who in (ALL, OWN, OTHER)] == [b"map", b"map", None]
    handed_out = [(action, facts["principal"]) for action, facts in audited]
    assert handed_out == [
        (f"{what}.read", who) for what in ("expression", "evidence") for who in ("all", "own")
    ]
    assert await library.picture("e2", "motion", ALL) is None


async def test_a_map_whose_source_cannot_be_looked_up_is_not_handed_out(journal: Journal) -> None:
    library = ExpressionReader(journal, look, lambda *facts: None)
    assert await library.picture("e9", "motion", OWN) is None
    journal.close()
    with pytest.raises(JournalError):
        await library.picture("e1", "motion", OWN)
    assert await library.picture("e1", "motion", ALL) == b"map"
