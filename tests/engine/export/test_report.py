"""The page as text: nothing escapes its quotes, nothing leads outside."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mellm.engine.export import judged_band
from mellm.engine.export.report import to_html
from mellm.engine.results.run_reader import Marker, Run, read_run
from tests.engine.export.made import HOSTILE, RECORDS, run_folder

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
    assert page.count("<script") == 2  # the data, and what reads it
    assert HOSTILE in " ".join("".join(Reader(page).words).split())


def test_hostile_names_are_words_too(made):
    records = tuple(replace(r, id=HOSTILE_ID, source="talk") for r in made.expressions[:1])
    state = {**made.state, "settings": {"purpose": "<script>x</script>", "describer": HOSTILE_ID}}
    run = Run(made.path, state, records, made.events, (Marker(1, HOSTILE_ID),))
    reader = Reader(to_html(run))
    assert reader.tags.count("script") == 2
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


def test_the_band_shows_what_could_be_judged(made, page):
    lanes = re.findall(r'<div class="lane judged".*?</div>', page)
    assert len(lanes) == 2  # one for each face
    levels = re.findall(r'<path class="([a-z]+)" d="([^"]+)"', lanes[0])
    assert [name for name, _ in levels] == ["good", "fair", "hidden"]
    paths = dict(levels)
    width = int(re.search(r'viewBox="0 0 (\d+) 2"', lanes[0])[1])
    assert width == 150  # 30 s in steps of 200 ms
    # upper half: judged for ten seconds, at 3 % for ten more but for the missing second; lower half: hidden throughout
    assert paths["good"] == "M0 0h50v1h-50z"
    assert paths["fair"] == "M50 0h25v1h-25zM80 0h20v1h-20z"
    assert "M0 1h75v1h-75z" in paths["hidden"]


def test_the_band_of_an_hour_is_no_larger(tmp_path):
    from tests.engine.export.made import series_line

    folder = run_folder(tmp_path / "run")
    with (folder / "scores" / "talk.jsonl").open("w") as lines:
        for second in range(3600):
            lines.write(json.dumps(series_line(1, second, 1.0 + second % 5, 10.0)) + "\n")
    (band,) = judged_band.bands(folder, "talk", 3_600_000.0).values()
    assert int(band[0]["width"]) == judged_band.BINS
    assert sum(len(part["path"]) for part in band) < 20 * 2 * judged_band.BINS


def test_rates_are_per_judged_minute_and_time_is_with_a_face(page):
    words = " ".join(Reader(page).words)
    assert "13.6 a judged minute" in words  # five in 22 seconds
    assert "about 80\xa0%: of expressions of that size about 20 in 100 are missed" in words
    assert "upper face 00:21, lower face 00:03" in words
    assert "upper face 2.4 %, lower face 7.1 %" in words
    assert "21.0 s (63 %)" in words
    assert "motions of 1.8 % (upper face) and 6.4 % (lower face) would have been found" in words


@pytest.mark.parametrize(
    ("judged", "counts", "told"),
    [
        (
            {"face_s": 0.0},
            {"frames_with_face": 109, "faces_refused": {"face_small": 109}},
            "face too small in 109 frames",
        ),
        ({"face_s": 0.0}, {"frames_with_face": 0, "faces_refused": {}}, "no face was found"),
        (
            {
                "face_s": 30.0,
                **{half: {"judged_s": {"2": 0.0, "3": 0.0}, "median": 10.0} for half in ("upper", "lower")},
                "either": {"judged_s": {"2": 0.0, "3": 0.0}},
            },
            {"faces_refused": {}},
            "moved so much by itself that a motion of 3 %",
        ),
    ],
)
def test_nothing_judged_is_said_first_and_never_taken_for_nothing_found(tmp_path, judged, counts, told):
    folder = run_folder(tmp_path / "run", ())
    state = json.loads((folder / "run.json").read_text())
    talk = state["sources"]["talk"]
    talk["judged"], talk["counts"] = judged, {**talk["counts"], **counts}
    (folder / "run.json").write_text(json.dumps(state))
    (folder / "events.jsonl").write_text("")
    words = " ".join(" ".join(Reader(to_html(read_run(folder))).words).split())
    assert told in words
    assert words.index("Nothing could be judged") < words.index("Analysed")
    assert "No micro-expression was found" not in words


def test_a_run_of_an_older_version_has_a_report(tmp_path):
    folder = run_folder(
        tmp_path / "run", tuple({k: v for k, v in r.items() if k != "sensitivity"} for r in RECORDS)
    )
    state = json.loads((folder / "run.json").read_text())
    del state["sources"]["talk"]["judged"]
    (folder / "run.json").write_text(json.dumps(state))
    (folder / "scores" / "talk.jsonl").unlink()
    page = to_html(read_run(folder))
    assert "lane judged" not in page
    assert "a minute with a face" in page
