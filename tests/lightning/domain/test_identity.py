"""Whether a token that was accepted would be accepted now, as open streams ask."""

import pytest

from lightning.domain.accounts import DOCUMENT
from lightning.domain.identity import Identity
from lightning.domain.sessions import MAX_SESSIONS, Origin
from lightning.domain.tokens import TokenIssuer
from lightning.settings import Settings
from lightning.storage import Create, Delete, Where

PASSWORD = "correct horse"


@pytest.fixture
def issuer(clock):
    return TokenIssuer("k" * 32, now=clock)


@pytest.fixture
def clock():
    # JWT's own library looks at the wall clock, so this one starts there
    import time

    class Moved:
        by = 0.0

        def __call__(self):
            return time.time() + self.by

    return Moved()


@pytest.fixture
def identity(storage, issuer, tmp_path):
    return Identity(storage, issuer, Settings.load({"LIGHTNING_DATA": str(tmp_path)}), rounds=4)


@pytest.fixture
async def tokens(identity):
    await identity.register("alice", PASSWORD, Origin("10.0.0.1"))
    return await identity.log_in("alice", PASSWORD, Origin("10.0.0.1"))


@pytest.fixture
async def claims(identity, tokens):
    return await identity.caller(tokens.access_token)


@pytest.fixture
async def many(storage, tokens):
    """As many sessions as an account may have, all of which end before the one that ``tokens`` are of."""
    [stored] = (await storage.query("users", tokens.user_id, [Where("kind", "=", "session")])).items
    others = [stored.body | {"id": f"session-{n}", "expiresAt": n} for n in range(1, MAX_SESSIONS)]
    for start in range(0, len(others), 100):
        await storage.batch("users", tokens.user_id, [Create(body) for body in others[start : start + 100]])


async def _sessions_of(storage, tokens):
    where = [Where("kind", "=", "session")]
    return (await storage.query("users", tokens.user_id, where, limit=1000)).items


async def test_a_change_of_password_leaves_no_more_sessions_than_there_may_be(
    identity, storage, claims, tokens, many
):
    # Given an account with all the sessions that it may have
    assert len(await _sessions_of(storage, tokens)) == MAX_SESSIONS
    # When its password is changed
    changed = await identity.change_password(claims, PASSWORD, "another password", Origin("10.0.0.1"))
    # Then one of those that have ended by it went for the one that it began
    assert len(await _sessions_of(storage, tokens)) == MAX_SESSIONS
    [listed] = await identity.sessions(claims.subject)
    assert listed.id == (await identity.caller(changed.access_token)).extra["sid"]


async def test_a_session_that_ends_while_the_password_is_changed_is_in_nobodys_way(
    storage, issuer, tmp_path, claims, tokens, many
):
    # Given an account with all the sessions that it may have, and a process that changes the password
    class Meanwhile:
        """The store; the session that is to go ends in another process before the first write."""

        def __init__(self):
            self.ended = False

        async def batch_on(self, *arguments):
            if not self.ended and arguments[2] == DOCUMENT:
                self.ended = True
                await storage.batch("users", tokens.user_id, [Delete("session-1")])
            return await storage.batch_on(*arguments)

        def __getattr__(self, name):
            return getattr(storage, name)

    meanwhile = Meanwhile()
    identity = Identity(meanwhile, issuer, Settings.load({"LIGHTNING_DATA": str(tmp_path)}), rounds=4)
    # When it does
    await identity.change_password(claims, PASSWORD, "another password", Origin("10.0.0.1"))
    # Then the password is changed
    assert meanwhile.ended
    await identity.log_in("alice", "another password", Origin("10.0.0.1"))


async def test_while_its_session_goes_on(identity, claims):
    assert await identity.still_valid(claims)


async def test_not_when_its_time_is_up(identity, claims, clock):
    clock.by = 3601
    assert not await identity.still_valid(claims)


async def test_not_when_its_session_ended(identity, tokens, claims):
    await identity.revoke(tokens.refresh_token)
    assert not await identity.still_valid(claims)


async def test_a_stream_token_ends_with_the_session_that_it_was_made_in(identity, issuer, tokens, claims):
    token = issuer.issue("stream", claims.subject, role=claims.role, claims=claims.extra)
    stream = issuer.verify(token, "stream")
    assert await identity.still_valid(stream)
    await identity.revoke(tokens.refresh_token)
    assert not await identity.still_valid(stream)


async def test_a_token_without_a_session_is_never_valid(identity, issuer, claims):
    token = issuer.issue("user", claims.subject, role=claims.role)
    assert not await identity.still_valid(issuer.verify(token, "user"))


async def test_a_stream_token_counts_as_long_as_what_it_was_made_for(identity, issuer, tokens, claims, clock):
    # Given a stream that was opened by a token of a minute
    token = issuer.issue("stream", claims.subject, role=claims.role, lifetime_seconds=60, claims=claims.extra)
    stream = issuer.verify(token, "stream")
    # When the minute is over, then the stream goes on
    clock.by = 100
    assert await identity.still_valid(stream)
    # Until the session ends
    await identity.revoke(tokens.refresh_token)
    assert not await identity.still_valid(stream)
