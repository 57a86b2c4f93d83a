"""The server as a whole: pages, origins, limits, restarts."""

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from mellm.clients.client import connect
from mellm.engine.evidence.store import EvidenceStore
from mellm.engine.governance.purpose import require
from mellm.engine.server.options import ServerOptions
from mellm.engine.server.server import Server
from mellm.stream.errors import ProtocolError, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from tests import PATIENCE_S, REPO
from tests.engine.servers import TOKEN, options, peer, running, until
from tests.stream.spoken import marker, spotted


async def fetch(url: str, method: str = "GET", **settings: Any) -> httpx.Response:
    verify = settings.pop("verify", True)
    async with httpx.AsyncClient(trust_env=False, verify=verify) as client:
        return await client.request(method, url, **settings)


async def test_pages_and_socket_share_the_port() -> None:
    async with running(sources=("cam",)) as server:
        server.evidence.put("e1", b"png")
        server.hub.publish_threadsafe("expression.spotted", "cam", spotted(), 40_000_000)
        base = server.http_url
        assert (await fetch(f"{base}/healthz")).json() == {"status": "ok"}
        assert (await fetch(f"{base}/readyz")).status_code == 200
        front = await fetch(base)
        assert server.url in front.text
        assert "must not decide about people" in front.text
        assert front.headers["x-content-type-options"] == "nosniff"
        assert (await fetch(f"{base}/v1/expressions/e1")).json()["t_ms"] == 40.0
        picture = await fetch(f"{base}/v1/expressions/e1/evidence.png")
        assert (picture.content, picture.headers["content-type"]) == (b"png", "image/png")
        metrics = (await fetch(f"{base}/metrics")).text
        assert 'mellm_expressions_total{reason="",source="cam",stage="spotted"} 1.0' in metrics
        assert "mellm_journal_last_seq 1.0" in metrics
        assert (await fetch(f"{base}/healthz", "HEAD")).content == b""
        assert (await fetch(f"{base}/healthz", "DELETE")).status_code == 405
        assert (await fetch(f"{base}/nothing")).status_code == 404


async def test_readiness_follows_catalog_journal_and_stop() -> None:
    async with running() as server:
        server.catalog.set_ready("loading models")
        assert (await fetch(f"{server.http_url}/readyz")).json()["reason"] == "loading models"
        server.catalog.set_ready()
        server.hub.journal.close()
        server.hub.publish_threadsafe("marker", "", marker())
        answer = await fetch(f"{server.http_url}/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "the journal cannot be written")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Authorization": "Bearer wrong-wrong-wrong-wrong"}, 401),
    ],
)
async def test_a_handshake_that_may_not_be_is_refused_before_the_upgrade(headers: dict, status: int) -> None:
    async with running(token=TOKEN) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with peer(server, additional_headers=headers):
                pass
        assert caught.value.response.status_code == status


async def test_pages_of_the_same_host_and_of_the_list_may_connect() -> None:
    async with running(origins=("https://lab.example",)) as server:
        for origin in (server.http_url, "https://lab.example"):
            async with peer(server, additional_headers={"Origin": origin}, greeted=False) as page:
                assert await page.hear("session.created")


async def test_a_foreign_host_name_reaches_nothing() -> None:
    async with running() as server:
        answer = await fetch(f"{server.http_url}/metrics", headers={"Host": "evil.example"})
        assert answer.status_code == 403
        cross = await fetch(f"{server.http_url}/metrics", headers={"Origin": "http://evil.example"})
        assert cross.status_code == 403


async def test_the_socket_has_one_path_and_no_query() -> None:
    async with running() as server:
        for suffix, status in (("/other", 404), ("?token=secret", 400)):
            with pytest.raises(InvalidStatus) as caught:
                async with peer_at(server.url + suffix):
                    pass
            assert caught.value.response.status_code == status


def peer_at(url: str) -> Any:
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    return connect(url, subprotocols=[Subprotocol("mellm.v1")], proxy=None)


async def test_another_subprotocol_is_refused() -> None:
    async with running() as server:
        with pytest.raises(InvalidStatus) as caught:
            async with peer(server, subprotocols=["mellm.v9"]):
                pass
        assert caught.value.response.status_code == 400


async def test_one_client_too_many_is_sent_away() -> None:
    async with running(max_clients=1) as server:
        async with peer(server), peer(server, greeted=False) as second:
            assert await second.ends() == 4503
        await until(lambda: not server._connections)
        async with peer(server):
            pass


async def test_a_restart_on_the_same_journal_continues_epoch_and_numbers(tmp_path: Path) -> None:
    resume = None
    for _ in range(3):
        async with running(journal=Journal(tmp_path / "log.db")) as server, peer(server) as client:
            if resume is None:
                resume = {"epoch": server.hub.journal.epoch, "seq": 0}
            assert server.hub.journal.epoch == resume["epoch"]
            await asyncio.to_thread(
                lambda hub: [hub.publish_threadsafe("marker", "", marker()) for _ in "ab"], server.hub
            )
            await client.say(type="subscribe", after=resume)
            last = resume["seq"] + 2
            assert await client.numbers(last) == [last - 1, last]
            resume["seq"] = last


async def test_the_server_reports_its_own_sums() -> None:
    async with running(stats_s=0.05) as server, peer(server) as client:
        await client.say(type="subscribe", types=["stats"])
        stats = await client.hear("stats")
        assert (stats["source"], stats["seq"]) == ("", None)
        assert stats["data"]["clients"] == 1


async def test_one_serialisation_serves_all_clients() -> None:
    async with running() as server, peer(server) as a, peer(server) as b:
        for client in (a, b):
            await client.say(type="subscribe")
            await client.hear("subscribed")
        record = server.hub.publish_threadsafe("marker", "", marker("ü"))
        assert record is not None
        assert await a.socket.recv(decode=False) == await b.socket.recv(decode=False) == record.payload
        assert json.loads(record.payload)["data"] == marker("ü")


async def test_a_port_in_use_is_a_usage_error() -> None:
    async with running() as server:
        with pytest.raises(UsageError, match="--port"):
            async with Server(options(port=server.port), hub=Hub(Journal())):
                pass


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": "0.0.0.0"}, "--insecure"),
        ({"host": "0.0.0.0", "token": TOKEN}, "TLS"),
        ({"tls_cert": Path("cert.pem")}, "both a certificate and a key"),
    ],
)
def test_open_addresses_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ServerOptions(require("self-use"), **changes)


async def test_settings_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    missing = {"tls_cert": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    for changes in (missing, {"token": "short"}, {"origins": ("nonsense",)}):
        with pytest.raises(UsageError):
            Server(options(**changes), hub=Hub(Journal()))


async def test_tls_and_a_token_open_other_addresses(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)  # noqa: ASYNC221 - before the test
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl cannot make a certificate here")
    trust = ssl.create_default_context(cafile=str(cert))
    async with running(host="0.0.0.0", token=TOKEN, tls_cert=cert, tls_key=key) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}/v1/stream"
        assert (await fetch(f"{server.http_url}/healthz", verify=trust)).status_code == 200
        assert (await fetch(f"{server.http_url}/metrics", verify=trust)).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with peer(server, ssl=trust, additional_headers=headers):
            pass
        async with connect(server.url, token=TOKEN, ssl=trust) as session:
            assert session.hello
        with pytest.raises(ProtocolError, match="--ca-cert"):
            async with connect(server.url, token=TOKEN, reconnect=False):
                pass
        with pytest.raises(ProtocolError, match="another name"):
            async with connect(server.url.replace("127.0.0.1", "127.0.0.2"), token=TOKEN, ssl=trust):
                pass
        with pytest.raises(ProtocolError, match="wss://"):
            async with connect(server.url.replace("wss:", "ws:"), token=TOKEN):
                pass
        assert await well(server.port) == 0


async def well(port: int) -> int | None:
    """What the container's health check says about a server on this port."""
    line = next(
        x for x in (REPO / "docs/deploy/Containerfile").read_text().splitlines() if '"python", "-c"' in x
    )
    command = json.loads(line[line.index("[") :])
    code = command[2].replace("8765", str(port))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    return await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_the_health_check_of_the_container_works_without_tls_and_sees_nobody() -> None:
    async with running() as server:
        assert await well(server.port) == 0
        port = server.port
    assert await well(port) == 1


async def test_motion_maps_that_come_later_are_found_in_the_store_that_was_given() -> None:
    hub, store = Hub(Journal()), EvidenceStore()
    async with Server(options(), hub=hub, evidence=store) as server:
        store.put("e1", b"map")
        assert server.evidence.get("e1") == b"map"
    hub.journal.close()
