"""Gives calls that wait their results, and lets a turn go on when it has all of them.

Which event answers which call is told by one note a call, and by the field of the answer's metadata that
`TYPES` names: nothing here knows what kind of work was waited for.
"""

from collections.abc import Sequence
from typing import Final

from actors.outcome import Output
from lightning.domain.turns import Turn, Turns
from lightning.events import TYPES, ChatContinuedMetadata, EventDocument
from lightning.log.turns import CONTINUED
from lightning.storage import Operation
from lightning.tools import bounded

SOURCE: Final = "lightning.chat"


class ChatAnswers:
    """Finds the calls that events answer.

    Parameters:
      turns: Where replies stand.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def of(self, event: EventDocument) -> tuple[Sequence[Output], Sequence[Operation]]:
        """Give what follows from a result, and what is written with it, where a call waits for it."""
        field = TYPES[event["type"]].answers
        if field is None:
            return (), ()
        waiting = await self._turns.waiting(event["userID"], event["metadata"][field])
        if waiting is None:
            return (), ()
        turn = waiting.turn.answered(waiting.place, bounded(event["metadata"]))
        return resumption(event, turn), (turn.operation(), waiting.operation)


def resumption(event: EventDocument, turn: Turn) -> list[Output]:
    """Let the model go on, if a reply has all of its results now, and nobody has cancelled it."""
    document = turn.document
    if document["outstanding"] or event.get("despiteCancel"):
        return []
    continued = ChatContinuedMetadata(conversationID=document["conversationID"], turnID=document["turnID"])
    return [Output("continued", CONTINUED, continued, SOURCE)]
