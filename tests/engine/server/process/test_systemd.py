import logging
import socket

import pytest

from mellm.engine.server.process import systemd


@pytest.mark.parametrize("abstract", [False, True])
def test_three_messages_reach_the_socket_that_systemd_names(tmp_path, monkeypatch, abstract):
    path = f"@mellm-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path.replace("@", "\0", 1))
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        systemd.ready()
        systemd.alive()
        systemd.stopping()
        assert [server.recv(99) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "vsock:2:1"])
def test_without_systemd_nothing_happens(monkeypatch, caplog, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.alive()
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
