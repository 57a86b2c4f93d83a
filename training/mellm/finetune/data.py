"""Conversations from JSONL, checked before anything expensive begins.

One line is one JSON object::

    {"id": "rendered-1000123-04-json", "subject": "1000123",
     "images": ["images/rendered-1000123-04.png"],
     "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe …"}]},
                  {"role": "assistant", "content": [{"type": "text", "text": "The inner brow rises …"}]}]}

``content`` may also be a string. Image parts and ``images`` are matched in order. Further keys are kept, not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mellm.stream.errors import SourceCorrupt, SourceEmpty, SourceNotFound, UsageError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation.

    :param where: ``file:line`` for messages to people
    :param messages: in the form chat templates take, ``content`` always a list of parts
    :param images: absolute paths, one for each image part
    :param extra: all other keys of the line
    """

    id: str
    subject: str
    where: str
    messages: tuple[dict[str, Any], ...]
    images: tuple[Path, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """Text of the last assistant turn: the right answer in evaluation."""
        return message_text(self.messages[-1])

    @property
    def question(self) -> tuple[dict[str, Any], ...]:
        """Everything before the last assistant turn."""
        return self.messages[:-1]


def message_text(message: Mapping[str, Any]) -> str:
    """The text parts of a message, joined."""
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def read(path: Path, root: Path | None = None) -> list[Record]:
    """All records of a file.

    :param root: folder that image paths are relative to; the file's own by default
    :raises SourceNotFound: no such file, or an image of a record is missing (the record is named)
    :raises SourceCorrupt: a line is no such record, or an image cannot be opened (file and line are named)
    :raises SourceEmpty: no record in it
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise SourceNotFound(
            f"there is no file {path}", remedy="mellm dataset build makes such files"
        ) from error
    except OSError as error:
        raise SourceCorrupt(f"{path} cannot be read: {error.strerror or error}") from error
    root = root or path.parent
    records = []
    seen: dict[str, str] = {}
    opened: set[Path] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        record = _record(line, where, root)
        if record.id in seen:
            raise SourceCorrupt(f"{where}: the id {record.id!r} stands at {seen[record.id]} already")
        seen[record.id] = where
        for image in record.images:
            if image not in opened:
                _check_image(image, where)
                opened.add(image)
        records.append(record)
    if not records:
        raise SourceEmpty(f"{path} holds no record")
    return records


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 over files, to tell whether a run goes on with what it began with."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def check_subjects(train: Sequence[Record], held_out: Sequence[Record]) -> None:
    """Refuse a subject that is learnt from and tested on.

    :raises UsageError: naming it and one record of each file
    """
    learnt = {r.subject: r.where for r in train}
    for record in held_out:
        if record.subject in learnt:
            raise UsageError(
                f"subject {record.subject!r} is learnt from ({learnt[record.subject]}) and held out ({record.where})",
                remedy="split by subject",
            )


def _record(line: bytes, where: str, root: Path) -> Record:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceCorrupt(f"{where} is no JSON ({error})", remedy="was the file cut short?") from error
    if not isinstance(data, dict):
        raise _broken(where, f"it is {type(data).__name__}, not an object")
    subject = data.pop("subject", None)
    if not isinstance(subject, str | int) or isinstance(subject, bool) or subject == "":
        raise _broken(where, "it names no subject")
    images = data.pop("images", [])
    if not isinstance(images, list) or not all(isinstance(i, str) and i for i in images):
        raise _broken(where, "images is not a list of paths")
    messages = _messages(data.pop("messages", None), where)
    shown = sum(part["type"] == "image" for m in messages for part in m["content"])
    if shown != len(images):
        raise _broken(where, f"{shown} image parts in its messages and {len(images)} paths in images")
    identity = data.pop("id", where)
    return Record(str(identity), str(subject), where, messages, tuple(root / i for i in images), data)


def _messages(value: object, where: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list) or not value:
        raise _broken(where, "messages is not a list")
    found = []
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _broken(where, f"a message whose role is none of {', '.join(ROLES)}")
        parts = list(_parts(message.get("content"), where))
        if message["role"] == "assistant" and (any(p["type"] == "image" for p in parts) or not parts):
            raise _broken(where, "an assistant turn without text or with an image")
        found.append({"role": message["role"], "content": parts})
    roles = [m["role"] for m in found]
    turns = roles[1:] if roles[0] == "system" else roles
    if len(turns) % 2 or turns != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise _broken(where, f"user and assistant do not take turns: {', '.join(roles)}")
    if any(not message_text(m).strip() for m in found if m["role"] == "assistant"):
        raise _broken(where, "an empty answer")
    return tuple(found)


def _parts(content: object, where: str) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list):
        raise _broken(where, "content is neither text nor a list of parts")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image":
            yield {"type": "image"}
        elif kind == "text" and isinstance(part.get("text"), str):
            yield {"type": "text", "text": part["text"]}
        else:
            raise _broken(where, f"a part of type {kind!r}")


def _check_image(path: Path, where: str) -> None:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.verify()
    except FileNotFoundError as error:
        raise SourceNotFound(f"{where}: its image {path} is missing") from error
    except Exception as error:  # Pillow raises many kinds for a picture that is none
        raise SourceCorrupt(f"{where}: its image {path} cannot be read ({error})") from error


def _broken(where: str, why: str) -> SourceCorrupt:
    return SourceCorrupt(f"{where} is a broken record: {why}")
