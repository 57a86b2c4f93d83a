"""A consent that was given on the page: the text that was shown, and who answered yes, when, before which source.

The record is a file of its own, for its owner only. Its reference travels with every event and stands in ``run.json``,
as that of a paper form would.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mellm.stream import private
from mellm.stream.errors import UsageError

FORMAT: Final = "mellm-consent/1"
FOLDER: Final = "consents"
"""Beside the run folders."""

LONGEST: Final = 20_000
"""Characters of a consent text."""


@dataclass(frozen=True, slots=True)
class ConsentText:
    """What a person on camera is asked to agree to."""

    text: str

    @property
    def sha256(self) -> str:
        """Of the text in UTF-8: a yes is to this text and no other."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it.

        :raises UsageError: there is no such file, or it holds no text of a usable length
        """
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the consent text {path} cannot be read ({error})", remedy="name a UTF-8 text file"
            ) from error
        if not 0 < len(text) <= LONGEST:
            raise UsageError(
                f"the consent text {path} has {len(text)} characters",
                remedy=f"give 1 to {LONGEST} characters of plain text",
            )
        return cls(text)


def keep(folder: Path, text: ConsentText, *, source: str, by: str, purpose: str, moment: str) -> str:
    """Write the record of a yes.

    :param folder: of the run folders
    :param by: name of the client on whose page the answer was given
    :param moment: RFC 3339
    :returns: its reference
    :raises OSError: it cannot be written
    """
    stamp = moment[:19].replace("-", "").replace(":", "") + "Z"
    reference = f"page-{stamp}-{secrets.token_hex(3)}"
    record = {
        "format": FORMAT,
        "reference": reference,
        "answer": "yes",
        "given": moment,
        "source": source,
        "by": by,
        "purpose": purpose,
        "text_sha256": text.sha256,
        "text": text.text,
    }
    private.folder(folder / FOLDER)
    with open(folder / FOLDER / f"{reference}.json", "xb", opener=private.opener) as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return reference
