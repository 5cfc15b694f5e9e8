"""One endpoint of a user's, and which messages go to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning.errors import Permanent
from lightning.events import now_text


@dataclass(frozen=True, slots=True)
class Webhook:
    """One endpoint.

    Parameters:
      id: Its id.
      url: Where messages are posted.
      name: What `user.message` events call it in ``to``; several endpoints may share one.
      types: The event types that it gets without being named.
      secret: The Standard Webhooks secret (``whsec_...``).
      previous: The secret before, and until when it is signed with (seconds since 1970).
      disabled: Nothing is delivered.
      reason: Why the platform disabled it; None when its owner did.
      created_at: RFC 3339.
    """

    id: str
    url: str
    name: str
    types: Sequence[str]
    secret: str = field(repr=False)
    previous: tuple[str, float] | None = field(default=None, repr=False)
    disabled: bool = False
    reason: str | None = None
    created_at: str = field(default_factory=now_text)

    def secrets(self, now: float) -> list[str]:
        """Give the secrets to sign with, the present one first."""
        return [self.secret, *([self.previous[0]] if self.previous and self.previous[1] > now else [])]

    def goes_by(self, name: str) -> bool:
        """Tell whether a name in ``to`` means this endpoint."""
        return name in (self.id, self.name)


def recipients(webhooks: Sequence[Webhook], type: str, to: Sequence[str] | None) -> list[Webhook]:
    """Choose the endpoints that get a message.

    Parameters:
      webhooks: All of the user's.
      type: The message's event type.
      to: The names of those who alone are to get it, whatever types they ask for.

    Raises:
      Permanent: A name belongs to none (``unknown_recipient``), or only to disabled ones
        (``recipient_disabled``). Nobody gets it then, so a replay reaches all of them once.
    """
    if to is None:
        return [webhook for webhook in webhooks if type in webhook.types and not webhook.disabled]
    for name in to:
        named = [webhook for webhook in webhooks if webhook.goes_by(name)]
        if not named:
            raise Permanent(
                f"no webhook goes by the name {name}; create it, then replay this event",
                code="unknown_recipient",
            )
        if all(webhook.disabled for webhook in named):
            raise Permanent(
                f"the webhook {name} is disabled; enable it, then replay this event",
                code="recipient_disabled",
            )
    return [each for each in webhooks if not each.disabled and any(each.goes_by(name) for name in to)]


def to_document(webhook: Webhook) -> dict[str, Any]:
    """Write an endpoint as it is stored."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "name": webhook.name,
        "types": [*webhook.types],
        "secret": webhook.secret,
        "previous": webhook.previous and [*webhook.previous],
        "disabled": webhook.disabled,
        "reason": webhook.reason,
        "createdAt": webhook.created_at,
    }


def from_document(body: dict[str, Any]) -> Webhook:
    """Read an endpoint as it is stored."""
    return Webhook(
        id=body["id"],
        url=body["url"],
        name=body["name"],
        types=body["types"],
        secret=body["secret"],
        previous=body["previous"] and (body["previous"][0], body["previous"][1]),
        disabled=body["disabled"],
        reason=body["reason"],
        created_at=body["createdAt"],
    )
