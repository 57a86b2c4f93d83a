"""What decides the results of a run, as it stands in ``run.json``: the same for recordings and for sessions."""

from __future__ import annotations

from typing import Any

from mellm.engine.config import Settings
from mellm.engine.describe.base import Describer
from mellm.engine.governance import purpose as privacy
from mellm.stream.errors import UsageError


def run_settings(
    settings: Settings,
    describer: Describer,
    *,
    evidence: bool,
    fps: float | None = None,
    consent: str | None = None,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings by which a run is known; a folder that holds a run with others is not continued.

    :param evidence: whether motion maps are kept
    :param consent: reference by which the run can be found and erased
    :param more: how its sources are opened, as far as that is not the default
    :raises UsageError: the reference cannot be one
    """
    found = {
        "purpose": settings.purpose or str(privacy.Purpose.SELF_USE),
        "describer": describer.name,
        "profile": describer.profile,
        "spotting": settings.spotting.model_dump(),
        "max_faces": settings.faces.max_faces,
        "fps": fps,
        **(more or {}),
        "evidence": evidence,
    }
    if consent is not None:
        try:
            found["consent"] = privacy.reference(consent)
        except ValueError as error:
            raise UsageError(f"--consent: {error}") from None
    return found
