"""Approvals as messages with two buttons, which decide on exactly what the message shows."""

from typing import Final

import chainlit as cl

from api.chat import shown
from lightning.client import Approval

#: The name of the buttons' action.
DECIDE: Final = "decide"


async def show(approval: Approval) -> None:
    """Ask for a decision."""
    actions = _actions(approval) if approval["state"] == "pending" else []
    text = shown.approval_text(approval)
    await cl.Message(text, author=shown.ASSISTANT, id=approval["id"], actions=actions).send()


async def settle(approval: Approval) -> None:
    """Show what was decided, and take the buttons away."""
    if approval["state"] == "pending":
        return
    await cl.Message(shown.approval_text(approval), author=shown.ASSISTANT, id=approval["id"]).update()
    for action in _actions(approval):
        await action.remove()


def _actions(approval: Approval) -> list[cl.Action]:
    return [
        cl.Action(
            id=f"{decision}-{approval['id']}",
            forId=approval["id"],
            name=DECIDE,
            label=label,
            payload={"approval": approval["id"], "decision": decision, "hash": approval["hash"]},
        )
        for decision, label in (("approve", "Approve exactly this"), ("refuse", "Refuse"))
    ]
