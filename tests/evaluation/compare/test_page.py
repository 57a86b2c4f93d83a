"""The page: what is on it, that it loads nothing, and that nothing on it runs but its own script."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from html.parser import HTMLParser

import pytest

from mellm.evaluation.compare import page
from mellm.evaluation.compare.samples import gather
from tests import PATIENCE_S
from tests.evaluation.compare.made import LONG, NAMES, NASTY, Suite, finished

VOID = {"meta", "img", "input", "wbr", "rect", "br"}


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts.append(data)
        else:
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    results = finished()
    return page.html(results, [gather(result) for result in results.tasks])


@pytest.fixture(scope="module")
def parsed(html) -> Parsed:
    return Parsed(html)


def test_every_element_is_closed_and_nothing_of_others_became_one(parsed):
    assert parsed.open == []
    assert len(parsed.attributes("script")) == 1
    assert len(parsed.attributes("style")) == 1
    assert not [a for _, a in parsed.tags if any(name.startswith("on") or name == "style" for name in a)]
    shown = NASTY.replace("\u202e", "\ufffd")
    assert parsed.text.count(shown) >= 4  # remark, title, prompt, answer
    assert "\u202e" not in parsed.text
    assert "gemini <b>" in parsed.text


def test_no_outside_address(html, parsed):
    addresses = [a[n] for _, a in parsed.tags for n in ("src", "href", "action", "data", "srcset") if n in a]
    assert addresses
    assert all(str(address).startswith(("data:image/", "#")) for address in addresses)
    assert not parsed.attributes("link")
    assert "url(" not in html.split("</style>")[0].split("<style>")[1]
    assert "@import" not in html


def test_the_policy_allows_its_own_script_and_style_alone(parsed):
    (policy,) = [str(a["content"]) for a in parsed.attributes("meta") if "http-equiv" in a]
    style, script = parsed.scripts
    for text, name in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_answers_stand_side_by_side_in_the_order_of_the_file(parsed):
    models = [str(a["data-model"]) for a in parsed.attributes("div") if "data-model" in a]
    assert models[:8] == [*NAMES, *NAMES]
    assert {a["data-state"] for a in parsed.attributes("div") if "data-state" in a} == {
        *("answered", "refused", "failed", "unsupported")
    }
    for said in (
        "no answer within 60 s",
        "I cannot help with that.",
        "cut short",
        "step by step",
        "names the disc",
    ):
        assert said in parsed.text


def test_filters_name_every_domain_and_model(parsed, html):
    domains = re.search(r'<select id="domain">(.*?)</select>', html, re.S)
    assert domains
    assert re.findall(r"<option>([^<]*)", domains[1]) == [
        *("Fundamental Perception", "Advanced Cognition", "Expert Capacity")
    ]
    boxes = [a["value"] for a in parsed.attributes("input") if a.get("type") == "checkbox"]
    assert boxes == list(NAMES)
    articles = {str(a["data-domain"]) for a in parsed.attributes("article")}
    assert {"Fundamental Perception", "Advanced Cognition", "Expert Capacity"} <= articles


def test_what_was_not_run_says_so_and_what_is_left_out_too(parsed):
    assert parsed.text.count("published, not run") == 3 + 2  # three rows, two remarks
    assert "of 166 questions, spread evenly over each sub-task; all are in answers.jsonl" in parsed.text


def test_a_long_answer_is_folded_and_whole():
    folded = page.fold(LONG)
    assert folded.head + folded.rest == LONG
    assert len(folded.head) <= page.FOLD
    assert folded.rest.startswith(" ")
    assert page.fold("x" * 3000).head == "x" * page.FOLD
    assert page.fold("a\r\nb\rc") == page.Folded("a\nb\nc", "")


def test_a_run_of_one_task_has_no_choice_of_tasks():
    results = finished(tasks=[Suite()], interrupted=True)
    text = page.html(results, [gather(result) for result in results.tasks])
    assert '<select id="task">' not in text
    assert "This run is not complete" in text


FILTER = """
const domain = document.getElementById("domain");
domain.value = "Expert Capacity";
domain.dispatchEvent(new Event("change"));
const box = document.querySelector("#models input");
box.checked = false;
box.dispatchEvent(new Event("change"));
const shown = (what) => [...document.querySelectorAll(what)].filter((n) => n.checkVisibility()).length;
document.title = ["done", shown(".sample"), shown(".answer"), document.getElementById("count").textContent,
  document.documentElement.scrollWidth <= window.innerWidth].join("|");
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_filters_by_domain_and_model_and_needs_no_sideways_scrolling(
    html, browser, tmp_path, width
):
    digest = base64.b64encode(hashlib.sha256(FILTER.encode()).digest()).decode()
    path = tmp_path / "page.html"
    allowed = html.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    path.write_text(allowed.replace("</body>", f"<script>{FILTER}</script></body>"))
    done = subprocess.run(
        [
            *(
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}",
            ),
            *("--virtual-time-budget=3000", f"--window-size={width},900", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "<title>done|2|6|2 of 46 questions|true</title>" in done.stdout
