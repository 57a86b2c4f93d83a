"""The doctor against a real server, and against what is no server of ours."""

import asyncio
import json

import httpx
import pytest
from click.testing import CliRunner

from mellm.clients.cli.checkup import Finding, Samples, check_server, read_metrics
from mellm.clients.cli.doctor import doctor
from mellm.engine.server.metrics import Metrics
from mellm.engine.server.tokens import Token
from mellm.stream.errors import ProtocolError, UsageError
from mellm.stream.protocol.access import Principal, Scope
from tests.engine.servers import TOKEN, running
from tests.stream.spoken import marker, spotted


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


async def test_a_running_server_is_well_and_its_sums_balance() -> None:
    async with running(sources=("cam",), token=TOKEN) as server:
        server.hub.publish_threadsafe("expression.spotted", "cam", spotted("e1", "cam", 0.9))
        server.hub.publish_threadsafe("marker", "cam", marker())
        findings = await asyncio.to_thread(check_server, server.url, TOKEN)
        assert set(states(findings).values()) == {"ok"}
        assert "1 spotted + 0 resumed = 0 described + 1 pending" in {f.said for f in findings}
        without = await asyncio.to_thread(check_server, server.http_url)
        assert states(without) == {"health": "ok", "readiness": "ok", "accounting": "warning"}


async def test_a_token_without_the_scope_is_told() -> None:
    narrow = Token.of(TOKEN, Principal("watcher", frozenset({Scope.EVENTS_READ})))
    async with running(tokens=(narrow,)) as server:
        findings = await asyncio.to_thread(check_server, server.url, TOKEN)
        assert "admin" in findings[-1].said


def test_what_does_not_balance_or_comes_late_is_named() -> None:
    metrics = Metrics()
    stats = {"captured": 1000, "analysed": 900, "waiting": 1, "dropped": {"overflow": 90}}
    metrics.observe("stats", "cam", stats | {"fps": 30.0, "score_p95_ms": 900})
    metrics.observe("stats", "door", {"captured": 9, "analysed": 9, "fps": 25.0})
    metrics.observe("source.degraded", "door", {"degraded": True})
    metrics.watch(tuple, lambda: {"events_unjournalled": 3})
    found = read_metrics(Samples(metrics.exposition()[0].decode()))
    assert states(found) == {
        "frames": "error",
        "expressions": "ok",
        "delivery": "ok",
        "clients": "ok",
        "source cam": "warning",
        "source door": "warning",
        "journal": "error",
    }
    assert found[0].said == (
        "1,009 captured = 909 analysed + 90 dropped (overflow) + 1 waiting: 9 unaccounted for"
    )
    assert "9.0% dropped, scores after 900 ms" in found[4].said
    assert "overloaded" not in found[4].said
    assert "overloaded: lower its rate, or `mellm bench --plan`" in found[5].said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(503, json={"status": "stalled", "reason": "worker has stood still"}), "stood still"),
        (httpx.Response(200, text="up 1\n"), "not of a mellm server"),
        (httpx.Response(200, text="{}{}{"), "Prometheus"),
        (httpx.Response(500, text="<html>oops"), "HTTP 500"),
    ],
)
def test_other_answers_are_findings_and_no_crash(answer: httpx.Response, said: str) -> None:
    findings = check_server("http://box:1", transport=httpx.MockTransport(lambda _: answer))
    assert any(said in finding.said for finding in findings if finding.state == "error"), findings


def test_nobody_there() -> None:
    done = CliRunner().invoke(doctor, ["--server", "http://127.0.0.1:9", "--json"], standalone_mode=False)
    (finding,) = map(json.loads, done.output.splitlines())
    assert (done.return_value, finding["state"]) == (4, "error")
    assert "mellm serve" in finding["said"]


def test_an_address_with_a_secret_is_refused_without_showing_it() -> None:
    with pytest.raises(UsageError) as caught:
        check_server("http://me:hunter2@box")
    assert "hunter2" not in str(caught.value)


def test_text_that_is_no_exposition() -> None:
    with pytest.raises(ProtocolError, match="Prometheus"):
        Samples('a{b="c} 1')
