from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.faults import FAULTS, Fault, Hang


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Iterator[Fault]:
    made = FAULTS[request.param]()
    yield made
    if isinstance(made, Hang):
        made.over.set()
