"""The examples for deployment name commands and flags that exist, and settings that are accepted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from mellm.clients.cli import mellm
from tests import REPO

yaml = pytest.importorskip("yaml")
DEPLOY = REPO / "docs" / "deploy"


def flags_of(verb: str) -> set[str]:
    command = mellm.get_command(click.Context(mellm), verb)
    assert command is not None
    return {flag for p in command.params for flag in p.opts}


def commands(found: Any) -> list[list[str]]:
    """Lists of words that are our command's arguments, anywhere in a document."""
    if isinstance(found, dict):
        return [each for value in found.values() for each in commands(value)]
    if isinstance(found, list):
        if found and found[0] in ("serve", "worker"):
            return [found]
        return [each for value in found for each in commands(value)]
    return []


@pytest.mark.parametrize(("name", "number"), [("compose.yaml", 3), ("kubernetes.yaml", 3)])
def test_every_command_exists_with_its_flags(name: str, number: int) -> None:
    documents = list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))
    found = [each for document in documents for each in commands(document)]
    assert len(found) == number
    for verb, *words in found:
        assert {word for word in words if word.startswith("--")} <= flags_of(verb)


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("mellm*.service")), ids=lambda path: path.name)
def test_every_unit_runs_a_command_that_exists(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.M)
    words = line.split()
    verb = next(word for word in words if word in ("serve", "worker"))
    assert {w for w in words[words.index(verb) :] if w.startswith("--")} <= flags_of(verb)
