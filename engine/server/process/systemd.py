"""Tells systemd how the server is, where it asks (``Type=notify``, ``WatchdogSec=``); elsewhere does nothing.

See sd_notify(3). Three messages need no library.
"""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger(__name__)


def ready() -> None:
    """Start-up is over."""
    _notify("READY=1")


def alive() -> None:
    """Nothing stands still; without this for ``WatchdogSec`` the process is restarted."""
    _notify("WATCHDOG=1")


def stopping() -> None:
    """Shutting down in order."""
    _notify("STOPPING=1")


def _notify(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
            client.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError as error:
        logger.debug("systemd was not told %s: %s", message, error)
