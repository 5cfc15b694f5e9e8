"""Where messages outlive the process, or not."""

from collections.abc import Callable
from typing import Protocol

from ops.emulators.servicebus.entities.message import Message


class Store(Protocol):
    """Keeps messages. What changes between two commits is kept whole or not at all."""

    def open(self, entity: str) -> None:
        """Keep that an entity exists."""
        ...

    def put(self, entity: str, message: Message) -> None:
        """Keep a message as it is now."""
        ...

    def delete(self, entity: str, sequence: int) -> None:
        """Forget a message."""
        ...

    def remember(self, entity: str, message_id: str, until: float) -> None:
        """Keep a message-id for duplicate detection, until a time in seconds since the epoch."""
        ...

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do something once everything so far is kept."""
        ...


class MemoryStore:
    """Keeps nothing: messages live as long as the process."""

    def open(self, entity: str) -> None:
        """Keep nothing."""

    def put(self, entity: str, message: Message) -> None:
        """Keep nothing."""

    def delete(self, entity: str, sequence: int) -> None:
        """Forget nothing."""

    def remember(self, entity: str, message_id: str, until: float) -> None:
        """Keep nothing."""

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do it at once."""
        action()
