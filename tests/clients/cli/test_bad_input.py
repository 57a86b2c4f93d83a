"""Whatever it is given, the command ends with one line that names the input and a remedy, and with its code."""

import json
import re
import time

import pytest

from mellm.clients.cli import run
from tests.clients.bad_inputs import ADDRESSES, FILES, PASSWORD, Bad
from tests.clients.processes import mellm
from tests.stream.videos import http_answer, make_video, tcp_server

LIMIT_S, LIMIT_MB = 5.0, 512.0
VERBS = ("analyze", "probe", "watch")


def arguments(verb: str, uri: str, folder) -> list[str]:
    """The verb on this input; image folders are given the rate that they need."""
    rate = ["--fps", "30"]
    return {"analyze": ["analyze", uri, "--out", str(folder / "run")]}.get(verb, [verb, uri]) + rate


def check(bad: Bad, uri: str, code: int, out: str, err: str) -> None:
    """One typed line, and nothing else."""
    assert code == bad.code
    assert re.fullmatch(r"mellm: error: [^\n]+ — [^\n]+\n", err), err
    for part in (uri, bad.said, bad.remedy):
        assert part in err
    assert not out


# the huge one is slow to make, and the same opening serves all verbs: it has a test of its own
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", [name for name in (*FILES, *ADDRESSES) if name != "8192²"])
def test_one_line_a_remedy_and_a_code(name, verb, models, tmp_path, capfd):
    bad = {**FILES, **ADDRESSES}[name]
    uri = bad.make(tmp_path)
    capfd.readouterr()
    began = time.monotonic()
    code = run(arguments(verb, uri, tmp_path))
    assert time.monotonic() - began < LIMIT_S
    check(bad, "synthetic" if uri.startswith("synthetic") else uri, code, *capfd.readouterr())


@pytest.mark.parametrize("name", ["corrupted", "8192²"])
def test_within_time_and_memory_as_a_process(name, models, tmp_path):
    """What costs the most: damage that is found late, and a picture that would need gigabytes."""
    uri = FILES[name].make(tmp_path)
    done = mellm(*arguments("analyze", uri, tmp_path))
    assert done.cpu_s < LIMIT_S
    assert done.peak_mb < LIMIT_MB
    check(FILES[name], uri, done.code, done.out, done.err)


@pytest.mark.parametrize("verb", VERBS)
def test_a_process_that_watches_says_it_once(verb, models, tmp_path):
    """Logs go to standard error too, which a test within the process does not see."""
    bad = ADDRESSES["nobody listens"]
    uri = bad.make(tmp_path)
    done = mellm(*arguments(verb, uri, tmp_path))
    check(bad, uri, done.code, done.out, done.err)


def rtsp_401(connection):
    """A camera that asks for a password and never takes it."""
    while request := connection.recv(65536).decode():
        number = re.search(r"CSeq: (\d+)", request)
        connection.sendall(
            f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number[1] if number else 0}\r\n"
            'WWW-Authenticate: Basic realm="camera"\r\n\r\n'.encode()
        )


def http_401(connection):
    """The same behind HTTP."""
    http_answer(connection, 'HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm="c"\nContent-Length: 0')


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("scheme", "answer"), [("rtsp", rtsp_401), ("http", http_401)])
def test_a_wrong_password_is_said_and_not_shown(scheme, answer, verb, models, tmp_path, capfd):
    with tcp_server(answer) as port:
        began = time.monotonic()
        code = run(arguments(verb, f"{scheme}://admin:{PASSWORD}@127.0.0.1:{port}/live", tmp_path))
        assert time.monotonic() - began < LIMIT_S
    bad = Bad(str, "wrong or missing user name or password", "before the host: USER:PASSWORD@HOST")
    out, err = capfd.readouterr()
    check(bad, f"{scheme}://***@127.0.0.1:{port}/live", code, out, err)
    left = "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    assert PASSWORD not in out + err + left
    assert "admin" not in left


def test_a_host_that_does_not_answer_is_given_up_in_time(models, capfd):
    def silent(connection):
        connection.recv(65536)
        time.sleep(LIMIT_S + 2)

    with tcp_server(silent) as port:
        began = time.monotonic()
        assert run(["watch", f"rtsp://127.0.0.1:{port}/live"]) == 3
        assert time.monotonic() - began < LIMIT_S
    assert "did not answer in time" in capfd.readouterr().err


def test_folders_of_pictures_need_a_rate(tmp_path, capfd):
    for verb in (["probe", str(tmp_path)], ["analyze", str(tmp_path), "--out", str(tmp_path / "run")]):
        assert run(verb) == 2
        err = capfd.readouterr().err
        assert f"{tmp_path}: " in err
        assert "--fps" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("size", [(1, 1), (64, 48)])
def test_no_face_at_all_is_a_result(size, models, tmp_path, capfd):
    video = make_video(tmp_path / "empty-room.mkv", frames=15, size=size, codec="ffv1", pixels="gray")
    began = time.monotonic()
    assert run(["analyze", str(video), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert time.monotonic() - began < LIMIT_S
    out, err = capfd.readouterr()
    assert not out
    assert [line for line in err.splitlines() if "repeat the one before" not in line] == [
        f"mellm: warning: {video}: no face was seen in 15 frames",
        f"0 expressions; {tmp_path}/run/expressions.jsonl",
    ]
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]["empty-room"]["counts"]
    assert (counts["captured"], counts["analysed"], counts["spotted"]) == (15, 15, 0)
    assert (tmp_path / "run" / "expressions.jsonl").read_bytes() == b""
