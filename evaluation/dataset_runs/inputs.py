"""From what the user writes to loaded data sets, models, and the settings that decide a row."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mellm.detectors.weights import store as weights
from mellm.engine.describe import Describer
from mellm.evaluation.datasets import DataSet, load
from mellm.stream.errors import UsageError


@dataclass(frozen=True, slots=True)
class Held:
    """One data set that the user holds.

    :param fps: frames a second that the user gave instead of the release's
    """

    data: DataSet
    fps: float | None = None

    @property
    def name(self) -> str:
        """Its name in the table of data sets."""
        return self.data.spec.name

    def annotation(self) -> dict[str, str]:
        """Annotation file → sha256: rows belong to a version of the annotation."""
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in self.data.sources}

    def facts(self) -> dict[str, Any]:
        """For the report: what was read and what was not taken as written."""
        clips = self.data.clips
        return {
            "title": self.data.spec.title,
            "root": str(self.data.root),
            "annotation": self.annotation(),
            "fps": self.fps if self.fps is not None else self.data.spec.fps,
            "clips": len(clips),
            "subjects": len({c.subject for c in clips}),
            "kinds": dict(Counter(c.kind for c in clips)),
            "repairs": dict(Counter(r.rule for r in self.data.repairs).most_common()),
        }


def pairs(names: Sequence[str], roots: Sequence[str]) -> dict[str, Path]:
    """``--dataset NAME=ROOT``, or as many ``--dataset NAME`` as ``--root DIR``, in their order.

    :raises UsageError: a root is missing or left over, or a data set is named twice
    """
    left = list(roots)
    out: dict[str, Path] = {}
    for text in names:
        name, given, root = text.partition("=")
        if not given:
            if not left:
                raise UsageError(f"no folder for {name}", remedy=f"give --root DIR, or --dataset {name}=DIR")
            root = left.pop(0)
        if name in out:
            raise UsageError(f"{name} is named twice", remedy="put both parts below one folder")
        if not root:
            raise UsageError(f"--dataset {text!r} names no folder", remedy=f"write --dataset {name}=DIR")
        out[name] = Path(root)
    if left:
        raise UsageError(f"--root {left[0]} goes with no --dataset", remedy="name the data set as well")
    return out


def rates(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """``--fps 200`` for every data set, ``--fps NAME=200`` for one.

    :raises UsageError: no rate between 1 and 1000, or of a data set that is not asked for
    """
    out: dict[str, float] = {}
    for text in given:
        name, found, number = text.rpartition("=")
        try:
            fps = float(number)
        except ValueError:
            fps = float("nan")
        if not 1 <= fps <= 1000:
            raise UsageError(f"--fps {text!r}", remedy="give frames a second, 1 to 1000, as 200 or NAME=200")
        if found and name not in names:
            raise UsageError(
                f"--fps {text!r} is of no data set asked for", remedy=f"there are {', '.join(names)}"
            )
        out |= {name: fps} if found else dict.fromkeys(names, fps)
    return out


def hold(
    roots: Mapping[str, Path], fps: Mapping[str, float], *, apex_policy: str, offset_policy: str
) -> list[Held]:
    """Load the data sets.

    :raises DatasetError: unknown, not where it should be, or its annotation cannot be read
    """
    return [
        Held(load(name, root, apex_policy=apex_policy, offset_policy=offset_policy), fps.get(name))
        for name, root in roots.items()
    ]


def face_models() -> dict[str, str]:
    """Network that sees faces or spots → sha256."""
    return {m.name: m.sha256 for m in weights.listing()}


def describer_facts(describer: Describer, kind: str, base_url: str | None) -> dict[str, Any]:
    """Who describes, with the hashes of an embedded model."""
    facts: dict[str, Any] = {
        "kind": kind,
        "name": describer.name,
        "profile": describer.profile,
        "recipe": describer.recipe,
    }
    if kind == "nano":
        from mellm.engine.describe.local import SHIPPED
        from mellm.engine.describe.nano_folder import sha256

        facts["sha256"] = {p.name: sha256(p) for p in sorted(SHIPPED.glob("*.onnx"))}
    if base_url:
        facts["base_url"] = base_url
    return facts
