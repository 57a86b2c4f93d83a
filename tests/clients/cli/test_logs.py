import json
import logging
from collections.abc import Iterator

import pytest

from mellm.clients.cli import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.STATES}
    yield
    root.handlers[:], root.level = handlers, level
    for name, had in levels.items():
        logging.getLogger(name).setLevel(had)


def say() -> None:
    states = logging.getLogger("mellm.engine.server.process.state_log")
    states.warning("cam offline", extra={"source": "cäm", "reason": "x"})
    states.info("cam online")
    logging.getLogger("elsewhere").warning("chatter")


def test_json_lines_have_each_fact_under_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    logs.start(verbose=False, structured=True)
    logs.show_states()
    say()
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("time")[:2] == "20"
    assert first == {
        "level": "WARNING",
        "logger": "mellm.engine.server.process.state_log",
        "message": "cam offline",
        "source": "cäm",
        "reason": "x",
    }
    assert second["message"] == "cam online"


def test_text_lines_are_quiet_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.start(verbose=False)
    say()
    assert capsys.readouterr().err == ""
    logs.start(verbose=True)
    say()
    assert [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "cam offline",
        "cam online",
        "chatter",
    ]
