"""Pages beside the WebSocket, without a socket; and the bounded store of motion maps."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.server.auth import Authenticator, OriginPolicy
from mellm.engine.server.expression_reader import ExpressionReader
from mellm.engine.server.http import Answer, Pages, to_response
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.tokens import Token
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.access import Principal, Scope

TOKEN = "0123456789abcdef-token"
PNG = b"\x89PNG and so on"


@pytest.fixture
def journal() -> Iterator[Journal]:
    with Journal() as journal:
        yield journal


def make(
    journal: Journal, *, tokens: tuple[Token, ...] = (), unready: str | None = None
) -> tuple[Pages, list[Any]]:
    audited: list[Any] = []
    store = EvidenceStore()
    store.put("e1", PNG)
    pages = Pages(
        library=ExpressionReader(journal, store.get, lambda action, facts: audited.append((action, facts))),
        metrics=Metrics(),
        authenticator=Authenticator(tokens),
        origins=OriginPolicy(),
        unready=lambda: unready,
        about=lambda: {"Notice": "<b>&"},
    )
    return pages, audited


async def get(pages: Pages, path: str, **headers: str) -> tuple[int, Any]:
    answer = await pages.answer("GET", path, headers)
    is_json = answer.content_type.startswith("application/json")
    return answer.status, json.loads(answer.body) if is_json else answer.body


async def test_health_and_readiness(journal: Journal) -> None:
    pages, _ = make(journal)
    assert await get(pages, "/healthz") == (200, {"status": "ok"})
    assert await get(pages, "/readyz?x=1") == (200, {"ready": True, "reason": None})
    pages, _ = make(journal, unready="starting")
    assert await get(pages, "/healthz") == (200, {"status": "ok"})
    assert await get(pages, "/readyz") == (503, {"ready": False, "reason": "starting"})


async def test_an_expression_by_its_id(journal: Journal) -> None:
    pages, _ = make(journal)
    journal.append("expression.spotted", "cam", {"id": "e1", "score": 0.5}, time=0, id="e1")
    status, body = await get(pages, "/v1/expressions/e1")
    assert (status, body["state"], body["score"]) == (200, "pending", 0.5)
    journal.append("expression.described", "cam", {"id": "e1", "description": {"text": "a"}}, time=0, id="e1")
    status, body = await get(pages, "/v1/expressions/e1")
    assert (body["state"], body["description"]["text"]) == ("described", "a")
    assert body["stages"] == [
        {"type": "expression.spotted", "seq": 1},
        {"type": "expression.described", "seq": 2},
    ]
    assert (await get(pages, "/v1/expressions/e2"))[0] == 404
    journal.close()
    assert (await get(pages, "/v1/expressions/e1"))[0] == 503


async def test_a_motion_map_is_handed_out_and_noted(journal: Journal) -> None:
    pages, audited = make(journal)
    assert await get(pages, "/v1/expressions/e1/evidence.png") == (200, PNG)
    assert audited == [("evidence.read", {"expression": "e1", "shown": "motion", "principal": "local"})]
    status, body = await get(pages, "/v1/expressions/e1/faces.png")
    assert (status, body["code"]) == (404, "no_evidence")
    status, body = await get(pages, "/v1/expressions/e2/evidence.png")
    assert (status, body["code"]) == (404, "no_evidence")


@pytest.mark.parametrize(
    "path", ["/metrics", *(f"/v1/expressions/e1{end}" for end in ("", "/evidence.png", "/faces.png"))]
)
async def test_results_need_the_token(journal: Journal, path: str) -> None:
    pages, audited = make(journal, tokens=(Token.of(TOKEN, Principal("lab")),))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        assert (await get(pages, path, **headers))[0] == 401
    assert audited == []
    status, _ = await get(pages, path, authorization=f"Bearer {TOKEN}")
    assert status in (200, 404)
    assert (await get(pages, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/metrics", Scope.ADMIN),
        ("/v1/expressions/e1", Scope.EVENTS_READ),
        ("/v1/expressions/e1/evidence.png", Scope.MEDIA_READ),
    ],
)
async def test_each_page_needs_its_scope(journal: Journal, path: str, scope: Scope) -> None:
    journal.append("expression.spotted", "cam", {"id": "e1"}, time=0, id="e1")
    for scopes, status in (({scope}, 200), (set(Scope) - {scope}, 403)):
        pages, _ = make(journal, tokens=(Token.of(TOKEN, Principal("lab", frozenset(scopes))),))
        assert (await get(pages, path, authorization=f"Bearer {TOKEN}"))[0] == status


async def test_expressions_of_other_sources_are_not_there(journal: Journal) -> None:
    journal.append("expression.spotted", "door", {"id": "e1"}, time=0, id="e1")
    for source, status in (("door", 200), ("cam", 404)):
        principal = Principal("lab", sources=frozenset({source}))
        pages, audited = make(journal, tokens=(Token.of(TOKEN, principal),))
        for path in ("/v1/expressions/e1", "/v1/expressions/e1/evidence.png"):
            assert (await get(pages, path, authorization=f"Bearer {TOKEN}"))[0] == status
        assert len(audited) == 2 * (status == 200)


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/v1/expressions/", "/v1/expressions/../../etc/passwd", "/v1/expressions/a%2Fb", "//", "*"],
)
async def test_there_is_nothing_else(journal: Journal, path: str) -> None:
    pages, _ = make(journal)
    assert (await get(pages, path))[0] == 404


async def test_the_front_page_escapes(journal: Journal) -> None:
    pages, _ = make(journal)
    _, body = await get(pages, "/")
    assert b"&lt;b&gt;&amp;" in body


async def test_only_reading_is_allowed(journal: Journal) -> None:
    pages, _ = make(journal)
    answer = await pages.answer("POST", "/healthz", {})
    assert answer.status == 405
    assert ("Allow", "GET, HEAD") in answer.headers


def test_a_head_request_gets_the_length_without_the_body() -> None:
    answer = Answer(HTTPStatus.OK, b"12345")
    assert to_response("GET", answer).body == b"12345"
    head = to_response("HEAD", answer)
    assert (head.body, head.headers["Content-Length"], head.headers["Cache-Control"]) == (
        b"",
        "5",
        "no-store",
    )
