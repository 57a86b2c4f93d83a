"""The few HTTP pages beside the WebSocket, on the same port. Answers are made in memory; GET and HEAD only."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Response

from mellm.engine.server.auth import Authenticator, OriginPolicy, bearer
from mellm.engine.server.expression_reader import ExpressionReader
from mellm.engine.server.metrics import Metrics
from mellm.stream.errors import JournalError
from mellm.stream.protocol.access import Principal, Scope
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import EXPRESSION_ENDS

_EXPRESSION: Final = re.compile(r"/v1/expressions/([A-Za-z0-9._-]{1,128})(/evidence\.png|/faces\.png)?")
_SHOWN: Final[Mapping[str, EvidenceKind]] = {"/evidence.png": "motion", "/faces.png": "faces"}
_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and the headers that are not the same for every answer. ``route`` is the metrics label."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    route: str = "other"
    headers: tuple[tuple[str, str], ...] = ()


class Pages:
    """Answers requests.

    :param unready: why the server is not ready, ``None`` when it is
    :param unhealthy: what stands still that should not, ``None`` when nothing does
    :param about: facts for the front page, where there is no other
    :param static: address and headers → a page, ``None`` where there is none
    """

    def __init__(
        self,
        *,
        library: ExpressionReader,
        metrics: Metrics,
        authenticator: Authenticator,
        origins: OriginPolicy,
        unready: Callable[[], str | None],
        unhealthy: Callable[[], str | None] = lambda: None,
        about: Callable[[], Mapping[str, str]],
        static: Callable[[str, Mapping[str, str]], Answer | None] | None = None,
    ) -> None:
        self._library = library
        self._metrics = metrics
        self._authenticator = authenticator
        self._origins = origins
        self._unready = unready
        self._unhealthy = unhealthy
        self._about = about
        self._static = static

    async def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """The answer to a request that asks for no upgrade. ``headers`` with lower-case names."""
        if method not in ("GET", "HEAD"):
            allow = (("Allow", "GET, HEAD"),)
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n", headers=allow)
        route = urlsplit(path).path
        if route == "/healthz":
            ill = self._unhealthy()
            if ill is not None:
                return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "stalled", "reason": ill}, route)
            return _json(HTTPStatus.OK, {"status": "ok"}, route)
        if route == "/readyz":
            why = self._unready()
            status = HTTPStatus.OK if why is None else HTTPStatus.SERVICE_UNAVAILABLE
            return _json(status, {"ready": why is None, "reason": why}, route)
        page = self._static(route, headers) if self._static is not None else None
        if page is not None:
            return page
        if route == "/":
            return Answer(HTTPStatus.OK, self._front(), "text/html; charset=utf-8", route)
        expression = _EXPRESSION.fullmatch(route)
        if route != "/metrics" and expression is None:
            return _json(HTTPStatus.NOT_FOUND, {"code": "not_found", "message": "no such page"})
        principal = self._authenticator.check(bearer(headers.get("authorization")) or "")
        if principal is None:
            return unauthorised()
        if expression is None:
            if not principal.may(Scope.ADMIN):
                return _beyond(Scope.ADMIN)
            body, content_type = self._metrics.exposition()
            return Answer(HTTPStatus.OK, body, content_type, route)
        id, picture = expression.groups()
        needed = Scope.MEDIA_READ if picture else Scope.EVENTS_READ
        if not principal.may(needed):
            return _beyond(needed)
        try:
            if picture:
                return await self._picture(id, picture, principal)
            return await self._expression(id, principal)
        except JournalError:
            return _json(
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"code": "journal", "message": "the journal cannot be read"},
                "/v1/expressions/{id}" + (picture or ""),
            )

    async def _picture(self, id: str, picture: str, principal: Principal) -> Answer:
        route = "/v1/expressions/{id}" + picture
        png = await self._library.picture(id, _SHOWN[picture], principal)
        if png is None:
            return _json(
                HTTPStatus.NOT_FOUND,
                {"code": "no_evidence", "message": "there is no such picture of this expression (any more)"},
                route,
            )
        return Answer(HTTPStatus.OK, png, "image/png", route)

    async def _expression(self, id: str, principal: Principal) -> Answer:
        route = "/v1/expressions/{id}"
        stages = await self._library.expression(id, principal)
        if not stages:
            return _json(
                HTTPStatus.NOT_FOUND,
                {"code": "not_found", "message": "no such expression in the journal"},
                route,
            )
        last = stages[-1]
        ended = last.type in EXPRESSION_ENDS
        return _json(
            HTTPStatus.OK,
            {
                **last.data,
                "state": last.type.partition(".")[2] if ended else "pending",
                "stages": [{"type": event.type, "seq": event.seq} for event in stages],
                "epoch": last.epoch,
            },
            route,
        )

    def _front(self) -> bytes:
        rows = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
            for name, value in self._about().items()
        )
        return _FRONT.replace("{rows}", rows).encode()


def unauthorised() -> Answer:
    """401, with the scheme that is wanted."""
    return Answer(
        HTTPStatus.UNAUTHORIZED,
        b'{"code":"unauthorised","message":"send Authorization: Bearer with a valid token"}\n',
        _JSON,
        headers=(("WWW-Authenticate", 'Bearer realm="mellm"'),),
    )


def forbidden(what: str) -> Answer:
    """403: an origin or host that is not on the list, or a scope that the token has not."""
    return _json(HTTPStatus.FORBIDDEN, {"code": "forbidden", "message": what})


def _beyond(scope: Scope) -> Answer:
    return forbidden(f"this needs the scope {scope}")


def to_response(method: str, answer: Answer) -> Response:
    """The answer as the WebSocket library sends it before it closes the connection."""
    # an answer's own headers replace these: two security policies would both have to be met
    headers = Headers(
        {
            "Date": formatdate(usegmt=True),
            "Connection": "close",
            "Content-Length": str(len(answer.body)),
            "Content-Type": answer.content_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            **dict(answer.headers),
        }
    )
    body = b"" if method == "HEAD" else answer.body
    return Response(answer.status.value, answer.status.phrase, headers, body)


def _json(status: HTTPStatus, body: Mapping[str, Any], route: str = "other") -> Answer:
    return Answer(status, json.dumps(body, ensure_ascii=False).encode() + b"\n", _JSON, route)


_FRONT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mellm-live</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}
dt{font-weight:600}dd{margin:0 0 .6rem}</style></head>
<body><h1>mellm-live</h1><dl>{rows}</dl>
<p><a href="/healthz">health</a> · <a href="/readyz">ready</a> · <a href="/metrics">metrics</a></p>
</body></html>
"""
