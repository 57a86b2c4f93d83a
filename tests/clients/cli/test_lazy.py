"""Groups whose verbs load when they are called."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from mellm.clients.cli import mellm, run
from mellm.clients.cli.lazy import LazyGroup, Verb

COMPLETE = """
import json, sys
from click.shell_completion import ShellComplete
from mellm.clients.cli import mellm
found = ShellComplete(mellm, {}, "mellm", "_MELLM_COMPLETE").get_completions(*json.loads(sys.argv[1]))
print(json.dumps([[item.value for item in found], sorted({"numpy", "torch", "pydantic"} & set(sys.modules))]))
"""


@pytest.mark.parametrize(
    ("words", "begun", "wanted"),
    [
        ([], "e", ["export", "eval"]),
        (["eval"], "spot", ["spotting", "spotting-datasets"]),
        (["train"], "n", ["nano"]),
    ],
)
def test_names_are_completed_without_loading_anything(
    words: list[str], begun: str, wanted: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE, json.dumps([words, begun])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [wanted, []]


@pytest.mark.parametrize(
    ("words", "begun", "wanted"),
    [
        (["eval", "metrics"], "--boot", "--bootstrap"),
        (["eval", "spotting-datasets"], "--long", "--long-truth"),
        (["compare"], "--dry", "--dry-run"),
    ],
)
def test_options_of_every_verb_are_completed(words: list[str], begun: str, wanted: str) -> None:
    found = ShellComplete(mellm, {}, "mellm", "_MELLM_COMPLETE").get_completions(words, begun)
    assert [item.value for item in found] == [wanted]


def test_a_verb_goes_by_the_name_in_the_group() -> None:
    context = click.Context(mellm, info_name="mellm")
    group = mellm.get_command(context, "eval")
    assert isinstance(group, LazyGroup)
    metrics = group.get_command(click.Context(group, context, "eval"), "metrics")
    assert metrics is not None
    assert metrics.name == "metrics"
    assert group.get_command(context, "nothing") is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "metrix"], "did you mean 'metrics'?"),
        (["train", "zzz"], "`mellm train --help` lists the verbs"),
    ],
)
def test_a_verb_that_is_not_there(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_our_own_missing_module_is_a_bug_and_not_an_extra() -> None:
    group = LazyGroup(
        "g", verbs={"x": Verb("mellm.not_there:command", "", "eval"), "y": Verb("not_there:c", "")}
    )
    for name in ("x", "y"):
        with pytest.raises(ModuleNotFoundError):
            group.get_command(click.Context(group, info_name="g"), name)
