import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.stream.errors import SourceError, SourceUnreachable, SourceUnsupported
from mellm.stream.sources import addresses
from mellm.stream.sources.addresses import redact, redact_text, resolve, scheme_of


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("0", "camera"),
        ("/dev/video2", "camera"),
        ("/dev/v4l/by-id/usb-cam", "camera"),
        ("clip.mp4", "path"),
        ("2024-01-01", "path"),
        ("RTSP://cam/1", "rtsp"),
        ("rtsps://cam/1", "rtsps"),
        ("http://cam/video", "http"),
        ("https://cam/video", "https"),
        ("synthetic:?fps=30", "synthetic"),
    ],
)
def test_schemes(uri, scheme):
    assert scheme_of(uri) == scheme


@pytest.mark.parametrize(
    "uri",
    ["concat:a|b", "subfile:,,start,0,,:x", "data:video/mp4;base64,AA", "pipe:0", "gopher://h/", "ftp://h/v"],
)
def test_unknown_schemes_are_refused_with_the_known_ones(uri):
    with pytest.raises(SourceUnsupported, match="rtsp://"):
        scheme_of(uri)


@pytest.mark.parametrize("uri", ["f:/" + 300 * "x", "f:" + "/x" * 5000, "f:\0/x"])
def test_what_can_be_no_file_name_is_refused_too(uri):
    with pytest.raises(SourceUnsupported):
        scheme_of(uri)


def test_a_file_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a.mp4").touch()
    assert scheme_of("concat:a.mp4") == "path"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://admin:secret@cam:554/1", "rtsp://***@cam:554/1"),
        ("rtsp://admin:se@cret@cam/1", "rtsp://***@cam/1"),
        ("rtsp://admin:se/cret@cam/1", "rtsp://***@cam/1"),
        ("rtsp://secret@cam/1?token=secret&channel=2", "rtsp://***@cam/1?token=***&channel=2"),
        ("http://cam/v.cgi?user=secret&pwd=secret&res=720", "http://cam/v.cgi?user=***&pwd=***&res=720"),
        ("rtsp://cam/user=secret_password=secret_channel=1.sdp", "rtsp://cam/***"),
        ("rtsp://[::1]:554/1", "rtsp://[::1]:554/1"),
        ("rtsp//admin:secret@cam/1", "rtsp//***@cam/1"),
        ("://admin:secret@cam/1", "://***@cam/1"),
        ("admin:secret@cam/1", "***@cam/1"),
        ("me@home.mp4", "me@home.mp4"),
        ("clip.mp4", "clip.mp4"),
        ("synthetic:?fps=30", "synthetic:?fps=30"),
    ],
)
def test_redaction(uri, shown):
    assert redact(uri) == shown


@given(st.text(st.characters(exclude_characters="/?#", min_codepoint=33, max_codepoint=126), min_size=1))
def test_no_password_shows(password):
    shown = redact(f"rtsp://admin:{password}xyzzy@cam/1")
    assert shown == "rtsp://***@cam/1"


FORBIDDEN = [
    f"{scheme}://{host}/x"
    for scheme in ("rtsp", "http", "https", "rtsps")
    for host in (
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "100.64.0.1",
        "user:pass@127.0.0.1",
    )
]


@pytest.mark.parametrize("uri", FORBIDDEN)
def test_public_policy_refuses_inner_addresses(uri):
    """B6."""
    with pytest.raises((SourceUnsupported, SourceUnreachable)):
        resolve(uri, policy="public", timeout_s=4.0)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1", "0xa9fea9fe"])
def test_metadata_and_multicast_are_refused_always(host):
    with pytest.raises((SourceUnsupported, SourceUnreachable)):
        resolve(f"http://{host}/x", policy="any", timeout_s=4.0)


def test_local_cameras_are_allowed_to_the_operator():
    assert resolve("rtsp://127.0.0.1:8554/x", policy="any", timeout_s=4.0).uri == "rtsp://127.0.0.1:8554/x"


def test_public_connects_to_the_number_that_was_checked(monkeypatch):
    """No second look-up, which could answer otherwise."""
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *a, **k: answer)
    host = resolve("http://user:pass@example.org/v", policy="public", timeout_s=4.0)
    assert (host.uri, host.name) == ("http://user:pass@93.184.215.14:80/v", "example.org")


@pytest.mark.parametrize(
    "uri",
    ["rtsp://", "rtsp:///x", "rtsp://cam:99999/x", "rtsp://[::1/x", "rtsp://ca m/x", "http://cam/a\r\nX: y"],
)
def test_malformed_addresses_are_refused(uri):
    with pytest.raises(SourceUnsupported, match="malformed"):
        resolve(uri, policy="any", timeout_s=4.0)


def test_the_name_service_has_a_time_limit(monkeypatch):
    forever = threading.Event()
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *a, **k: [forever.wait(5.0)][:0])
    with pytest.raises(SourceError, match="took over"):
        resolve("rtsp://cam/1", policy="any", timeout_s=0.05)
    forever.set()


def test_addresses_within_a_sentence_lose_their_secrets_and_nothing_else() -> None:
    said = "cannot read rtsp://me:hunter2@cam/1?token=hunter2, nor (http://u:hunter2@[::1]:80/); see https://docs.example/a?b=c"
    shown = redact_text(said)
    assert "hunter2" not in shown
    assert shown.startswith("cannot read rtsp://***@cam/1?token=***")
    assert shown.endswith("see https://docs.example/a?b=c")
    assert redact_text("no address: a//b@c, 50 % of x") == "no address: a//b@c, 50 % of x"
