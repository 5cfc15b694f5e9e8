"""Approvals that a model asks for, written down as the worker does it that is not here."""

import json
import time

from actors.chat_calls import wait
from lightning.domain.turns import Turns
from lightning.events import Draft, now_text
from lightning.ids import derived_id, new_id
from lightning.llm import Completion, ToolCall
from lightning.log import EventLog


def an_approval(person, *, seconds=3600.0, content="hi"):
    """Give an approval that a model asks for, written down as the worker does it that is not here."""
    ingress = person.ingress

    async def ask(storage):
        log, turns = EventLog(storage), Turns(storage)
        draft = Draft(new_id(), "user.message", "test", {"content": "x"}, now_text(), {})
        [event] = await log.append(person.id, [draft])
        arguments = {"content": content}
        call = ToolCall("1", "send_message", json.dumps(arguments))
        reply = Completion("", "m", None, "tool_calls", (call,))
        turn = await turns.record(event, event["id"], "c", 0, reply)
        asks = {"arguments": arguments, "scope": {}, "expiresAt": time.time() + seconds}
        awaits = derived_id(event["id"], "call-0.0")
        turn = await turns.write(
            turn.with_call(0, {**turn.document["calls"][0], "awaits": awaits, "asks": asks})
        )
        outputs, writes, awaited = wait(event, turn, 0)
        drafts = [output.draft(event) for output in outputs]
        await log.append(person.id, drafts, writes=writes, cause=event)
        return awaited.approvalID

    with ingress.accounts() as made:
        found = made.run(ask(made.storage))
        ingress.catch_up(made.storage)
        return found
