"""Settings that say of what parts an installation is put together."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lightning.settings.groups.group import Group, setting
from lightning.settings.values import Count, Directory, Networks, PublicUrl, Seconds, Url


class Installation(Group):
    """How this installation is put together."""

    mode: Literal["embedded", "azure"] = setting(
        "LIGHTNING_MODE", "embedded", "`embedded`: all on one machine; `azure`: on Azure's services"
    )
    broker: Literal["sqlite", "servicebus"] = setting(
        "LIGHTNING_BROKER",
        "sqlite",
        "Queue: `sqlite` or `servicebus`",
        shown="`servicebus` on Azure, else `sqlite`",
    )
    storage: Literal["sqlite", "cosmos"] = setting(
        "LIGHTNING_STORAGE", "sqlite", "Store: `sqlite` or `cosmos`", shown="`cosmos` on Azure, else `sqlite`"
    )
    runner: Literal["sandbox", "aci"] = setting(
        "LIGHTNING_RUNNER",
        "sandbox",
        "Where agents run: `sandbox` or `aci`",
        shown="`aci` on Azure, else `sandbox`",
    )
    sandbox_images: Directory | None = setting(
        "LIGHTNING_SANDBOX_IMAGES",
        None,
        "Sandbox: directory of unpacked images, of which `registry/name:tag` is a directory",
        example="/var/lib/lightning/images",
        shown="`images` in the data directory",
    )
    sandbox_network: Literal["full", "none"] = setting(
        "LIGHTNING_SANDBOX_NETWORK",
        "full",
        "Sandbox: what a run gets that asks for the network: `full`, which needs slirp4netns, or `none`",
    )
    runs: Count = setting(
        "LIGHTNING_RUNS", 16, "Runs in the sandbox at a time, of one user 3/4 of them; further tasks wait"
    )
    run_calls_per_second: Annotated[int, Field(ge=1, le=10_000)] = setting(
        "LIGHTNING_RUN_CALLS_PER_SECOND",
        50,
        "Calls that a run may make in a second to the run API of one ingress, or 4 times as many at once",
    )
    budget_tokens: Annotated[int, Field(ge=1)] | None = setting(
        "LIGHTNING_BUDGET_TOKENS",
        1_000_000,
        "Tokens that a task and all that follows from it may spend at a language model; a task's own budget "
        "can only be less",
    )
    budget_container_seconds: Seconds | None = setting(
        "LIGHTNING_BUDGET_CONTAINER_SECONDS",
        None,
        "Likewise, seconds that its containers may run, added up",
        example="86400",
        shown="no limit",
    )
    budget_wall_seconds: Seconds | None = setting(
        "LIGHTNING_BUDGET_WALL_SECONDS",
        None,
        "Likewise, seconds from the task's recording until its containers are stopped",
        example="86400",
        shown="no limit",
    )
    llm: Literal["echo", "openai", "azure-openai"] = setting(
        "LIGHTNING_LLM",
        "echo",
        "Language model: `echo`, `openai` or `azure-openai`",
        shown="`openai` on Azure or with `OPENAI_API_KEY`, else `echo`",
    )
    openai_base_url: Url | None = setting(
        "OPENAI_BASE_URL",
        None,
        "Another server that speaks OpenAI's protocol, or the Azure OpenAI endpoint (model: deployment)",
        example="http://127.0.0.1:11434/v1",
    )
    openai_api_version: str = setting(
        "OPENAI_API_VERSION", "v1", "Azure OpenAI: `v1`, or the date of an older API version"
    )
    azure_client_id: str | None = setting(
        "AZURE_CLIENT_ID",
        None,
        "User-assigned managed identity of the processes; without it the system-assigned one",
        example="00000000-0000-0000-0000-000000000000",
    )
    identity: Literal["managed", "az"] = setting(
        "LIGHTNING_IDENTITY",
        "managed",
        "As whom Azure is asked where there is no key: `managed` is the identity of the processes, `az` who "
        "is logged in by `az login`, as on an operator's laptop",
    )
    data: Directory = setting(
        "LIGHTNING_DATA", Path(".lightning"), "Directory of all local state", shown="`./.lightning`"
    )
    host: str = setting("LIGHTNING_HOST", "127.0.0.1", "Address that the ingress listens on")
    port: Annotated[int, Field(ge=0, le=65535)] = setting(
        "PORT", 8000, "Port of the ingress, or of a worker's health; 0 takes a free one"
    )
    registration: Literal["open", "invite", "closed"] = setting(
        "LIGHTNING_REGISTRATION",
        "open",
        "Who can register over HTTP: `open`: everybody; `invite`: whoever `lightning users invite` invited; "
        "`closed`: nobody",
    )
    public_url: PublicUrl | None = setting(
        "LIGHTNING_PUBLIC_URL",
        None,
        "Address at which others reach the ingress: runs in Azure find the run API there",
        example="https://lightning.example.com",
    )
    trusted_proxies: Networks | None = setting(
        "LIGHTNING_TRUSTED_PROXIES",
        None,
        "Addresses or networks, with commas, of the proxies whose `X-Forwarded-For` is believed",
        example="10.0.0.0/8",
    )
