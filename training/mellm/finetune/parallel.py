"""One run on several GPUs: ``torchrun --nproc-per-node 4 -m mellm.clients.cli train mellm --config FILE``.

Weights, gradients and optimiser states are shared out (FSDP2), so that what is too large for one GPU fits on several.
Alone, a process does everything itself and none of this is in the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from mellm.stream.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run. ``rank`` 0 writes, tells and is asked."""

    rank: int = 0
    size: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is but one process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def summed(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.alone:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return float(total)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return self.summed(float(flag)) > 0

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """What one process fails at, all fail at: nobody waits for one that is gone.

        :raises RunError: another process failed; its own error tells why
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        failed = self.any(error is not None)
        if error is not None:
            raise error
        if failed:
            raise RunError(f"{what} failed in another process", remedy="see what that one said")


def _device() -> torch.device:
    return (
        torch.device("cuda", torch.cuda.current_device())
        if dist.get_backend() == "nccl"
        else torch.device("cpu")
    )


def enter(device: str) -> World:
    """Join the other processes, if ``torchrun`` started any.

    :raises UsageError: there are fewer GPUs than processes
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"{torch.cuda.device_count()} GPUs here and process {local + 1} wants one",
                remedy="start as many processes as there are GPUs",
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    return World(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def share(model: nn.Module, blocks: Sequence[str], half: bool) -> None:
    """Share out the weights of a model, block by block."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(_device().type, (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    for module in list(model.modules()):
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def number(value: torch.Tensor) -> float:
    """A number that may be shared out over the processes."""
    return float(value.full_tensor()) if hasattr(value, "full_tensor") else float(value)


def weights(model: nn.Module, names: Sequence[str], world: World) -> dict[str, torch.Tensor]:
    """Whole weights of these names on the CPU; complete in the first process."""
    if world.alone:
        parameters = dict(model.named_parameters())
        return {name: parameters[name].detach().cpu() for name in names}
    state: dict[str, Any] = get_model_state_dict(model, options=_GATHERED)
    return {name: state[name] for name in names if name in state}


def give_weights(model: nn.Module, state: Mapping[str, torch.Tensor], world: World) -> None:
    """The inverse of :func:`weights`."""
    if world.alone:
        model.load_state_dict(state, strict=False)
    else:
        set_model_state_dict(model, dict(state), options=_SPREAD)


def optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer, world: World) -> dict[str, Any]:
    """Whole state of the optimiser on the CPU; complete in the first process."""
    if world.alone:
        return optimiser.state_dict()
    return dict(get_optimizer_state_dict(model, optimiser, options=_GATHERED))


def give_optimiser_state(
    model: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any], world: World
) -> None:
    """The inverse of :func:`optimiser_state`."""
    if world.alone:
        optimiser.load_state_dict(state)
    else:
        set_optimizer_state_dict(model, optimiser, state, options=_SPREAD)
