"""What was found, handed out to whom it concerns: expressions from the journal, and their motion maps.

Whoever may not see a source is told the same as if there were no such expression.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mellm.engine.governance.purpose import Audit
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.access import Principal
from mellm.stream.protocol.client_messages import EvidenceKind
from mellm.stream.protocol.events import Event


class ExpressionReader:
    """Reading under access control.

    :param evidence: expression id and which picture → PNG, ``None`` when it is not kept
    """

    def __init__(
        self, journal: Journal, evidence: Callable[[str, EvidenceKind], bytes | None], audit: Audit
    ) -> None:
        self._journal = journal
        self._evidence = evidence
        self._audit = audit

    async def expression(self, id: str, principal: Principal) -> list[Event]:
        """The events of an expression, oldest first, for handing out; empty when there are none for this client.

        :raises JournalError: if the journal cannot be read
        """
        stages = await self._stages(id, principal)
        if stages:
            facts = {"expression": id, "source": stages[0].source, "principal": principal.name}
            self._audit("expression.read", facts)
        return stages

    async def _stages(self, expression: str, principal: Principal) -> list[Event]:
        records = await asyncio.to_thread(self._journal.about, expression)
        return [
            record.event
            for record in records
            if record.type.startswith("expression.") and principal.sees(record.source)
        ]

    async def picture(self, expression: str, shown: EvidenceKind, principal: Principal) -> bytes | None:
        """The motion map or the faces as PNG, ``None`` when there are none (any more) for this client.

        :raises JournalError: if the journal must say whose it is and cannot be read
        """
        if principal.sources is not None and not await self._stages(expression, principal):
            return None
        png = await asyncio.to_thread(self._evidence, expression, shown)
        if png is not None:
            facts = {"expression": expression, "shown": shown, "principal": principal.name}
            self._audit("evidence.read", facts)
        return png
