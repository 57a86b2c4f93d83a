"""``mellm watch --open``: the shipped sample as a camera, all the way to what a browser shows."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mellm.clients.cli import run
from tests import PATIENCE_S
from tests.clients.browser import chromium
from tests.clients.processes import REPO, start
from tests.clients.test_dashboard import SHOTS, until

SAMPLE = REPO / "clients" / "sample" / "sample.mp4"


def address(file: Path) -> str:
    """What the browser was told to open."""
    deadline = time.monotonic() + PATIENCE_S
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "no browser was opened"
        time.sleep(0.1)
    return file.read_text().strip()


def test_the_browser_is_opened_and_shows_face_scores_and_a_described_expression(
    browser: str, tmp_path: Path, models: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, script = tmp_path / "address", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {told}\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{script} %s")
    with chromium(tmp_path) as page:
        process = start("watch", SAMPLE, "--open", "--describer", "rules", stderr=subprocess.DEVNULL)
        try:
            page.size(1280, 1000)
            page.open(address(told))
            until(
                page,
                "document.querySelectorAll('.card.described').length > 0"
                " || document.querySelector('[data-part=state]')?.textContent === 'ended'",
            )
            if not page.js("document.querySelectorAll('.card.described').length"):
                shown = page.js("document.body.textContent")
                lost = re.search(r"dropped \(([\d.]+) %\)", shown)
                assert lost, shown
                assert float(lost[1]) > 30, shown
                pytest.skip(
                    f"this machine is too busy to carry one camera: {lost[1]} % of the frames were dropped"
                )
            until(page, "!!document.querySelector('.card.described .map img')")
            # the picture is there: the schematic face of a source without preview is 320 wide
            until(page, "document.querySelector('[data-part=preview]').width === 640")
            # whoever connects before the source does learns of it all the same
            until(
                page, "['online', 'ended'].includes(document.querySelector('[data-part=state]').textContent)"
            )
            assert page.console == []
            page.shot(SHOTS / "watch-open.png")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [("nosuch.mp4", "no such file"), ("rtsp://127.0.0.1:9/live", "rtsp://127.0.0.1:9/live"), ("99", "99")],
)
def test_a_source_that_cannot_be_opened_is_told_at_once_and_opens_no_browser(
    tmp_path: Path, models: object, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    told = tmp_path / "address"
    monkeypatch.setenv("BROWSER", f"touch {told} %s")
    with start("watch", source, "--open", "--describer", "rules", stderr=subprocess.PIPE) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    last = err.decode().splitlines()[-1]
    assert process.returncode == 3, err
    assert last.startswith("mellm: error: ")
    assert said in last
    assert " — " in last
    assert not told.exists()


def test_json_and_a_page_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "0", "--open", "--json"]) == 2
    assert "choose one" in capsys.readouterr().err
