"""Checking a run on its report, in real browsers: the video beside the timeline, and corrections by key."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mellm.engine.analysis import offline
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.export.report import KEYS, to_html
from mellm.engine.export.report_media import page_data
from mellm.engine.results import corrections
from mellm.engine.results.run_folder import RunFolder
from mellm.engine.results.run_reader import Run, read_run
from tests import PATIENCE_S, REPO
from tests.clients import firefox
from tests.clients.browser import Page, chromium
from tests.engine.moving import FOUND, chain, video

pytestmark = pytest.mark.bare
Tab: TypeAlias = Page | firefox.FirefoxPage
FPS = 30
WHAT = "[report.chosen.onset, report.chosen.apex, report.chosen.offset]"


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def tab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "chromium":
        request.getfixturevalue("browser")
        with chromium(folder) as page:
            yield page
        return
    if firefox.installed() is None:
        pytest.skip("no Firefox is installed")
    with firefox.firefox(folder) as other:
        yield other


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run beside its recording, with the expressions at known times."""
    folder = tmp_path_factory.mktemp("checked")
    recording = video(folder / "brows.mp4", FPS)
    store = RunFolder.create(folder / "run", {"purpose": "self-use"}, {})
    offline.analyze([offline.Recording("brows", str(recording))], store, chain, ScriptedDescriber())
    store.close()
    run = read_run(folder / "run")
    (folder / "run" / "report.html").write_text(to_html(run), encoding="utf-8")
    return run


@pytest.fixture
def page(tab: Tab, whole: Run) -> Tab:
    """The report, with the first picture of the video there."""
    opened(tab, whole.path / "report.html")
    until(tab, "report.$('video').readyState >= 2")
    return tab


def opened(tab: Tab, path: Path) -> None:
    tab.size(1440)
    tab.console.clear()
    tab.open(path.as_uri())


def until(tab: Tab, condition: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not tab.js(condition):
        assert time.monotonic() < deadline, (condition, tab.console)
        time.sleep(0.05)


def press(tab: Tab, *keys: str) -> None:
    for key in keys:
        tab.js(
            f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}})) && 1"
        )


def test_the_video_lies_where_the_page_looks(page: Tab, whole: Run) -> None:
    """Relative to it, so that both can be passed on; and nothing else is asked for."""
    (recording,) = page_data(whole, None, str)["recordings"]
    assert recording["films"][0]["src"] == "../brows.mp4"
    assert str(whole.path.parent) not in (whole.path / "report.html").read_text()
    assert page.console == []


def test_a_mark_seeks_to_its_apex_and_shows_that_frame(page: Tab, whole: Run) -> None:
    for number, record in enumerate(whole.expressions):
        page.js(f"document.querySelectorAll('.mark')[{number}].click()")
        until(page, "!report.$('video').seeking")
        assert page.js("report.chosen.id") == record.id
        assert page.js("report.now().ms") == pytest.approx(record.apex_ms, abs=2)
    # a click on the axis seeks there
    page.js(
        "(() => { const inner = document.querySelector('.inner'), box = inner.getBoundingClientRect();"
        " const clientX = box.left + 12 + (box.width - 24) / 2;"
        " inner.querySelector('.axis').dispatchEvent(new MouseEvent('click', {bubbles: true, clientX})); })()"
    )
    until(page, "!report.$('video').seeking")
    assert page.js("report.now().ms") == pytest.approx(
        whole.state["sources"]["brows"]["media_s"] * 500, abs=20
    )


@pytest.mark.parametrize(("key", "rate"), [("1", 1), ("2", 0.5), ("3", 0.25), ("4", 0.125)])
def test_it_loops_from_onset_to_offset_at_each_speed(page: Tab, key: str, rate: float) -> None:
    press(page, "n", key, "l")
    onset, _, offset = page.js(WHAT)
    until(page, f"!report.$('video').paused && report.$('video').playbackRate === {rate}")
    page.js("(window.turns = 0, report.$('video').addEventListener('seeking', () => { turns += 1; }), 1)")
    seen: list[float] = []
    deadline = time.monotonic() + PATIENCE_S
    while page.js("turns") < 2:
        assert time.monotonic() < deadline
        seen.append(page.js("report.now().ms"))
    # a busy machine shows a frame late: it is out by some, and comes back
    inside = [ms for ms in seen if onset - 40 <= ms <= offset + 3 * 1000 / FPS]
    assert len(inside) > 0.8 * len(seen), (onset, offset, seen)
    press(page, "l")
    assert page.js("report.$('loop').getAttribute('aria-pressed')") == "false"


def test_it_steps_frame_by_frame(page: Tab) -> None:
    press(page, "n")
    until(page, "!report.$('video').seeking")
    start = round(page.js("report.now().ms") * FPS / 1000)
    for expected, key in ((1, "."), (2, "ArrowRight"), (1, ","), (0, "ArrowLeft"), (-1, ",")):
        press(page, key)
        until(page, "!report.$('video').seeking")
        assert int(page.js("report.now().ms") * FPS / 1000 + 0.01) == start + expected


def test_a_video_that_is_not_there_is_said_and_can_be_chosen(tab: Tab, whole: Run, tmp_path: Path) -> None:
    (tmp_path / "passed").mkdir()
    alone = shutil.copy(whole.path / "report.html", tmp_path / "passed" / "report.html")
    opened(tab, Path(alone))
    until(tab, "!report.$('media-note').hidden")
    said = tab.js("report.$('media-note').textContent")
    assert "brows.mp4" in said
    assert "Choose the file" in said
    press(tab, "n")
    if isinstance(tab, firefox.FirefoxPage):
        tab.files("#media-file", whole.path.parent / "brows.mp4")
    else:
        root = tab.call("DOM.getDocument")["root"]["nodeId"]
        node = tab.call("DOM.querySelector", nodeId=root, selector="#media-file")["nodeId"]
        tab.call("DOM.setFileInputFiles", nodeId=node, files=[str(whole.path.parent / "brows.mp4")])
    until(tab, "report.$('video').readyState >= 2 && !report.$('video').seeking")
    assert tab.js("report.now().ms") == pytest.approx(whole.expressions[0].apex_ms, abs=2)
    assert tab.js("report.$('media-note').hidden")


def test_decisions_by_key_are_a_file_that_the_engine_reads(page: Tab, whole: Run, tmp_path: Path) -> None:
    first, second, third, _ = whole.expressions
    assert len(whole.expressions) == FOUND
    press(page, "n", "a")
    assert "initials" in page.js("report.$('review-note').textContent")  # nobody decides without a name
    page.js("report.$('who').value = 'ab'")
    press(page, "a")
    assert page.js("report.chosen.id") == second.id  # on to the next
    page.js("report.$('comment').value = 'talking'")
    press(page, "r")
    for field, value in (("coded-units", "L12+4"), ("offset", "1.500"), ("class", "surprise")):
        page.js(f"report.$('{field}').value = '{value}'")
    page.js("report.decide('correct')")
    press(page, "i")
    held = page.js("report.corrections()")
    path = tmp_path / corrections.FILE
    path.write_text(json.dumps(held))
    found = corrections.read(path)
    assert found.run == whole.state["epoch"]
    one, two, three, added = found.items
    assert (one.id, one.verdict, one.who) == (first.id, "accept", "ab")
    assert (two.id, two.verdict, two.comment) == (second.id, "reject", "talking")
    assert (three.id, three.verdict, three.emotion) == (third.id, "correct", "surprise")
    assert three.units == frozenset({(12, "left"), (4, "both")})
    assert (three.onset_s, three.offset_s) == (None, 1.5)  # what was not touched stays the run's
    assert (added.verdict, added.source) == ("add", "brows")
    assert page.js("report.$('progress').textContent") == f"3 of {FOUND} looked at, 1 added"
    assert (
        page.js("document.querySelector('tbody[data-verdict=reject] .verdict').textContent")
        == "rejected (talking)"
    )
    # what was decided can be filtered, taken back, and opened again
    page.js(
        "(report.$('filter-verdict').value = 'open', report.$('filter-verdict').dispatchEvent(new Event('input')), 1)"
    )
    assert (
        page.js("[...document.querySelectorAll('.expressions tbody')].filter((b) => !b.hidden).length")
        == FOUND - 3
    )
    page.js(
        "(report.$('filter-verdict').value = '', report.$('filter-verdict').dispatchEvent(new Event('input')), 1)"
    )
    page.js(f"report.select(report.byKey.get('e-{second.id}'))")
    press(page, "u")
    assert page.js("report.corrections().items.length") == 3
    page.js(f"(report.openCorrections({json.dumps(path.read_text())}), 1)")
    assert page.js("report.corrections()") == held
    page.js("(report.openCorrections('{}'), 1)")
    assert "no corrections file" in page.js("report.$('review-note').textContent")
    assert page.js("report.corrections()") == held  # what cannot be read takes nothing away
    assert page.console == []


def test_curves_are_drawn_and_pictures_enlarge(tab: Tab, whole: Run, made: Run, tmp_path: Path) -> None:
    opened(tab, whole.path / "report.html")
    press(tab, "n")
    drawn = """[...document.querySelectorAll('canvas')].map((c) => [c.id || c.className, new Set(
        new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size])"""
    colours: dict[str, Any] = dict(tab.js(drawn))
    assert colours["curve"] > 3
    assert colours["near"] > 5
    assert len(tab.js("report.chosen.regions.of")) == 4
    assert "inner brow" in tab.js("report.$('near-key').textContent")
    # the brows are what moved
    path = tmp_path / "report.html"
    dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    shown = {r.id: (dot, dot) for r in made.expressions}
    path.write_text(to_html(made, faces=shown, motion_map=lambda run, record: dot), encoding="utf-8")
    opened(tab, path)
    tab.js("document.querySelector('.trio img').click()")
    assert tab.js("report.$('enlarged').open && report.$('enlarged').querySelectorAll('img').length") >= 3
    tab.js("report.$('enlarged').click()")
    assert tab.js("report.$('enlarged').open") is False
    move = "over.value = 1; over.dispatchEvent(new Event('input', {bubbles: true}))"
    tab.js(f"(() => {{ const over = document.querySelector('.over'); {move}; }})()")
    assert tab.js("getComputedStyle(document.querySelector('.pile .map')).opacity") == "1"
    assert [line for line in tab.console if "talk.mp4" not in line] == []  # which is not there


def test_the_list_of_keys_is_the_keys(tab: Tab, whole: Run) -> None:
    opened(tab, whole.path / "report.html")
    press(tab, "?")
    assert tab.js("report.$('help').open")
    told = {key for keys, _ in KEYS for key in keys}
    script = (REPO / "engine" / "export" / "page" / "js" / "keys.js").read_text()
    table = script[script.index("const KEYS") : script.index("};", script.index("const KEYS"))]
    known = {a or b for a, b in re.findall(r'(?:"(.)"|\b([a-z])): ', table)} | {"1", "2", "3", "4"}
    assert {"space" if key == " " else key for key in known} == told
