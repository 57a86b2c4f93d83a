"""A test that leaves a thread behind is named, and so it is if the thread fails later."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator

import pytest

LEAVE_S = 5.0
"""For a thread that is about to end."""

OF_THE_PROCESS = ("mellm-flow", "tqdm_monitor")
"""Names of threads that are made once and shared by all tests; they wait for work and never end."""


@pytest.fixture(autouse=True)
def _no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up first, so that it looks after everything else of the test has been torn down.

    pytest raises the exception of a thread in whichever test runs at that moment; this one waits for the threads of its
    own test, and whatever outlives that carries the test's name from then on.
    """
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + float(request.config.getini("thread_patience"))
    while left := [each for each in threading.enumerate() if each not in before and _ends(each)]:
        if time.monotonic() > until:
            break
        left[0].join(0.02)
    for each in left:
        each.name = f"{each.name} (left by {request.node.nodeid})"
    if left:
        warnings.warn(f"left running: {', '.join(each.name for each in left)}", stacklevel=1)


def _ends(thread: threading.Thread) -> bool:
    return not thread.name.startswith(OF_THE_PROCESS)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("thread_patience", "seconds that a test's threads may take to end", default=str(LEAVE_S))
