"""Every test can fail: it asserts something, expects an error, or calls a helper of the tests that does."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests import REPO
from tests.conftest import REAL_TIME

CHECKS = {"raises", "warns", "fail"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def called(node: ast.AST) -> set[str]:
    """Names of what it calls."""
    targets = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in targets}


def checks(node: ast.AST) -> bool:
    """By itself; ``assert True`` and ``assert (a, b)`` do not."""
    return any(
        isinstance(each, ast.Assert) and not isinstance(each.test, ast.Constant | ast.Tuple)
        for each in ast.walk(node)
    ) or any(name in CHECKS or name.startswith("assert_") for name in called(node))


def toothless(sources: dict[str, str]) -> list[str]:
    """Tests that cannot fail but by an exception nobody expects, as ``file:line name``."""
    found = [(file, each) for file, text in sources.items() for each in functions(ast.parse(text))]
    checking = {each.name for _, each in found if checks(each)}
    silent = [(file, each, called(each)) for file, each in found if each.name not in checking]
    while more := {each.name for _, each, names in silent if names & checking} - checking:
        checking |= more
    return [
        f"{file}:{each.lineno} {each.name}"
        for file, each, names in silent
        if not names & checking and each.name.startswith("test_")
    ]


def test_every_test_checks_something() -> None:
    files = sorted((REPO / "tests").rglob("*.py"))
    assert len(files) > 300
    assert toothless({str(f.relative_to(REPO)): f.read_text(encoding="utf-8") for f in files}) == []


@pytest.mark.parametrize(
    ("body", "caught"),
    [
        ("run()", True),
        ("assert True", True),
        ("assert (run(), 'a message')", True),
        ("try:\n        run()\n    except ValueError:\n        pass", True),
        ("assert run()", False),
        ("helper()", False),
        ("with pytest.raises(ValueError):\n        run()", False),
    ],
)
def test_one_that_checks_nothing_is_found(body: str, caught: bool) -> None:
    text = f"def helper():\n    assert run()\n\ndef test_it():\n    {body}\n"
    assert toothless({"test_x.py": text}) == (["test_x.py:4 test_it"] if caught else [])


def test_modules_that_run_by_the_clock_are_there() -> None:
    assert all((REPO / "tests" / name).is_file() for name in REAL_TIME)
