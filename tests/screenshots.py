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


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server that plays the sample; the address of its page."""
    config = folder / "mellm.toml"
    config.write_text(SETTINGS.format(sample=SAMPLE / "sample.mp4", folder=folder), encoding="utf-8")
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


def report(page: Page, folder: Path) -> None:
    """The head of the report: summary, timeline and the first expressions."""
    out = folder / "run"
    command = ["analyze", str(SAMPLE / "sample.mp4"), "--out", str(out), "--report"]
    subprocess.run([sys.executable, "-m", "mellm.clients.cli", *command], check=True, cwd=REPO)
    page.size(WIDE, 1400)
    page.open((out / "report.html").as_uri())
    time.sleep(1)
    _keep(page, "report", whole=False)


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
            with serving(folder) as address:
                live(page, address)
            report(page, folder)
            annotated(folder)
            study(page, folder)


if __name__ == "__main__":
    main()
