"""Who somebody is: registration, log-in, refresh, revocation, and whether a token still holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning.domain.accounts import Account, Accounts
from lightning.domain.browser_sessions import BrowserCaller, BrowserGrant, BrowserSessions
from lightning.domain.invitations import Invitations
from lightning.domain.login_limits import Bounds, LoginLimits
from lightning.domain.passwords import BCRYPT_ROUNDS
from lightning.domain.refresh_tokens import RefreshTokenReused
from lightning.domain.registration_limit import RegistrationLimit
from lightning.domain.service_tokens import ServiceToken, ServiceTokens
from lightning.domain.sessions import Grant, Origin, Session, Sessions
from lightning.domain.standings import Standings
from lightning.domain.tokens import Claims, TokenIssuer
from lightning.domain.usernames import account_id_of
from lightning.errors import Forbidden, NotFound, PreconditionFailed, Unauthorized
from lightning.settings import Settings
from lightning.storage import Create, Operation, Storage


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a log-in or a refresh gives.

    Parameters:
      user_id: Whose they are.
      access_token: For `Authorization: Bearer`.
      access_seconds: How long it is valid.
      refresh_token: For the next access token; good once.
      refresh_seconds: How long that is valid.
    """

    user_id: str
    access_token: str
    access_seconds: int
    refresh_token: str
    refresh_seconds: int


class Identity:
    """The people and programs of an installation, as its ingress knows them.

    Parameters:
      storage: The store.
      issuer: Signs the access tokens.
      settings: Lifetimes, limits, and who may register.
      rounds: bcrypt's cost; less than `BCRYPT_ROUNDS` only in tests.
    """

    def __init__(
        self, storage: Storage, issuer: TokenIssuer, settings: Settings, *, rounds: int = BCRYPT_ROUNDS
    ) -> None:
        self._issuer = issuer
        self._registration = settings.registration
        self._accounts = Accounts(storage, rounds=rounds)
        self._invitations = Invitations(storage, self._accounts)
        self._sessions = Sessions(
            storage,
            self._accounts,
            lifetime_seconds=settings.refresh_seconds,
            longest_seconds=settings.session_seconds,
        )
        self._browsers = BrowserSessions(self._accounts, self._sessions)
        self._service_tokens = ServiceTokens(storage)
        self._standings = Standings(self._accounts, self._sessions, self._service_tokens)
        bounds = Bounds(
            pair=settings.login_failures,
            account=settings.login_account_failures,
            address=settings.login_address_failures,
            window_seconds=settings.login_window_seconds,
        )
        self._limits = LoginLimits(storage, bounds)
        self._registrations = RegistrationLimit(storage, settings.registrations)

    async def register(
        self, username: str, password: str, origin: Origin, invitation: str | None = None
    ) -> Account:
        """Make an account, if whoever asks may.

        Raises:
          TooManyAttempts: Too many come from this address (``too_many_registrations``).
          Forbidden: Registration is closed, or asks for an invitation that is good.
          InvalidAccount: The username or password will not do.
          Conflict: The username is taken.
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        if self._registration == "closed":
            raise Forbidden("registration is closed; ask the operators", code="registration_closed")
        async with self._registrations.attempt(origin.address):
            if self._registration == "open":
                return await self._accounts.register(username, password)
            if invitation is None:
                message = "registration is by invitation; ask the operators for one"
                raise Forbidden(message, code="invitation_required", pointer="/invitation")
            return await self._invitations.register(invitation, username, password)

    async def log_in(self, username: str, password: str, origin: Origin) -> Tokens:
        """Begin a session.

        Raises:
          Unauthorized: Username or password is wrong.
          Forbidden: The account is disabled.
          TooManyAttempts: Too many passwords were wrong.
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        async with self._limits.attempt(account_id_of(username), origin.address):
            account = await self._accounts.authenticate(username, password)
        return self._tokens(await self._sessions.start(account, origin))

    async def open_browser(self, username: str, password: str, origin: Origin) -> BrowserGrant:
        """Begin a session of a browser; the errors are those of `log_in`."""
        async with self._limits.attempt(account_id_of(username), origin.address):
            account = await self._accounts.authenticate(username, password)
        return await self._browsers.start(account, origin)

    async def browser(self, cookie: str) -> BrowserCaller:
        """Tell who shows the cookie of a browser's session.

        Raises:
          Unauthorized: It is none of ours, or its session is over.
          Transient: The store does not answer.
        """
        return await self._browsers.caller(cookie)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Give new tokens for a refresh token, which is then used up.

        Raises:
          Unauthorized: It is not good, or was used before.
        """
        try:
            grant = await self._sessions.rotate(refresh_token)
        except RefreshTokenReused as reused:
            self._standings.forget(reused.user_id)
            raise
        return self._tokens(grant)

    async def revoke(self, refresh_token: str) -> None:
        """End the session of a refresh token; one that names none ends nothing."""
        user_id = await self._sessions.revoke(refresh_token)
        if user_id is not None:
            self._standings.forget(user_id)

    async def change_password(self, claims: Claims, current: str, new: str, origin: Origin) -> Tokens:
        """Set another password, end every session, and begin a new one.

        Raises:
          Forbidden: The current password is wrong (``wrong_password``).
          InvalidAccount: The new password will not do.
          TooManyAttempts: Too many passwords were wrong.
        """
        known = await self._accounts.read(claims.subject)
        if known is None:
            raise _refusal()
        try:
            async with self._limits.attempt(known.id, origin.address):
                account = await self._accounts.authenticate(known.username, current)
        except Unauthorized:
            message = "the current password is wrong"
            raise Forbidden(message, code="wrong_password", pointer="/currentPassword") from None
        grant = await self._change_password(account, new, origin)
        self._standings.forget(account.id)
        return self._tokens(grant)

    async def _change_password(self, account: Account, new: str, origin: Origin) -> Grant:
        grants: list[Grant] = []
        while True:
            surplus = await self._sessions.surplus(account.id)

            def besides(changed: Account, surplus: Sequence[Operation] = surplus) -> list[Operation]:
                draft = self._sessions.draft(changed, origin)
                grants[:] = [draft.grant]
                return [Create(draft.body), *surplus]

            try:
                await self._accounts.change_password(account, new, besides)
            except PreconditionFailed:
                continue  # one of those that were to go has gone by itself, or was used
            return grants[0]

    async def caller(self, token: str) -> Claims:
        """Tell who shows an access token or a service token.

        Raises:
          Unauthorized: It is not acceptable, or was revoked.
          Transient: The store does not answer.
        """
        claims = self._issuer.verify(token, "user", "service")
        if not await self._standings.stands(claims):
            raise _refusal()
        return claims

    async def still_valid(self, claims: Claims) -> bool:
        """Tell whether a token that was accepted would be accepted now; cheap enough to ask every second.

        What was revoked in another process shows after at most five seconds. A stream token is as good as the
        token that it was made for, if it was given that one's ``claims.extra``; when that one expires,
        whoever opened the stream knows.

        Raises:
          Transient: The store does not answer.
        """
        # a stream token is short so that it is of little use to others; the stream lasts as its access token
        over = claims.kind != "stream" and self._issuer.is_over(claims)
        return not over and await self._standings.stands(claims)

    async def sessions(self, user_id: str) -> list[Session]:
        """List the sessions of a user."""
        account = await self._accounts.read(user_id)
        return [] if account is None else await self._sessions.all(account)

    async def end_session(self, user_id: str, session_id: str) -> None:
        """End a session of a user.

        Raises:
          NotFound: They have no such session.
        """
        if not await self._sessions.end(user_id, session_id):
            raise NotFound("there is no such session, or it is not yours")
        self._standings.forget(user_id)

    async def name_of(self, user_id: str) -> str:
        """Give the name of a user, for people to read."""
        account = await self._accounts.read(user_id)
        return user_id if account is None else account.username

    async def make_service_token(
        self, claims: Claims, name: str, scopes: Sequence[str], lifetime_seconds: int
    ) -> tuple[ServiceToken, str]:
        """Make a service token; it is shown this once.

        Raises:
          InvalidScope: A scope is one that no program gets.
          Conflict: The account has as many as it may.
        """
        made = await self._service_tokens.make(claims.subject, name, scopes, lifetime_seconds)
        token = self._issuer.issue(
            "service",
            claims.subject,
            role=claims.role,
            lifetime_seconds=lifetime_seconds,
            claims={"tid": made.id, "scopes": list(made.scopes)},
        )
        return made, token

    async def service_tokens(self, user_id: str) -> list[ServiceToken]:
        """List the service tokens of a user."""
        return await self._service_tokens.all(user_id)

    async def service_token(self, user_id: str, token_id: str) -> ServiceToken:
        """Read a service token of a user.

        Raises:
          NotFound: They have no such token.
        """
        return await self._service_tokens.get(user_id, token_id)

    async def revoke_service_token(self, user_id: str, token_id: str) -> None:
        """End a service token of a user.

        Raises:
          NotFound: They have no such token.
        """
        await self._service_tokens.revoke(user_id, token_id)
        self._standings.forget(user_id)

    def _tokens(self, grant: Grant) -> Tokens:
        account = grant.account
        access = self._issuer.issue("user", account.id, role=account.role, claims={"sid": grant.session_id})
        return Tokens(
            user_id=account.id,
            access_token=access,
            access_seconds=self._issuer.lifetime_seconds,
            refresh_token=grant.refresh_token,
            refresh_seconds=grant.seconds,
        )


def _refusal() -> Unauthorized:
    return Unauthorized("the token is not accepted; ask for a new one", code="invalid_token")
