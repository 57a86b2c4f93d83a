"""`mellm serve` on a machine where nobody has pulled the models: it says so, for each source, and how to mend it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.clients.processes import start


def get(address: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_f16_serve_without_models_says_so_for_each_source(tmp_path: Path) -> None:
    environment = {**os.environ, "MELLM_CACHE": str(tmp_path / "nothing"), "XDG_STATE_HOME": str(tmp_path)}
    sources = ("--source", "desk=synthetic:?seconds=0", "--source", "door=synthetic:?seconds=0")
    process = start(
        *("serve", *sources, "--port", "0", "--purpose", "self-use", "--describer", "rules"),
        *("--journal", tmp_path / "log.db"),
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stderr is not None
        page = ""
        while not page:
            line = process.stderr.readline()
            assert line, "the server ended"
            page = line.split()[-1] if line.startswith("dashboard at") else ""
        end = time.monotonic() + 60
        while (ready := get(f"{page}readyz"))[0] != 503:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert "mellm models pull" in ready[1]["reason"]
        assert get(f"{page}healthz")[0] == 200  # nothing that a restart would mend
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
    from mellm.stream.log.journal import Journal

    with Journal(tmp_path / "log.db") as journal:
        told = [record.event for record in journal.replay()]
    for source in ("desk", "door"):
        offline = [e.data for e in told if e.type == "source.offline" and e.source == source]
        assert offline, "nothing was said of it"
        assert {data["code"] for data in offline} == {"model_missing"}
        assert all("mellm models pull" in data["message"] for data in offline)
