"""Lines of the data set: conversations in the chat format that trainers read, with where they come from.

::

    {"id":…,"messages":[{"role":"user","content":[{"type":"image"},{"type":"text","text":…}]},
    {"role":"assistant","content":[{"type":"text","text":…}]}],"images":["images/0f/0f3a….png"],
    "task":…,"language":…,"kind":…,"abstain":…,"units":[{"au":4,"side":"both"}],"coarse":…,"emotion":…,"marks":[…],
    "motion":{"peak":1.94,"floor":0.6},"split":…,"subject":…,"pair":…,"source":…,"recipe":…,"licence":…,
    "provenance":…}

``motion`` is the largest displacement of an expressive region and the motion floor, 1/100 inter-ocular distance.
Paths are relative to the data set's folder. An image is named after the hash of its bytes, so its name tells nothing.
With the style ``tags``, ``content`` is one string with ``<image>`` where the picture stands.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import cv2
import numpy as np

from mellm.engine.describe.base import Recipe
from mellm.stream import files
from mellm.stream.errors import RunError
from mellm.training.instruct.conversations import TASKS, Task, Turn, annotated, converse
from mellm.training.instruct.pairs import Pair
from mellm.training.instruct.phrases import LANGUAGES, Language

Record: TypeAlias = dict[str, Any]
Style: TypeAlias = Literal["parts", "tags"]

IMAGES: Final = "images"
SPLITS: Final = ("train", "validation", "test")

FREE: Final = "free some space and give the same command again: what is done is kept"

LICENCES: Final[Mapping[str, tuple[str, str]]] = {
    "rendered": ("MIT", "drawn person, ICT-FaceKit face model (MIT), motion by script"),
    "stills": (
        "CC-BY-4.0",
        "photograph of the Face Research Lab London Set (DeBruine and Jones, CC BY 4.0), motion by script",
    ),
}
"""Source → licence of its pictures, and where they come from."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How pairs become records."""

    recipe: Recipe = "live"
    languages: tuple[Language, ...] = LANGUAGES
    tasks: tuple[Task, ...] = TASKS
    style: Style = "parts"
    seed: int = 0
    licence: str = ""
    provenance: str = ""


def of_pair(pair: Pair, wording: Wording) -> tuple[list[Record], bytes]:
    """Records of a pair, and its motion map as PNG."""
    evidence = pair.evidence(wording.recipe)
    ok, encoded = cv2.imencode(".png", evidence.motion_map)
    if not ok:
        raise ValueError(f"the motion map of {pair.id} cannot be encoded")
    png = encoded.tobytes()
    name = image_name(png)
    licence, provenance = LICENCES.get(pair.source, (wording.licence, wording.provenance))
    stats = evidence.flow_stats
    motion = {name: round(stats[f"{name}_iod"], 2) for name in ("peak", "floor") if f"{name}_iod" in stats}
    found: list[Record] = []
    for language in wording.languages:
        rng = np.random.default_rng([0x1257, wording.seed, zlib.crc32(f"{pair.id}/{language}".encode())])
        turns, reading = converse(pair, evidence, rng, language, wording.tasks)
        for number, turn in enumerate(turns):
            found.append(
                {
                    "id": f"{pair.id}-{language}-{number:02d}",
                    "messages": messages(turn, wording.style),
                    "images": [name] if turn.picture else [],
                    "task": turn.task,
                    "language": language,
                    "kind": pair.kind,
                    "abstain": turn.abstain,
                    "units": [{"au": au, "side": side} for au, side in annotated(pair)],
                    "coarse": pair.coarse,
                    "emotion": pair.emotion,
                    "marks": [] if turn.abstain else reading.marks,
                    "motion": motion,
                    "split": pair.split,
                    "subject": pair.subject,
                    "pair": pair.id,
                    "source": pair.source,
                    "recipe": wording.recipe,
                    "licence": licence,
                    "provenance": provenance,
                }
            )
    return found, png


def messages(turn: Turn, style: Style) -> list[dict[str, Any]]:
    """A turn as chat messages."""
    if style == "tags":
        tag = "<image>" if turn.picture else ""
        return [
            {"role": "user", "content": tag + turn.question},
            {"role": "assistant", "content": turn.answer},
        ]
    picture = [{"type": "image"}] if turn.picture else []
    return [
        {"role": "user", "content": [*picture, {"type": "text", "text": turn.question}]},
        {"role": "assistant", "content": [{"type": "text", "text": turn.answer}]},
    ]


def text_of(message: Mapping[str, Any]) -> str:
    """The words of a message of either style."""
    content = message["content"]
    if isinstance(content, str):
        return content.removeprefix("<image>")
    return "".join(part["text"] for part in content if part["type"] == "text")


def image_name(png: bytes) -> str:
    """Where a picture lies in the data set."""
    digest = hashlib.sha256(png).hexdigest()[:24]
    return f"{IMAGES}/{digest[:2]}/{digest}.png"


def line(record: Mapping[str, Any]) -> bytes:
    """One line of JSON, stable."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def write(path: Path, data: bytes) -> None:
    """Write a file in one step: a crash leaves the old one or none, never half of it.

    :raises RunError: it cannot be written
    """
    try:
        files.write(path, data)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})", remedy=FREE) from error


def counts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a split holds: numbers of pairs, subjects and records, and of each kind, task, unit and class."""
    pairs = {r["pair"]: r for r in records}

    def tally(values: Sequence[object]) -> dict[str, int]:
        return {str(v): values.count(v) for v in sorted(set(values), key=str)}

    units = [u["au"] for r in pairs.values() for u in r["units"]]
    return {
        "pairs": len(pairs),
        "subjects": len({r["subject"] for r in records}),
        "records": len(records),
        "abstaining": sum(r["abstain"] for r in records),
        "negatives_above_floor": sum(
            r["kind"] != "expression" and r["motion"]["peak"] >= r["motion"]["floor"] for r in pairs.values()
        ),
        "disagreeing": len({r["pair"] for r in records if r["marks"]}),
        "sources": tally([r["source"] for r in pairs.values()]),
        "kinds": tally([r["kind"] for r in pairs.values()]),
        "tasks": tally([r["task"] for r in records]),
        "languages": tally([r["language"] for r in records]),
        "units": {f"AU{au}": units.count(au) for au in sorted(set(units))},
        "classes": tally([r["coarse"] for r in pairs.values() if r["coarse"]]),
        "emotions": tally([r["emotion"] for r in pairs.values() if r["emotion"]]),
    }
