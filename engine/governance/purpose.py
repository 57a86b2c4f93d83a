"""What the engine may be used for, what people must be told, and a record of who used it.

Inferring emotions of people at work and in education is prohibited in the European Union (AI Act, Art.
5(1)(f)), medical and safety reasons excepted; the Commission's guidelines count recruitment among it.
Everything else is the operator's duty to judge: the purpose has to be stated, and it travels with the results.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mellm.stream.errors import PurposeRefused

logger = logging.getLogger(__name__)


class Purpose(enum.StrEnum):
    """Why faces are analysed."""

    RESEARCH = "research"
    CLINICAL = "clinical"
    SELF_USE = "self-use"
    OTHER = "other"
    WORKPLACE = "workplace"
    EDUCATION = "education"
    RECRUITMENT = "recruitment"


MAX_REFERENCE: Final = 200
"""Characters of a consent reference."""

PROHIBITED: Final = frozenset({Purpose.WORKPLACE, Purpose.EDUCATION, Purpose.RECRUITMENT})

NOTICE: Final = (
    "Faces are analysed here for brief expressions. The results are estimates with a measured error rate. "
    "They do not show what a person thinks or whether somebody lies, and must not decide about people. "
    "Analyse only people who have agreed to it and may withdraw."
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A purpose that was stated and accepted.

    :param basis: reference to the medical or safety ground, for purposes that need one
    """

    purpose: Purpose
    basis: str | None = None

    @property
    def notice(self) -> str:
        """What clients and the people in front of the camera are told."""
        ground = f" Medical or safety basis: {self.basis}." if self.basis else ""
        return f"Purpose: {self.purpose}.{ground} {NOTICE}"

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``hello`` and ``run.json``."""
        return {"purpose": str(self.purpose), "basis": self.basis, "notice": self.notice}


def require(purpose: str | None, basis: str | None = None) -> Declaration:
    """Accept or refuse a stated purpose.

    :param basis: reference to a medical or safety ground, such as a protocol number
    :raises PurposeRefused: if none is stated, it is unknown, or it is prohibited and has no basis
    """
    allowed = ", ".join(p for p in Purpose if p not in PROHIBITED)
    if purpose is None or not purpose.strip():
        raise PurposeRefused("no purpose is stated", remedy=f"state one with --purpose: {allowed}")
    try:
        known = Purpose(purpose.strip().lower().replace("_", "-"))
    except ValueError:
        raise PurposeRefused(
            f"unknown purpose {purpose[:64]!r}", remedy=f"state one with --purpose: {allowed}"
        ) from None
    ground = (basis or "").strip()
    if len(ground) > 200 or not ground.isprintable():
        raise PurposeRefused(
            "the medical or safety basis is not a valid reference",
            remedy="give a short one, such as a protocol number",
        )
    if known in PROHIBITED and not ground:
        raise PurposeRefused(
            f"purpose {known!s} is refused: inferring emotions of people at work, in education or in recruitment "
            "is prohibited in the European Union (AI Act, Art. 5(1)(f))",
            remedy="a medical or safety ground is stated with --medical-or-safety-basis REF",
        )
    return Declaration(known, ground or None)


Audit: TypeAlias = Callable[[str, Mapping[str, Any]], None]
"""Called with an action (``server.started``, ``session.opened``, ``evidence.read`` …) and its facts. Must be
quick and thread-safe; facts hold no token and no picture."""


def log_audit(action: str, facts: Mapping[str, Any]) -> None:
    """The default audit hook: one line in the log ``mellm.engine.governance.purpose``."""
    logger.info("audit %s %s", action, " ".join(f"{key}={value}" for key, value in facts.items()))


def reference(text: str) -> str:
    """A consent reference as it is kept.

    :raises ValueError: if it is none
    """
    text = text.strip()
    if not 0 < len(text) <= MAX_REFERENCE or not text.isprintable():
        raise ValueError(f"a consent reference has 1 to {MAX_REFERENCE} printable characters")
    return text
