"""What is installed: one package and its metadata, from the wheel, from the source archive, and from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import REPO

pytestmark = pytest.mark.slow

MAX_BYTES = 16_000_000

TRIED = """
import mellm, mellm.clients.cli, mellm.engine.api, mellm.training, mellm.evaluation
from mellm.detectors.stepmodel import OnnxStepModel
from mellm.engine.describe.local import NanoDescriber
from mellm.engine.vllm.checkpoint import whole
from mellm.engine.vllm.model import NANO
from mellm.clients.app import PAGES
OnnxStepModel()
print(NanoDescriber().name)
assert (whole(NANO) / "model.safetensors").stat().st_size > 1 << 20
assert (PAGES / "index.html").is_file()
"""


PROGRAM = """
from collections.abc import Iterator

import mellm


class Mine(mellm.ScriptedDescriber):
    def describe(self, evidence: mellm.Evidence, context: mellm.DescribeContext) -> mellm.Description:
        reveal_type(evidence.regions)
        return super().describe(evidence, context)


def apexes(path: str) -> Iterator[tuple[float, str | None]]:
    for found in mellm.analyze(path, describer=Mine()):
        reveal_type(found)
        yield found.apex_ms, found.text


def wrong(path: str) -> int:
    return mellm.analyze(path, no_such_option=True)


async def live() -> None:
    async with mellm.connect("ws://127.0.0.1:8765") as session:
        async for event in session.events():
            reveal_type(event.type)
"""


def hatch(source: Path, out: Path, target: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatch(REPO, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def wheel_of_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = hatch(REPO, tmp_path_factory.mktemp("sdist"), "sdist")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return hatch(source, tmp_path_factory.mktemp("second"), "wheel")


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_one_package_and_each_weight_once(wheel: Path) -> None:
    found = names(wheel)
    assert {name.partition("/")[0] for name in found} == {"mellm"}
    assert wheel.stat().st_size <= MAX_BYTES
    assert not [name for name in found if name.endswith(".safetensors")]
    assert {"mellm/py.typed", "mellm/engine/describe/models/nano/decoder.onnx"} <= found


def test_the_wheel_of_the_source_archive_is_the_same(wheel: Path, wheel_of_sdist: Path) -> None:
    assert names(wheel_of_sdist) == names(wheel)


@pytest.mark.parametrize("how", ["wheel", "wheel_of_sdist", "editable"])
def test_it_runs_beside_files_of_the_same_names(
    how: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Installed into an environment of its own; the libraries are those of this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    what = ["-e", str(REPO)] if how == "editable" else [str(request.getfixturevalue(how))]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    more = ["--no-build-isolation", "--ignore-installed", "--disable-pip-version-check"]
    subprocess.run([*pip, *more, *what], check=True, timeout=300)
    added = {path.name.partition("-")[0] for path in site.iterdir()} - {"libraries.pth"}
    assert added <= {"mellm", "mellm_live", "_mellm_live.pth", "_editable_impl_mellm_live.pth"}

    here = tmp_path / "empty"
    here.mkdir()
    for name in ("clients", "stream", "engine", "detectors"):
        (here / f"{name}.py").write_text("raise RuntimeError('a file of the user was imported')\n")
    environment = {**os.environ, "PYTHONPATH": "", "MELLM_CACHE": str(tmp_path / "cache")}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    if (
        how == "wheel"
    ):  # py.typed is honoured: a program of the user is held against our types, and nothing of it is Any
        (here / "program.py").write_text(PROGRAM)
        mypy = ["-m", "mypy", "--strict", "--python-executable", str(python), "--cache-dir", str(here)]
        done = subprocess.run(
            [sys.executable, *mypy, "program.py"],
            cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        errors = [line for line in done.stdout.splitlines() if ": error:" in line]
        assert len(errors) == 2, done.stdout
        assert all("program.py:20" in line for line in errors), done.stdout
        assert 'Revealed type is "mellm.engine.results.expressions.ExpressionRecord"' in done.stdout
        assert 'str"' in done.stdout.splitlines()[-2]

    assert run(str(python), "-c", TRIED).startswith("mellm-nano-")
    assert "analyze" in run(str(tmp_path / "env" / "bin" / "mellm"), "--help")
    assert "mellm.v1" in run(str(python), "-m", "mellm.clients.cli", "schema")


def test_no_extra_is_called_like_a_verb() -> None:
    """``pip install mellm-live[serve]`` would be read as what `mellm serve` needs."""
    from mellm.clients.cli import VERBS

    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) & set(VERBS) <= {"train", "eval"}
