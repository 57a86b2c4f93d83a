"""What is injected into threads, and how."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cv2

Fault = Callable[[], None]


class Hang:
    """Stands still until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self) -> None:
        self.over.wait(60)


def fails_with(error: BaseException) -> Fault:
    def fail() -> None:
        raise error

    return fail


FAULTS = {
    "ValueError": lambda: fails_with(ValueError("odd")),
    "cv2.error": lambda: fails_with(cv2.error("odd")),
    "MemoryError": lambda: fails_with(MemoryError()),
    "hang": Hang,
}


def at_call(number: int, fault: Fault, target: Any, name: str) -> None:
    """The ``number``-th call of a method fails."""
    calls = 0
    true = getattr(target, name)

    def instead(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            fault()
        return true(*args, **more)

    setattr(target, name, instead)
