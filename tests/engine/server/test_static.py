"""Files of the dashboard: what is in the folder, nothing else."""

from http import HTTPStatus
from pathlib import Path

import pytest

from mellm.engine.server.static import MAX_FILE, StaticPages
from mellm.stream.errors import UsageError


@pytest.fixture
def pages(tmp_path: Path) -> StaticPages:
    (tmp_path / "index.html").write_text("<h1>hello</h1>")
    (tmp_path / "app.js").write_text("1")
    (tmp_path / "secret.py").write_text("password")
    (tmp_path / "below").mkdir()
    return StaticPages(tmp_path)


@pytest.mark.parametrize(
    ("route", "kind"), [("/", "text/html"), ("/index.html", "text/html"), ("/app.js", "text/javascript")]
)
def test_known_files(pages: StaticPages, route: str, kind: str) -> None:
    answer = pages.answer(route, {})
    assert answer is not None
    assert answer.status is HTTPStatus.OK
    assert answer.content_type.startswith(kind)
    tag = dict(answer.headers)["ETag"]
    again = pages.answer(route, {"if-none-match": f"W/{tag}"})
    assert again is not None
    assert (again.status, again.body) == (HTTPStatus.NOT_MODIFIED, b"")


@pytest.mark.parametrize(
    "route", ["/secret.py", "/below", "/../app.js", "//app.js", "app.js", "/app.js/", "/%61pp.js"]
)
def test_nothing_else(pages: StaticPages, route: str) -> None:
    assert pages.answer(route, {}) is None


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        StaticPages(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no index\.html"):
        StaticPages(tmp_path)
    (tmp_path / "index.html").write_bytes(bytes(MAX_FILE + 1))
    with pytest.raises(UsageError, match="over 1 MiB"):
        StaticPages(tmp_path)
