"""The events of a run once more, in order of media time, at any pace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mellm.engine.results.run_reader import Run

Sleep = Callable[[float], object]
"""Waits so many seconds."""


def events(run: Run) -> Iterator[dict[str, Any]]:
    """Every event of the run, recording after recording, by media time.

    The line that ends an expression (``expression.described``, ``.abstained`` or ``.dropped``) carries its whole
    record, as on the wire; a gap has both of its ends.
    """
    for source, part in run.each():
        records = {r["id"]: r for r in part.expressions}
        for event in sorted(part.events, key=lambda e: int(e["media_ns"])):
            yield {**event, "source": source, "data": _whole(event, records)}


def paced(found: Iterator[dict[str, Any]], speed: float, sleep: Sleep) -> Iterator[dict[str, Any]]:
    """The same, each at its time.

    :param speed: 1 is real time, 10 ten times as fast, 0 without any waiting
    """
    before: tuple[str, int] | None = None
    for event in found:
        source, at = event["source"], int(event["media_ns"])
        if speed and before is not None and before[0] == source:
            sleep(max(0, at - before[1]) / 1e9 / speed)
        before = source, at
        yield event


def _whole(event: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    data = dict(event.get("data") or {})
    if event["type"] == "source.gap":
        return {"from_ns": event["media_ns"], **data}
    ended = str(event["type"]).startswith("expression.") and event["type"] != "expression.spotted"
    return dict(records[data["id"]]) if ended and data.get("id") in records else data
