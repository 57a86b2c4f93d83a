"""Files and folders for their owner only: what holds faces or events is nobody else's, whatever the umask."""

from __future__ import annotations

import os
from pathlib import Path


def folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only. One that is there stays as it is:
    whoever made it has decided who may look in, and the files are private all the same.

    :raises OSError: if it cannot be made
    """
    for each in reversed((path, *path.parents)):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """For :func:`open`'s ``opener``: the file is its owner's only, also where it was there before.

    :raises OSError: if it cannot be opened
    """
    file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, 0o600)
    except PermissionError:
        pass  # somebody else's file that we may write: its mode is theirs
    return file
