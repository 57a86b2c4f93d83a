"""What the documents point at is there: files, headings, verbs and their flags, and code that runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mellm.clients.cli import VERBS, mellm
from mellm.engine.config import Settings, TokenSettings, load
from mellm.stream.sources.formats import SUFFIXES
from tests import PATIENCE_S, REPO

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
GROUPS = "(?:models |train |dataset |eval |audit )?"
VERB = re.compile(rf"(?<![\w/])(?:\.venv/bin/|\$\(BIN\)/)?mellm ({GROUPS}[a-z]+)((?: [^`\n|]*)?)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=REPO, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("not a git checkout: which documents are its own is not known")
    return [REPO / name for name in listed if (REPO / name).exists()]


def code(text: str) -> list[str]:
    """Code spans and blocks: outside of them, the word after "mellm" need not be a verb."""
    blocks = [body for _, body in BLOCK.findall(text)]
    return [*blocks, *re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))]


def anchors(text: str) -> set[str]:
    """Headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_somewhere():
    broken = []
    for document in documents():
        for target in LINK.findall(BLOCK.sub("", document.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (document.parent / name) if name else document
            if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
                broken.append(f"{document.relative_to(REPO)}: {target}")
    assert not broken


def test_every_command_in_the_documents_exists_with_its_flags():
    wrong = []
    for document in [*documents(), REPO / "Makefile"]:
        text = document.read_text()
        for piece in code(text) if document.suffix == ".md" else [text]:
            for names, rest in VERB.findall(piece.replace("\\\n", " ")):
                problem = _problem(names.split(), rest.partition(" #")[0])
                if problem:
                    wrong.append(f"{document.relative_to(REPO)}: mellm {names}{rest}: {problem}")
    assert not wrong


def _problem(names: list[str], rest: str) -> str:
    if names[0] not in VERBS:
        return f"no verb {names[0]}"
    command = mellm.get_command(click.Context(mellm), names[0])
    for name in names[1:]:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
        if command is None:
            return f"no verb {name}"
    assert command is not None
    if isinstance(command, click.Group):
        return ""
    known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) - known
    return f"no {', '.join(sorted(unknown))}" if unknown else ""


def test_python_in_the_readme_is_python_and_ten_lines_long():
    blocks = [
        body for language, body in BLOCK.findall((REPO / "README.md").read_text()) if language == "python"
    ]
    assert blocks
    for body in blocks:
        ast.parse(body)
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 10


def test_the_configuration_page_names_every_key_with_its_default(tmp_path):
    text = (REPO / "docs" / "configuration.md").read_text()
    (block,) = [body for language, body in BLOCK.findall(text) if language == "toml"]
    (tmp_path / "all.toml").write_text(block)
    shown, default = load(tmp_path / "all.toml"), Settings()
    examples = set(re.findall(r"^(\w+) = .*# e\.g\.", block, re.M))
    for name in ("faces", "spotting", "describer", "server", "bus"):
        section, given = getattr(shown, name), getattr(default, name)
        assert section.model_fields_set == set(type(section).model_fields)
        for key in section.model_fields_set - examples:
            assert getattr(section, key) == getattr(given, key), f"{name}.{key}"
    assert shown.model_fields_set == set(Settings.model_fields)
    assert shown.sources[0].model_fields_set == set(type(shown.sources[0]).model_fields)
    assert set().union(*(token.model_fields_set for token in shown.tokens)) == set(TokenSettings.model_fields)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation site; a warning of the build is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-d",
        str(out / "read"),
    ]
    done = subprocess.run(
        [*command, "docs", str(out / "html")],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out / "html"


def test_the_site_has_every_page_and_the_reference_from_the_code(site):
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    written = {
        d.relative_to(REPO / "docs").with_suffix("").as_posix() for d in documents() if "docs" in d.parts
    }
    assert written - {"schema/README"} <= pages
    assert "push.start" in (site / "reference" / "messages.html").read_text()
    assert "mellm-analyze" in (site / "reference" / "command-line.html").read_text()
    assert "add_marker" in (site / "reference" / "python.html").read_text()


def test_the_site_asks_no_other_address(site):
    loaded = re.compile(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)|<link[^>]+href="(https?:[^"]+)"')
    found = {match for page in site.rglob("*.html") for match in loaded.findall(page.read_text())}
    assert not found


def test_the_page_about_recordings_lists_the_types_that_are_read():
    page = (REPO / "docs/how-to/recordings.md").read_text()
    (listed,) = re.findall(r"^\*\*Types\.\*\* (.*), and folders", page, re.M)
    assert re.findall(r"`(\.\w+)`", listed) == list(SUFFIXES)
