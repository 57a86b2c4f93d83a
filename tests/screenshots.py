"""The pictures of the product in the documents, taken anew: ``python -m tests.screenshots``.

The shipped sample plays as a camera before a server that keeps evidence; a real Chromium shows the live page, then the
report of the same sample. Look at each before it is committed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2

from mellm.clients.cli.demo import SAMPLE
from tests.clients.browser import Page, chromium
from tests.clients.processes import REPO, start

IMAGES = REPO / "docs" / "img"
WIDE = 1280
SETTINGS = """
purpose = "self-use"
[[sources]]
id = "sample"
uri = "{sample}"
preview = true
[server]
port = 0
journal = "{folder}/journal.db"
keep_evidence = "{folder}/maps"
"""
SESSIONS = """
runs = "{folder}/runs"
consent_text = "{folder}/consent.txt"
"""
CONSENT = """A camera measures brief movements of your face while we talk. Pictures, measurements and their
descriptions are kept on this computer until the study ends, and are shown to nobody outside of it.

You may stop at any time and need no reason; then everything kept of you is deleted."""


@contextmanager
def serving(folder: Path, *, sessions: bool = False) -> Iterator[str]:
    """A server that plays the sample; the address of its page.

    :param sessions: the sample waits for a consent on the page
    """
    folder.mkdir(exist_ok=True)
    config = folder / "mellm.toml"
    settings = SETTINGS + (SESSIONS if sessions else "")
    config.write_text(settings.format(sample=SAMPLE / "sample.mp4", folder=folder), encoding="utf-8")
    (folder / "consent.txt").write_text(CONSENT, encoding="utf-8")
    process = start("serve", "--config", config, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        lines = (line.decode() for line in process.stderr)
        yield next(line for line in lines if line.startswith("dashboard at ")).split()[-1]
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()


def until(page: Page, condition: str, seconds: float = 60) -> None:
    """Wait until something is on the page."""
    deadline = time.monotonic() + seconds
    while not page.js(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition}\n{page.js('document.body.innerText')}")
        time.sleep(0.2)


def live(page: Page, address: str) -> None:
    """The page while the fourth expression has just been described."""
    page.size(WIDE, 1000)
    page.open(address)
    until(page, "document.querySelectorAll('.card.described').length >= 4")
    until(page, "document.querySelectorAll('.card figure .apex').length >= 3")
    page.js("document.querySelector('.card.described .moved summary').click()")
    time.sleep(0.5)
    _keep(page, "dashboard")


BUTTON = "[...document.querySelectorAll('#session button')].find((b) => /^{}/.test(b.textContent))"


def session(page: Page, address: str) -> None:
    """A session on the page: the consent, the set-up check, and while it runs."""
    page.size(WIDE, 900)
    page.open(address)
    until(page, "!!document.querySelector('[data-part=session-new]')")
    page.js("document.querySelector('[data-part=session-new]').click()")
    _keep(page, "session-consent", whole=False)
    page.js("document.querySelector('#session input').click()")
    page.js(f"{BUTTON.format('Yes')}.click()")
    until(page, "document.querySelectorAll('.checks li').length >= 4")
    until(page, "!document.querySelector('.checks').textContent.includes('not measured')")
    _keep(page, "session-setup", whole=False)
    page.js(f"{BUTTON.format('Start')}.click()")
    until(page, "document.querySelectorAll('.card.described').length >= 1")
    page.js("document.querySelector('[data-part=session-save]').click()")
    until(page, "document.querySelector('[data-part=session]').textContent.startsWith('Saved as')")


def report(page: Page, folder: Path) -> None:
    """The head of the report: summary, timeline and the first expressions."""
    out = folder / "run"
    command = ["analyze", str(SAMPLE / "sample.mp4"), "--out", str(out), "--report"]
    subprocess.run([sys.executable, "-m", "mellm.clients.cli", *command], check=True, cwd=REPO)
    page.size(WIDE, 1400)
    page.open((out / "report.html").as_uri())
    time.sleep(1)
    _keep(page, "report", whole=False)
    page.size(WIDE, 1000)
    page.js("(report.next(1), report.next(1), 1)")
    page.js("document.documentElement.style.scrollBehavior = 'auto'")
    page.js("scrollTo(0, document.getElementById('player').getBoundingClientRect().top + scrollY - 60)")
    until(page, "report.$('video').readyState >= 2 && !report.$('video').seeking")
    time.sleep(0.5)
    _keep(page, "report-check", whole=False)


def annotated(folder: Path) -> None:
    """A frame of a clip, in its first slow repeat; of the run that :func:`report` has made."""
    clips = folder / "clips"
    command = ["annotate", str(SAMPLE / "sample.mp4"), str(folder / "run")]
    command += ["--clips", str(clips), "--repeat", "3", "--slow", "8"]
    subprocess.run([sys.executable, "-m", "mellm.clients.cli", *command], check=True, cwd=REPO)
    film = sorted(clips.iterdir())[1]
    with av.open(str(film)) as container:
        frame = next(f for f in container.decode(video=0) if f.time > 3)
        cv2.imwrite(
            str(IMAGES / "annotate.jpg"), frame.to_ndarray(format="bgr24"), (cv2.IMWRITE_JPEG_QUALITY, 88)
        )


def study(page: Page, folder: Path) -> None:
    """The head of a study's page: made-up numbers of fifteen people in two conditions."""
    from mellm.engine.study import compare, index_page, tables
    from tests.engine.study.made import THIRTY
    from tests.engine.study.made import study as made

    plan = made(folder / "made", THIRTY, judged={"stress": 0.6})
    loaded = tables.load(plan, folder / "made" / "study")
    text = index_page.to_html("study-7", plan, loaded, compare.compare(loaded), report="report.html")
    (folder / "study.html").write_text(text, encoding="utf-8")
    page.size(WIDE, 1100)
    page.open((folder / "study.html").as_uri())
    time.sleep(0.5)
    _keep(page, "study", whole=False)


def _keep(page: Page, name: str, *, whole: bool = True) -> None:
    # all colours: in a motion map they mean something
    page.shot(IMAGES / f"{name}.png", whole=whole)


def main() -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with chromium(folder) as page:
            with serving(folder / "live") as address:
                live(page, address)
            with serving(folder / "session", sessions=True) as address:
                session(page, address)
            report(page, folder)
            annotated(folder)
            study(page, folder)


if __name__ == "__main__":
    main()
