from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mellm.engine.analysis.prefetch import Prefetcher
from mellm.stream.errors import SourceCorrupt


def test_items_come_in_order_and_the_end_stays_the_end() -> None:
    with Prefetcher(range(100)) as ahead:
        assert list(ahead) == list(range(100))
        assert list(ahead) == []


def test_an_error_comes_in_its_place() -> None:
    def breaking() -> Iterator[int]:
        yield from range(3)
        raise SourceCorrupt("gone")

    with Prefetcher(breaking()) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceCorrupt, match="gone"):
            next(ahead)
        assert list(ahead) == []


def test_it_runs_no_further_ahead_than_told() -> None:
    made = []

    def counting() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with Prefetcher(counting(), depth=3) as ahead:
        next(ahead)
        time.sleep(0.1)
        assert len(made) <= 5, "one taken, three waiting, one in the maker's hand"


def test_leaving_ends_the_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    with suppress(KeyboardInterrupt), Prefetcher(endless(), name="to-be-left") as ahead:
        next(ahead)
        raise KeyboardInterrupt
    assert "to-be-left" not in {thread.name for thread in threading.enumerate()}


def test_two_in_a_row_end_together() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    before = threading.active_count()
    with Prefetcher(endless()) as first, Prefetcher(map(str, first)) as second:
        assert next(second) == "1"
    assert threading.active_count() == before
