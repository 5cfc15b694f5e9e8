"""A ledger as it is stored."""

from dataclasses import asdict
from typing import Final

from lightning.domain.ledger import Account, Asked, Container, Hold, Ledger, Limits
from lightning.storage import Body

KIND: Final = "budget"


def written(ledger: Ledger, id: str, user_id: str, root: str) -> Body:
    """Give a ledger as a document."""
    return {
        "id": id,
        "userID": user_id,
        "kind": KIND,
        # a store that lets documents expire may forget it so long after it was last written
        "state": "done",
        "rootID": root,
        "owner": ledger.owner,
        "accounts": {
            of: {
                "limits": {
                    "tokens": account.limits.tokens,
                    "containerSeconds": account.limits.container_seconds,
                    "wallSeconds": account.limits.wall_seconds,
                },
                "since": account.since,
                "tokens": account.tokens,
            }
            for of, account in ledger.accounts.items()
        },
        "holds": {
            name: {"event": hold.event, "tokens": hold.tokens, "until": hold.until}
            for name, hold in ledger.holds.items()
        },
        "containers": {
            name: {"event": each.event, "seconds": each.seconds} for name, each in ledger.containers.items()
        },
        "within": ledger.within,
        "models": {
            event: {model: asdict(asked) for model, asked in models.items()}
            for event, models in ledger.models.items()
        },
    }


def read(body: Body) -> Ledger:
    """Read what `written` gave."""
    return Ledger(
        owner=body["owner"],
        accounts={
            of: Account(
                Limits(
                    each["limits"]["tokens"],
                    each["limits"]["containerSeconds"],
                    each["limits"]["wallSeconds"],
                ),
                each["since"],
                each["tokens"],
            )
            for of, each in body["accounts"].items()
        },
        holds={name: Hold(**each) for name, each in body["holds"].items()},
        containers={name: Container(**each) for name, each in body["containers"].items()},
        within=body.get("within", {}),
        models={
            event: {model: Asked(**asked) for model, asked in models.items()}
            for event, models in body.get("models", {}).items()
        },
    )
