"""The live view: what it sums up, how it looks, and that a pipe sees none of it."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from rich.console import Console

from mellm.clients.cli.terminal import SCORES_SHOWN, SPARKS, Board, Row, Screen
from tests import PATIENCE_S, REPO


def drawn(board: Board, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(board)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_scores_become_blocks() -> None:
    row = Row()
    assert row.spark() == " " * SCORES_SHOWN
    row.scores.extend([0.0, 0.5, 1.0, 7.0])
    assert row.spark()[-4:] == f" {SPARKS[4]}██"


def test_several_faces_share_a_line_by_the_highest_score() -> None:
    row = Row()
    for track, score in ((1, 0.1), (2, 0.9), (1, 0.2), (2, 0.0), (1, 0.3)):
        row.scored(track, score)
    assert list(row.scores)[-3:] == [0.1, 0.9, 0.3]


def test_the_board_says_how_each_source_is_and_where_expressions_are() -> None:
    board = Board()
    board.observe("source.online", "cam", {})
    board.observe("face.appeared", "cam", {"track": 1})
    for score in range(9):
        board.observe("score", "cam", {"track": 1, "me": score / 8})
    stats = {"captured": 200, "dropped": {"overflow": 5, "decode": 1}, "fps": 29.7, "score_p95_ms": 340.0}
    board.observe("stats", "cam", stats)
    board.observe("source.offline", "door", {})
    for kind in ("spotted", "spotted", "described"):
        board.observe(f"expression.{kind}", "cam", {})
    text = drawn(board)
    cam, door, ends = text.splitlines()[1:]
    assert " ".join(cam.split()) == "cam online ▁▂▃▄▅▆▇█ 1 face 30 fps 3.0% dropped 340 ms late"
    assert door.split()[:2] == ["door", "offline"]
    assert ends == "2 spotted · 1 described · 0 abstained · 0 dropped · 1 waiting for a description"


def test_a_picture_that_froze_is_the_state_until_it_lives() -> None:
    board = Board()
    session = {"run": "cam-1", "state": "begun", "video": False}
    seen = (("source.online", {}), ("source.picture", {"state": "frozen"}), ("source.gap", {}))
    for kind, data in (*seen, ("source.session", session), ("source.new", {})):  # none of these is a state
        board.observe(kind, "cam", data)
    assert "frozen" in drawn(board)
    board.observe("source.picture", "cam", {"state": "live"})
    assert "online" in drawn(board)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ({"fps": 50.0, "faces": None, "gaps": False}, "only 50 fps"),
        ({"fps": 25.0, "faces": 1, "gaps": False}, "only 25 fps, 1 face"),
        ({"fps": 25.0, "faces": 1, "gaps": True}, "overloaded"),
        ({"fps": 0.0, "faces": 0, "gaps": False}, "set aside"),
    ],
)
def test_what_is_left_of_an_overloaded_source_is_its_state_until_all_is_back(
    to: dict[str, Any], words: str
) -> None:
    board = Board()
    board.observe("source.online", "cam", {})
    board.observe("source.degraded", "cam", {"to": to, "degraded": True})
    assert words in drawn(board)
    board.observe("source.degraded", "cam", {"to": to, "degraded": False})
    assert "online" in drawn(board)


def test_narrow_terminals_get_no_broken_lines() -> None:
    board = Board()
    board.observe("source.online", "a-camera-with-a-long-name", {})
    assert max(map(len, drawn(board, 60).splitlines())) <= 60


def test_a_pipe_gets_plain_lines_only() -> None:
    out, err = io.StringIO(), io.StringIO()
    with Screen(out=out, err=err) as screen:
        assert not screen.enabled
        screen.board.observe("source.online", "cam", {})
        screen.data("found [bold]it[/]")
        screen.talk("camera is back")
    assert (out.getvalue(), err.getvalue()) == ("found [bold]it[/]\n", "camera is back\n")


def test_in_a_terminal_the_view_stands_below_the_lines_and_is_gone_at_the_end() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    command = [
        sys.executable,
        "-m",
        "mellm.clients.cli",
        "watch",
        "synthetic:?seconds=60&fps=20",
        "--describer",
        "rules",
    ]
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, cwd=REPO, env=environment
    )
    os.close(follower)
    seen = b""
    asked = False
    deadline = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    seen += os.read(leader, 65536)
                except OSError:  # the terminal's other end is closed
                    break
            if not asked and re.search(rb"[1-9]\d* fps", seen):
                process.send_signal(signal.SIGINT)
                asked = True
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    text = seen.decode()
    assert asked, text[-2000:]
    assert "0 spotted · 0 described" in text
    assert "\x1b[2K" in text  # the view is drawn over, not scrolled
    assert "source.online" in text
