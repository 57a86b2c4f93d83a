"""Answers on disk: found again, never twice, and whole after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.types import Answer, Question
from mellm.stream.errors import RunError

QUESTION = Question("t", "q", "What?")
ANSWER = Answer(
    *("a", "t", "q", "answered", "half"), cut=True, latency_s=1.5, tokens_in=7, tokens_out=2, tries=3
)


def test_an_answer_comes_back_as_given_to_whoever_asks_the_same(tmp_path):
    with Cache(tmp_path / "deep" / "answers.sqlite") as cache:
        cache.put("f", "m", ANSWER)
        again = cache.get("f", "b", Question("u", "r", "What?"))
        assert cache.get("g", "a", QUESTION) is None
    assert again == Answer(
        *("b", "u", "r", "answered", "half"),
        cut=True,
        latency_s=1.5,
        tokens_in=7,
        tokens_out=2,
        tries=3,
        cached=True,
    )


def test_refusals_are_kept_and_failures_are_not(tmp_path):
    with Cache(tmp_path / "c") as cache:
        cache.put("r", "m", Answer("a", "t", "q", "refused", None, reason="refusal"))
        cache.put("f", "m", Answer("a", "t", "q", "failed", reason="timeout"))
        cache.put("u", "m", Answer("a", "t", "q", "unsupported", reason="no_evidence"))
        assert len(cache) == 1
    with Cache(tmp_path / "c") as cache:
        found = cache.get("r", "a", QUESTION)
    assert found is not None
    assert (found.state, found.reason, found.text) == ("refused", "refusal", None)


def test_text_that_is_no_unicode_is_kept_as_well_as_can_be(tmp_path):
    with Cache(tmp_path / "c") as cache:
        cache.put("f", "m", Answer("a", "t", "q", "answered", "x\ud83d\x00é"))
        found = cache.get("f", "a", QUESTION)
    assert found is not None
    assert found.text == "x?\x00é"


def test_no_prompt_and_no_picture_is_in_the_file(tmp_path):
    with Cache(tmp_path / "c") as cache:
        cache.put("f" * 64, "m", ANSWER)
    columns = sqlite3.connect(tmp_path / "c").execute("SELECT * FROM answers").description
    assert {name for name, *_ in columns} == {
        *("fingerprint", "model", "state", "reason", "text", "cut", "latency_s", "tokens_in", "tokens_out"),
        *("tries", "asked_at"),
    }


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\x01" * 200])
def test_a_file_that_is_something_else(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(RunError, match="cannot be opened"):
        Cache(tmp_path / "c")
    (tmp_path / "d").mkdir()
    with pytest.raises(RunError, match="cannot be opened"):
        Cache(tmp_path / "d")


WRITER = """
import sys
from pathlib import Path
from mellm.evaluation.compare.cache import Cache
from mellm.evaluation.compare.types import Answer
cache = Cache(Path(sys.argv[1]))
for n in range(10**9):
    cache.put(f"f{n}", "m", Answer("a", "t", f"q{n}", "answered", f"text {n}"))
    print(n, flush=True)
"""


def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path):
    path = tmp_path / "c"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    with Cache(path) as cache:
        assert len(told) >= 50
        for n in told:
            found = cache.get(f"f{n}", "a", QUESTION)
            assert found is not None
            assert found.text == f"text {n}"
