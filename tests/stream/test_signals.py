from __future__ import annotations

import os
import signal
import threading

import pytest

from mellm.stream.signals import until_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    asked: list[bool] = []

    def insist() -> None:
        with until_signal(lambda: asked.append(True)) as stop:
            os.kill(os.getpid(), number)
            assert stop.is_set()
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        insist()
    assert asked == [True]
    assert signal.getsignal(number) == before


def test_another_thread_hears_nothing_and_disturbs_nobody() -> None:
    before, given = signal.getsignal(signal.SIGINT), threading.Event()
    got: list[threading.Event] = []

    def wait() -> None:
        with until_signal(stop=given) as stop:
            got.append(stop)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert got == [given]
    assert not given.is_set()
    assert signal.getsignal(signal.SIGINT) == before
