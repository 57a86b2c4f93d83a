"""The log's file: its tables, how an older format is brought up to date, and the one lock that says who writes.

Format 2 has the consent reference in a column of its own, and indexes on it and on the source: what belongs to somebody
is found without reading the whole log.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from mellm.stream import private
from mellm.stream.errors import JournalError

logger = logging.getLogger(__name__)

SCHEMA: Final = "2"
_HEADER: Final = b"SQLite format 3\0"

_META: Final = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_EVENTS: Final = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    time INTEGER NOT NULL,
    score REAL,
    payload BLOB NOT NULL,
    consent TEXT
)"""
_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS events_by_id ON events (id)",
    "CREATE INDEX IF NOT EXISTS events_by_source ON events (source)",
    "CREATE INDEX IF NOT EXISTS events_by_consent ON events (consent) WHERE consent IS NOT NULL",
)


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a log is.

    :param forgotten: everything up to here has been forgotten; kept so that numbers are never used twice
    """

    epoch: str
    forgotten: int
    last: int


def connect(path: str) -> sqlite3.Connection:
    """A connection without transactions of its own making."""
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)


def claim(path: Path) -> IO[bytes]:
    """The right to write, held until the file is closed. Two writers would number events twice. A lock file of its own:
    closing any descriptor of the database would drop SQLite's locks on it.

    :raises JournalError: another process has it
    :raises sqlite3.DatabaseError: there is something else at the path
    :raises OSError: it cannot be written
    """
    private.folder(path.parent)
    if path.exists():
        # SQLite takes a file of a few bytes for an empty database and would overwrite it
        with path.open("rb") as known:
            if known.read(len(_HEADER)) not in (b"", _HEADER):
                raise sqlite3.DatabaseError("file is not a database")
    file = open(f"{path}.lock", "ab", opener=private.opener)  # noqa: SIM115 - held for the life of the journal
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise JournalError(
            f"the journal {path} is in use by another process", remedy="stop it, or name another journal"
        ) from None
    os.set_inheritable(file.fileno(), False)
    for part in ("", "-wal", "-shm"):  # SQLite gives its new files the mode of the first
        if not part or os.path.exists(f"{path}{part}"):
            os.close(private.opener(f"{path}{part}", os.O_RDWR | os.O_CREAT))
    return file


def prepare(db: sqlite3.Connection, path: str, *, durable: bool) -> Ends:
    """Make the tables, or bring those of an older version up to date, all or nothing.

    :raises JournalError: a format that this version does not know
    :raises sqlite3.Error: the disk refuses
    """
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    db.execute("PRAGMA secure_delete=ON")  # what is forgotten is overwritten
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_META)
        found = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        schema = None if found is None else str(found[0])
        if schema is None:
            db.execute(_EVENTS)
        elif schema == "1":
            logger.warning("the journal %s is brought from format 1 to %s", path, SCHEMA)
            db.execute("ALTER TABLE events ADD COLUMN consent TEXT")
            db.execute("UPDATE events SET consent = json_extract(CAST(payload AS TEXT), '$.data.consent')")
        elif schema != SCHEMA:
            raise JournalError(
                f"the journal {path} has format {schema}, this version reads {SCHEMA}",
                remedy="use the version that wrote it, or another file",
            )
        for index in _INDEXES:
            db.execute(index)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (SCHEMA,))
        epoch = _meta(db, "epoch", uuid.uuid4().hex[:16])
        forgotten = int(_meta(db, "forgotten", "0"))
        (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return Ends(epoch, forgotten, max(last or 0, forgotten))


def _meta(db: sqlite3.Connection, key: str, default: str) -> str:
    db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, default))
    (value,) = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(value)
