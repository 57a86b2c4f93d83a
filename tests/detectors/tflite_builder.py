"""Writes small TFLite files, so that the converter is tested without the real models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

tflite = pytest.importorskip("tflite", reason="tflite is not installed (extra cpu)")
flatbuffers = pytest.importorskip("flatbuffers")

_TYPES = {"float32": 0, "float16": 1, "int32": 2}
SAME, VALID = 0, 1


class Builder:
    """One graph, written op by op; :meth:`finish` gives the file."""

    def __init__(self) -> None:
        self._tensors: list[tuple[tuple[int, ...], int, bytes]] = []
        self._operators: list[tuple[str, list[int], int, str, dict[str, int]]] = []
        self._inputs: list[int] = []

    def input(self, *shape: int) -> int:
        """A float32 input."""
        self._inputs.append(self._tensor(shape, "float32", b""))
        return self._inputs[-1]

    def constant(self, values: np.ndarray) -> int:
        """Weights, or a shape."""
        return self._tensor(values.shape, str(values.dtype), np.ascontiguousarray(values).tobytes())

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: str = "",
        **settings: int,
    ) -> int:
        """An operator with one float32 output of the shape."""
        out = self._tensor(tuple(shape), "float32", b"")
        self._operators.append((kind, list(inputs), out, options, settings))
        return out

    def finish(self, *outputs: int) -> bytes:
        """The file."""
        b = flatbuffers.Builder(0)
        blobs = [b.CreateByteVector(data) if data else None for _, _, data in self._tensors]
        buffers = [_table(b, "Buffer", {})] + [
            _table(b, "Buffer", {"Data": blob} if blob else {}) for blob in blobs
        ]
        shapes = [_ints(b, shape) for shape, _, _ in self._tensors]
        tensors = [
            _table(b, "Tensor", {"Shape": shapes[i], "Type": kind, "Buffer": i + 1})
            for i, (_, kind, _) in enumerate(self._tensors)
        ]
        kinds = sorted({kind for kind, *_ in self._operators})
        codes = [
            _table(b, "OperatorCode", {"DeprecatedBuiltinCode": min(n, 127), "BuiltinCode": n})
            for n in (getattr(tflite.BuiltinOperator, kind) for kind in kinds)
        ]
        operators = []
        for kind, inputs, out, options, settings in self._operators:
            fields: dict[str, int] = {"Inputs": _ints(b, inputs), "Outputs": _ints(b, [out])}
            if options:
                fields["BuiltinOptions"] = _table(b, options, settings)
                fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
            operators.append(_table(b, "Operator", {"OpcodeIndex": kinds.index(kind), **fields}))
        graph = {
            "Tensors": _offsets(b, tensors),
            "Inputs": _ints(b, self._inputs),
            "Outputs": _ints(b, outputs),
            "Operators": _offsets(b, operators),
        }
        subgraph = _table(b, "SubGraph", graph)
        model = {
            "Version": 3,
            "OperatorCodes": _offsets(b, codes),
            "Subgraphs": _offsets(b, [subgraph]),
            "Buffers": _offsets(b, buffers),
        }
        b.Finish(_table(b, "Model", model), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _tensor(self, shape: tuple[int, ...], kind: str, data: bytes) -> int:
        self._tensors.append((shape, _TYPES[kind], data))
        return len(self._tensors) - 1


def _table(b: Any, name: str, fields: Mapping[str, int]) -> int:
    getattr(tflite, f"{name}Start")(b)
    for field, value in fields.items():
        getattr(tflite, f"{name}Add{field}")(b, value)
    end: int = getattr(tflite, f"{name}End")(b)
    return end


def _ints(b: Any, values: Sequence[int]) -> int:
    vector: int = b.CreateNumpyVector(np.array(values, np.int32))
    return vector


def _offsets(b: Any, values: Sequence[int]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUOffsetTRelative(value)
    end: int = b.EndVector()
    return end
