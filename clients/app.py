"""The server with the dashboard that belongs to it. Reached as ``mellm.serve``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mellm.engine.config import Settings
from mellm.engine.server.app import App

if TYPE_CHECKING:
    from mellm.engine.roles.start import Running

PAGES: Final = Path(__file__).resolve().parent / "web"


def serve_role(settings: Settings) -> AbstractAsyncContextManager[Running]:
    """A part of an installation of several machines, as ``settings.bus`` has it, to enter with ``async with``.

    :raises UsageError: settings that do not fit the role
    :raises BusUnavailable: the bus does not answer
    """
    from mellm.engine.roles.start import running

    return running(settings, pages=PAGES)


def serve(settings: Settings, *, must_open: bool = False) -> App:
    """A server and its sources, to enter with ``async with``; the dashboard is at its ``http_url``.

    :param settings: of :func:`mellm.load`; it needs a purpose and at least one source
    :param must_open: a source that cannot be opened at once ends for good, instead of being tried again
    :raises UsageError: no source, or an address that must not be listened on like this
    :raises PurposeRefused: no purpose, or one that is not served
    """
    return App.from_settings(settings, pages=PAGES, must_open=must_open)
