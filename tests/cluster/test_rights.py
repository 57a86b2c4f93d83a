"""Rule 9: TLS, and a key for each machine that lets it do what its role needs and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.engine.bus import jetstream, open_bus
from mellm.engine.bus.base import Bus, BusOptions
from mellm.engine.bus.lease import Lease
from mellm.stream.errors import BusRefused, BusUnavailable
from tests import REPO
from tests.cluster.harness import Client, Process, account, cameras, following, settle, start, until
from tests.cluster.servers import NATS_CONFIG, Nats, missing

pytestmark = pytest.mark.cluster


class SecureNats(Nats):
    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why := missing("nats"):
        pytest.skip(why)
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates")
    folder = tmp_path_factory.mktemp("secure") / "keys"
    made = [sys.executable, REPO / "docs/deploy/keys.py", "--out", folder, "--host", "127.0.0.1"]
    roles = ["--camera", "cam-1=ward.1,ward.2", "--camera", "cam-2=lab", "--describe", "d-1"]
    more = ["--gateway", "g-1", "--worker", "w-1"]
    subprocess.run([*map(str, made), *roles, *more], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def broker(keys: Path) -> Iterator[SecureNats]:
    config = keys.parent / "shipped.conf"
    text = NATS_CONFIG.read_text(encoding="utf-8")
    assert '# include "keys.conf"' in text
    server = SecureNats(keys.parent / "broker", config=config)
    # an include is looked for beside the file that names it
    os.symlink(keys / "keys.conf", server.folder / "keys.conf")
    config.write_text(text.replace('# include "keys.conf"', 'include "keys.conf"'), encoding="utf-8")
    with server:
        yield server


@asynccontextmanager
async def joined(broker: SecureNats, keys: Path, name: str | None, *, ca: bool = True) -> AsyncIterator[Bus]:
    options = BusOptions(
        broker.url, nkey=keys / f"{name}.nk" if name else None, tls_ca=keys / "ca.pem" if ca else None
    )
    bus = open_bus(options)
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


async def refused(bus: Bus, subject: str) -> bool:
    try:
        await bus.append(subject, b"x", id=subject)
    except BusRefused:
        return True
    return False


async def test_each_key_does_what_its_role_needs_and_nothing_else(
    broker: SecureNats, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "TIMEOUT_S", 1.0)  # whoever has no right gets no answer
    async with joined(broker, keys, "admin"):
        pass  # makes the streams
    async with joined(broker, keys, "cam-1") as camera:
        assert not await refused(camera, "event.ward=1.1")
        assert not await refused(camera, "evidence.ward=2.e1")
        await camera.put("lease", "ward=1", Lease("cam-1", 1).encode(), 0)
        assert await camera.read("result.>", 0, 0.1) is None
        for subject in ("event.lab.1", "evidence.lab.e1", "result.ward=1.e1", "control.lab", "job.b.1"):
            assert await refused(camera, subject), subject
        with pytest.raises(BusRefused):
            await camera.put("lease", "lab", Lease("cam-1", 9).encode(), None)
        with pytest.raises((BusRefused, BusUnavailable)):
            await camera.take("evidence", 0.2)
        with pytest.raises((BusRefused, BusUnavailable)):
            await camera.last("evidence.ward=2.e1")
        with pytest.raises((BusRefused, BusUnavailable)):
            await camera.purge("event.ward=1.>")
    async with joined(broker, keys, "d-1") as describer:
        taken = await describer.take("evidence", 5.0)
        assert taken is not None
        await describer.done(taken)
        assert not await refused(describer, "result.ward=1.e1")
        for subject in ("event.ward=1.1", "evidence.ward=1.e2", "control.lab"):
            assert await refused(describer, subject), subject
    async with joined(broker, keys, "g-1") as gateway:
        assert (await gateway.last("event.ward=1.1")) is not None
        assert not await refused(gateway, "control.lab")
        for subject in ("event.ward=1.1", "evidence.ward=1.e2", "result.ward=1.e2"):
            assert await refused(gateway, subject), subject
        assert await gateway.purge("event.ward=1.>") == 1


async def test_without_key_or_certificate_there_is_no_way_in(broker: SecureNats, keys: Path) -> None:
    with pytest.raises((BusRefused, BusUnavailable)):
        async with joined(broker, keys, None):
            pass
    with pytest.raises(BusUnavailable, match="certificate"):
        async with joined(broker, keys, "admin", ca=False):
            pass


def test_seeds_are_their_owners_only(keys: Path) -> None:
    secret = [*keys.glob("*.nk"), *keys.glob("*.key")]
    assert len(secret) == 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


async def test_a_whole_installation_runs_with_these_keys(
    broker: SecureNats, keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with joined(broker, keys, "admin"):
        pass

    def secured(name: str) -> list[str]:
        return ["--bus-nkey", str(keys / f"{name}.nk"), "--bus-ca", str(keys / "ca.pem")]

    stand_in = {"every": 5, "describe_s": 0.02}
    nodes = [
        Process(tmp_path, "describe", "d-1", broker, *secured("d-1"), stand_in=stand_in),
        Process(tmp_path, "gateway", "g-1", broker, *secured("g-1"), stand_in=stand_in),
        Process(
            tmp_path,
            "camera",
            "cam-1",
            broker,
            *secured("cam-1"),
            *cameras(["ward.1", "ward.2"]),
            stand_in=stand_in,
        ),
    ]
    client = Client(nodes[1].url, "g-1")
    try:
        await start(nodes)
        async with following([client]):
            await until(lambda: len(client.ends) >= 6, "expressions over TLS")
            given = ["--bus", broker.url, "--bus-monitor", broker.monitor, *secured("admin")]
            code = await asyncio.to_thread(run, ["doctor", *given, "--json"])
            await asyncio.to_thread(nodes[2].end)
            await settle([client])
        found = account([nodes[2].folder], [client])
    finally:
        for node in nodes:
            node.kill()
    assert found.faults == []
    assert {event.type for event in client.ends.values()} == {"expression.described"}
    told = {line["what"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert code == 0, [line for line in told.values() if line["state"] != "ok"]
    assert told["disk"]["state"] == "ok"
    assert told["a picture"]["said"].startswith("described by d-1")
