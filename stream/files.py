"""Files that a reader finds whole, and JSON lines whose last one a kill may have cut."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NEWLINE = b"\n"


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when all went well and is removed when not.

    It lies beside ``path``, hidden, and ends in the same suffix, for writers that look at that. Several processes may
    write the same file: the last one wins, and nobody reads half of it.

    :param durable: it is on the disk, and under its name, when this ends: a loss of power leaves the old or the new one
    :raises OSError: it cannot be written; what was at ``path`` is still there
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        if durable:
            flush(part)
        part.replace(path)
        if durable:
            flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, data: bytes | str, *, durable: bool = False) -> Path:
    """Write a file in one step; see :func:`replacing`. Of a text, what is no Unicode is replaced.

    :returns: ``path``
    :raises OSError: it cannot be written
    """
    with replacing(path, durable=durable) as part:
        part.write_bytes(data.encode("utf-8", "replace") if isinstance(data, str) else data)
    return path


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk.

    :raises OSError: the disk refuses
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_lines(
    path: Path, wrong: Callable[[int, str], Exception] | None = None
) -> Iterator[tuple[dict[str, Any], int]]:
    """The objects of a file of JSON lines, each with the place where its line ends; nothing where there is no file.

    A last line without its end was cut by a kill and is not read.

    :param wrong: number of a line that is no JSON object, what is the matter → what to raise; ``None`` passes over it
    :raises OSError: the file cannot be read
    """
    if not path.exists():
        return
    end = 0
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.endswith(NEWLINE):
                return
            end += len(raw)
            try:
                record = json.loads(raw)
                problem = "" if isinstance(record, dict) else "no JSON object"
            except (ValueError, RecursionError) as error:
                problem = f"no JSON ({error})"
            if not problem:
                yield record, end
            elif wrong is not None and raw.strip():
                raise wrong(number, problem)


def append_line(path: Path, line: bytes, *, durable: bool = False) -> None:
    """Add a line that ends in a line break. One that a kill has cut before does not swallow it.

    :raises OSError: it cannot be written
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != NEWLINE:
                stream.write(NEWLINE)
        stream.write(line)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
