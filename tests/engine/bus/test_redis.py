from __future__ import annotations

from dataclasses import replace

import pytest

from mellm.engine.bus import redis as adapter
from mellm.engine.bus.base import STREAMS
from tests.engine.bus.conftest import Place

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("place", ["redis"], indirect=True)
async def test_what_is_too_old_is_forgotten_and_the_rest_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await place.another()
    try:
        await bus.append("event.cam-1", b"old", id="a")
        assert isinstance(bus, adapter.RedisBus)
        await bus.trim()
        assert (await bus.facts()).streams["event"][0] == 1
        at_once = {name: replace(rule, max_age_s=-1.0) for name, rule in STREAMS.items()}
        monkeypatch.setattr(adapter, "STREAMS", at_once)
        await bus.trim()
        assert (await bus.facts()).streams["event"][0] == 0
        monkeypatch.undo()
        # numbers go on where they were
        assert await bus.append("event.cam-1", b"new", id="b") == 2
    finally:
        await bus.close()
