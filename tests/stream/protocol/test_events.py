"""Types, filters and times of events."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.protocol import events
from mellm.stream.protocol.events import Event, Filter, Position
from tests import PATIENCE_S


def test_every_type_is_reliable_or_lossy_and_never_both() -> None:
    named = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert named == events.EVENT_TYPES
    assert not events.RELIABLE & events.LOSSY
    assert events.EXPRESSION_ENDS < events.RELIABLE


@given(st.integers(0, 4_000_000_000_000_000).map(lambda us: us * 1000))
def test_wall_times_survive_the_text(ns: int) -> None:
    assert events.from_rfc3339(events.rfc3339(ns)) == ns


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        events.from_rfc3339("2026-01-01T00:00:00")


def test_media_times_are_exact_beyond_what_javascript_numbers_hold() -> None:
    assert events.media_time("t", 2**53 + 1) == {"t_ns": "9007199254740993", "t_ms": 9007199254.741}


def test_expression_data_keeps_the_line_and_adds_exact_times() -> None:
    line = {"id": "e1", "score": 0.5, "onset_ms": 1.0}
    assert events.expression_data(line, onset_ns=1, apex_ns=2, offset_ns=3) == {
        **line,
        "onset_ns": "1",
        "apex_ns": "2",
        "offset_ns": "3",
    }


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(sources=frozenset({"cam"})), True),
        (Filter(sources=frozenset({"door"})), False),
        (Filter(types=frozenset({events.MARKER})), False),
        (Filter(min_score=0.5), True),
        (Filter(min_score=0.51), False),
    ],
)
def test_filters(wanted: Filter, matches: bool) -> None:
    assert wanted.matches(events.EXPRESSION_SPOTTED, "cam", 0.5) is matches


def test_a_filter_by_score_or_source_passes_what_has_neither() -> None:
    assert Filter(min_score=0.9, sources=frozenset({"cam"})).matches(events.STATS, "", None)


@pytest.mark.parametrize(
    ("type", "data", "score"),
    [
        (events.EXPRESSION_SPOTTED, {"score": 1}, 1.0),
        (events.EXPRESSION_SPOTTED, {"score": True}, None),
        (events.EXPRESSION_SPOTTED, {}, None),
        (events.SCORE, {"score": 0.5}, None),
    ],
)
def test_only_expressions_have_a_score_to_filter_by(type: str, data: dict, score: float | None) -> None:
    assert events.score_of(type, data) == score


def test_positions_and_envelopes_are_checked() -> None:
    with pytest.raises(ValueError, match="epoch"):
        Position("", 1)
    with pytest.raises(ValueError, match="negative"):
        Position("e", -1)
    with pytest.raises(ValueError, match="counts from 1"):
        Event("marker", "m", 0, "e", "", 0, {})
    with pytest.raises(ValueError, match="type"):
        Event("", "m", 1, "e", "", 0, {})
    assert Event("marker", "m", 7, "e", "", 0, {}).position == Position("e", 7)
    assert Event("score", "s", None, "e", "", 0, {}).position is None


def test_the_module_needs_the_standard_library_only() -> None:
    code = (
        "import sys, mellm.stream.protocol.events; "
        "bad = [m for m in sys.modules if m.partition('.')[0] in ('numpy', 'cv2', 'websockets', 'pydantic')]; "
        "sys.exit(', '.join(bad) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S, check=False).returncode == 0
