"""Settings of what goes out, and of connections that stay open."""

from typing import Annotated

from pydantic import Field

from lightning.settings.groups.group import Group, setting
from lightning.settings.values import Count, Exempt, Origins, Seconds, Waits


class Connections(Group):
    """Webhooks, git, and streams."""

    # Webhooks
    webhook_timeout_seconds: Seconds = setting(
        "LIGHTNING_WEBHOOK_TIMEOUT",
        15.0,
        "Seconds in which a webhook's endpoint must have answered",
        shown="`15`",
    )
    webhook_retries: Waits = setting(
        "LIGHTNING_WEBHOOK_RETRIES",
        "5,30,120,600,1800,3600,7200,14400,28800,28800",
        "Seconds between the attempts to deliver a webhook",
        shown="5 s to 8 h, over 24 hours",
    )
    webhook_threads: Count = setting(
        "LIGHTNING_WEBHOOK_THREADS",
        8,
        "Webhooks that one worker process delivers at a time, beside its `LIGHTNING_THREADS`",
    )
    webhook_allow: Exempt = setting(
        "LIGHTNING_WEBHOOK_ALLOW",
        "",
        "Hosts and networks, separated by commas, that webhooks may reach though not public, by http too",
        example="hooks.internal,10.1.0.0/16",
        shown="",
    )

    git_allow: Exempt = setting(
        "LIGHTNING_GIT_ALLOW",
        "",
        "Hosts and networks, separated by commas, that git may reach though not public, by http too",
        example="git.internal,10.1.0.0/16",
        shown="",
    )

    # Connections that stay open
    allowed_origins: Origins | None = setting(
        "LIGHTNING_ALLOWED_ORIGINS",
        None,
        "Origins besides the ingress's own whose pages may open streams, separated by commas",
        example="https://app.example.com",
    )
    streams_per_user: Annotated[int, Field(ge=1)] = setting(
        "LIGHTNING_STREAMS_PER_USER", 20, "Streams that one user may have open at one ingress"
    )
    stream_repair_seconds: Seconds = setting(
        "LIGHTNING_STREAM_REPAIR_SECONDS",
        15.0,
        "An event whose notification was lost reaches open streams within so long",
        shown="`15`",
    )
    slow_reader_seconds: Seconds = setting(
        "LIGHTNING_SLOW_READER_SECONDS",
        20.0,
        "A stream whose reader takes nothing for so long is cut off",
        shown="`20`",
    )
