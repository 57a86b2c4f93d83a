"""The shipped small model as a checkpoint that vLLM reads.

The wheel holds its weights once, inside of the graphs that the embedded describer runs. For a server they are put back
into ``model.safetensors``, bit for bit: the manifest names its hash.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mellm.detectors.weights.store import cache_dir
from mellm.engine.describe.nano_folder import GRAPHS, MANIFEST
from mellm.stream import files
from mellm.stream.errors import MissingExtra, ModelCorrupt, ModelError

WEIGHTS: Final = "model.safetensors"
HALF: Final = ".half"
"""How graphs call a weight of the checkpoint, which they hold in half precision."""


def whole(folder: Path) -> Path:
    """A folder with ``model.safetensors``: this one, or a copy in the cache with the weights put back.

    :param folder: of a nano model
    :raises ModelCorrupt: the graphs do not hold the weights that the manifest names
    :raises ModelError: the cache cannot be written
    :raises MissingExtra: the package ``onnx`` is not installed
    """
    if (folder / WEIGHTS).is_file():
        return folder
    try:
        listed: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        wanted = listed[WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(
            f"{MANIFEST} in {folder} is incomplete", remedy="install mellm-live again"
        ) from error
    copy = cache_dir() / f"nano-{wanted[:16]}"
    if (copy / WEIGHTS).is_file() and hashlib.sha256((copy / WEIGHTS).read_bytes()).hexdigest() == wanted:
        return copy
    data = weights(folder)
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ModelCorrupt(
            f"the graphs in {folder} do not hold the weights that {MANIFEST} names",
            remedy="install mellm-live again",
        )
    try:
        copy.mkdir(parents=True, exist_ok=True)
        for name in sorted({*listed, MANIFEST} - {WEIGHTS, *GRAPHS}):
            shutil.copyfile(folder / name, copy / name)
        files.write(copy / WEIGHTS, data)
    except OSError as error:
        raise ModelError(
            f"the cache {copy} cannot be written ({error.strerror or error})",
            remedy="set MELLM_CACHE to a folder that can",
        ) from error
    return copy


def weights(folder: Path) -> bytes:
    """``model.safetensors`` as the checkpoint had it: a header that lists tensors by name, then their bytes.

    :raises MissingExtra: the package ``onnx`` is not installed
    """
    found = dict(sorted(_tensors(folder)))
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in found.items():
        head[name] = {
            "dtype": "F16",
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    raw = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + b"".join(t.tobytes() for t in found.values())


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Weights by name; what a graph multiplies by is stored transposed there."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtra(
            "the weights are put together with the package onnx", remedy="pip install 'mellm-live[cpu]'"
        ) from error
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tied = {"lm_head.weight"} if config.get("tie_word_embeddings", True) else set()
    seen = set(tied)
    for graph in GRAPHS:
        model = onnx.load(str(folder / graph))
        multiplied = {
            name for node in model.graph.node if node.op_type == "MatMul" for name in node.input[1:]
        }
        for tensor in model.graph.initializer:
            name = tensor.name.removesuffix(HALF)
            if name == tensor.name or name in seen:
                continue
            seen.add(name)
            value = numpy_helper.to_array(tensor)
            yield name, (value.T if name in multiplied else value).copy(order="C")
