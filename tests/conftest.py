"""Fixtures that every room uses."""

from __future__ import annotations

import logging
import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mellm.clients.cli.logs import STATES
from mellm.stream.log.journal import Journal
from tests import REPO
from tests.clients.browser import NAMES, installed
from tests.threads import _no_thread_is_left, pytest_addoption  # noqa: F401

# how long an example takes says something about the machine; where nobody looks, the same examples each time
settings.register_profile("mellm", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("mellm")


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and so would every child under test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = REPO / "tests"
REAL_TIME = frozenset(
    {
        "stream/test_rtsp.py",
        "stream/sources/test_network.py",
        "engine/server/test_connection.py",
        "engine/analysis/test_live.py",
        "clients/cli/test_live.py",
        "reliability/test_load.py",
        "reliability/test_pauses.py",
        "reliability/test_rude_clients.py",
        "reliability/test_shutdown_and_disk.py",
        "reliability/test_stuck_cameras.py",
    }
)
"""Modules in which cameras or clients go on by the clock: one after the other, never side by side."""

CAN_SKIP = {"browser", "shared_data"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``bare`` for modules in which a test may skip; each module on one worker, for its fixtures."""
    bare = {item.path for item in items if CAN_SKIP.intersection(getattr(item, "fixturenames", ()))}
    for item in items:
        if item.path in bare:
            item.add_marker("bare")
        if not item.get_closest_marker("xdist_group"):
            name = (
                item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else item.path.name
            )
            item.add_marker(pytest.mark.xdist_group("real time" if name in REAL_TIME else name))


@pytest.fixture(autouse=True)
def _journals_are_closed(  # set up after it, so that it looks last
    _no_thread_is_left: None,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """A journal that a test opened ends with it, and so does its writer's thread."""
    opened: weakref.WeakSet[Journal] = weakref.WeakSet()  # one that nobody holds ends by itself
    init = Journal.__init__

    def noted(self: Journal, *arguments: Any, **settings: Any) -> None:
        init(self, *arguments, **settings)
        opened.add(self)

    monkeypatch.setattr(Journal, "__init__", noted)
    yield
    for each in list(opened):
        each.close()


LOGGERS = (logging.getLogger(), *map(logging.getLogger, STATES))
LEVELS = [each.level for each in LOGGERS]


@pytest.fixture(autouse=True)
def _log_levels_stay() -> Iterator[None]:
    """The command sets up logging for its process; no test must inherit that, nor from a fixture of many tests."""
    root, handlers = LOGGERS[0], list(LOGGERS[0].handlers)
    for each, level in zip(LOGGERS, LEVELS, strict=True):
        each.setLevel(level)
    yield
    for each, level in zip(LOGGERS, LEVELS, strict=True):
        each.setLevel(level)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler and handler not in handlers:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real faces and the face model; tests that want it are skipped where it is missing."""
    root = Path(os.environ.get("MELLM_SHARED", REPO.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no shared data at {root} (set MELLM_SHARED)")
    return root


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium; of a higher scope than whatever a test starts, so that the test is skipped before that."""
    found = installed()
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


@pytest.fixture(scope="session")
def models() -> None:
    """The true face models, from the cache."""
    from mellm.detectors.weights import store as weights

    missing = [row.name for row in weights.listing() if row.state not in ("ok", "fallback")]
    if missing:
        pytest.skip(f"not in the cache: {', '.join(missing)} (run `mellm models pull`)")
