"""Answers on disk, so that nothing is asked and paid for twice: an SQLite file, each answer committed as it comes.

A kill at any moment loses the questions that were under way and nothing else. Refusals are kept like answers; failures
are not, and are asked again. Pictures are not in it, prompts neither: a row is found by the hash of its request.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from mellm.evaluation.compare.types import Answer, Question
from mellm.stream.closing import Closing
from mellm.stream.errors import RunError

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS answers (
    fingerprint TEXT PRIMARY KEY, model TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, text TEXT,
    cut INTEGER NOT NULL, latency_s REAL, tokens_in INTEGER, tokens_out INTEGER, tries INTEGER NOT NULL,
    asked_at REAL NOT NULL
) WITHOUT ROWID
"""
_KEPT: Final = ("answered", "refused")


class Cache(Closing):
    """See the module. Use as a context manager. Several processes may share a file.

    :raises RunError: the file cannot be opened, or is something else
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise RunError(
                f"the answers in {path} cannot be opened ({error})",
                remedy="move the file away, or name another --out",
            ) from error

    def get(self, fingerprint: str, system: str, question: Question) -> Answer | None:
        """The answer that was given to the same request, as this system's to this question.

        :raises RunError: the file cannot be read
        """
        try:
            row = self._db.execute(
                "SELECT state, reason, text, cut, latency_s, tokens_in, tokens_out, tries FROM answers"
                " WHERE fingerprint = ?",
                (fingerprint,),
            ).fetchone()
        except sqlite3.Error as error:
            raise self._broken(error) from error
        if row is None:
            return None
        state, reason, text, cut, latency_s, tokens_in, tokens_out, tries = row
        return Answer(
            system,
            question.task,
            question.id,
            state,
            text,
            reason=reason,
            cut=bool(cut),
            latency_s=latency_s,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tries=tries,
            cached=True,
        )

    def put(self, fingerprint: str, model: str, answer: Answer) -> None:
        """Keep an answer; what is neither an answer nor a refusal is left out.

        :raises RunError: the file cannot be written
        """
        if answer.state not in _KEPT:
            return
        kept = replace(answer, text=_storable(answer.text))
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(fingerprint, model, kept.state, kept.reason, kept.text, kept.cut, kept.latency_s),
                    *(kept.tokens_in, kept.tokens_out, kept.tries, time.time()),
                ),
            )
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._db.close()

    def _broken(self, error: sqlite3.Error) -> RunError:
        return RunError(f"the answers in {self.path} cannot be used ({error})", remedy="is the disk full?")


def _storable(text: str | None) -> str | None:
    """Half a surrogate pair, which JSON may carry, is no Unicode text."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
