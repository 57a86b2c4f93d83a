"""Describe jobs on disk, so that expressions which were spotted before a crash are described after it.

One file for each job, from the moment of spotting to its end: the motion map and the region table, never a face. Only
where the operator keeps evidence (`--keep-evidence`); otherwise a job that was open at a crash ends as dropped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from mellm.detectors.types import Expression, Quality, Sensitivity
from mellm.engine.analysis.describe_queue import Job
from mellm.engine.describe.base import DescribeContext
from mellm.engine.types import Evidence, RegionMotion
from mellm.stream import private
from mellm.stream.frames import FrameRef

logger = logging.getLogger(__name__)

FORMAT = 1
MAX_BYTES = 4 << 20
"""A file that is larger was not written here."""


class Spool:
    """The jobs of one server. Thread-safe: each job has a file of its own.

    :param folder: made when the first job comes; readable by its owner only
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._failing = False

    def put(self, job: Job) -> None:
        """Keep a job until :meth:`remove`. A disk that refuses is told once and stops nothing."""
        path = self._path(job.expression.id)
        part = path.with_suffix(".part")
        try:
            private.folder(self.folder)
            with open(part, "wb", opener=private.opener) as file:
                np.savez(file, motion_map=job.evidence.motion_map, job=np.frombuffer(_dump(job), np.uint8))
            os.replace(part, path)
            self._failing = False
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            if not self._failing:
                logger.warning("jobs cannot be kept in %s: %s", self.folder, error.strerror)
            self._failing = True

    def remove(self, expression: str) -> None:
        """The job has ended."""
        try:
            self._path(expression).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("job %s cannot be removed: %s", expression, error.strerror)

    def take(self, expression: str) -> Job | None:
        """The job as it was kept; ``None`` if it was not, or its file is damaged. The file stays."""
        path = self._path(expression)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError("larger than any job")
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                return _load(bytes(kept["job"]), np.asarray(kept["motion_map"], np.uint8))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("job %s cannot be read: %s", path.name, error)
            return None

    def sweep(self, keep: frozenset[str]) -> int:
        """Remove jobs that nobody waits for, and half-written files.

        :returns: how many files went
        """
        gone = 0
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            if path.suffix == ".part" or (path.suffix == ".npz" and path.stem not in keep):
                with contextlib.suppress(OSError):
                    path.unlink()
                    gone += 1
        return gone

    def _path(self, expression: str) -> Path:
        # ids are hexadecimal digits; anything else would be a path of somebody's choosing
        if not expression.isalnum():
            raise ValueError(f"{expression!r} is not an expression id")
        return self.folder / f"{expression}.npz"


def _dump(job: Job) -> bytes:
    evidence = job.evidence
    body = {
        "format": FORMAT,
        "expression": asdict(job.expression),
        "regions": [asdict(region) for region in evidence.regions],
        "flow_stats": evidence.flow_stats,
        "recipe": evidence.recipe,
        "refused": evidence.refused,
        "context": asdict(job.context),
    }
    return json.dumps(body).encode()


def _load(raw: bytes, motion_map: Any) -> Job:
    body = json.loads(raw)
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']}")
    told = body["expression"]
    told |= {name: FrameRef(**told[name]) for name in ("onset", "apex", "offset")}
    quality = {**told["quality"], "reasons": tuple(told["quality"]["reasons"])}
    said = told.get("sensitivity")
    told["sensitivity"] = None if said is None else Sensitivity(*said)
    expression = Expression(**{**told, "quality": Quality(**quality), "aus": _pairs(told["aus"])})
    evidence = Evidence(
        motion_map,
        tuple(RegionMotion(**region) for region in body["regions"]),
        body["flow_stats"],
        body["recipe"],
        body["refused"],
    )
    known = {field.name for field in fields(DescribeContext)}
    context = {key: value for key, value in body["context"].items() if key in known}
    return Job(
        0, expression, evidence, DescribeContext(**{**context, "unit_scores": _pairs(context["unit_scores"])})
    )


def _pairs(listed: list[list[float]]) -> tuple[tuple[int, float], ...]:
    return tuple((int(unit), float(score)) for unit, score in listed)
