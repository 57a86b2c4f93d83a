"""``mellm watch``, ``mellm serve`` and ``mellm listen`` end to end, with the true models, in processes of their own."""

import asyncio
import json
import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import pairwise

import httpx

from mellm.clients.cli import run
from mellm.clients.client import connect
from mellm.engine.config import load
from mellm.engine.server.app import journal_path, retention
from mellm.stream.log.journal import Retention
from mellm.stream.protocol.events import Event
from tests import PATIENCE_S, PROMPT_S
from tests.clients.processes import mellm, start


def test_watch_prints_what_it_finds_and_ends_with_the_file(calm, models):
    done = mellm("watch", calm)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.startswith("00:00.") and "AU" in line]
    talk = done.err.splitlines()
    assert talk[0].startswith("source.online  ")
    assert "face.appeared" in done.err
    assert talk[-1].startswith("source.ended  after ")


def test_watch_as_json(capsys, models):
    assert run(["watch", "synthetic:?seconds=0.5", "--json"]) == 0
    out, err = capsys.readouterr()
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert kinds[0] == "source.online"
    assert {"source.ended", "stats"} <= set(kinds)
    assert not err


def test_watch_stops_on_a_signal(models):
    with start("watch", "synthetic:?seconds=0", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith(b"source.online")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_the_log_is_kept_for_a_month_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert journal_path(load()) == tmp_path / "mellm-live" / "journal.db"
    assert retention(load()) == Retention(max_age_s=30 * 86_400)
    assert retention(load(flags={"server.retention_days": 1})) == Retention(max_age_s=86_400)
    assert retention(load(flags={"server.journal": ":memory:"})) is None


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on a free port, and its address."""
    named = [str(each).partition("=")[0] for flag, each in pairwise(arguments) if flag == "--source"]
    consents = [word for name in named for word in ("--consent", f"{name}=study-7/p-{name}")]
    process = start(
        *("serve", *arguments, *consents, "--port", "0", "--purpose", "research"), stderr=subprocess.PIPE
    )
    try:
        said = b""
        while b"listening on" not in said:
            said = process.stderr.readline()
            assert said, "the server ended"
        yield process, said.split()[2].decode()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


async def first(events: AsyncIterator[Event], count: int) -> list[Event]:
    """So many events."""
    found = []
    async for event in events:
        found.append(event)
        if len(found) == count:
            break
    return found


def sums(text: str) -> dict[tuple[str, str], dict[str, float]]:
    """Metric and source → values by their other labels, from the exposition text."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for name, labels, value in re.findall(r"^(\w+)\{(.*?)\} (\S+)$", text, re.MULTILINE):
        pairs = dict(re.findall(r'(\w+)="(.*?)"', labels))
        found[name, pairs.pop("source", "")][" ".join(pairs.values()).strip()] = float(value)
    return found


async def test_serve_and_a_client(calm, models):
    sources = ["--source", f"film={calm}", "--source", "texture=synthetic:?seconds=60&fps=5"]
    with serving(*sources, "--journal", ":memory:") as (process, url):
        async with asyncio.timeout(PATIENCE_S), connect(url) as session:
            assert session.hello["purpose"] == "research"
            wanted = session.events(sources=["film"], types=["expression.*"], after="start")
            spotted, described = await first(wanted, 2)
        assert (spotted.type, described.type) == ("expression.spotted", "expression.described")
        assert spotted.data["id"] == described.data["id"]
        assert abs(described.data["apex_ms"] - 800) < 100
        assert spotted.data["consent"] == described.data["consent"] == "study-7/p-film"

        # a second client asks for what came after the first event: the second one comes again, the first does not
        async with asyncio.timeout(PATIENCE_S), connect(url) as session:
            after = f"{spotted.epoch}:{spotted.seq}"
            (again,) = await first(session.events(sources=["film"], types=["expression.*"], after=after), 1)
        assert (again.seq, again.id, again.data) == (described.seq, described.id, described.data)

        listened = await asyncio.to_thread(read_lines, url, 2)
        assert [line.split()[0] for line in listened] == ["spotted", "described"]

        page = await scrape(url)
        for source in ("film", "texture"):
            (captured,) = page["mellm_frames_captured_total", source].values()
            analysed = sum(page["mellm_frames_analysed_total", source].values())
            dropped = sum(page["mellm_frames_dropped_total", source].values())
            waiting = sum(page["mellm_frames_waiting", source].values())
            assert captured == analysed + dropped + waiting > 0
        stages = page["mellm_expressions_total", "film"]
        spotted_count = stages.pop("spotted")
        assert spotted_count == sum(stages.values()) >= 1

        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PROMPT_S) == 0


async def scrape(url: str) -> dict[tuple[str, str], dict[str, float]]:
    """The server's metrics."""
    base = url.replace("ws://", "http://").removesuffix("/v1/stream")
    async with httpx.AsyncClient(trust_env=False) as client:
        return sums((await client.get(f"{base}/metrics")).text)


def read_lines(url: str, count: int) -> list[str]:
    """What ``mellm listen`` prints first of the journal's expressions."""
    arguments = ["listen", url, "--type", "expression.*", "--after", "start"]
    with start(*arguments, stdout=subprocess.PIPE) as process:
        found = [process.stdout.readline().decode() for _ in range(count)]
        process.terminate()
    return found
