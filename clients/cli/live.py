"""What ``watch`` and ``serve`` share: sources and the engine behind them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mellm.stream.errors import UsageError

if TYPE_CHECKING:
    pass


def parse_sources(pairs: Sequence[str], mirrored: Sequence[str] = ()) -> list[dict[str, object]]:
    """``ID=URI`` arguments as source settings.

    :raises UsageError: an argument without an id
    """
    found: list[dict[str, object]] = []
    for pair in pairs:
        name, equals, uri = pair.partition("=")
        if not equals or not name or not uri:
            raise UsageError(f"--source {pair!r} is not ID=URI", remedy="write --source desk=/dev/video0")
        found.append({"id": name, "uri": uri, "mirrored": name in mirrored})
    unknown = set(mirrored) - {str(source["id"]) for source in found}
    if unknown:
        raise UsageError(f"--mirrored names no source: {', '.join(sorted(unknown))}")
    return found


@contextmanager
def quietly(*names: str) -> Iterator[None]:
    """Keep these loggers from telling what the verb's own last line says, unless the user asked for the log."""
    loggers = [] if logging.getLogger().isEnabledFor(logging.INFO) else [logging.getLogger(n) for n in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
