"""Names that look like something else, and who may open media at all."""

import re
import subprocess
import unicodedata

import av
import cv2
import pytest

from mellm.stream.sources import open_source
from mellm.stream.sources.addresses import redact, scheme_of
from mellm.stream.sources.media import find, open_container
from tests import REPO
from tests.stream.videos import drain, make_video, picture

NAMES = [
    "2026-11-28T10:30:05.mp4",
    "concat:a.mp4",
    "-clip.mp4",
    "100%d.mp4",
    "a#b?c=d.mp4",
    "two\nlines.mp4",
    "me:secret@home.mp4",
    "Jürgen Ä.mp4",
    " blanks .mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_opened_by_everybody(tmp_path, monkeypatch, name):
    made = make_video(tmp_path / "clip.mp4", frames=3)
    (tmp_path / name).write_bytes(made.read_bytes())
    monkeypatch.chdir(tmp_path)
    source = open_source(name, id="clip", live=False)
    assert len(drain(source)[0]) == 3
    assert source.info.uri_redacted == name
    assert redact(name) == name
    with open_container(name) as container:
        assert container.streams.video
    with open_container(f"{name}.mkv", "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(stream.encode())
    assert (tmp_path / f"{name}.mkv").exists()


@pytest.mark.parametrize(("disk", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_or_not(tmp_path, disk, asked):
    folder = tmp_path / unicodedata.normalize(disk, "Größe é")
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"img{number}.png"), picture(number))
    wanted = tmp_path / unicodedata.normalize(asked, "Größe é")
    assert find(wanted) == folder
    assert len(drain(open_source(str(wanted), id="x", live=False, fps=25))[0]) == 3


def test_a_folder_named_by_a_number_is_a_recording_where_one_is_expected(tmp_path, monkeypatch):
    (tmp_path / "001").mkdir()
    monkeypatch.chdir(tmp_path)
    assert scheme_of("001", recording=True) == "path"
    assert scheme_of("001") == scheme_of("2", recording=True) == "camera"


def test_media_is_opened_for_reading_in_one_place():
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=REPO, capture_output=True, text=True, check=True)
    calls = re.compile(r"\bav\.open\((?!\s*(?:str\()?[\w.]+\)?,\s*\"w\")")
    ours = [f for f in files.stdout.split() if not f.startswith(("tests/", "stream/sources/"))]
    found = [(f, line) for f in ours for line in (REPO / f).read_text().splitlines() if calls.search(line)]
    assert [(f, line) for f, line in found if "# in memory" not in line] == []
