"""The properties of entities."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntityProperties:
    """How a queue or subscription behaves. Durations are in seconds.

    Parameters:
      lock_duration: How long a receiver may hold a message.
      max_delivery_count: How often a message is delivered before it is dead-lettered.
      time_to_live: The longest that a message lives; None: as long as its sender says.
      dead_letters_expired: Whether an expired message is dead-lettered rather than dropped.
      duplicate_window: How long a message-id is remembered; None: never.
    """

    lock_duration: float = 60.0
    max_delivery_count: int = 10
    time_to_live: float | None = None
    dead_letters_expired: bool = False
    duplicate_window: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.lock_duration <= 300:
            raise ValueError("a lock duration is more than 0 and at most 300 seconds (PT5M)")
        if not 1 <= self.max_delivery_count <= 2000:
            raise ValueError("a max delivery count is from 1 to 2000")
        if self.time_to_live is not None and self.time_to_live <= 0:
            raise ValueError("a time to live is more than 0 seconds")
        if self.duplicate_window is not None and not 0 < self.duplicate_window <= 604_800:
            raise ValueError("a duplicate detection window is more than 0 seconds and at most 7 days")
