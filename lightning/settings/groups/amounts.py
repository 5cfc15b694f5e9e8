"""Settings that say how much, how often and how long."""

from typing import Annotated

from pydantic import Field

from lightning.settings.groups.group import Group, setting
from lightning.settings.values import Count, Seconds


class Amounts(Group):
    """Workers, attempts and waits, and how much a model is given and asked."""

    workers: Count = setting("LIGHTNING_WORKERS", 1, "Worker processes")
    threads: Count = setting(
        "LIGHTNING_THREADS",
        8,
        "Chats that a worker process answers at a time; its pool has more threads, for webhooks and messages",
    )
    chats_per_user: Count | None = setting(
        "LIGHTNING_CHATS_PER_USER",
        None,
        "Of these, how many may be of one user; more wait, without an attempt",
        example="4",
        shown="three quarters of `LIGHTNING_THREADS`",
    )
    bulk_above: Annotated[int, Field(ge=1, le=1_000_000)] = setting(
        "LIGHTNING_BULK_ABOVE",
        20,
        "Events that a user may have under way; what comes beyond goes behind everybody else's",
    )
    schedules_per_user: Annotated[int, Field(ge=1, le=1_000_000)] = setting(
        "LIGHTNING_SCHEDULES_PER_USER",
        1000,
        "Schedules that one user may have; those that have ended are free",
    )
    expire_days: Annotated[int, Field(ge=1, le=10_000)] | None = setting(
        "LIGHTNING_EXPIRE_DAYS",
        None,
        "Cosmos DB: days after which an event that is over is removed, with its key and what was said in it",
        example="90",
        shown="never",
    )
    max_attempts: Count = setting("LIGHTNING_MAX_ATTEMPTS", 5, "Attempts before an event is dead")
    claim_seconds: Seconds = setting(
        "LIGHTNING_CLAIM_SECONDS",
        15.0,
        "Claim of a worker on its event, renewed while it works; a killed worker's events wait so long",
        shown="`15`",
    )
    sweep_seconds: Seconds = setting(
        "LIGHTNING_SWEEP_SECONDS",
        30.0,
        "First re-send of an event that nobody claimed; doubles to 600",
        shown="`30`",
    )
    lease_seconds: Seconds = setting(
        "LIGHTNING_LEASE_SECONDS",
        30.0,
        "A message whose worker died is delivered again after so long; renewed while the worker lives; "
        "on Service Bus the queue's lock duration says it",
        shown="`30`",
    )
    retry_seconds: Seconds = setting(
        "LIGHTNING_RETRY_SECONDS",
        1.0,
        "Wait after the first failed attempt; doubles up to 60",
        shown="`1`",
    )
    drain_seconds: Seconds = setting(
        "LIGHTNING_DRAIN_SECONDS",
        20.0,
        "A worker that is told to stop finishes what is under way for so long; what is not done then runs "
        "again elsewhere. It needs up to 6 more to end: App Service gives about 30",
        shown="`20`",
    )
    stuck_seconds: Seconds = setting(
        "LIGHTNING_STUCK_SECONDS",
        10.0,
        "A worker whose event loop stands still for so long, as in an endless loop of a handler, writes to "
        "standard error where it stands, ends, and is started again",
        shown="`10`",
    )
    context_tokens: Annotated[int, Field(ge=256)] | None = setting(
        "LIGHTNING_CONTEXT_TOKENS",
        None,
        "Most tokens of a conversation that a model is given",
        example="8000",
        shown="the model's window without its answer; `8000` for unknown models",
    )
    model_timeout_seconds: Seconds = setting(
        "LIGHTNING_MODEL_TIMEOUT", 60.0, "Seconds to wait for a language model", shown="`60`"
    )

    turn_replies: Annotated[int, Field(ge=2, le=100)] = setting(
        "LIGHTNING_TURN_REPLIES", 12, "Most replies of a language model in one turn that calls tools"
    )
    approval_seconds: Seconds = setting(
        "LIGHTNING_APPROVAL_SECONDS",
        86_400.0,
        "Seconds after which an approval that nobody has decided is refused",
        shown="24 h",
    )
