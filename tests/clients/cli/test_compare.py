"""`mellm compare` as it is typed: its options reach the comparison, and mistakes are one line."""

from __future__ import annotations

import builtins

import pytest

from mellm.clients.cli import run
from mellm.evaluation.compare import cli

FILE = """
[[systems]]
kind = "openai"
name = "far"
base_url = "https://models.invalid/v1"
model = "m"
api_key_env = "FAR_KEY"

[[systems]]
kind = "rules"

[[tasks]]
kind = "qualitative"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(FILE)
    return path


def test_options_reach_the_comparison(file, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(cli, "run", lambda *args, **options: calls.append((args, options)) or 5)
    out = str(tmp_path / "out")
    assert (
        run(["compare", str(file), "--out", out, "--only", "rules", "--only", "far", "--cached", "--json"])
        == 5
    )
    assert run(["compare", str(file), "--dry-run"]) == 5
    (given, options), (_, dry) = calls
    assert given == (file, tmp_path / "out")
    assert options == {"only": ("rules", "far"), "dry": False, "send": False, "as_json": True}
    assert (dry["dry"], dry["send"]) == (True, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("model =", "modle ="), "did you mean 'model'?"),
        (('"FAR_KEY"', '"sk-abcdefghijklmnop0123"'), "api_key_env"),
        (('"qualitative"', '"quality"'), "kind = one of"),
        (("[[systems]]", "[systems"), "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_and_code_2(file, change, said, capsys):
    file.write_text(FILE.replace(*change))
    assert run(["compare", str(file)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert "abcdefghijklmnop" not in err


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert run(["compare", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_missing_extra_is_named(file, monkeypatch, capsys):
    there = builtins.__import__

    def without(name, *args):
        if name == "mellm.evaluation.compare":
            raise ImportError("no jinja2", name="jinja2")
        return there(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert run(["compare", str(file)]) == 2
    assert "needs jinja2 — pip install 'mellm-live[eval]'" in capsys.readouterr().err
