import pytest

from mellm.engine.results.run_reader import Run, read_run
from tests.engine.export.made import run_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A run folder of one recording with two faces."""
    return run_folder(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="session")
def made(folder) -> Run:
    return read_run(folder)
