"""``mellm analyze --report`` and what follows it, on a piece of the sample, with the true models."""

import re
from shutil import copytree

import av
import pytest

from mellm.engine.export.corrections import read_corrections
from mellm.engine.results.run_reader import read_run
from tests.clients.browser import chromium
from tests.clients.processes import here

pytestmark = pytest.mark.xdist_group("analysed")  # one analysis for both modules


@pytest.fixture(scope="module")
def reported(analysed, cut, tmp_path_factory):
    """The same run, asked for its report afterwards."""
    folder = tmp_path_factory.mktemp("report") / "run"
    copytree(analysed[0], folder)
    questions = folder.parent / "questions.csv"
    questions.write_text("time_s,label\n0.5,Why did you leave?\n")
    done = here("analyze", cut, "--out", folder, "--report", "--markers", questions)
    assert done.code == 0, done.err
    assert f"report: {folder}/report.html" in done.err
    return folder


def test_the_report_shows_onset_apex_and_motion_in_a_browser(browser, reported, tmp_path):
    with chromium(tmp_path) as tab:
        tab.size(1280)
        tab.open((reported / "report.html").as_uri())
        assert tab.console == []
        sizes = tab.js("[...document.images].map(i => [i.alt, i.naturalWidth, i.naturalHeight])")
        assert "Why did you leave?" in tab.js("document.body.innerText")
    count = len(read_run(reported).expressions)
    assert count
    for alt in ("Face at the onset", "Face at the apex", "Motion map from onset to apex"):
        assert sum(name == alt and wide > 100 and high > 100 for name, wide, high in sizes) == count


def test_faces_are_left_out_on_request(reported, cut, tmp_path):
    page = here("export", reported, "--to", "html", "--no-faces").out
    assert "Face at the onset" not in page
    assert "Pictures of faces were left out." in page
    assert "Motion map from onset" in page
    # whoever keeps no motion maps keeps no faces either
    assert here("analyze", cut, "--out", tmp_path / "run", "--report", "--no-evidence").code == 0
    assert "<img" not in (tmp_path / "run" / "report.html").read_text()


def test_markers_that_cannot_be_read_are_told_before_the_analysis(cut, tmp_path):
    done = here("analyze", cut, "--out", tmp_path / "run", "--report", "--markers", tmp_path / "none.csv")
    assert done.code == 6
    assert "none.csv cannot be read" in done.err
    assert not (tmp_path / "run").exists()


def test_exported_and_read_back(reported, tmp_path):
    assert here("export", reported, "--to", "eaf", "--out", tmp_path / "cut.eaf").code == 0
    found = [(i.id, i.onset_ms, i.apex_ms, i.offset_ms) for i in read_corrections(tmp_path / "cut.eaf")]
    run = read_run(reported)
    assert found == [(r.id, r.onset_ms, r.apex_ms, r.offset_ms) for r in run.expressions]
    scored = here("eval", "corrections", reported, tmp_path / "cut.eaf")
    assert re.search(rf"untouched {len(found)} of {len(found)}", scored.out)


@pytest.mark.slow
def test_the_annotated_copy_follows_the_same_faces(reported, cut, tmp_path):
    done = here("annotate", cut, reported, "--out", tmp_path / "copy.mp4")
    assert done.code == 0, done.err
    with av.open(str(tmp_path / "copy.mp4")) as copy, av.open(str(cut)) as original:
        pairs = zip(copy.decode(video=0), original.decode(video=0), strict=True)
        changed = [abs(a.to_ndarray().astype(int) - b.to_ndarray().astype(int)).mean() for a, b in pairs]
    assert len(changed) == 100
    assert min(changed) > 1  # boxes and words on every frame
