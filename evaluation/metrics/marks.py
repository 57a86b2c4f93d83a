"""The place of generated results in a page that is otherwise written by hand."""

from __future__ import annotations

from pathlib import Path

from mellm.stream.errors import UsageError
from mellm.stream.files import write

END = "<!-- end of results -->"


def marked(page: Path, begin: str, end: str = END) -> tuple[str, str]:
    """What stands before and after the place.

    :raises UsageError: the page is not there or has no place for results
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, _, rest = text.partition(begin)
    if begin not in text or end not in rest:
        raise UsageError(
            f"{page} has no place for results", remedy=f"put these two lines into it: {begin} and {end}"
        )
    return before, rest.partition(end)[2]


def put(page: Path, text: str, begin: str, end: str = END) -> None:
    """Put ``text`` into the place; the page is replaced whole."""
    before, after = marked(page, begin, end)
    write(page, f"{before}{begin}\n\n{text}\n{end}{after}")
