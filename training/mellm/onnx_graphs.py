"""The three graphs of an Idefics3 checkpoint, written node by node.

``torch.onnx.export`` takes half a minute for this model, and its faster legacy form writes an invalid graph for the
image encoder. The architecture is small and fixed, so it is written down here with plain operators of opset 20, which
gives small files that are the same for the same weights. Weights are stored in half precision and cast to float32 in
the graph; ONNX Runtime folds the casts when it loads, so a CPU computes in float32 throughout.

Shapes: B pictures or texts, T new tokens, P cached ones, S = P + T, L layers, D width, H heads in K groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mellm.stream.errors import UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20

Weights = Mapping[str, NDArray[np.float32]]
"""Names as ``transformers`` saves them → values."""


class Graph:
    """Collects nodes. Methods take and give names of tensors."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.name = name
        self.weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, shape: Sequence[int | str], *, ids: bool = False) -> str:
        """Declare an input: float32, or int64 for ``ids``."""
        self._inputs.append(_declared(name, shape, ids))
        return name

    def output(self, name: str, tensor: str, shape: Sequence[int | str]) -> None:
        """Declare an output, float32."""
        self.op("Identity", tensor, to=name)
        self._outputs.append(_declared(name, shape, False))

    def op(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        from onnx import helper

        to = to or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [to], **attributes))
        return to

    def split(self, tensor: str, parts: int, axis: int) -> list[str]:
        """Cut into equal parts."""
        from onnx import helper

        names = [f"Split_{len(self._nodes)}_{i}" for i in range(parts)]
        self._nodes.append(helper.make_node("Split", [tensor], names, axis=axis, num_outputs=parts))
        return names

    def constant(self, value: NDArray[Any], name: str = "") -> str:
        """A tensor that is part of the graph."""
        from onnx import numpy_helper

        name = name or f"constant_{len(self._constants)}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def ints(self, *values: int) -> str:
        """A vector of whole numbers: shapes and axes."""
        return self.constant(
            np.array(values, np.int64), "ints_" + "_".join(map(str, values)).replace("-", "m")
        )

    def weight(self, name: str, *, transpose: bool = False) -> str:
        """A weight of the checkpoint, stored in half precision.

        :raises UsageError: the checkpoint has no such weight
        """
        if name not in self.weights:
            raise UsageError(f"the checkpoint has no weight {name}", remedy="give an Idefics3 checkpoint")
        value = self.weights[name]
        stored = f"{name}.half"
        if stored not in self._constants:
            self.constant((value.T if transpose else value).astype(np.float16), stored)
            self._cast(stored, name)
        return name

    def _cast(self, stored: str, name: str) -> None:
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))

    def linear(self, x: str, name: str) -> str:
        """``x·Wᵀ + b``; without ``b`` where the checkpoint has none."""
        y = self.op("MatMul", x, self.weight(f"{name}.weight", transpose=True))
        return self.op("Add", y, self.weight(f"{name}.bias")) if f"{name}.bias" in self.weights else y

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps a side, -1 is what is left over."""
        return self.op("Reshape", x, self.ints(*shape))

    def transpose(self, x: str, *order: int) -> str:
        """Exchange axes."""
        return self.op("Transpose", x, perm=list(order))

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32), f"number_{value!r}")

    def model(self) -> ModelProto:
        """The finished graph, checked.

        :raises onnx.checker.ValidationError: it is wrong
        """
        import onnx
        from onnx import helper

        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="mellm-live"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _declared(name: str, shape: Sequence[int | str], ids: bool) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.INT64 if ids else TensorProto.FLOAT, list(shape))


def vision(config: Mapping[str, Any], weights: Weights) -> ModelProto:
    """``pixels`` (B×3×side×side, RGB in −1…1) → ``image`` (B×tokens×D): encoder, pixel shuffle, projection."""
    eye = config["vision_config"]
    side, patch, width = eye["image_size"], eye["patch_size"], eye["hidden_size"]
    across, heads, scale = side // patch, eye["num_attention_heads"], config["scale_factor"]
    eps, each = eye["layer_norm_eps"], width // heads
    g = Graph("vision", weights)
    x = g.input("pixels", ("B", 3, side, side))
    at = "model.vision_model."
    x = g.op(
        "Conv",
        x,
        g.weight(f"{at}embeddings.patch_embedding.weight"),
        g.weight(f"{at}embeddings.patch_embedding.bias"),
        strides=[patch, patch],
    )
    x = g.transpose(g.reshape(x, 0, width, across * across), 0, 2, 1)
    x = g.op("Add", x, g.weight(f"{at}embeddings.position_embedding.weight"))

    def norm(x: str, name: str) -> str:
        scale_, bias = g.weight(f"{name}.weight"), g.weight(f"{name}.bias")
        return g.op("LayerNormalization", x, scale_, bias, axis=-1, epsilon=eps)

    for layer in range(eye["num_hidden_layers"]):
        here = f"{at}encoder.layers.{layer}."
        y = norm(x, f"{here}layer_norm1")
        q, k, v = (
            g.reshape(g.linear(y, f"{here}self_attn.{which}_proj"), 0, 0, heads, each) for which in "qkv"
        )
        score = g.op("MatMul", g.transpose(q, 0, 2, 1, 3), g.transpose(k, 0, 2, 3, 1))
        share = g.op("Softmax", g.op("Mul", score, g.number(each**-0.5)), axis=-1)
        y = g.transpose(g.op("MatMul", share, g.transpose(v, 0, 2, 1, 3)), 0, 2, 1, 3)
        x = g.op("Add", x, g.linear(g.reshape(y, 0, 0, width), f"{here}self_attn.out_proj"))
        y = g.linear(norm(x, f"{here}layer_norm2"), f"{here}mlp.fc1")
        x = g.op("Add", x, g.linear(g.op("Gelu", y, approximate="tanh"), f"{here}mlp.fc2"))
    x = norm(x, f"{at}post_layernorm")
    few = across // scale
    x = g.reshape(x, 0, few, scale, few, scale * width)
    x = g.reshape(g.transpose(x, 0, 1, 3, 2, 4), 0, few * few, scale * scale * width)
    x = g.linear(x, "model.connector.modality_projection.proj")
    g.output("image", x, ("B", few * few, config["text_config"]["hidden_size"]))
    return g.model()


def embed(config: Mapping[str, Any], weights: Weights) -> ModelProto:
    """``ids`` (B×T) → ``embedded`` (B×T×D)."""
    g = Graph("embed", weights)
    ids = g.input("ids", ("B", "T"), ids=True)
    table = g.weight("model.text_model.embed_tokens.weight")
    g.output("embedded", g.op("Gather", table, ids), ("B", "T", config["text_config"]["hidden_size"]))
    return g.model()


def decoder(config: Mapping[str, Any], weights: Weights) -> ModelProto:
    """One step of the language model.

    ``embedded`` (B×T×D), ``positions`` (T), ``mask`` (T×S, 0 or −large), ``past_k`` and ``past_v`` (L×B×K×P×each) →
    ``logits`` (B×T×vocabulary), ``k`` and ``v`` (L×B×K×S×each).
    """
    text = config["text_config"]
    width, heads, groups = text["hidden_size"], text["num_attention_heads"], text["num_key_value_heads"]
    each, layers = text.get("head_dim") or width // heads, text["num_hidden_layers"]
    fold = heads // groups
    g = Graph("decoder", weights)
    x = g.input("embedded", ("B", "T", width))
    positions = g.input("positions", ("T",), ids=True)
    mask = g.input("mask", ("T", "S"))
    past = [g.input(f"past_{which}", (layers, "B", groups, "P", each)) for which in "kv"]
    pasts = [g.split(tensor, layers, 0) for tensor in past]

    theta = text["rope_parameters"]["rope_theta"]
    turns = theta ** -(np.arange(0, each, 2, dtype=np.float32) / np.float32(each))
    angles = np.arange(text["max_position_embeddings"], dtype=np.float32)[:, None] * turns.astype(np.float32)
    angles = np.concatenate([angles, angles], 1)
    # rotate-half with the sign in the table: x·cos + (second half, first half)·(−sin, +sin)
    sign = np.where(np.arange(each) < each // 2, -1, 1).astype(np.float32)
    cos = g.op("Gather", g.constant(np.cos(angles).astype(np.float32), "cos"), positions)
    sin = g.op("Gather", g.constant((np.sin(angles) * sign).astype(np.float32), "sin"), positions)

    def norm(x: str, name: str) -> str:
        square = g.op("ReduceMean", g.op("Mul", x, x), g.ints(-1), keepdims=1)
        root = g.op("Sqrt", g.op("Add", square, g.number(text["rms_norm_eps"])))
        return g.op("Mul", g.op("Div", x, root), g.weight(f"{name}.weight"))

    def turned(x: str) -> str:
        first, second = g.split(x, 2, -1)
        return g.op("Add", g.op("Mul", x, cos), g.op("Mul", g.op("Concat", second, first, axis=-1), sin))

    kept: dict[str, list[str]] = {"k": [], "v": []}
    for layer in range(layers):
        here = f"model.text_model.layers.{layer}."
        y = norm(x, f"{here}input_layernorm")
        q, k, v = (g.linear(y, f"{here}self_attn.{which}_proj") for which in "qkv")
        q = turned(g.transpose(g.reshape(q, 0, 0, heads, each), 0, 2, 1, 3))
        k = turned(g.transpose(g.reshape(k, 0, 0, groups, each), 0, 2, 1, 3))
        v = g.transpose(g.reshape(v, 0, 0, groups, each), 0, 2, 1, 3)
        for which, new, old in (("k", k, pasts[0][layer]), ("v", v, pasts[1][layer])):
            whole = g.op("Concat", g.op("Squeeze", old, g.ints(0)), new, axis=2)
            kept[which].append(g.op("Unsqueeze", whole, g.ints(0)))
            k, v = (whole, v) if which == "k" else (k, whole)
        # heads of a group share keys and values: B×K×fold×T×each against B×K×1×S×each
        q = g.reshape(q, 0, groups, fold, -1, each)
        k, v = (g.op("Unsqueeze", tensor, g.ints(2)) for tensor in (k, v))
        score = g.op("MatMul", g.op("Mul", q, g.number(each**-0.5)), g.transpose(k, 0, 1, 2, 4, 3))
        share = g.op("Softmax", g.op("Add", score, mask), axis=-1)
        y = g.transpose(g.op("MatMul", share, v), 0, 3, 1, 2, 4)
        x = g.op("Add", x, g.linear(g.reshape(y, 0, 0, heads * each), f"{here}self_attn.o_proj"))
        y = norm(x, f"{here}post_attention_layernorm")
        gate = g.linear(y, f"{here}mlp.gate_proj")
        gate = g.op("Mul", gate, g.op("Sigmoid", gate))
        y = g.op("Mul", gate, g.linear(y, f"{here}mlp.up_proj"))
        x = g.op("Add", x, g.linear(y, f"{here}mlp.down_proj"))
    x = norm(x, "model.text_model.norm")
    g.output("logits", g.linear(x, "lm_head"), ("B", "T", text["vocab_size"]))
    for which, tensors in kept.items():
        g.output(which, g.op("Concat", *tensors, axis=0), (layers, "B", groups, "S", each))
    return g.model()


def check(config: Mapping[str, Any]) -> None:
    """Refuse architectures that these graphs do not describe.

    :raises UsageError: naming the setting
    """
    eye, text = config.get("vision_config", {}), config.get("text_config", {})
    wanted = {
        "model_type": (config.get("model_type"), "idefics3"),
        "text_config.model_type": (text.get("model_type"), "llama"),
        "text_config.hidden_act": (text.get("hidden_act"), "silu"),
        "vision_config.hidden_act": (eye.get("hidden_act"), "gelu_pytorch_tanh"),
        "text_config.rope_parameters.rope_type": (
            (text.get("rope_parameters") or {}).get("rope_type"),
            "default",
        ),
    }
    for name, (found, expected) in wanted.items():
        if found != expected:
            raise UsageError(
                f"{name} is {found!r}; only {expected!r} can be exported",
                remedy="serve this model with vLLM instead",
            )
    across = eye["image_size"] // eye["patch_size"]
    if across * eye["patch_size"] != eye["image_size"] or across % config["scale_factor"]:
        raise UsageError(
            f"{across} patches across ({eye['image_size']} pixels in patches of {eye['patch_size']}) "
            f"cannot be folded by {config['scale_factor']}",
            remedy="choose an image size that is a multiple of patch size × scale factor",
        )
