"""The names on the wire that mean the same everywhere: what each means, and an example of it.

A field that says more about itself (its own ``description`` or ``examples``) is not overruled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ID = "0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"


@dataclass(frozen=True, slots=True)
class Term:
    """One name.

    Parameters:
      meaning: What it means, in a few words; empty where its body says it.
      example: What may stand there; None where its type decides.
    """

    meaning: str = ""
    example: Any = None


GLOSSARY: Mapping[str, Term] = {
    "id": Term("Its id.", _ID),
    "eventID": Term("Id of an event.", _ID),
    "userID": Term("The user whose log it is: the token's own.", "5f1c7e9a-2b3d-5c4e-9f60-718293a4b5c6"),
    "conversationID": Term("The conversation that it belongs to.", _ID),
    "root": Term("Id of the event that began it all.", _ID),
    "cause": Term("Id of the event that it follows from; null when it is the root."),
    "seq": Term("Its place in the user's log, without gaps."),
    "type": Term("What it is; decides what its metadata holds."),
    "source": Term("Who says so, a name for people.", "my-app"),
    "timestamp": Term("When it happened (RFC 3339).", "2026-01-31T12:00:00Z"),
    "recordedAt": Term("When it was recorded.", "2026-01-31T12:00:00.250Z"),
    "metadata": Term("What its type says."),
    "state": Term("Accepted until it is over."),
    "attempts": Term("How often a worker took it up."),
    "outputs": Term("The events that followed from it."),
    "error": Term("Why it did not end well."),
    "content": Term("The text.", "What is new?"),
    "model": Term("The language model.", "gpt-3.5-turbo"),
    "usage": Term("Tokens that the model counted."),
    "finishReason": Term("Why the model stopped.", "stop"),
    "username": Term("3 to 64 letters, digits and `._-@+`; case does not matter.", "ada"),
    "password": Term("8 characters to 72 bytes.", "correct horse battery"),
    "role": Term("`user`, `operator` or `service`.", "user"),
    "access_token": Term("The token, for `Authorization: Bearer`.", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"),
    "token_type": Term("`Bearer`.", "Bearer"),
    "expires_in": Term("Seconds that the token is valid.", 3600),
    "next": Term("The `after` of the page behind this one; null on the last."),
    "code": Term("The case, in a word that never changes.", "not_found"),
    "message": Term("What happened, for a person.", "the model does not answer"),
    "url": Term("An address.", "https://hooks.example.com/lightning"),
}
