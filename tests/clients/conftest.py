"""A short piece of the shipped sample, and the models."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest

from mellm.clients.cli.demo import SAMPLE
from tests.clients.processes import Said, here, settings_from_outside

CUT_FROM, CUT_FRAMES = 245, 100
"""Of the sample; its second expression (onset 275, apex 285, offset 298) begins 0.6 s after the start."""


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings_from_outside():
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of the sample with one expression, as ``cut.mp4``."""
    return _cut(tmp_path_factory.mktemp("sample") / "cut.mp4", every=1)


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at 25 frames a second, which a busy machine carries live."""
    return _cut(tmp_path_factory.mktemp("calm") / "cut.mp4", every=2)


def _cut(path: Path, every: int) -> Path:
    with av.open(str(SAMPLE / "sample.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=50 // every, options={"crf": "14", "preset": "veryfast"})
        first = source.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        for number, frame in enumerate(source.decode(first)):
            if number == CUT_FROM + CUT_FRAMES:
                break
            if number >= CUT_FROM and (number - CUT_FROM) % every == 0:
                frame.pts, frame.time_base, frame.pict_type = number - CUT_FROM, Fraction(1, 50), 0
                target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Onset and apex of that expression, as pictures."""
    folder = tmp_path_factory.mktemp("pair")
    found = {275: folder / "onset.png", 285: folder / "apex.png"}
    with av.open(str(SAMPLE / "sample.mp4")) as source:
        for number, frame in enumerate(source.decode(video=0)):
            if number in found:
                cv2.imwrite(str(found[number]), frame.to_ndarray(format="bgr24"))
            if number == max(found):
                break
    return found[275], found[285]


@pytest.fixture(scope="session")
def analysed(cut: Path, models: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """The run folder of the piece, not to be written to, and what the command said."""
    folder = tmp_path_factory.mktemp("analysed") / "run"
    return folder, here("analyze", cut, "--out", folder, "--json")
