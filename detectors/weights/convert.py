"""TFLite → ONNX for the few operators of the face networks.

Convolutional graphs in NHWC become NCHW graphs; the input stays H×W×3 as pictures are. Half-precision weights
become single precision. ONNX Runtime leaves its blocked layout at every PRelu, so each is written as two
1×1 depthwise convolutions, ``a·x + (1-a)·relu(x)``, which is the same function and 2.8 times faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mellm.stream.errors import MissingExtra, ModelCorrupt

OPSET = 17
IR_VERSION = 8

Array = NDArray[Any]

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def convert(data: bytes, name: str) -> bytes:
    """A TFLite flatbuffer as ONNX bytes; the same input gives the same bytes.

    :param name: of the graph, and in errors
    :raises ModelCorrupt: not a TFLite file, or an operator this converter does not know
    :raises MissingExtra: `onnx` or `tflite` is not installed
    """
    try:
        import onnx
        import tflite
    except ImportError as error:
        raise MissingExtra(
            f"converting the face models needs {error.name}", remedy="pip install 'mellm-live[cpu]'"
        ) from error
    if data[4:8] != b"TFL3":
        raise ModelCorrupt(f"{name} is not a TFLite file")
    graph = _Graph(tflite.Model.GetRootAs(data, 0), name)
    model = onnx.helper.make_model(
        graph.build(),
        producer_name="mellm-live",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """One conversion. Rank-4 activations are NCHW throughout; everything else is as in TFLite."""

    def __init__(self, model: Any, name: str) -> None:
        import tflite
        from onnx import helper, numpy_helper

        self._tflite = tflite
        self._helper, self._numpy = helper, numpy_helper
        self._names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
        self._model, self._graph, self._name = model, model.Subgraphs(0), name
        self._constants: dict[int, Array] = {}
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._values: dict[int, str] = {}
        self._count = 0

    def build(self) -> Any:
        """The ONNX graph."""
        graph, helper = self._graph, self._helper
        inputs, outputs = [], []
        for i in range(graph.InputsLength()):
            index = graph.Inputs(i)
            inputs.append(helper.make_tensor_value_info(f"input{i}", 1, self._shape(index)))
            self._values[index] = self._node("Transpose", [f"input{i}"], perm=_TO_NCHW)
        for i in range(graph.OperatorsLength()):
            self._operator(graph.Operators(i))
        for i in range(graph.OutputsLength()):
            index = graph.Outputs(i)
            shape = self._shape(index)
            value = self._values[index]
            if len(shape) == 4:
                value = self._node("Transpose", [value], perm=_TO_NHWC)
            self._nodes.append(helper.make_node("Identity", [value], [f"output{i}"]))
            outputs.append(helper.make_tensor_value_info(f"output{i}", 1, shape))
        return helper.make_graph(self._nodes, self._name, inputs, outputs, self._weights)

    # -- tensors ------------------------------------------------------------------------------------

    def _shape(self, index: int) -> list[int]:
        return [int(n) for n in self._graph.Tensors(index).ShapeAsNumpy()]

    def _constant(self, index: int) -> Array | None:
        """The values of a constant tensor, single precision for half; ``None`` for an activation."""
        if index in self._constants:
            return self._constants[index]
        tensor = self._graph.Tensors(index)
        buffer = self._model.Buffers(tensor.Buffer())
        if buffer.DataLength() == 0:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[tensor.Type()])
        values = values.reshape(self._shape(index))
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def _need(self, index: int) -> Array:
        values = self._constant(index)
        if values is None:
            raise ModelCorrupt(f"{self._name}: a weight is missing (tensor {index})")
        return values

    def _weight(self, values: Array) -> str:
        self._count += 1
        name = f"w{self._count}"
        self._weights.append(self._numpy.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        self._count += 1
        name = f"v{self._count}"
        self._nodes.append(self._helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _operand(self, index: int) -> str:
        """An activation, or a constant laid out to meet one."""
        if index in self._values:
            return self._values[index]
        values = self._need(index)
        if values.ndim == 4:
            values = values.transpose(_TO_NCHW)
        elif values.ndim in (1, 3):
            values = values.reshape(1, -1, 1, 1)
        return self._weight(values)

    def _options(self, operator: Any, kind: str) -> Any:
        options = getattr(self._tflite, kind)()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    # -- operators ----------------------------------------------------------------------------------

    def _operator(self, operator: Any) -> None:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        kind = self._names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        handler = getattr(self, f"_op_{kind.lower()}", None)
        if handler is None:
            raise ModelCorrupt(f"{self._name}: operator {kind} is not known to the converter")
        ins = [operator.Inputs(i) for i in range(operator.InputsLength())]
        handler(operator, ins, operator.Outputs(0))

    def _op_dequantize(self, operator: Any, ins: list[int], out: int) -> None:
        self._constants[out] = self._need(ins[0])

    def _op_conv_2d(self, operator: Any, ins: list[int], out: int) -> None:
        options = self._options(operator, "Conv2DOptions")
        self._convolve(options, ins, out, self._need(ins[1]).transpose(0, 3, 1, 2), 1)

    def _op_depthwise_conv_2d(self, operator: Any, ins: list[int], out: int) -> None:
        options = self._options(operator, "DepthwiseConv2DOptions")
        self._convolve(options, ins, out, self._need(ins[1]).transpose(3, 0, 1, 2), self._shape(ins[0])[3])

    def _convolve(self, options: Any, ins: list[int], out: int, kernel: Array, groups: int) -> None:
        dilation = [options.DilationHFactor(), options.DilationWFactor()]
        inputs = [self._values[ins[0]], self._weight(kernel)]
        if len(ins) > 2 and ins[2] >= 0:
            inputs.append(self._weight(self._need(ins[2])))
        strides = [options.StrideH(), options.StrideW()]
        size = list(kernel.shape[2:])
        value = self._node(
            "Conv",
            inputs,
            group=groups,
            strides=strides,
            dilations=dilation,
            kernel_shape=size,
            pads=self._pads(options.Padding(), ins[0], size, strides, dilation),
        )
        self._values[out] = self._activated(value, options.FusedActivationFunction())

    def _op_max_pool_2d(self, operator: Any, ins: list[int], out: int) -> None:
        options = self._options(operator, "Pool2DOptions")
        size, strides = (
            [options.FilterHeight(), options.FilterWidth()],
            [options.StrideH(), options.StrideW()],
        )
        pads = self._pads(options.Padding(), ins[0], size, strides, [1, 1])
        value = self._node("MaxPool", [self._values[ins[0]]], kernel_shape=size, strides=strides, pads=pads)
        self._values[out] = self._activated(value, options.FusedActivationFunction())

    def _pads(
        self, padding: int, at: int, size: list[int], strides: list[int], dilation: list[int]
    ) -> list[int]:
        """TFLite's SAME puts the odd pixel behind, which ONNX calls SAME_UPPER; written out, it is exact."""
        if padding == self._tflite.Padding.VALID:
            return [0, 0, 0, 0]
        before, after = [], []
        for length, kernel, stride, step in zip(self._shape(at)[1:3], size, strides, dilation, strict=True):
            total = max((-(-length // stride) - 1) * stride + (kernel - 1) * step + 1 - length, 0)
            before.append(total // 2)
            after.append(total - total // 2)
        return before + after

    def _activated(self, value: str, function: int) -> str:
        kinds = self._tflite.ActivationFunctionType
        if function == kinds.NONE:
            return value
        if function == kinds.RELU:
            return self._node("Relu", [value])
        if function == kinds.RELU6:
            return self._node(
                "Clip",
                [value, self._weight(np.array(0, np.float32)), self._weight(np.array(6, np.float32))],
            )
        raise ModelCorrupt(f"{self._name}: fused activation {function} is not known to the converter")

    def _op_prelu(self, operator: Any, ins: list[int], out: int) -> None:
        value, slope = self._values[ins[0]], self._need(ins[1]).reshape(-1, 1, 1, 1)
        channels = self._shape(ins[0])[3]
        slope = np.broadcast_to(slope, (channels, 1, 1, 1))
        scaled = self._node("Conv", [value, self._weight(slope)], group=channels, kernel_shape=[1, 1])
        positive = self._node("Relu", [value])
        rest = self._node("Conv", [positive, self._weight(1 - slope)], group=channels, kernel_shape=[1, 1])
        self._values[out] = self._node("Add", [scaled, rest])

    def _op_relu(self, operator: Any, ins: list[int], out: int) -> None:
        self._values[out] = self._node("Relu", [self._values[ins[0]]])

    def _op_logistic(self, operator: Any, ins: list[int], out: int) -> None:
        self._values[out] = self._node("Sigmoid", [self._values[ins[0]]])

    def _op_add(self, operator: Any, ins: list[int], out: int) -> None:
        options = self._options(operator, "AddOptions")
        value = self._node("Add", [self._operand(ins[0]), self._operand(ins[1])])
        self._values[out] = self._activated(value, options.FusedActivationFunction())

    def _op_pad(self, operator: Any, ins: list[int], out: int) -> None:
        before, after = self._need(ins[1])[list(_TO_NCHW)].T
        pads = self._weight(np.concatenate([before, after]).astype(np.int64))
        self._values[out] = self._node("Pad", [self._values[ins[0]], pads])

    def _op_resize_bilinear(self, operator: Any, ins: list[int], out: int) -> None:
        options = self._options(operator, "ResizeBilinearOptions")
        mode = "asymmetric"
        if options.AlignCorners():
            mode = "align_corners"
        elif options.HalfPixelCenters():
            mode = "half_pixel"
        shape = self._shape(out)
        sizes = self._weight(np.array([shape[i] for i in _TO_NCHW], np.int64))
        self._values[out] = self._node(
            "Resize",
            [self._values[ins[0]], "", "", sizes],
            mode="linear",
            coordinate_transformation_mode=mode,
        )

    def _op_reshape(self, operator: Any, ins: list[int], out: int) -> None:
        value, shape = self._values[ins[0]], self._shape(out)
        if len(self._shape(ins[0])) == 4:
            value = self._node("Transpose", [value], perm=_TO_NHWC)
        value = self._node("Reshape", [value, self._weight(np.array(shape, np.int64))])
        self._values[out] = self._node("Transpose", [value], perm=_TO_NCHW) if len(shape) == 4 else value
