"""The examples for operators say only what exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import click
import pytest

from mellm.clients.cli import mellm
from mellm.engine.server.metrics import Metrics
from mellm.stream import errors
from tests import PATIENCE_S, REPO
from tests.stream.spoken import ended, spotted

DOCS = REPO / "docs"
UNIT = DOCS / "deploy" / "mellm.service"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")


def options_of(verb: str) -> set[str]:
    command = mellm.get_command(click.Context(mellm), verb)
    assert command is not None
    return {name for each in (*command.params, *mellm.params) for name in each.opts}


def test_the_unit_starts_what_there_is() -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(encoding="utf-8"), re.M)
    program, *words = shlex.split(line)
    assert program.endswith("/mellm")
    assert "serve" in words
    assert {word for word in words if word.startswith("-")} <= options_of("serve")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")
def test_systemd_understands_the_unit() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    said = [line for line in done.stderr.splitlines() if UNIT.name in line and "/opt/mellm" not in line]
    assert said == []


def test_the_container_starts_what_there_is() -> None:
    text = (DOCS / "deploy" / "Containerfile").read_text(encoding="utf-8")
    (entry,), (command,) = (re.findall(rf"^{word} \[(.*)\]$", text, re.M) for word in ("ENTRYPOINT", "CMD"))
    words = re.findall(r'"([^"]*)"', f"{entry} {command}")
    assert {word for word in words if word.startswith("-")} <= options_of("serve")


def test_every_metric_on_the_page_exists() -> None:
    metrics = Metrics()
    metrics.observe("stats", "cam", {"captured": 1, "dropped": {"overflow": 1}, "fps": 30, "score_p95_ms": 9})
    metrics.observe("expression.spotted", "cam", spotted())
    metrics.observe("expression.spotted", "cam", spotted("e2"))
    metrics.observe("expression.dropped", "cam", ended())
    metrics.watch(tuple, lambda: {"events_unjournalled": 0})
    text = metrics.exposition()[0].decode()
    for name in set(re.findall(r"mellm_\w+", PAGE)):
        assert re.search(rf"^{name}\b", text, re.M), name


def test_every_code_on_the_page_exists() -> None:
    known = {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
    assert set(re.findall(r"\b((?:source|describer)_[a-z]+)\b", PAGE)) <= known | {"source_ended"}
