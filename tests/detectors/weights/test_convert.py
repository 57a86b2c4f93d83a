"""Each operator against a plain NumPy account of what TFLite means by it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mellm.detectors.weights.convert import convert
from mellm.stream.errors import ModelCorrupt
from tests.detectors.tflite_builder import SAME, VALID, Builder

onnxruntime = pytest.importorskip("onnxruntime")
Array = NDArray[np.float32]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(data: bytes, x: Array) -> Array:
    loaded = onnxruntime.InferenceSession(convert(data, "small"), providers=["CPUExecutionProvider"])
    out: Array = loaded.run(None, {"input0": x})[0]
    return out


def windows(
    x: Array, kernel: int, stride: int, padding: int, fill: float = 0
) -> tuple[list[list[Array]], tuple[int, int]]:
    """All windows of an N×H×W×C array, padded as TFLite pads: the odd pixel behind."""
    size = [-(-n // stride) if padding == SAME else (n - kernel) // stride + 1 for n in x.shape[1:3]]
    pads = [(0, 0)]
    for n, out in zip(x.shape[1:3], size, strict=True):
        total = max((out - 1) * stride + kernel - n, 0) if padding == SAME else 0
        pads.append((total // 2, total - total // 2))
    wide = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    rows = [
        [wide[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel] for j in range(size[1])]
        for i in range(size[0])
    ]
    return rows, (size[0], size[1])


def each(rows: list[list[Array]], of: Callable[[Array], Array]) -> Array:
    return np.stack([np.stack([of(window) for window in row], axis=1) for row in rows], axis=1)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "size"), [(3, (6, 7)), (2, (6, 6)), (5, (9, 8))])
def test_convolution_pads_and_strides_as_tflite(
    padding: int, stride: int, kernel: int, size: tuple[int, int]
) -> None:
    x, w, bias = random(1, *size, 3), random(4, kernel, kernel, 3, seed=1), random(4, seed=2)
    rows, out = windows(x, kernel, stride, padding)
    wanted = each(rows, lambda window: np.einsum("nhwc,ohwc->no", window, w) + bias)
    b = Builder()
    ends = [b.input(*x.shape), b.constant(w), b.constant(bias)]
    y = b.op("CONV_2D", ends, (1, *out, 4), "Conv2DOptions", Padding=padding, StrideH=stride, StrideW=stride)
    np.testing.assert_allclose(run(b.finish(y), x), wanted, atol=1e-5)


def test_depthwise_convolution_with_half_precision_weights_and_fused_relu6() -> None:
    x, w = 4 * random(1, 8, 8, 3), random(1, 3, 3, 3, seed=1).astype(np.float16)
    rows, out = windows(x, 3, 2, SAME)
    wanted = each(rows, lambda window: np.clip((window * w[0].astype(np.float32)).sum(axis=(1, 2)), 0, 6))
    b = Builder()
    at = b.input(*x.shape)
    wide = b.op("DEQUANTIZE", [b.constant(w)], w.shape)
    y = b.op(
        "DEPTHWISE_CONV_2D",
        [at, wide],
        (1, *out, 3),
        "DepthwiseConv2DOptions",
        Padding=SAME,
        StrideH=2,
        StrideW=2,
        DepthMultiplier=1,
        FusedActivationFunction=3,
    )
    np.testing.assert_allclose(run(b.finish(y), x), wanted, atol=1e-4)


def test_prelu_is_the_same_function_without_the_slow_operator() -> None:
    x, slope = random(1, 4, 4, 5), random(1, 1, 5, seed=1)
    b = Builder()
    data = b.finish(b.op("PRELU", [b.input(*x.shape), b.constant(slope)], x.shape))
    np.testing.assert_allclose(run(data, x), np.where(x > 0, x, slope * x), atol=1e-6)
    assert b"PRelu" not in convert(data, "small")


def test_max_pooling() -> None:
    x = random(1, 5, 6, 2) - 10  # a zero from padding would win
    rows, out = windows(x, 2, 2, SAME, fill=-np.inf)
    b = Builder()
    y = b.op(
        "MAX_POOL_2D",
        [b.input(*x.shape)],
        (1, *out, 2),
        "Pool2DOptions",
        Padding=SAME,
        StrideH=2,
        StrideW=2,
        FilterHeight=2,
        FilterWidth=2,
    )
    np.testing.assert_allclose(run(b.finish(y), x), each(rows, lambda w: w.max(axis=(1, 2))), atol=0)


def test_channels_padded_behind_and_added_as_in_a_shortcut() -> None:
    x, other = random(1, 3, 4, 2), random(1, 3, 4, 5, seed=1)
    pads = np.array([[0, 0], [0, 0], [0, 0], [0, 3]], np.int32)
    b = Builder()
    wide = b.op("PAD", [b.input(*x.shape), b.constant(pads)], other.shape)
    y = b.op("ADD", [wide, b.constant(other)], other.shape, "AddOptions", FusedActivationFunction=1)
    wanted = np.maximum(np.pad(x, pads.tolist()) + other, 0)
    np.testing.assert_allclose(run(b.finish(y), x), wanted, atol=1e-6)


@pytest.mark.parametrize("half", [0, 1])
def test_bilinear_resize(half: int) -> None:
    x = random(1, 3, 3, 2)
    at = (np.arange(6) + 0.5) / 2 - 0.5 if half else np.arange(6) / 2
    low = np.clip(np.floor(at), 0, 2).astype(int)
    part = np.clip(at, 0, 2) - np.clip(np.floor(at), 0, 2)
    high = np.minimum(low + 1, 2)
    rows = x[:, low] * (1 - part)[None, :, None, None] + x[:, high] * part[None, :, None, None]
    wanted = rows[:, :, low] * (1 - part)[:, None] + rows[:, :, high] * part[:, None]
    b = Builder()
    ends = [b.input(*x.shape), b.constant(np.array([6, 6], np.int32))]
    y = b.op("RESIZE_BILINEAR", ends, (1, 6, 6, 2), "ResizeBilinearOptions", HalfPixelCenters=half)
    np.testing.assert_allclose(run(b.finish(y), x), wanted, atol=1e-5)


def test_reshape_reads_channels_last() -> None:
    x = random(1, 2, 3, 4)
    b = Builder()
    flat = b.op("RESHAPE", [b.input(*x.shape)], (1, 6, 4))
    y = b.op("LOGISTIC", [flat], (1, 6, 4))
    np.testing.assert_allclose(run(b.finish(y), x), 1 / (1 + np.exp(-x.reshape(1, 6, 4))), atol=1e-6)


def test_same_input_gives_the_same_bytes() -> None:
    b = Builder()
    data = b.finish(b.op("RELU", [b.input(1, 2, 2, 1)], (1, 2, 2, 1)))
    assert convert(data, "small") == convert(data, "small")


def test_what_it_does_not_know_is_named() -> None:
    b = Builder()
    data = b.finish(b.op("SOFTMAX", [b.input(1, 2)], (1, 2)))
    with pytest.raises(ModelCorrupt, match="SOFTMAX is not known"):
        convert(data, "odd")
    with pytest.raises(ModelCorrupt, match="not a TFLite file"):
        convert(b"PK\x03\x04 something else", "odd")
