"""The check on left threads, on tests that leave some."""

from __future__ import annotations

import pytest

from tests import REPO

pytest_plugins = ["pytester"]

LEAVES = """
import threading

go = threading.Event()

def fails():
    go.wait(10)
    raise RuntimeError("too late")

def test_leaves_a_thread():
    threading.Thread(target=fails, name="forgotten", daemon=True).start()

def test_is_innocent():
    go.set()
    [each.join() for each in threading.enumerate() if each is not threading.current_thread()]

def test_waits_for_its_own():
    thread = threading.Thread(target=lambda: None)
    thread.start()
"""


def test_the_test_that_left_a_thread_is_named_also_when_the_thread_fails_later(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    pytester.makepyfile(LEAVES)
    done = pytester.runpytest_subprocess(
        *("-p", "tests.threads", "-p", "no:asyncio", "-p", "no:cacheprovider"),
        *("-o", "thread_patience=0.2", "-W", "error"),
    )
    done.assert_outcomes(passed=2, failed=1, errors=1)
    origin = "left by *::test_leaves_a_thread"
    done.stdout.fnmatch_lines([f"*left running: forgotten ({origin})*"])
    done.stdout.fnmatch_lines([f"*Exception in thread forgotten ({origin})*"])
