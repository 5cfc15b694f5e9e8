"""What a process has to tell the ingress and has not told yet, within bounds."""

from dataclasses import dataclass, field

import orjson

#: Deltas that wait hold at most so much text; the oldest give way.
MAX_CHARACTERS = 1024 * 1024

#: `/notify` takes 256 KiB.
MAX_BODY_BYTES = 192 * 1024

#: Of these, users have at least so much.
USERS_BYTES = 64 * 1024

#: Text of one delta: at most six bytes a character in JSON.
MAX_DELTA_CHARACTERS = 8 * 1024

#: Names, numbers and punctuation around what varies.
DELTA_BYTES = 100


@dataclass(slots=True)
class _Answer:
    """What has come of one answer and waits."""

    user_id: str
    conversation_id: str
    attempt: int
    offset: int
    texts: list[str] = field(default_factory=list[str])
    characters: int = 0


class Outbox:
    """Collects what is to be told, contiguous deltas of one answer joined, and gives it out in bodies."""

    def __init__(self) -> None:
        self.dropped = 0  #: deltas that gave way to newer ones
        self._users: dict[str, int] = {}
        self._answers: dict[str, _Answer] = {}
        self._characters = 0

    def __bool__(self) -> bool:
        return bool(self._users or self._answers)

    def holds(self, event_id: str) -> bool:
        """Tell whether deltas of an event wait."""
        return event_id in self._answers

    def grown(self, user_id: str, seq: int) -> None:
        """Note that a user's log has grown up to ``seq``."""
        self._users[user_id] = max(seq, self._users.get(user_id, 0))

    def delta(
        self, user_id: str, event_id: str, conversation_id: str, attempt: int, offset: int, text: str
    ) -> None:
        """Note a piece of an answer."""
        answer = self._answers.get(event_id)
        joins = answer is not None and answer.attempt == attempt
        if answer is None or not joins or answer.offset + answer.characters != offset:
            self._forget(event_id)
            answer = self._answers[event_id] = _Answer(user_id, conversation_id, attempt, offset)
        answer.texts.append(_sendable(text))
        answer.characters += len(text)
        self._characters += len(text)
        while self._characters > MAX_CHARACTERS:
            self._forget(next(iter(self._answers)))
            self.dropped += 1

    def take(self, session: str | None = None) -> tuple[bytes, set[str]]:
        """Give as much as fits one body, and the events whose deltas are in it.

        Parameters:
          session: The session token that goes with it.
        """
        users = self._take_users()
        deltas: dict[str, list[dict[str, object]]] = {}
        events: set[str] = set()
        left = MAX_BODY_BYTES - USERS_BYTES
        while self._answers and left > 0:
            event_id, answer = next(iter(self._answers.items()))
            text = "".join(answer.texts)
            written = orjson.dumps(text[:MAX_DELTA_CHARACTERS])
            left -= len(written) + _size(answer.user_id, event_id, answer.conversation_id) + DELTA_BYTES
            if left < 0 and events:
                break
            events.add(event_id)
            deltas.setdefault(answer.user_id, []).append(
                {
                    "event": event_id,
                    "conversationID": answer.conversation_id,
                    "attempt": answer.attempt,
                    "offset": answer.offset,
                    "text": orjson.Fragment(written),
                }
            )
            self._shorten(event_id, answer, text)
        known = {} if session is None else {"session": session}
        return orjson.dumps({"type": "frames", "users": users, "deltas": deltas, **known}), events

    def _take_users(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        left = USERS_BYTES
        for user_id, seq in self._users.items():
            left -= _size(user_id) + 24
            if left < 0:
                break
            taken[user_id] = seq
        for user_id in taken:
            del self._users[user_id]
        return taken

    def _shorten(self, event_id: str, answer: _Answer, text: str) -> None:
        """Take the beginning of an answer away."""
        if len(text) <= MAX_DELTA_CHARACTERS:
            self._forget(event_id)
            return
        answer.texts = [text[MAX_DELTA_CHARACTERS:]]
        answer.offset += MAX_DELTA_CHARACTERS
        answer.characters -= MAX_DELTA_CHARACTERS
        self._characters -= MAX_DELTA_CHARACTERS

    def _forget(self, event_id: str) -> None:
        answer = self._answers.pop(event_id, None)
        if answer is not None:
            self._characters -= answer.characters


def _size(*names: str) -> int:
    """Give the bytes of names in JSON."""
    return sum(len(orjson.dumps(name)) for name in names)


def _sendable(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot carry; the length stays."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in text)
    return text
