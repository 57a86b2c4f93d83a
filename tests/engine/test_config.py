from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.config import Settings, load
from mellm.stream.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mellm.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_no_file() -> None:
    settings = load()
    assert settings.describer.kind == "ensemble"
    assert settings.server.host == "127.0.0.1"


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, '[server]\nport = 1000\n[describer]\nmodel = "file"\ntimeout_s = 3')
    monkeypatch.setenv("MELLM_SERVER_PORT", "2000")
    monkeypatch.setenv("MELLM_DESCRIBER_MODEL", "environment")
    settings = load(path, {"server.port": 3000, "describer.model": None})
    assert (settings.server.port, settings.describer.model, settings.describer.timeout_s) == (
        3000,
        "environment",
        3,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[describer]\nmodle = 'x'", r"unknown key 'describer.modle'.*did you mean 'model'"),
        ("describre = 1", "unknown key 'describre'.*did you mean 'describer'"),
        ("[server]\nport = 99999", r"server\.port.*got 99999"),
        ("[spotting]\nthreshold = nan", r"spotting\.threshold"),
        ("[[sources]]\nid = 'a'\nuri = 'x'\nfps = -5", r"sources\[1\]\.fps"),
        ("[[sources]]\nid = '../a'\nuri = 'x'", r"sources\[1\]\.id"),
        (
            "[[sources]]\nid = 'a'\nuri = 'x'\nurl = 'y'",
            r"unknown key 'sources\[1\]\.url'.*did you mean 'uri'",
        ),
        ("[[sources]]\nid='a'\nuri='x'\n[[sources]]\nid='a'\nuri='y'", "two sources are called 'a'"),
        ("server = 3", "server"),
        ("not toml", "is not TOML"),
    ],
)
def test_bad_values_name_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(write(tmp_path, text))
    assert "\n" not in str(caught.value).replace(str(tmp_path), "")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml"):
        load(tmp_path / "nope.toml")


@given(
    section=st.sampled_from(
        [n for n in Settings.model_fields if n not in ("purpose", "medical_or_safety_basis")]
    ),
    key=st.text(min_size=1, max_size=20).filter(lambda s: "." not in s),
    value=st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=3)),
)
def test_any_flag_gives_settings_or_a_typed_error(section: str, key: str, value: object) -> None:
    try:
        settings = load(None, {f"{section}.{key}": value})
    except ConfigError:
        return
    assert isinstance(settings, Settings)
