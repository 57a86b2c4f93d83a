"""Runs in vLLM's CPU environment, at the start of every interpreter: lets torchvision be imported there.

The package index has torchvision for CUDA. Beside a CPU build of torch its operators cannot be loaded, and it then
fails at import, because it describes operators that nobody has declared. The processors of Qwen-VL and LLaVA need its
Python code only. So the operators are declared, by name, just before torchvision is imported; nothing calls them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

DECLARED = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class BeforeTorchvision:
    """A finder that finds nothing, and acts once when torchvision is looked for."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by the interpreter for every import."""
        if name == "torchvision":
            sys.meta_path.remove(cls)
            declare(PathFinder.find_spec(name))
        return None


def declare(found: ModuleSpec | None) -> None:
    """Declare the operators that torchvision describes; with a torchvision whose operators load, nothing is done."""
    for place in (found and found.submodule_search_locations) or ():
        told = Path(place) / "_meta_registrations.py"
        torch = import_module("torch")
        if not told.is_file() or torch.version.cuda is not None:
            return
        # as long as the interpreter lives: what it declares goes with it
        library = torch.library.Library("torchvision", "FRAGMENT")
        vars(torch)["mellm_declared"] = library
        for name in re.findall(r'register_fake\("torchvision::(\w+)"\)', told.read_text("utf-8")):
            library.define(name + DECLARED)


sys.meta_path.insert(0, BeforeTorchvision)
