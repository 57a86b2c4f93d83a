"""The pages of the dashboard, read once at start-up: what is not in the folder then is never served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from mellm.engine.server.http import Answer
from mellm.stream.errors import UsageError

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MAX_FILE: Final = 1 << 20
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("Permissions-Policy", "camera=(self), microphone=(), geolocation=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
)


class StaticPages:
    """Files of one folder, by address: ``/`` is ``index.html``. Paths of requests never touch the disk.

    :raises UsageError: no such folder, no ``index.html`` in it, or a file of a kind or size that is not served
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix in TYPES and path.is_file())
            for path in paths:
                body = path.read_bytes()
                if len(body) > MAX_FILE:
                    raise UsageError(
                        f"{path} has over {MAX_FILE >> 20} MiB", remedy="install mellm-live again"
                    )
                tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
                self._files[f"/{path.name}"] = body, TYPES[path.suffix], tag
        except OSError as error:
            raise UsageError(
                f"the pages in {folder} cannot be read: {error.strerror or error}",
                remedy="install mellm-live again",
            ) from error
        if "/index.html" not in self._files:
            raise UsageError(f"{folder} holds no index.html", remedy="install mellm-live again")
        self._files["/"] = self._files["/index.html"]

    def answer(self, route: str, headers: Mapping[str, str]) -> Answer | None:
        """The file at an address; ``None`` if there is none. ``headers`` with lower-case names."""
        found = self._files.get(route)
        if found is None:
            return None
        body, kind, tag = found
        more = (*_HEADERS, ("ETag", tag))
        if tag in headers.get("if-none-match", ""):
            return Answer(HTTPStatus.NOT_MODIFIED, b"", kind, "page", more)
        return Answer(HTTPStatus.OK, body, kind, "page", more)
