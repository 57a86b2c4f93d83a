"""Streams that misbehave, against small servers on loopback (B1, B6, item 12)."""

import socket
import threading
import time

import pytest

from mellm.stream.errors import (
    MellmError,
    SourceNotFound,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnsupported,
)
from mellm.stream.frames import Frame, Gap, Item
from mellm.stream.sources import SourceOptions, open_source
from tests import PATIENCE_S, PROMPT_S
from tests.stream.videos import MJPEG_HEAD, http_answer, jpeg, make_video, mjpeg_part, tcp_server

QUICK = SourceOptions(open_timeout_s=1.0, read_timeout_s=1.0)


def opened(uri, options=QUICK):
    return open_source(uri, id="cam", options=options)


def until_lost(source):
    """What came before the server hung up."""
    items: list[Item] = []
    with pytest.raises(SourceUnreachable, match="the stream ended"):
        items.extend(iter(source.read, None))
    return items


def mjpeg(parts, then=lambda: None, pause_s=0.0):
    """Serve these bytes, then wait."""

    def answer(connection: socket.socket) -> None:
        http_answer(connection, MJPEG_HEAD)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        then()

    return tcp_server(answer)


def test_mjpeg_is_live_and_stamped_when_it_arrives():
    parts = [mjpeg_part(jpeg(i, 320, 240)) for i in range(20)]
    with mjpeg(parts, pause_s=0.02) as port, opened(f"http://u:secret@127.0.0.1:{port}/video") as source:
        frames = [item for item in until_lost(source) if isinstance(item, Frame)]
        assert source.info.live
        assert source.info.kind == "http"
    assert len(frames) >= 19  # the last part has no boundary behind it
    seen_s = (frames[-1].pts_ns - frames[0].pts_ns) / 1e9
    assert 0.2 < seen_s < PROMPT_S
    assert frames[0].pts_ns == 0
    assert frames[0].image.shape == (240, 320, 3)


def test_half_a_picture_is_not_shown():
    whole = [mjpeg_part(jpeg(i)) for i in range(10)]
    data = jpeg(5)
    half = mjpeg_part(data[: len(data) // 2])
    with mjpeg([*whole, half, *whole]) as port, opened(f"http://127.0.0.1:{port}/") as source:
        items = until_lost(source)
    assert sum(i.frames for i in items if isinstance(i, Gap)) == 1


def test_silence_while_reading_times_out():
    never = threading.Event()
    parts = [mjpeg_part(jpeg(i)) for i in range(30)]
    with (
        mjpeg(parts, then=lambda: never.wait(PATIENCE_S)) as port,
        opened(f"http://127.0.0.1:{port}/") as source,
    ):
        began = time.monotonic()
        with pytest.raises(SourceTimeout, match="did not send"):
            list(iter(source.read, None))
        assert time.monotonic() - began < PROMPT_S
        never.set()


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_accepts_and_is_silent(scheme):
    """F2: OpenCV waits 30 s for it."""
    never = threading.Event()
    with tcp_server(lambda connection: bool(never.wait(PATIENCE_S))) as port:
        began = time.monotonic()
        with pytest.raises(SourceTimeout, match="did not answer"):
            opened(f"{scheme}://127.0.0.1:{port}/x")
        assert time.monotonic() - began < PROMPT_S
        never.set()


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_nobody_listens(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceUnreachable, match="refused") as caught:
        opened(f"{scheme}://admin:secret@127.0.0.1:{port}/x")
    assert "secret" not in str(caught.value)


def test_unknown_host():
    with pytest.raises(SourceUnreachable, match="unknown host"):
        opened("rtsp://no-such-host.invalid/x")


def rtsp_status(status):
    def answer(connection: socket.socket) -> None:
        while request := connection.recv(65536).decode():
            sequence = next(x for x in request.split("\r\n") if x.lower().startswith("cseq"))
            head = f"RTSP/1.0 {status}\r\n{sequence}\r\n"
            if status.startswith("401"):
                head += 'WWW-Authenticate: Basic realm="cam"\r\n'
            connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())

    return answer


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", SourceUnauthorized),
        ("403 Forbidden", SourceUnauthorized),
        ("404 Not Found", SourceNotFound),
        ("500 Internal Server Error", SourceUnreachable),
        ("503 Service Unavailable", SourceUnreachable),
    ],
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_refusals_are_typed_and_show_no_password(scheme, status, error, caplog):
    answer = rtsp_status(status) if scheme == "rtsp" else lambda c: http_answer(c, f"HTTP/1.0 {status}")
    with tcp_server(answer) as port, pytest.raises(error) as caught:
        opened(f"{scheme}://admin:secret@127.0.0.1:{port}/x?token=secret")
    text = str(caught.value) + caplog.text
    assert "secret" not in text
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    assert caught.value.__cause__ is None  # FFmpeg's own error holds the password


def test_text_instead_of_video():
    page = "HTTP/1.1 200 OK\nContent-Length: 3000\nContent-Type: text/html"
    with (
        tcp_server(lambda c: http_answer(c, page, b"<html>" * 500)) as port,
        pytest.raises(SourceUnsupported),
    ):
        opened(f"http://127.0.0.1:{port}/")


def test_playlists_are_refused():
    page = "HTTP/1.0 200 OK\nContent-Type: application/vnd.apple.mpegurl"
    body = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    with tcp_server(lambda c: http_answer(c, page, body)) as port, pytest.raises(SourceUnsupported):
        opened(f"http://127.0.0.1:{port}/x.m3u8")


def test_redirects_are_not_followed():
    """B6: a public server cannot send us to an inner address."""
    trapped = []
    with tcp_server(lambda c: trapped.append(c)) as trap:
        head = f"HTTP/1.1 302 Found\nContent-Length: 0\nLocation: http://127.0.0.1:{trap}/"
        with tcp_server(lambda c: http_answer(c, head)) as port, pytest.raises(MellmError):
            opened(f"http://127.0.0.1:{port}/")
    assert not trapped


def test_public_policy_never_connects():
    trapped = []
    with tcp_server(lambda c: trapped.append(c)) as trap:
        for host in ("127.0.0.1", "localhost", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]"):
            for scheme in ("http", "rtsp"):
                with pytest.raises(MellmError):
                    opened(f"{scheme}://{host}:{trap}/", SourceOptions(hosts="public", open_timeout_s=1.0))
    assert not trapped


def test_a_recording_behind_http_has_an_end(tmp_path):
    data = make_video(tmp_path / "clip.mkv").read_bytes()
    page = f"HTTP/1.0 200 OK\nContent-Type: video/x-matroska\nContent-Length: {len(data)}"
    with (
        tcp_server(lambda c: http_answer(c, page, data)) as port,
        opened(f"http://127.0.0.1:{port}/clip.mkv") as source,
    ):
        frames = [item for item in iter(source.read, None) if isinstance(item, Frame)]
        assert not source.info.live
        assert source.end is not None
    assert len(frames) == 30
