"""The head of a user's log: the last place given, and how many events are in each state."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lightning.storage import Create, Operation, Replace, Stored

#: The id of the head document, in the partition of its user.
HEAD = "head"


def advance(
    head: Stored | None, user_id: str, created: Sequence[str], states: Mapping[str, int]
) -> tuple[Operation, list[int]]:
    """Give places to new events and count changes of state.

    Every batch that creates events or ends one carries the operation that this
    returns, so places are consecutive and counters agree with the events.

    Parameters:
      head: The head as it stands.
      user_id: Whose head.
      created: The state of each event to be created, in order.
      states: What other changes add to, or take from, the count of a state.

    Returns:
      The operation that moves the head, and the ``seq`` of each created event.
    """
    last = 0 if head is None else head.body["seq"]
    counts = Counter({} if head is None else head.body["counts"])
    counts.update(created)
    counts.update(states)
    body = {"id": HEAD, "userID": user_id, "kind": "head", "seq": last + len(created), "counts": dict(counts)}
    places = [last + 1 + place for place in range(len(created))]
    return (Create(body) if head is None else Replace(body, head.etag)), places
