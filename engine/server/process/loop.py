"""Keeps an event loop's complaints readable when the machine is out of something."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

logger = logging.getLogger(__name__)

EVERY_S: Final = 10.0
ACCEPT: Final = "socket.accept() out of system resource"


def limit_accept_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log one line in ten seconds when no connection can be accepted for want of file descriptors.

    asyncio tells each failed ``accept`` with a traceback, a hundred at a time. Everything else goes where it went.
    """
    before = loop.get_exception_handler()
    told_s = -EVERY_S
    untold = 0

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told_s, untold
        if context.get("message") != ACCEPT:
            if before is not None:
                before(loop, context)
            else:
                loop.default_exception_handler(context)
            return
        untold += 1
        if time.monotonic() - told_s >= EVERY_S:
            logger.error("no connection can be accepted: %s (%d times)", context.get("exception"), untold)
            told_s, untold = time.monotonic(), 0

    loop.set_exception_handler(handle)
