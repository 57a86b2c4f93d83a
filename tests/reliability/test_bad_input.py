"""B1, B6, B7: hundreds of media files, addresses and configurations that are not what they should be."""

from __future__ import annotations

import random
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mellm.engine.config import load
from mellm.stream.errors import ConfigError, MellmError, SourceError
from mellm.stream.frames import Frame
from mellm.stream.sources import SourceOptions, open_source
from tests import PATIENCE_S
from tests.reliability.figures import percentile, record
from tests.stream.videos import CONTAINERS, make_video

TRUNCATIONS = 16
FRAMES = 30


def media(folder: Path, flips: int) -> Iterator[tuple[str, Path]]:
    """Kind and file: good ones, ones cut at sixteen places, ones with flipped bits, ones that are no video."""
    for suffix in CONTAINERS:
        good = make_video(folder / f"good{suffix}", frames=FRAMES)
        data = good.read_bytes()
        yield "good", good
        for i in range(TRUNCATIONS):
            path = folder / f"cut{i}{suffix}"
            path.write_bytes(data[: len(data) * (i + 1) // (TRUNCATIONS + 1)])
            yield "cut", path
        rng = random.Random(suffix)
        for i in range(flips):
            changed = bytearray(data)
            for _ in range(rng.choice((1, 4, 16, 64))):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            path = folder / f"flip{i}{suffix}"
            path.write_bytes(bytes(changed))
            yield "flipped", path
        for name, junk in (("empty", b""), ("text", b"Dear diary,\n" * 99), ("zeros", bytes(9999))):
            path = folder / f"{name}{suffix}"
            path.write_bytes(junk)
            yield "no video", path
    for name, text in {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        "list.ffconcat": "ffconcat version 1.0\nfile /etc/passwd\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 169.254.169.254\ns=x\nc=IN IP4 169.254.169.254\nm=video 9 RTP/AVP 96\n",
        "list.mpd": '<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>',
    }.items():
        path = folder / name
        path.write_text(text)
        yield "no video", path


def read(path: Path) -> tuple[str, int, bool, str]:
    """Outcome, frames, whether an early end was told, and the words of an error."""
    try:
        with closing(open_source(str(path), id="b1")) as source:
            frames = sum(isinstance(item, Frame) for item in iter(source.read, None))
            return ("read", frames, bool(source.end and source.end.early), "")
    except SourceError as error:
        return (error.code, 0, True, str(error))


def _files(folder: Path, flips: int, tier: str) -> None:
    ends: dict[str, Counter[str]] = {}
    times: list[float] = []
    told_early = cut = 0
    for kind, path in media(folder, flips):
        start = time.process_time()  # which a busy machine does not stretch
        how, frames, early, said = read(path)
        times.append(time.process_time() - start)
        ends.setdefault(kind, Counter())[how] += 1
        assert how == "read" or path.name in said, said
        if kind == "good":
            assert (how, early) == ("read", False), path.name
            assert frames >= FRAMES - 1
        if kind == "no video":
            assert how != "read", path.name
        if kind == "cut" and frames < FRAMES:
            cut += 1
            told_early += early
            assert early, f"{path.name}: {frames} frames, and nobody said that it ends early"
        path.unlink()
    total = sum(sum(c.values()) for c in ends.values())
    record(
        "B1",
        tier,
        files=total,
        ends={kind: dict(c) for kind, c in ends.items()},
        early_ends_told=f"{told_early} of {cut}",
        longest_s=round(max(times), 2),
        p99_s=round(percentile(times, 0.99), 3),
        peak_rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )
    assert max(times) <= 5.0


def test_b1_media_files(tmp_path: Path) -> None:
    _files(tmp_path, flips=6, tier="C")


@pytest.mark.slow
def test_b1_more_than_six_hundred_media_files(tmp_path: Path) -> None:
    _files(tmp_path, flips=90, tier="N")


class Trap:
    """Listens on loopback and counts who comes."""

    def __init__(self) -> None:
        self.caught = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.caught += 1
            client.close()

    def close(self) -> None:
        # a blocked accept is not woken by close alone
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE_S)


HOSTS = (
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "127.255.255.254",
        "0x7f000001",
        "0x7f.1",
        "2130706433",
        "017700000001",
    ),
    *(
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
    ),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "user:pw@127.0.0.1"),
    *("127.0.0.1%2f", "１２７.0.0.1", "127。0。0。1"),
)
SCHEMES = ("http", "https", "rtsp", "rtsps")


def test_b6_no_forbidden_address_is_reached() -> None:
    """Addresses from elsewhere (``hosts="public"``) never lead to this machine or its network."""
    trap = Trap()
    options = SourceOptions(hosts="public", open_timeout_s=1.0)
    tried = 0
    try:
        with pytest.raises(MellmError):  # the control: without the rule the trap is reached, and is no camera
            open_source(f"http://127.0.0.1:{trap.port}/x", id="b6", options=replace(options, hosts="any"))
        reached = trap.caught
        for scheme in SCHEMES:
            for host in HOSTS:
                uri = f"{scheme}://{host}:{trap.port}/x"
                with pytest.raises(MellmError) as refused:
                    open_source(uri, id="b6", options=options)
                assert "pw@" not in str(refused.value)
                tried += 1
        for uri in (
            "file:///etc/passwd",
            "concat:/etc/passwd|x",
            "subfile:,start,0:/etc/passwd",
            "data:,x",
            "pipe:0",
        ):
            with pytest.raises(MellmError):
                open_source(uri, id="b6", options=options)
            tried += 1
    finally:
        caught = trap.caught - reached
        trap.close()
    record("B6", "C", addresses=tried, connections_made=caught)
    assert tried >= 80
    assert reached > 0
    assert caught == 0


GOOD = """
purpose = "self-use"
[describer]
kind = "openai"
base_url = "http://127.0.0.1:8000/v1"
model = "m"
timeout_s = 10.0
capacity = 64
[spotting]
threshold = 0.6
max_ms = 500.0
[faces]
max_faces = 4
[server]
host = "127.0.0.1"
port = 8765
retention_days = 30.0
[[sources]]
id = "desk"
uri = "/dev/video0"
fps = 30.0
"""
VALUES = (
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e400",
    '""',
    '"x"',
    "true",
    "[]",
    "{}",
    "1979-05-27",
    "999999999999",
    "0",
    "'''\n'''",
)


def test_b7_two_hundred_configurations(tmp_path: Path) -> None:
    """A value, key, section or byte is changed: settings of the right types, or an error that names the place."""
    rng = random.Random(7)
    path = tmp_path / "mellm.toml"
    lines = GOOD.strip().splitlines()
    keys = [i for i, line in enumerate(lines) if "=" in line]
    ends: Counter[str] = Counter()
    for number in range(200):
        changed, at = list(lines), rng.choice(keys)
        name, value = lines[at].split(" = ")
        how = ("value", "key", "section", "twice", "byte", "many")[number % 6]
        match how:
            case "value":
                changed[at] = f"{name} = {rng.choice(VALUES)}"
            case "key":
                changed[at] = f"{name[:-1]}{rng.choice('xyz_')} = {value}"
            case "section":
                changed.insert(at, f"[{rng.choice(('sorces', 'server.x', 'a b', '', 'describer'))}]")
            case "twice":
                changed.insert(at, lines[at])
            case "many":
                changed += [f'[[sources]]\nid = "s{i}"\nuri = "x"' for i in range(rng.choice((70, 5000)))]
            case _:
                text = "\n".join(lines)
                spot = rng.randrange(len(text))
                changed = [text[:spot] + chr(rng.choice((0, 1, 34, 91, 0x1F600))) + text[spot + 1 :]]
        path.write_text("\n".join(changed), encoding="utf-8")
        start = time.process_time()
        try:
            load(path)
            ends["accepted"] += 1
        except ConfigError as error:
            ends["refused"] += 1
            said = str(error)
            assert "\n" not in said.replace(str(path), "")
            if how == "value":
                assert name in said, said
            if how == "key":
                assert f"{name[:-1]}" in said, said
        assert time.process_time() - start < 5
    record("B7", "C", configurations=200, ends=dict(ends))
    assert ends["refused"] >= 130
