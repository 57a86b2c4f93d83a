"""How many cameras the networks of one GPU carry: ``python -m mellm.evaluation.gpu``.

Every network runs as on a server with many cameras: one batch for all of them, inputs and outputs bound to the device.
For each number of cameras it plays ticks of 1/30 s (half of the faces are looked at, one in thirty pictures is searched
for faces, each spotter takes two steps of the grid) and measures how long a tick takes. Answers are held against the
CPU's. Decoding and optical flow stay on the processor; what they cost is told by ``mellm bench --only cost``.

Without a GPU it runs on the CPU and says so in the table: that shows that the script works, and nothing about a GPU.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from mellm.detectors import stepmodel
from mellm.detectors.onnx import CPU, CUDA
from mellm.detectors.types import F32
from mellm.detectors.weights import store
from mellm.stream.errors import MissingExtra, ProviderUnavailable

TICK_S: Final = 1 / 30
"""Of a camera at 30 frames a second."""

ROOM: Final = 0.8
"""Share of a tick that the networks may take at the 95th percentile; the rest is for everything else."""

PARITY: Final = 1e-3
"""Largest difference from the CPU's answers, in units of the largest of them."""

CAMERAS: Final = (1, 4, 16, 64, 128, 256)


def looks(cameras: int) -> int:
    """Faces whose landmarks are placed in a tick: every second frame of each, as if all of them moved."""
    return max(1, -(-cameras // 2))


def searches(cameras: int) -> int:
    """Pictures that are searched for faces in a tick: one a second of each camera."""
    return max(1, -(-cameras // 30))


def steps(cameras: int) -> int:
    """Spotters that take a step, at the same time; a tick has two such moments."""
    return cameras


NETWORKS: Final[dict[str, Callable[[int], int]]] = {
    "face_landmarks": looks,
    "face_detector": searches,
    "spotter": steps,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One number of cameras.

    :param p50_ms: of a tick, all networks
    :param p95_ms: as ``p50_ms``
    :param parity: largest difference from the CPU's answers, over all networks, see :data:`PARITY`
    :param carried: a tick leaves room
    """

    cameras: int
    ticks: int
    p50_ms: float
    p95_ms: float
    parity: float
    carried: bool


class Batched:
    """A network for a fixed batch, its inputs and outputs bound to a device.

    :param provider: execution provider of ONNX Runtime
    :raises ProviderUnavailable: it is not the one that came up
    """

    def __init__(self, path: Path, batch: int, provider: str) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # TF32 would round products to ten bits
        chosen = [(CUDA, {"use_tf32": "0"}), CPU] if provider == CUDA else [CPU]
        self._session = runtime.InferenceSession(rebatched(path, batch), options, providers=chosen)
        if self._session.get_providers()[0] != provider:
            raise ProviderUnavailable(
                f"{provider} cannot be loaded", remedy="check driver and CUDA libraries"
            )
        self._device = "cuda" if provider == CUDA else "cpu"
        self._binding = self._session.io_binding()
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, self._device)
        self.shapes = {each.name: [int(n) for n in each.shape] for each in self._session.get_inputs()}

    def __call__(self, inputs: dict[str, F32]) -> list[F32]:
        """All outputs; inputs are copied to the device and outputs back, which counts."""
        runtime = _runtime()
        for name, values in inputs.items():
            self._binding.bind_ortvalue_input(
                name, runtime.OrtValue.ortvalue_from_numpy(values, self._device, 0)
            )
        self._session.run_with_iobinding(self._binding)
        return [np.asarray(value, np.float32) for value in self._binding.copy_outputs_to_cpu()]

    def inputs(self, rng: np.random.Generator) -> dict[str, F32]:
        """Random inputs of the right shapes, 0 to 1."""
        return {name: rng.random(shape, dtype=np.float32) for name, shape in self.shapes.items()}


def rebatched(path: Path, batch: int) -> bytes:
    """A network that takes one picture or row, made to take ``batch`` of them.

    Only the first axis changes: of inputs and outputs, and of the constant shapes of Reshape and Resize that begin
    with 1.

    :raises MissingExtra: `onnx` is not installed
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtra("onnx is not installed", remedy="pip install 'mellm-live[gpu]'") from error
    model = onnx.load(str(path))
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del graph.value_info[:]
    shapes = {node.input[-1] for node in graph.node if node.op_type in ("Reshape", "Resize")}
    for constant in graph.initializer:
        if constant.name in shapes:
            values = numpy_helper.to_array(constant).copy()
            if values.size and values[0] == 1:
                values[0] = batch
                constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return bytes(model.SerializeToString())


def files() -> dict[str, Path]:
    """The networks of :data:`NETWORKS`.

    :raises ModelMissing: the face models were not pulled
    """
    return {
        "face_landmarks": store.path("face_landmarks"),
        "face_detector": store.path("face_detector"),
        "spotter": stepmodel.SHIPPED,
    }


def measure(cameras: int, provider: str, seconds: float) -> Row:
    """Play ticks for so many cameras.

    :param seconds: at least five ticks are played, however long they take
    """
    rng = np.random.default_rng(cameras)
    work: list[tuple[Batched, dict[str, F32], int]] = []
    away = 0.0
    for name, path in files().items():
        network = Batched(path, NETWORKS[name](cameras), provider)
        inputs = network.inputs(rng)
        away = max(away, _difference(network(inputs), _one_by_one(path, inputs)))
        work.append((network, inputs, 2 if name == "spotter" else 1))
    spent: list[float] = []
    until = time.perf_counter() + seconds
    while len(spent) < 5 or time.perf_counter() < until:
        began = time.perf_counter()
        for network, inputs, times in work:
            for _ in range(times):
                network(inputs)
        spent.append(time.perf_counter() - began)
    p50, p95 = (1000 * float(np.percentile(spent, q)) for q in (50, 95))
    return Row(cameras, len(spent), round(p50, 2), round(p95, 2), away, p95 <= 1000 * ROOM * TICK_S)


def _one_by_one(path: Path, inputs: dict[str, F32], most: int = 4) -> list[F32]:
    """The CPU's answers to the first few of a batch, each asked for alone."""
    alone = Batched(path, 1, CPU)
    count = min(most, len(next(iter(inputs.values()))))
    answers = [alone({name: values[k : k + 1] for name, values in inputs.items()}) for k in range(count)]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _difference(found: Sequence[F32], wanted: Sequence[F32]) -> float:
    return max(
        float(np.abs(one[: len(other)] - other).max() / max(1.0, float(np.abs(other).max())))
        for one, other in zip(found, wanted, strict=True)
    )


def table(rows: Sequence[Row], provider: str) -> str:
    """Markdown."""
    gpu = provider == CUDA
    carried = max((row.cameras for row in rows if row.carried), default=0)
    said = (
        f"{carried} cameras"
        if gpu
        else "**Not run on a GPU**: the CPU stood in, to show that the script works"
    )
    return "\n".join(
        [
            f"{said}. Networks only, batched over cameras; at most {ROOM:.0%} of a tick of 33 ms.",
            "",
            "| cameras | a tick, median | 95th percentile | carried | parity (≤ 1e-3) |",
            "|---|---|---|---|---|",
            *(
                f"| {row.cameras} | {row.p50_ms:.1f} ms | {row.p95_ms:.1f} ms | {'yes' if row.carried else 'no'} "
                f"| {row.parity:.1e} |"
                for row in rows
            ),
        ]
    )


def _runtime() -> Any:
    import onnxruntime

    return onnxruntime


@click.command()
@click.option("--cameras", type=click.IntRange(1, 4096), multiple=True, default=CAMERAS, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0, 600), default=10.0, show_default=True, help="For each number."
)
@click.option(
    "--minutes", type=float, default=8.0, show_default=True, help="Begin no further number after these."
)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the table (.md) and the rows (.json) there."
)
def main(cameras: Sequence[int], seconds: float, minutes: float, device: str, out: Path | None) -> None:
    """Measure cameras per GPU, latency and parity of the networks."""
    runtime = _runtime()
    there = CUDA in runtime.get_available_providers()
    if device == "cuda" and not there:
        raise ProviderUnavailable("this ONNX Runtime has no CUDA", remedy="pip install 'mellm-live[gpu]'")
    provider = CUDA if there and device != "cpu" else CPU
    if provider == CUDA and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    until = time.monotonic() + 60 * minutes
    rows: list[Row] = []
    for count in sorted(set(cameras)):
        if rows and time.monotonic() > until:
            click.echo(f"no time is left for {count} cameras", err=True)
            break
        rows.append(measure(count, provider, seconds))
        click.echo(f"{count} cameras: {rows[-1].p50_ms:.1f} ms, parity {rows[-1].parity:.1e}", err=True)
    said = table(rows, provider)
    click.echo(said)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "gpu.md").write_text(said + "\n", encoding="utf-8")
        facts = {
            "provider": provider,
            "onnxruntime": runtime.__version__,
            "rows": [asdict(row) for row in rows],
        }
        (out / "gpu.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    wrong = [row for row in rows if row.parity > PARITY]
    if wrong:
        raise SystemExit(f"parity is missed: {wrong[0].parity:.1e} with {wrong[0].cameras} cameras")


if __name__ == "__main__":
    main()
