"""What a network was trained on travels with its weights: the record beside them holds it, and loading compares.

A network reads numbers that this package measures. Measured in another way (another flow preset, crop, grid, or set
of regions) they have the same shape and another meaning, and the network answers with confident nonsense. So the
``recipe`` in a model's JSON has to be equal to what this version does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from mellm.detectors import patches, region_flow, regions, signals, windows
from mellm.stream.errors import ModelMismatch

KEY: Final = "recipe"
"""Where the recipe stands in a model's JSON."""


def of_signals() -> dict[str, Any]:
    """How this version measures the signals that a spotter reads, as plain JSON."""
    return {
        "signals": signals.VERSION,
        "grid_ms": windows.STEP_NS / 1e6,
        "baselines_ms": [span / 1e6 for span in signals.BASELINES_NS],
        "flow": {"scale": region_flow.SCALE, **asdict(region_flow.THRIFTY)},
        "crop": {
            "width": patches.CROP_W,
            "height": patches.CROP_H,
            "iod": patches.CROP_IOD,
            "eyes": list(patches.CROP_EYES),
        },
        "regions": list(regions.NAMES),
    }


def require(record: Mapping[str, Any], wanted: Mapping[str, Any], name: str, command: str) -> None:
    """Refuse a model that was trained on something else than this version gives it.

    :param record: the model's JSON
    :param wanted: what this version does
    :param name: the model's file, for the message
    :param command: the command line that makes a model that fits
    :raises ModelMismatch: the recipe is missing, or differs; the message names what differs
    """
    found = record.get(KEY)
    remedy = f"train it again with this version: `{command}`"
    if not isinstance(found, dict):
        raise ModelMismatch(
            f"{name} does not say what it was trained on: its JSON has no {KEY!r}", remedy=remedy
        )
    differs = list(differences(found, wanted))
    if differs:
        more = f" and {len(differs) - 3} more" if len(differs) > 3 else ""
        raise ModelMismatch(
            f"{name} was trained on other input than this version gives it: {', '.join(differs[:3])}{more}",
            remedy=remedy,
        )


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Each entry that differs, as ``flow.finest_scale is 0, not 1``."""
    for key in sorted({*found, *wanted}):
        where = f"{at}{key}"
        one, other = found.get(key), wanted.get(key)
        if key not in found:
            yield f"{where} is missing"
        elif key not in wanted:
            yield f"{where} is {_short(one)}, which this version does not know"
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{where}.")
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 4:
            yield from (
                f"{where}[{i}] is {a!r}, not {b!r}"
                for i, (a, b) in enumerate(zip(one, other, strict=True))
                if a != b
            )
        elif one != other:
            yield f"{where} is {_short(one)}, not {_short(other)}"


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
