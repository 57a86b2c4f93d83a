"""``python -m tests.cluster.node OPTIONS ARGUMENT…``: the command ``mellm`` with stand-ins for cameras and networks.

OPTIONS is a JSON object: ``every`` and ``kilobytes`` as :func:`tests.cluster.stand_in.install` has them, ``describe_s``
for a describer that takes so long (without it: the one that the arguments name), ``clock_s`` for a wall clock that is
off by so much.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import pytest

from mellm.clients import cli
from mellm.engine.describe.base import Describer
from mellm.engine.describe.scripted import ScriptedDescriber
from mellm.engine.roles import start
from tests.cluster import stand_in


def end_with(parent: int) -> None:
    """A test that was itself killed leaves no node behind."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(options: dict[str, float], arguments: list[str]) -> int:
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    patch = pytest.MonkeyPatch()
    stand_in.install(patch, every=int(options.get("every", 5)), kilobytes=int(options.get("kilobytes", 4)))
    if (delay_s := options.get("describe_s")) is not None:

        def slow(settings: object) -> Describer:
            return ScriptedDescriber(delay_s=delay_s)

        patch.setattr(start, "describer_of", slow)
    if off_s := options.get("clock_s", 0.0):
        true_s, true_ns = time.time, time.time_ns
        patch.setattr(time, "time", lambda: true_s() + off_s)
        patch.setattr(time, "time_ns", lambda: true_ns() + round(off_s * 1e9))
    return cli.run(arguments)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
