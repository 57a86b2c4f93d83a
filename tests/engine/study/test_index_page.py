"""The page of a study: what is on it, and what it looks like in a browser."""

import os
import re
from pathlib import Path

import pytest

from mellm.engine.study import compare, index_page, tables
from mellm.engine.study.work import run_of
from tests.clients.browser import chromium
from tests.engine.study.made import THIRTY, study

pytestmark = pytest.mark.bare


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    plan = study(path, THIRTY, judged={"stress": 0.6})
    out = path / "study"
    for entry in plan.entries[:-1]:
        (run_of(out, entry) / "report.html").write_text("<p>report")
    (run_of(out, plan.entries[-1]) / "run.json").unlink()
    loaded = tables.load(plan, out, {plan.entries[-1].name: "<b>not a video"})
    text = index_page.to_html(
        "Stress & calm", plan, loaded, compare.compare(loaded, draws=200), report="report.html"
    )
    (out / "index.html").write_text(text, encoding="utf-8")
    return out / "index.html"


def test_every_recording_is_in_the_table_and_among_the_timelines(page):
    text = page.read_text()
    for name, *_ in THIRTY:
        assert text.count(f">{name}<") == 2
    assert text.count('href="runs/') == 2 * 29
    assert "&lt;b&gt;not a video" in text
    assert "<b>not a video" not in text
    assert "Compare with care." in text
    assert "A coder" not in text
    assert "29 recordings (" in text


def test_it_asks_nothing_of_any_address(page):
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page.read_text())


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_at_any_width(browser, page, width, scheme, tmp_path):
    with chromium(tmp_path) as tab:
        tab.size(width)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(page.as_uri())
        assert tab.console == []
        assert tab.js("document.documentElement.scrollWidth") <= width
        if width == 1440:
            tab.js("document.querySelectorAll('#table thead button')[7].click()")
            tab.js("document.querySelectorAll('#table thead button')[7].click()")
            shown = tab.js(
                "[...document.querySelectorAll('#table tbody tr')].map(r => r.children[7].textContent)"
            )
            numbers = [int(n) for n in shown if n]
            assert numbers == sorted(numbers, reverse=True)
            assert numbers[0] > numbers[-1]
        if out := os.environ.get("SCREENSHOTS"):
            Path(out).mkdir(exist_ok=True)
            tab.shot(Path(out) / f"study-{width}-{scheme}.png")
