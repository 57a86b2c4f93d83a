"""The comparison's file: what is read, what is refused, and how the refusal names it."""

import tomllib
from pathlib import Path

import pytest

from mellm.evaluation.compare import config
from mellm.stream.errors import ConfigError

WHOLE = """
currency = "EUR"

[[systems]]
kind = "openai"
name = "qwen"
base_url = "http://127.0.0.1:8000/v1/"
model = "Qwen/Qwen2.5-VL-7B-Instruct"

[[systems]]
kind = "openai"
name = "remote"
base_url = "https://models.example/v1beta/openai"
model = "m"
api_key_env = "REMOTE_KEY"
price_in = 1.25
price_out = 10
requests_per_minute = 60
tokens_per_minute = 100000
temperature = "default"
max_tokens_key = "max_completion_tokens"
image_detail = "low"
extra_body = { top_p = 0.5 }

[[systems]]
kind = "embedded"

[[systems]]
kind = "rules"

[[systems]]
kind = "recorded"
name = "Sphinx, recorded"
path = "answers/sphinx"
task = "mme"

[[systems]]
kind = "published"
name = "GPT-4V"

[[tasks]]
kind = "mme"
folder = "MME"
limit = 2

[[tasks]]
kind = "qualitative"
"""

OPENAI = {"kind": "openai", "name": "a", "base_url": "https://a.example/v1", "model": "m"}
TASK = {"kind": "qualitative"}


def read(text: str, tmp_path: Path) -> config.Comparison:
    (tmp_path / "c.toml").write_text(text)
    return config.load(tmp_path / "c.toml")


def refused(system: dict[str, object], **more: object) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse({"systems": [system], "tasks": [TASK], **more}, Path("c.toml"))
    return str(caught.value)


def test_a_whole_file_is_read_with_paths_from_its_folder(tmp_path):
    found = read(WHOLE, tmp_path)
    assert [c.kind for c in found.systems] == [
        *("openai", "openai", "embedded", "rules", "recorded", "published")
    ]
    qwen, remote, nano, _, sphinx, _ = found.systems
    assert qwen.base_url == "http://127.0.0.1:8000/v1"
    assert (qwen.temperature, remote.temperature) == (0.0, "default")
    assert remote.extra_body == {"top_p": 0.5}
    assert nano.name == "mellm-nano"
    assert sphinx.path == tmp_path / "answers/sphinx"
    assert found.tasks[0].folder == tmp_path / "MME"
    assert found.tasks[1].folder is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modle": "x"}, ["unknown key 'systems[1] (a).modle'", "did you mean 'model'", "base_url"]),
        ({"zzz": 1}, ["unknown key", "expected: api_key_env, base_url"]),
        ({"model": ""}, ["systems[1] (a).model"]),
        ({"concurrency": 0}, ["systems[1] (a).concurrency", "got 0"]),
        ({"requests_per_minute": -5}, ["requests_per_minute", "got -5"]),
        ({"timeout_s": float("nan")}, ["timeout_s"]),
        ({"temperature": 3}, ["temperature"]),
        ({"base_url": "ftp://a.example/v1"}, ["base_url", "not an http address"]),
        ({"base_url": "a.example"}, ["base_url", "not an http address"]),
        ({"base_url": "http://"}, ["base_url"]),
        ({"base_url": "https://u:p@a.example/v1"}, ["base_url", "keys come from the environment"]),
        ({"base_url": "https://a.example/v1?key=1"}, ["base_url", "keys come from the environment"]),
        ({"base_url": "https://a.example/v1/chat/completions"}, ["ends before /chat/completions"]),
        ({"base_url": "http://a.example/v1", "api_key_env": "K"}, ["in the clear", "insecure = true"]),
        ({"price_in": 1.0}, ["price_in and price_out go together"]),
        ({"extra_body": {"messages": []}}, ["extra_body may not hold messages"]),
        ({"extra_body": {"when": tomllib.loads("a = 2026-11-23")["a"]}}, ["extra_body", "JSON"]),
        ({"kind": "opneai"}, ["needs a kind", "openai, embedded, rules, recorded, published"]),
        ({"name": "a/b"}, ["name"]),
    ],
)
def test_what_is_refused_is_named(change, said):
    text = refused({**OPENAI, **change})
    for part in said:
        assert part in text
    assert "c.toml" in text


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": "sk-1234567890abcdef1234"},
        {"key": "plain"},
        {"token": "t"},
        {"Authorization": "Bearer x"},
        {"extra_body": {"api-key": "x"}},
        {"extra_body": {"headers": [{"auth": "x"}]}},
        {"model": "sk-1234567890abcdef1234"},
        {"api_key_env": "sk-1234567890abcdef1234"},
        {"api_key_env": "AIzaSy1234567890abcdefghij"},
        {"api_key_env": "lowercase0123"},
    ],
)
def test_a_key_in_the_file_is_refused_and_never_repeated(change):
    text = refused({**OPENAI, **change})
    assert "c.toml" in text
    assert "environment" in text
    for secret in ("1234567890", "plain", "lowercase0123"):
        assert secret not in text


def test_names_are_unique_and_tasks_known():
    again = [OPENAI, OPENAI]
    assert "two systems are called 'a'" in refused(OPENAI, systems=again)
    assert "two tasks are called 'qualitative'" in refused(OPENAI, tasks=[TASK, TASK])
    recorded = {"kind": "recorded", "name": "r", "path": "x", "task": "mme"}
    assert "task 'mme', which is not in the file" in refused(recorded)
    assert "need their source" in refused({"kind": "published", "name": "p", "scores": {"OCR": 1.0}})


def test_missing_parts_are_named():
    assert "systems[1] (a).model" in refused({k: v for k, v in OPENAI.items() if k != "model"})
    assert "folder" in refused(OPENAI, tasks=[{"kind": "mme"}])
    with pytest.raises(ConfigError, match=r"tasks in c\.toml is missing"):
        config.parse({"systems": [OPENAI]}, Path("c.toml"))
    with pytest.raises(ConfigError, match=r"systems in c\.toml"):
        config.parse({"systems": 3, "tasks": [TASK]}, Path("c.toml"))
    with pytest.raises(ConfigError, match=r"systems\[1\]"):
        config.parse({"systems": [3], "tasks": [TASK]}, Path("c.toml"))


def test_files_that_are_no_toml(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match="larger than"):
        config.load(tmp_path / "c.toml")
