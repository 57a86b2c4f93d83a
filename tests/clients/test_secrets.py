"""A password that is planted everywhere is found nowhere: not in logs, events, pages, errors, run folder, journal or
audit log. And what a real server has recorded is gone from its files when consent is withdrawn."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mellm.clients.cli.demo import SAMPLE
from mellm.engine.governance.audit import verify
from mellm.stream.protocol.events import EVENTS_ERASED, EXPRESSION_ENDS, EXPRESSION_SPOTTED
from tests import PATIENCE_S
from tests.clients.processes import REPO, start

PLANTED = "hunter2-Xq7vZ"
TOKEN = f"token-{PLANTED}-of-the-lab"
DOOR = f"rtsp://admin:{PLANTED}@127.0.0.1:9/live?password={PLANTED}"
SPELLINGS = [
    PLANTED.encode(),
    *(base64.b64encode(f"{user}:{PLANTED}".encode()).rstrip(b"=") for user in ("admin", "user")),
]

CONFIG = """
purpose = "research"
[[sources]]
id = "film"
uri = "{film}"
consent = "study-7/p-014"
[[sources]]
id = "door"
uri = "{door}"
consent = "study-7/p-015"
[[sources]]
id = "hall"
uri = "http://user:{planted}@127.0.0.1:9/mjpeg?token={planted}"
consent = "study-7/p-016"
[[sources]]
id = "bare"
uri = "synthetic:"
[describer]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "m"
fallback = "rules"
[server]
port = 0
journal = "{folder}/journal.db"
keep_evidence = "{folder}/maps"
"""


class Collected:
    """Whatever came out of the product, in one heap."""

    def __init__(self) -> None:
        self.heap = bytearray()

    def add(self, *parts: bytes | str) -> None:
        for part in parts:
            self.heap += (part.encode() if isinstance(part, str) else part) + b"\n"

    def files(self, folder: Path, *, but: str = "") -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != but:
                self.add(str(path), path.read_bytes())


@contextmanager
def server(config: Path, collected: Collected) -> Iterator[str]:
    """A verbose server; its port. All it says is collected."""
    settings = {**os.environ, "MELLM_TOKEN": TOKEN, "MELLM_API_KEY": PLANTED}
    process = start(
        *("-v", "--log-format", "json", "serve", "--config", config),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=settings,
    )
    assert process.stderr is not None
    assert process.stdout is not None
    listening = threading.Event()
    address: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            collected.add(line)
            if b"listening on ws://" in line:
                address.append(line.split(b"ws://")[1].split(b"/")[0].decode())
                listening.set()
        listening.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert listening.wait(PATIENCE_S)
        assert address, collected.heap.decode()
        yield address[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        collected.add(process.stdout.read())
        process.stdout.close()
        process.stderr.close()


def dial(address: str, token: str = TOKEN) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return connect(
        f"ws://{address}/v1/stream", subprotocols=["mellm.v1"], proxy=None, additional_headers=headers
    )  # type: ignore[list-item]


async def listen(address: str, collected: Collected) -> dict[str, list[dict[str, Any]]]:
    """Everything from the start until the film is described and both other cameras were tried; by type."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with asyncio.timeout(PATIENCE_S), dial(address) as socket:
        created = [json.loads(await socket.recv()) for _ in range(2)][1]
        place = {"epoch": created["data"]["replay"]["epoch"], "seq": 0}
        await socket.send(json.dumps({"type": "subscribe", "after": place, "token": PLANTED[:3]}))
        await socket.send(json.dumps({"type": "subscribe", "after": place}))
        tried: set[str] = set()
        while not (tried >= {"door", "hall", "bare"} and EXPRESSION_ENDS & set(found)):
            raw = await socket.recv()
            collected.add(raw)
            message = json.loads(raw)
            found.setdefault(message["type"], []).append(message)
            if message["type"] in ("source.offline", "source.reconnecting"):
                tried.add(message["source"])
    return found


async def ask(address: str, collected: Collected, expression: str) -> None:
    """The pages, with and without a token, and a client that is not let in."""
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        for path in ("/", "/healthz", "/readyz", "/metrics", f"/v1/expressions/{expression}", "/nowhere"):
            for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
                answer = await client.get(path, headers=headers)
                collected.add(str(answer.headers), answer.content)
        assert answer.status_code == 404
    with pytest.raises(InvalidStatus) as refused:
        async with dial(address, f"wrong-{PLANTED}-wrong-wrong"):
            pass
    collected.add(str(refused.value), refused.value.response.body or b"")


async def withdraw(address: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S), dial(address) as socket:
        await socket.send(json.dumps({"type": "consent.withdraw", "source": "film"}))
        while (message := json.loads(await socket.recv()))["type"] != "consent.withdrawn":
            assert message["type"] != "error", message
        data: dict[str, Any] = message["data"]
        return data


def states(created: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: str(each.get("code", each["state"])) for each in created["data"]["sources"]}


async def created(address: str, collected: Collected) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S), dial(address) as socket:
        said = [await socket.recv() for _ in range(2)]
        collected.add(*said)
        return dict(json.loads(said[1]))


async def withheld(address: str, collected: Collected) -> dict[str, str]:
    """Source → code, once both that must not start have been told of."""
    told: dict[str, str] = {}
    async with asyncio.timeout(PATIENCE_S), dial(address) as socket:
        said = [await socket.recv() for _ in range(2)]
        collected.add(*said)
        told |= states(json.loads(said[1]))
        await socket.send(json.dumps({"type": "subscribe", "types": ["source.*"]}))
        while not told["film"].startswith("consent") or not told["bare"].startswith("consent"):
            message = json.loads(await socket.recv())
            if message["type"] == "source.offline":
                told[message["source"]] = message["data"]["code"]
    return told


def run_verb(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "mellm.clients.cli", *arguments]
    return subprocess.run(command, capture_output=True, cwd=REPO, timeout=PATIENCE_S, check=False)


async def test_secrets_come_out_nowhere_and_withdrawn_data_is_gone(models: None, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    config = tmp_path / "mellm.toml"
    config.write_text(CONFIG.format(film=SAMPLE / "sample.mp4", door=DOOR, planted=PLANTED, folder=folder))
    collected = Collected()
    with server(config, collected) as address:
        found = await listen(address, collected)
        (spotted, *_) = found[EXPRESSION_SPOTTED]
        assert spotted["data"]["consent"] == "study-7/p-014"
        assert "Not a lie detector" in spotted["data"]["notice"]
        assert found["error"]
        await ask(address, collected, spotted["id"])
        collected.files(folder)
        assert spotted["id"].encode() in collected.heap[collected.heap.rindex(b"journal.db") :] or list(
            (folder / "maps").glob(f"{spotted['id']}*")
        )
        assert states(await created(address, collected))["bare"] == "consent_missing"
        gone = await withdraw(address)
        assert gone["expressions"] >= 1
        assert gone["files"] >= 1
        left = Collected()
        # the audit log says who read what, by a name that leads nowhere any more
        left.files(folder, but="journal.audit.jsonl")
        assert spotted["id"].encode() not in left.heap
        assert EVENTS_ERASED.encode() in left.heap
    with server(config, collected) as address:  # the same configuration again: it stays so
        after = await withheld(address, collected)
        assert (after["film"], after["bare"]) == ("consent_withdrawn", "consent_missing")
    collected.files(folder)
    assert verify(folder / "journal.audit.jsonl").intact
    audit = (folder / "journal.audit.jsonl").read_text()
    for action in (
        "server.started",
        "session.admitted",
        "events.replayed",
        "consent.withdrawn",
        "data.erased",
    ):
        assert f'"action":"{action}"' in audit
    verbs = (
        ["analyze", DOOR, "--consent", "study-7/p-015", "--out", str(tmp_path / "run")],
        ["watch", DOOR],
        ["probe", DOOR],
        ["-v", "describe", DOOR, DOOR],
    )
    for verb in verbs:
        done = await asyncio.to_thread(run_verb, *verb)
        assert done.returncode not in (0, 1), done.stderr
        collected.add(done.stdout, done.stderr)
    collected.files(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["consent"] == "study-7/p-015"
    # the heap holds what it should: addresses are shown, without their secrets
    assert collected.heap.count(b"***@127.0.0.1:9") >= 8
    assert b"run.json" in collected.heap
    for spelling in SPELLINGS:
        at = collected.heap.find(spelling)
        assert at < 0, collected.heap[max(0, at - 200) : at + 50]
