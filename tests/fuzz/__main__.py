"""Coverage-guided fuzzing: ``python -m tests.fuzz TARGET [CORPUS] [-max_total_time=60]``, options as libFuzzer's."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(
    include=["mellm.stream", "mellm.engine.describe.parse", "mellm.evaluation.datasets.units"]
):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until something breaks or the time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz TARGET, one of: {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
