"""Fixtures that every room uses."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mellm.clients.cli.logs import STATES
from tests import REPO


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and so would every child under test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
