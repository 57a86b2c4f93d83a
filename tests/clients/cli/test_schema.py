"""``mellm schema``."""

import json
from pathlib import Path

import pytest

from mellm.clients.cli import run
from mellm.stream.protocol.asyncapi import asyncapi
from mellm.stream.protocol.schema import document


def test_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == document()
    out = tmp_path / "made" / "protocol.json"
    assert run(["schema", "--asyncapi", "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == asyncapi()
    assert capsys.readouterr().out == ""


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["schema", "--out", str(tmp_path / "file" / "x.json")]) == 2
    assert "cannot write" in capsys.readouterr().err
