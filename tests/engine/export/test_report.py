"""The page as text: nothing escapes its quotes, nothing leads outside."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mellm.engine.export.report import to_html
from mellm.engine.results.run_reader import Marker, Run, read_run
from tests.engine.export.made import HOSTILE, run_folder

DOT = "data:image/webp;base64,UklGRg=="
HOSTILE_ID = '"><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.tags, self.words = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "action", "data"):
                self.links.append(value)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(made):
    return to_html(made, faces={"a" * 16: (DOT, DOT)}, motion_map=lambda run, record: DOT)


def test_every_section_is_there(page):
    found = re.findall(r'<section id="([a-z]+)">', page)
    assert found == ["summary", "timeline", "expressions", "units", "quality", "settings"]
    assert "Not a lie detector" in page
    assert page.count("<tbody id=") == 5
    assert "the motion is too small to tell from noise" in page
    assert page.count("question 1 &lt;b&gt;") == 3  # flag, its title, and the list below


def test_nothing_leads_outside(page):
    reader = Reader(page)
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page
    assert set(reader.links) >= {f"#{i}" for i in reader.ids if i.startswith("e-") and "evidence" not in i}


def test_ids_are_unique_and_every_anchor_exists(page):
    reader = Reader(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)


def test_hostile_words_are_words(page):
    assert page.count("<script") == 1
    assert HOSTILE in " ".join("".join(Reader(page).words).split())


def test_hostile_names_are_words_too(made):
    records = tuple(replace(r, id=HOSTILE_ID, source="talk") for r in made.expressions[:1])
    state = {**made.state, "settings": {"purpose": "<script>x</script>", "describer": HOSTILE_ID}}
    run = Run(made.path, state, records, made.events, (Marker(1, HOSTILE_ID),))
    reader = Reader(to_html(run))
    assert reader.tags.count("script") == 1
    assert "img" not in reader.tags


def test_the_script_is_the_one_that_the_policy_allows(page):
    import base64
    import hashlib

    script = re.search(r"<script>(.*)</script>", page, re.S)
    allowed = re.search(r"script-src 'sha256-([^']+)'", page)
    assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() == allowed[1]


def test_what_is_not_known_is_said(made, tmp_path):
    assert "Pictures of faces were left out." in to_html(made)
    assert "5 of the expressions have no picture" in to_html(made, faces={})
    assert "is not known" in to_html(made)  # the made run names another spotter
    empty = run_folder(tmp_path / "run", ())
    assert "No micro-expression was found." in to_html(read_run(empty))


def test_recordings_are_told_apart(tmp_path):
    page = to_html(read_run(run_folder(tmp_path / "run", sources=("left", "right"))))
    assert page.count('class="scroller"') == 2
    assert "<h3>left</h3>" in page


def test_equal_runs_give_equal_pages(made, folder):
    assert to_html(made) == to_html(read_run(folder))
