"""How the queues of Service Bus are to be made, by whoever deploys them."""

from typing import Any, Final

#: So often a message whose worker died without a word is delivered again; then it is a dead letter, which the
#: clock turns into a dead event. The log counts attempts itself, and gives up before.
MAX_DELIVERIES: Final = 10


def queue_properties(lock_seconds: float) -> dict[str, Any]:
    """Give the properties of each queue, by the names that Azure and Microsoft's emulator have for them.

    Duplicates are not detected: two messages for one event do no harm, and a copy that is sent again under
    one id must not be dropped. Nothing expires: the log decides what is too late.

    Parameters:
      lock_seconds: How long a message belongs to who received it; renewed while they live.
    """
    return {
        "LockDuration": f"PT{lock_seconds:g}S",
        "MaxDeliveryCount": MAX_DELIVERIES,
        "RequiresDuplicateDetection": False,
        "RequiresSession": False,
        "DeadLetteringOnMessageExpiration": False,
    }
