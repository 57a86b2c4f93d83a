"""What a run is about, as the person who started it said: subject, session, condition, and the purpose stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

KEY: Final = "about"
"""In ``run.json``. It decides no result, so it can be corrected later by analysing with another one."""


@dataclass(frozen=True, slots=True)
class About:
    """As stated; empty where nothing was said. Use pseudonyms, never names.

    :param purpose: as stated, ``None`` where none was (the run was then made as self-use)
    :param more: further columns of a study's table, by their headings
    """

    subject: str = ""
    session: str = ""
    condition: str = ""
    notes: str = ""
    purpose: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``run.json``."""
        named = {name: getattr(self, name) for name in ("subject", "session", "condition", "notes")}
        return {**named, "purpose": self.purpose, "more": dict(self.more)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> About:
        """What ``run.json`` says; nothing of a run by an older version."""
        said = state.get(KEY)
        if not isinstance(said, dict):
            return cls()
        more = said.get("more")
        return cls(
            **{name: str(said.get(name) or "") for name in ("subject", "session", "condition", "notes")},
            purpose=None if said.get("purpose") is None else str(said["purpose"]),
            more={str(k): str(v) for k, v in more.items()} if isinstance(more, dict) else {},
        )
