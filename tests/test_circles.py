"""Imports flow one way: no circle between files, and none between packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import REPO

ROOMS = ("stream", "detectors", "engine", "clients", "training", "evaluation")


def modules(root: Path = REPO, inside: str = "mellm.") -> dict[str, ast.Module]:
    """Every module of the package, by its name; a package is its ``__init__``."""
    found = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = inside + ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(body: list[ast.stmt]) -> Iterator[str]:
    """Names imported at the top of a module, those for type checkers included; a script's own start is not."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "__main__" not in ast.unparse(node.test):
            yield from imported([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from imported([*node.body, *node.orelse, *(s for h in node.handlers for s in h.body)])


def graph(known: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    arrows: dict[str, set[str]] = {name: set() for name in known}
    for name, tree in known.items():
        for target in imported(tree.body):
            while target not in known and "." in target:
                target = target.rpartition(".")[0]
            if target in known and target != name:
                arrows[name].add(target)
    return arrows


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    found = graph(modules())
    assert len(found) > 250
    assert "mellm.engine.config" in found["mellm.engine.server.app"]
    return found


def test_a_circle_is_found() -> None:
    trees = {
        "mellm.a": ast.parse("from mellm.b import f"),
        "mellm.b": ast.parse("if TYPE_CHECKING:\n    from mellm import c"),
        "mellm.c": ast.parse("try:\n    import mellm.a\nexcept ImportError:\n    pass"),
    }
    assert set(circle(graph(trees))) == set(trees)


def test_no_circle_between_files(arrows: dict[str, set[str]]) -> None:
    assert circle(arrows) == []


def test_no_circle_between_packages(arrows: dict[str, set[str]]) -> None:
    """A package and what lies below it are one: ``mellm.engine.config`` belongs to the room, not to a package in it."""
    found = packages(arrows)
    assert len(found) > 20
    assert circle(found) == []


def packages(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, targets in arrows.items():
        for target in targets:
            ours, theirs = package(name, arrows), package(target, arrows)
            if not (f"{ours}.".startswith(f"{theirs}.") or f"{theirs}.".startswith(f"{ours}.")):
                found.setdefault(ours, set()).add(theirs)
    return found


def package(name: str, arrows: Mapping[str, set[str]]) -> str:
    """``mellm.engine.analysis.live`` → ``mellm.engine.analysis``; a package is its own."""
    return name if any(other.startswith(f"{name}.") for other in arrows) else name.rpartition(".")[0]
