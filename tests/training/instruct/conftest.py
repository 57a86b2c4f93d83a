from pathlib import Path

import pytest

from mellm.training.instruct import build as building
from mellm.training.instruct.build import BuildOptions, build
from tests.training.instruct import made_up

COUNTS = {"train": 5, "validation": 2, "test": 2}


def options(out: Path, **more) -> BuildOptions:
    return BuildOptions(out, **({"counts": COUNTS, "per_person": 2} | more))


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A small data set, made once."""
    out = tmp_path_factory.mktemp("instruct") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building.pairs, "people", made_up.people)
        build(options(out))
    return out
