"""Settings about who gets in, and the keys for it."""

from typing import Annotated

from pydantic import Field

from lightning.settings.groups.group import Group, setting
from lightning.settings.secrets import SigningKey, WebhookSecret
from lightning.settings.values import Url


class Access(Group):
    """The chat, secrets that several processes share, and log-in."""

    # The chat: a client of the ingress, which may run elsewhere
    chat_api: Url = setting(
        "LIGHTNING_CHAT_API", "http://127.0.0.1:8000", "Address at which the chat reaches the ingress"
    )
    chat_port: Annotated[int, Field(ge=0, le=65535)] = setting(
        "LIGHTNING_CHAT_PORT", 8100, "Port of the chat that `lightning up --chat` starts; 0 takes a free one"
    )
    chat_secret: SigningKey | None = setting(
        "CHAINLIT_AUTH_SECRET",
        None,
        "Key that signs the cookies of the chat, at least 32 bytes",
        example="$(openssl rand -hex 32)",
        shown="embedded: made once and kept in the data directory",
    )

    # Secrets that several processes share
    jwt_signing_key_previous: SigningKey | None = setting(
        "JWT_SIGNING_KEY_PREVIOUS",
        None,
        "The key before `JWT_SIGNING_KEY`, still accepted while its tokens live",
        example="$(openssl rand -hex 32)",
    )
    notify_secret: WebhookSecret | None = setting(
        "NOTIFY_SECRET",
        None,
        "Standard Webhooks secret that signs what the messenger posts and `/notify` accepts",
        example="whsec_$(openssl rand -base64 32)",
        shown="embedded: made once and kept in the data directory",
    )
    secret_key: SigningKey | None = setting(
        "LIGHTNING_SECRET_KEY",
        None,
        "Key that encrypts the credentials of repositories; on Azure a Key Vault reference",
        example="$(openssl rand -hex 32)",
        shown="embedded: made once and kept in the data directory",
    )
    secret_key_previous: SigningKey | None = setting(
        "LIGHTNING_SECRET_KEY_PREVIOUS",
        None,
        "The key before `LIGHTNING_SECRET_KEY`, which still decrypts",
        example="$(openssl rand -hex 32)",
    )

    # Log-in
    token_seconds: Annotated[int, Field(ge=1, le=3600)] = setting(
        "LIGHTNING_TOKEN_SECONDS", 3600, "Life of an access token, 15 to 60 minutes"
    )
    refresh_seconds: Annotated[int, Field(ge=3600)] = setting(
        "LIGHTNING_REFRESH_SECONDS", 30 * 24 * 3600, "A session that is not refreshed for so long has ended"
    )
    session_seconds: Annotated[int, Field(ge=3600)] = setting(
        "LIGHTNING_SESSION_SECONDS",
        90 * 24 * 3600,
        "A session has ended so long after its log-in, however often it is refreshed",
    )
    registrations: Annotated[int, Field(ge=1)] = setting(
        "LIGHTNING_REGISTRATIONS", 30, "Accounts that are made over HTTP from one address in an hour"
    )
    login_failures: Annotated[int, Field(ge=1)] = setting(
        "LIGHTNING_LOGIN_FAILURES", 10, "Wrong passwords in a window, from one address for one account"
    )
    login_account_failures: Annotated[int, Field(ge=1)] = setting(
        "LIGHTNING_LOGIN_ACCOUNT_FAILURES",
        100,
        "The same for one account, from addresses that it was not logged in to from before",
    )
    login_address_failures: Annotated[int, Field(ge=1)] = setting(
        "LIGHTNING_LOGIN_ADDRESS_FAILURES", 100, "The same from one address, for any accounts"
    )
    login_window_seconds: Annotated[int, Field(ge=1, le=86400)] = setting(
        "LIGHTNING_LOGIN_WINDOW", 300, "Seconds from the first wrong password until they are forgotten"
    )
