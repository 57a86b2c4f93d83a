"""The loops: every recording or clip ends as one row, an error too, and a second call goes on where one stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import cv2

from mellm.evaluation.dataset_runs import describing, spotter
from mellm.evaluation.dataset_runs.describing import Asker
from mellm.evaluation.dataset_runs.folder import EvalFolder, encoded
from mellm.evaluation.dataset_runs.recordings import Recording
from mellm.evaluation.dataset_runs.spotter import Parts
from mellm.evaluation.datasets import Clip
from mellm.stream.errors import (
    AnswerInvalid,
    DescriberError,
    DescriberTimeout,
    MellmError,
    ModelCorrupt,
    ModelMissing,
    ProviderUnavailable,
    RunError,
)
from mellm.stream.files import append_line, json_lines

logger = logging.getLogger(__name__)

LEVELS_FILE: Final = "levels.jsonl"
PATIENCE: Final = 3
"""A describer that fails so often in a row has failed for good."""
HOPELESS: Final = (RunError, ModelMissing, ModelCorrupt, ProviderUnavailable)
"""The next row would fare no better."""

Thing = TypeVar("Thing", Recording, Clip)


class Progress(Protocol):
    """Somebody who watches."""

    def begin(self, total: int, skipped: int) -> None:
        """So many rows are asked for; so many of them are there already."""
        ...

    def within(self, key: str, share: float) -> None:
        """How far the row that is being made has come, 0 to 1."""
        ...

    def done(self, row: Mapping[str, Any]) -> None:
        """A row is on disk."""
        ...


class Silent:
    """Nobody watches."""

    def begin(self, total: int, skipped: int) -> None:
        """Ignore."""

    def within(self, key: str, share: float) -> None:
        """Ignore."""

    def done(self, row: Mapping[str, Any]) -> None:
        """Ignore."""


@dataclass(frozen=True, slots=True)
class Done:
    """:param made: rows of this call

    :param skipped: rows that were there
    :param failed: of all, ends in an error"""

    made: int
    skipped: int
    failed: int


def spot_all(
    recordings: Sequence[Recording],
    folder: EvalFolder,
    parts: Parts,
    *,
    asker: Asker | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Run the spotter over recordings.

    :param asker: describes each spot as well
    :param retry: make rows of an error anew
    :raises RunError: the folder cannot be written
    :raises ModelError: no recording can be analysed without the models
    :raises DescriberError: the describer failed :data:`PATIENCE` times in a row
    """
    watcher = progress or Silent()

    def make(recording: Recording) -> dict[str, Any]:
        row, levels = spotter.spot(
            recording,
            parts,
            read=None if asker is None else _patient(asker),
            advance=lambda share: watcher.within(recording.key, share),
        )
        # before the row: a recording counts as done only when both are there
        _keep(folder, recording, levels)
        return row

    def failed(recording: Recording) -> dict[str, Any]:
        return {
            "key": recording.key,
            "dataset": recording.dataset,
            "subject": recording.subject,
            "video": recording.id,
        }

    return _each(recordings, lambda r: r.key, make, failed, folder, retry, watcher)


def describe_all(
    clips: Sequence[Clip],
    folder: EvalFolder,
    asker: Asker,
    *,
    retry: bool = False,
    progress: Progress | None = None,
) -> Done:
    """Run the describer over annotated clips; see :func:`spot_all`."""
    return _each(clips, describing.key_of, asker.ask, describing.head, folder, retry, progress or Silent())


def _each(
    things: Sequence[Thing],
    key_of: Callable[[Thing], str],
    make: Callable[[Thing], dict[str, Any]],
    failed: Callable[[Thing], dict[str, Any]],
    folder: EvalFolder,
    retry: bool,
    watcher: Progress,
) -> Done:
    todo = [thing for thing in things if not folder.done(key_of(thing), failed_too=not retry)]
    watcher.begin(len(things), len(things) - len(todo))
    misses = 0
    for thing in todo:
        try:
            row = make(thing)
            misses = 0
        except HOPELESS:
            raise
        except (MellmError, OSError, cv2.error) as error:
            if isinstance(error, DescriberError):
                misses += 1
                if misses == PATIENCE:
                    raise
            row = {**failed(thing), "state": "failed", "error": _plain(error)}
            logger.info("%s: %s", row["key"], error)
        folder.append(row["dataset"], row)
        watcher.done(row)
    rows = [folder.rows[key_of(thing)] for thing in things]
    return Done(len(todo), len(things) - len(todo), sum(r["state"] == "failed" for r in rows))


def _plain(error: Exception) -> dict[str, str]:
    code = error.code if isinstance(error, MellmError) else type(error).__name__.lower()
    return {"code": code, "message": str(error)}


def _patient(asker: Asker) -> spotter.Reader:
    """One answer that comes late or cannot be read does not cost a whole video."""

    def read(spotted: Any) -> Mapping[str, Any]:
        try:
            return asker.read(spotted)
        except (AnswerInvalid, DescriberTimeout) as error:
            return {"state": "failed", "reason": error.code, "coarse": None}

    return read


def _keep(folder: EvalFolder, recording: Recording, levels: Mapping[str, Any]) -> None:
    record = {"key": recording.key, "settings": folder.stamps[recording.dataset], "levels": levels}
    try:
        append_line(folder.path / LEVELS_FILE, encoded(record))
    except OSError as error:
        raise RunError(f"{folder.path / LEVELS_FILE} cannot be written ({error.strerror})") from error


def read_levels(folder: EvalFolder) -> dict[str, dict[str, list[list[float]]]]:
    """Key → threshold → spots, of rows that are done under the present settings.

    :raises RunError: a recording that is done has none: the file was taken away or damaged
    """
    out: dict[str, dict[str, list[list[float]]]] = {}
    file = folder.path / LEVELS_FILE
    for record, _ in json_lines(file):  # a line that was cut is passed over: its recording was analysed again
        row = folder.rows.get(record["key"])
        if row is not None and row["settings"] == record["settings"]:
            out[record["key"]] = record["levels"]
    lost = [key for key, row in folder.rows.items() if row["state"] == "done" and key not in out]
    if lost:
        raise RunError(
            f"{file} has nothing on {lost[0]}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else ""),
            remedy="name another --out and run again",
        )
    return out
