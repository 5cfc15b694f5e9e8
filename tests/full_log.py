"""A deployment with something of everything in it, made by the log's own interface, and all its documents."""

from lightning.archive.source import pages
from lightning.domain.accounts import Accounts
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Attempt, Deliveries
from lightning.domain.webhooks import Webhooks
from lightning.events import Draft, now_text
from lightning.ids import derived_id
from lightning.log import Claimed, EventLog
from lightning.outbound import Guard
from lightning.storage import Storage

#: A user with more documents than one batch takes.
MANY = 130

OUTPUT = derived_id("a", "next")


def told(id: str, text: str = "") -> Draft:
    return Draft(id, "user.message", "test", {"content": text or id}, "2026-01-01T00:00:00Z", {})


def said(id: str, conversation: str) -> Draft:
    metadata = {"content": f"{id}?", "conversationID": conversation}
    return Draft(id, "llm.chat", "test", metadata, "2026-01-01T00:00:00Z", {})


async def claimed(log: EventLog, id: str, seconds: float = 60) -> Claimed:
    verdict = await log.claim("anna", id, 0, "me", seconds)
    assert isinstance(verdict, Claimed), verdict
    return verdict


async def fill(storage: Storage) -> None:
    """Make the deployment: two users, of whom one has every kind of event and document."""
    log = EventLog(storage)
    await Accounts(storage, rounds=4).register("anna", "correct horse")
    endpoints = Webhooks(storage, Guard())
    webhook = await endpoints.create("anna", "https://example.com/hook", name="hook", types=[])
    # an event with an output that is being worked on, one that is dead, one that was cancelled
    await log.append("anna", [told("a"), told("d"), told("x")])
    await log.end(await claimed(log, "a"), "done", outputs=[told(OUTPUT)])
    await claimed(log, OUTPUT)
    await log.end(await claimed(log, "d"), "dead", error={"code": "broken", "message": "it is"})
    await log.interventions.cancel("anna", "x")
    # a conversation in which one message is answered, and two wait
    await log.append("anna", [said("c1", "c"), said("c2", "c"), said("c3", "c")])
    await log.end(await claimed(log, "c1"), "done")
    await Conversations(storage, log).create("anna", "silent", {"title": "nobody has spoken"})
    # a delivery, which was tried once
    metadata = {"webhookID": webhook.id, "eventID": "a"}
    delivery = Draft("w", "webhook.delivery", "test", metadata, "2026-01-01T00:00:00Z", {})
    [event] = await log.append("anna", [delivery])
    tried = Attempt(1, now_text(), 12, 500, "unexpected_status", "the endpoint answered 500", "no")
    await Deliveries(storage, log).note(event, tried)
    # numbers that a store could round, and one that it may write otherwise
    await log.append("bert", [Draft("n", "user.message", "test", {"n": [2**62, 5.0, 0.1]}, now_text(), {})])
    for start in range(0, MANY, 10):
        await log.append("bert", [told(f"b{start + n}", "long " * 40) for n in range(10)])


async def everything(storage: Storage) -> dict[tuple[str, str, str], dict]:
    """Read all documents, by container, user and id."""
    return {
        (container, body["userID"], body["id"]): body
        async for container, bodies in pages(storage)
        for body in bodies
    }
