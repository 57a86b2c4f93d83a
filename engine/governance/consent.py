"""No camera without a reference to the consent of those before it, where the purpose asks for one.

The reference names a record that the operator keeps (a signed form, an entry in a study's file): who agreed, when, to
which text. It travels with every event of the source, so that what is stored can be found and erased by it. Use a
pseudonym, never a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from mellm.engine.governance.purpose import PROHIBITED, Declaration, Purpose, reference, require
from mellm.stream.errors import ConsentMissing, ConsentWithdrawn, UsageError

if TYPE_CHECKING:
    from mellm.engine.config import Settings, SourceSettings
    from mellm.stream.log.journal import Journal

NEEDED_FOR: Final = frozenset({Purpose.RESEARCH, Purpose.CLINICAL}) | PROHIBITED
"""Purposes under which somebody else than the operator is before the camera."""

_PREFIX: Final = "withdrawn:"


def required(declaration: Declaration, chosen: bool | None = None) -> bool:
    """Whether every source needs a consent reference.

    :param chosen: the setting ``consent_required``; ``None`` leaves it to the purpose
    :raises ConsentMissing: if it is to be turned off under a purpose that needs it
    """
    needed = declaration.purpose in NEEDED_FOR
    if chosen is False and needed:
        raise ConsentMissing(
            f"the consent gate cannot be turned off for the purpose {declaration.purpose}",
            remedy="give each source its consent reference; recordings of yourself are the purpose self-use",
        )
    return needed if chosen is None else chosen


def of_analysis(settings: Settings, given: str | None, default: Purpose | None = None) -> str | None:
    """The consent reference of a recording or camera that is analysed without a server.

    :param given: as stated
    :param default: purpose where none is stated
    :raises PurposeRefused: see :func:`mellm.engine.governance.purpose.require`
    :raises ConsentMissing: the purpose needs a reference and none is given
    :raises UsageError: what is given is none
    """
    declaration = require(settings.purpose or default, settings.medical_or_safety_basis)
    if given is None and required(declaration, settings.consent_required):
        raise ConsentMissing(
            f"the purpose {declaration.purpose} needs a consent reference",
            remedy="give it with --consent REF (from Python: consent=)",
        )
    try:
        return None if given is None else reference(given)
    except ValueError as error:
        raise UsageError(f"--consent: {error}") from None


def withheld(
    sources: Iterable[SourceSettings], *, needed: bool, withdrawn: Callable[[str, str], bool]
) -> dict[str, ConsentMissing]:
    """Sources that must not start, and why.

    :param needed: see :func:`required`
    :param withdrawn: source and consent reference (empty for none) → whether that consent was withdrawn
    """
    found: dict[str, ConsentMissing] = {}
    for source in sources:
        if withdrawn(source.id, source.consent or ""):
            found[source.id] = ConsentWithdrawn(
                f"source {source.id!r}: consent was withdrawn",
                remedy="it starts again with the reference of a new consent",
            )
        elif needed and source.consent is None:
            found[source.id] = ConsentMissing(
                f"source {source.id!r} has no consent reference",
                remedy=f'give it with --consent {source.id}=REF, or consent = "REF" in its [[sources]]',
            )
    return found


def on_page(settings: Settings) -> frozenset[str]:
    """Sources that start when the person on camera has answered yes on the page, each time anew."""
    asked = settings.server.consent_text is not None
    return frozenset(source.id for source in settings.sources if asked and source.consent is None)


def recorded(settings: Settings, waiting: frozenset[str] = frozenset()) -> None:
    """Hold a wish to keep the video against the consents.

    :param waiting: see :func:`on_page`
    :raises ConsentMissing: somebody before a source has not agreed to it
    """
    for source in settings.sources:
        if source.consent is None and source.id not in waiting:
            raise ConsentMissing(
                f"--record keeps the video of {source.id!r}, and there is no consent to that",
                remedy=f"give its reference with --consent {source.id}=REF, or ask on the page with --consent-text",
            )


def gate(settings: Settings, declaration: Declaration, journal: Journal) -> dict[str, ConsentMissing]:
    """Sources of these settings that must not start, and why; those of :func:`on_page` wait for their yes.

    :raises ConsentMissing: if none may start for want of a reference: that is a mistake in the call
    """
    waiting = on_page(settings)
    found = withheld(
        [source for source in settings.sources if source.id not in waiting],
        needed=required(declaration, settings.consent_required),
        withdrawn=lambda source, consent: was_withdrawn(journal, source, consent),
    )
    if found and len(found) == len(settings.sources):
        for error in found.values():
            if not isinstance(error, ConsentWithdrawn):
                raise error
    return found


def with_references(settings: Settings, pairs: Sequence[str]) -> Settings:
    """The settings with consent references of ``ID=REF`` arguments.

    :raises UsageError: for one that is none, or names no source
    """
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in {source.id for source in settings.sources}:
            raise UsageError(f"--consent {pair!r} names no source", remedy="write --consent desk=REF")
        try:
            given[name] = reference(text)
        except ValueError as error:
            raise UsageError(f"--consent {pair!r}: {error}") from None
    sources = tuple(
        source.model_copy(update={"consent": given[source.id]}) if source.id in given else source
        for source in settings.sources
    )
    return settings.model_copy(update={"sources": sources})


def remember_withdrawal(
    journal: Journal, source: str, consent: str, moment: str, *, erased: bool = False
) -> None:
    """Keep beside the log that this consent does not hold any more, for every later start.

    :param erased: whether what was recorded under it is gone; until then :func:`not_erased` names it
    :raises JournalError: if it cannot be written
    """
    journal.note(_key(source, consent), f"{moment} {'erased' if erased else 'open'}")


def not_erased(journal: Journal) -> list[tuple[str, str]]:
    """Sources and consent references (empty for none) that were withdrawn and whose data may be left: the process
    ended, or the disk refused."""
    found = []
    for key, value in journal.notes(_PREFIX).items():
        source, _, consent = key.removeprefix(_PREFIX).partition(":")
        if value.endswith(" open"):
            found.append((source, consent))
    return found


def was_withdrawn(journal: Journal, source: str, consent: str) -> bool:
    """Whether :func:`remember_withdrawal` was told so."""
    return journal.note(_key(source, consent)) is not None


def _key(source: str, consent: str) -> str:
    return f"{_PREFIX}{source}:{consent}"  # ids of sources have no colon
