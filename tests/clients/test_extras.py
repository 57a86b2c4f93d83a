"""The base install with each extra absent once: whoever needs one is told in one sentence what to install."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import PATIENCE_S, REPO

EXTRAS = {
    "cpu": ("onnxruntime", "onnx", "tflite"),
    "train": (
        *("torch", "numba", "onnx", "skimage", "scipy", "pooch", "PIL", "transformers", "tokenizers"),
        *("safetensors", "peft", "accelerate", "datasets", "onnxscript"),
    ),
    "eval": ("scipy", "matplotlib", "openpyxl", "xlrd", "sacrebleu", "rouge_score", "nltk"),
    "study": ("openpyxl", "pandas", "pyreadstat", "sklearn", "nltk"),
    "rrd": ("rerun",),
    "otel": ("opentelemetry",),
    "bus": ("nats", "nkeys", "redis"),
}
ELSEWHERE = {"gpu", "vllm", "dev", "docs"}
"""As `cpu`; in an environment of its own; for those who work on it."""

TRY = """
import contextlib, io, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(json.loads(sys.argv[1]))
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
sys.meta_path.insert(0, Absent())

import click
from mellm.clients.cli import mellm, run
from mellm.clients.cli.lazy import LazyGroup

def leaves(group, context, names):
    for name, verb in group.verbs.items():
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            yield from leaves(command, click.Context(command, context, name), [*names, name])
        else:
            yield [*names, name]

verbs = list(leaves(mellm, click.Context(mellm, info_name="mellm"), []))
tried = [[*names, "--help"] for names in verbs] + json.loads(sys.argv[2])
for arguments in tried:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    print(json.dumps([arguments, code, err.getvalue()]))
"""


def without(blocked: tuple[str, ...], *uses: list[str], cwd: Path) -> dict[tuple[str, ...], tuple[int, str]]:
    """Arguments → exit code and what was said, of the help of every verb and of some uses."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, json.dumps(blocked), json.dumps(uses)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=3 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    rows: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    return {tuple(arguments): (code, said) for arguments, code, said in rows}


def names_what_to_install(said: str, blocked: tuple[str, ...]) -> bool:
    """One line after the warnings, about a package that is absent, and an extra that brings it."""
    found = re.fullmatch(
        r"(?:mellm: warning: .*\n)*"
        r"mellm: error: .*?(?:needs? (\w+)[\w-]*|ONNX Runtime).* — .*mellm-live\[([a-z,]+)\].*\n",
        said,
    )
    if found is None:
        return False
    package = found[1] or "onnxruntime"
    return package in blocked and any(package in EXTRAS[extra] for extra in found[2].split(","))


NEEDS: dict[str, set[str]] = {
    "cpu": set(),
    "train": {"train spotter", "train nano", "eval spotting", "eval describing", "eval robustness"},
    "eval": {"eval spotting"},
    "study": set(),
    "rrd": set(),
    "otel": set(),
    "bus": set(),
}


def test_every_extra_is_tried() -> None:
    declared = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert declared.keys() - ELSEWHERE == EXTRAS.keys()


@pytest.mark.timeout(4 * PATIENCE_S)
@pytest.mark.parametrize("extra", EXTRAS)
def test_help_works_or_names_the_extra(extra: str, tmp_path: Path) -> None:
    questions = tmp_path / "vqa.jsonl"
    questions.write_text(
        '{"id": "1", "question": "What are the action units?", "gt": "dimpler", "pred": "x"}\n'
    )
    sample = str(REPO / "clients" / "sample" / "sample.mp4")
    uses = {
        "cpu": [["analyze", sample, "--out", "run"], ["watch", "synthetic:?seconds=1"]],
        "train": [
            ["train", "mellm", "--config", "none.toml"],
            ["dataset", "build", "--out", "data", "--count", "2"],
        ],
        "eval": [["eval", "metrics", "vqa", "--cases", str(questions)]],
        "study": [
            ["export", str(REPO / "tests" / "golden" / "run-format-1"), "--to", to, "--out", f"run.{to}"]
            for to in ("xlsx", "sav")
        ],
        "rrd": [
            ["export", str(REPO / "tests" / "golden" / "run-format-1"), "--to", "rrd", "--out", "run.rrd"]
        ],
        "otel": [["probe", "synthetic:?seconds=1", "--seconds", "0.2"]],
        "bus": [
            ["worker", "--out", "runs", "--bus", url] for url in ("nats://127.0.0.1:1", "redis://127.0.0.1:1")
        ],
    }[extra]
    found = without(EXTRAS[extra], *uses, cwd=tmp_path)
    refused = {" ".join(names[:-1]) for names, (code, _) in found.items() if names[-1] == "--help" and code}
    assert refused >= NEEDS[extra]
    assert all(name.startswith(("eval ", "train ", "dataset ")) for name in refused), (
        "the base has every other verb"
    )
    for names, (code, said) in found.items():
        assert "Traceback" not in said, names
        if code and names[-1] == "--help":
            assert code == 2, names
            assert names_what_to_install(said, EXTRAS[extra]), (names, said)
    for use in uses:
        code, said = found[tuple(use)]
        if extra == "otel":
            assert code == 0, said
        else:
            assert code == 2, (use, said)
            assert "none.toml" in said or names_what_to_install(said, EXTRAS[extra]), (use, said)


@pytest.mark.timeout(4 * PATIENCE_S)
def test_the_base_alone_shows_all_verbs_and_works(tmp_path: Path) -> None:
    everything = tuple(sorted({name for names in EXTRAS.values() for name in names}))
    rows = [{"gt": "positive", "pred": "positive"}, {"gt": "negative", "pred": "positive"}]
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    uses = [
        ["probe", "synthetic:?seconds=1", "--seconds", "0.2"],
        ["describe", "no-onset.png", "no-apex.png"],
        ["eval", "metrics", "recognition", "--cases", "labels.json"],
        ["schema"],
    ]
    found = without(everything, *uses, cwd=tmp_path)
    assert found[tuple(uses[0])][0] == 0
    assert found[tuple(uses[2])] == (0, "")
    assert found[tuple(uses[3])][0] == 0
    code, said = found[tuple(uses[1])]
    assert code in (2, 3)
    assert said.count("\n") == 1
