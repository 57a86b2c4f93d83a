"""Where log lines go and what they look like."""

from __future__ import annotations

import logging
import sys
from typing import Final

TEXT: Final = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
FIELDS: Final = ("asctime", "levelname", "name", "message")
STATES: Final = (
    "mellm.engine.server.process.state_log",
    "mellm.engine.analysis.watchdog",
    "mellm.engine.describe",
)
"""Loggers that tell of changes of state; a server shows them without being asked."""


def start(*, verbose: bool, structured: bool = False) -> None:
    """Send log lines to standard error: errors, or everything of note.

    :param structured: one JSON object a line; a time stamp with offset, and each fact under a name of its own
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_structured() if structured else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler], force=True)


def show_states() -> None:
    """Show changes of state besides errors: for servers, whose log is read afterwards."""
    for name in STATES:
        logging.getLogger(name).setLevel(logging.INFO)


def _structured() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    renamed = {"asctime": "time", "levelname": "level", "name": "logger"}
    return JsonFormatter(
        list(FIELDS), rename_fields=renamed, datefmt="%Y-%m-%dT%H:%M:%S%z", json_ensure_ascii=False
    )
