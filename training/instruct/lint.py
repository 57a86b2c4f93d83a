"""Holding a data set to its promises. Every finding names file and line; nothing is mended."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from mellm.engine.facs.names import UNITS
from mellm.stream.errors import SourceNotFound
from mellm.training.instruct import names, phrases
from mellm.training.instruct.conversations import TASKS, table_numbers
from mellm.training.instruct.phrases import LANGUAGES, Language
from mellm.training.instruct.records import IMAGES, SPLITS, Record, text_of

RULES: Final[Mapping[str, str]] = {
    "record": "a line is one JSON object with every field, of the right form",
    "id": "no id stands twice",
    "subject": "a subject is in one split only, the one its file is named after",
    "image": "every image is there and can be opened",
    "leak": "an image is named after the hash of its bytes, so that its name tells nothing",
    "unit": "an answer names annotated units only",
    "abstain": "whoever asks about a negative is told that there is no expression, and nobody else is",
    "answer": "short answers and JSON say what is annotated",
    "number": "a description's numbers stand in the table of its question",
    "origin": "licence, provenance, source and recipe are told",
}

_TEXTS: Final = ("id", "split", "subject", "pair", "source", "kind", "task", "language", "recipe")
_FIELDS: Final = (*_TEXTS, "messages", "images", "units", "abstain", "coarse", "emotion", "marks", "motion")
_NUMBER: Final = re.compile(r"AU\s?(\d{1,2})")
_PIXELS: Final = re.compile(r"(\d+\.\d\d)(?= px|像素)|(\d+\.\d\d)(?: and |和)(?=\d+\.\d\d(?: px|像素))")
_WORDS: Final = {"en": ("no", "yes"), "zh": ("否", "是")}


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise. ``where``: file and line."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: {self.message}"


def lint(folder: Path) -> Iterator[Finding]:
    """All findings of a data set.

    :raises SourceNotFound: there is none in that folder
    """
    files = [folder / f"{split}.jsonl" for split in SPLITS if (folder / f"{split}.jsonl").is_file()]
    if not files:
        raise SourceNotFound(f"{folder} holds no data set", remedy="give the folder of `mellm dataset build`")
    subjects: dict[str, str] = {}
    ids: dict[str, str] = {}
    images: dict[str, str | None] = {}
    for path in files:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            yield Finding("record", path.name, f"it cannot be read ({error.strerror})")
            continue
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            where = f"{path.name}:{number}"
            record, problem = _record(raw)
            if record is None:
                yield Finding("record", where, problem)
                continue
            if ids.setdefault(record["id"], where) != where:
                yield Finding("id", where, f"{record['id']} stands at {ids[record['id']]} already")
            if record["split"] != path.stem or subjects.setdefault(record["subject"], path.stem) != path.stem:
                first = subjects.get(record["subject"], record["split"])
                yield Finding(
                    "subject",
                    where,
                    f"{record['subject']} of {record['split']} is in {first} and in {path.stem}",
                )
            for image in record["images"]:
                if image not in images:
                    images[image] = None
                    yield from (Finding(rule, where, said) for rule, said in _image(folder, image))
            for rule, check in _CHECKS.items():
                yield from (Finding(rule, where, said) for said in check(record))


def _record(raw: bytes) -> tuple[Record | None, str]:
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return None, f"no JSON ({error})"
    if not isinstance(record, dict):
        return None, "no object"
    missing = [name for name in _FIELDS if name not in record]
    if missing:
        return None, f"without {', '.join(missing)}"
    wrong = [name for name in _TEXTS if not isinstance(record[name], str) or not record[name]]
    if wrong:
        return None, f"{', '.join(wrong)} is not a text"
    if record["task"] not in TASKS or record["language"] not in LANGUAGES:
        return None, f"no task {record['task']} in {record['language']}"
    if not isinstance(record["abstain"], bool) or not _is_list_of(record["images"], str):
        return None, "abstain is not a truth value, or images no list of paths"
    if not _is_list_of(record["units"], dict) or not all(
        isinstance(u.get("au"), int) for u in record["units"]
    ):
        return None, "units is not a list of units"
    return (record, "") if _is_talk(record) else (None, "messages are not one question and one answer")


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(v, kind) for v in value)


def _is_talk(record: Record) -> bool:
    """One question with as many pictures as ``images``, and one answer in words."""
    turns = record["messages"]
    if not _is_list_of(turns, dict) or [m.get("role") for m in turns] != ["user", "assistant"]:
        return False
    shown = 0
    for message in turns:
        content = message.get("content")
        if isinstance(content, str):
            shown += content.count("<image>")
        elif _is_list_of(content, dict):
            kinds = [part.get("type") for part in content]
            texts = [part.get("text") for part in content if part.get("type") == "text"]
            if not set(kinds) <= {"image", "text"} or not _is_list_of(texts, str):
                return False
            shown += kinds.count("image")
        else:
            return False
    return shown == len(record["images"]) and all(text_of(m).strip() for m in turns)


def _image(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        yield "image", f"{name} cannot be read ({error.strerror})"
        return
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None if data else True:
        yield "image", f"{name} is not a picture"
    digest = hashlib.sha256(data).hexdigest()[:24]
    if name != f"{IMAGES}/{digest[:2]}/{digest}.png":
        yield "leak", f"{name} is not the hash of its bytes, {digest}"


@cache
def _names(language: Language) -> re.Pattern[str]:
    words = sorted((names.unit(au, language) for au in UNITS), key=len, reverse=True)
    edge = r"\b" if language == "en" else ""
    return re.compile(f"{edge}({'|'.join(map(re.escape, words))}){edge}", re.IGNORECASE)


def named(text: str, language: Language) -> set[int]:
    """Units that a text names, by number or by name."""
    by_name = {names.unit(au, language): au for au in UNITS}
    return {int(n) for n in _NUMBER.findall(text)} | {
        by_name[w.lower()] for w in _names(language).findall(text)
    }


def _answer(record: Record) -> str:
    return text_of(record["messages"][1])


def _units(record: Record) -> Iterator[str]:
    if not record["abstain"]:
        extra = named(_answer(record), record["language"]) - {u["au"] for u in record["units"]}
        if extra:
            yield f"AU {', '.join(map(str, sorted(extra)))} in the answer, not among the units"


def _abstains(record: Record) -> Iterator[str]:
    answer = _answer(record)
    sentences = [s for said in phrases.ABSTENTIONS[record["language"]].values() for s in said]
    abstained = any(sentence in answer for sentence in sentences)
    if record["kind"] != "expression" and not record["abstain"]:
        yield f"a {record['kind']} that is not marked as abstaining"
    if record["abstain"] != abstained:
        yield (
            "marked as abstaining, and answered"
            if record["abstain"]
            else "it abstains without being marked so"
        )
    if record["abstain"] and _NUMBER.search(answer):
        yield "it abstains and names a unit"
    if record["kind"] != "expression" and (record["units"] or record["coarse"] or record["emotion"]):
        yield f"a {record['kind']} with units or an emotion"


def _says(record: Record) -> Iterator[str]:
    answer, language = _answer(record), record["language"]
    if record["task"] == "json":
        yield from _json(record, answer)
    if record["abstain"]:
        return
    units = {u["au"]: u.get("side") for u in record["units"]}
    if record["task"] in ("units", "combined", "describe") and named(answer, language) != set(units):
        yield "it does not name all units"
    if record["task"] == "coarse" and answer not in {names.coarse(c, language) for c in _classes(record)}:
        yield f"class {answer!r}, annotated is {record['coarse']}"
    if record["task"] == "fine" and answer != names.emotion(record["emotion"] or "", language):
        yield f"emotion {answer!r}, annotated is {record['emotion']}"
    if record["task"] in ("shown", "side"):
        asked = named(text_of(record["messages"][0]), language)
        if len(asked) != 1:
            yield "the question does not ask for one unit"
            return
        (au,) = asked
        if record["task"] == "shown" and answer != _WORDS[language][au in units]:
            yield f"{answer!r} for AU {au}"
        sides = {"left": ("left", "左侧"), "right": ("right", "右侧")}
        if record["task"] == "side" and answer not in sides.get(units.get(au) or "", ()):
            yield f"{answer!r} for AU {au}, annotated is {units.get(au)}"


def _classes(record: Record) -> Iterator[Any]:
    if record["coarse"] in names.CLASSES:
        yield record["coarse"]


def _json(record: Record, answer: str) -> Iterator[str]:
    try:
        told = json.loads(answer)
        listed = [(u["au"], u["side"]) for u in told["action_units"]]
        abstain, shares, text = told["abstain"], told["emotion"], told["text"]
    except (ValueError, KeyError, TypeError) as error:
        yield f"no answer of the profile's form ({error!r})"
        return
    known = [(u["au"], u["side"]) for u in record["units"] if u["au"] in names.CONFUSED]
    if abstain is not record["abstain"] or listed != ([] if record["abstain"] else known):
        yield f"it lists {listed}, annotated is {known}"
    if named(text, record["language"]) != {au for au, _ in listed} and not record["abstain"]:
        yield "its text and its list name different units"
    if (shares is None) != record["abstain"] or (shares and abs(sum(shares.values()) - 1) > 1e-6):
        yield "its emotion is not a distribution"


def _numbers(record: Record) -> Iterator[str]:
    if record["task"] == "describe":
        said = {a or b for a, b in _PIXELS.findall(_answer(record))}
        extra = said - table_numbers(text_of(record["messages"][0]))
        if extra:
            yield f"{', '.join(sorted(extra))} px is not in the table"


def _origin(record: Record) -> Iterator[str]:
    absent = [name for name in ("licence", "provenance") if not record.get(name)]
    if absent:
        yield f"without {' and '.join(absent)}"


_CHECKS: Final[Mapping[str, Callable[[Record], Iterator[str]]]] = {
    "unit": _units,
    "abstain": _abstains,
    "answer": _says,
    "number": _numbers,
    "origin": _origin,
}
