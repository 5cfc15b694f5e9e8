"""Puts an answer together from deltas, which may be lost, and from what is recorded in the end."""

from collections.abc import Generator

from lightning.client.errors import ClientError
from lightning.client.shapes import Answer, Delta, EventWithOutputs


class Restarted:
    """Stands between the pieces of an answer: those before it are void, the answer begins anew."""

    def __repr__(self) -> str:
        return "Restarted()"


#: A piece of text, or the mark that the pieces so far are void.
Piece = str | Restarted


class Answering:
    """One answer while it comes; what it gives out after the last `Restarted` is a prefix of it.

    Parameters:
      event_id: The `llm.chat` that is being answered; deltas of others are passed over.
    """

    def __init__(self, event_id: str) -> None:
        self._event_id = event_id
        self._attempt = 0
        self._text = ""

    def delta(self, delta: Delta) -> Generator[Piece]:
        """Give what a delta adds; behind a gap nothing does, until the recorded answer fills it."""
        if delta.event != self._event_id or delta.attempt < self._attempt:
            return
        if delta.attempt > self._attempt:
            yield from self._restart()
            self._attempt = delta.attempt
        known = len(self._text) - delta.offset
        if 0 <= known < len(delta.text):
            yield from self._add(delta.text[known:])

    def finish(self, content: str) -> Generator[Piece]:
        """Give what the recorded answer adds to the pieces."""
        if not content.startswith(self._text):
            yield from self._restart()
        yield from self._add(content[len(self._text) :])

    def _restart(self) -> Generator[Piece]:
        if self._text:
            self._text = ""
            yield Restarted()

    def _add(self, text: str) -> Generator[Piece]:
        if text:
            self._text += text
            yield text


def answer_of(event: EventWithOutputs) -> Answer:
    """Find the answer to an `llm.chat` that is over.

    Raises:
      ClientError: There is none; its code is that of the response's error, or ``cancelled``.
    """
    if event["state"] == "cancelled":
        raise ClientError("the answer was cancelled", code="cancelled")
    responses = [output for output in event["outputs"] if output["type"] == "llm.chat.response"]
    problem = responses[0]["metadata"].get("error") if responses else event["error"]
    if not responses or problem is not None:
        problem = problem or {"code": "no_answer", "message": f"event {event['id']} has no answer"}
        raise ClientError(problem["message"], code=problem["code"])
    [response] = responses[:1]
    said = response["metadata"]
    return Answer(
        id=response["id"],
        content=said["content"],
        conversation=said["conversationID"],
        model=said["model"],
        finish_reason=said["finishReason"],
        usage=said.get("usage"),
        event=event,
    )
