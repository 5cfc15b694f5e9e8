"""Whether a token that was accepted would be accepted now, as open streams ask."""

import pytest

from lightning.domain.identity import Identity
from lightning.domain.sessions import Origin
from lightning.domain.tokens import TokenIssuer
from lightning.settings import Settings

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
    return Identity(storage, issuer, Settings.load({"LIGHTNING_DATA": str(tmp_path)}))


@pytest.fixture
async def tokens(identity):
    await identity.register("alice", PASSWORD)
    return await identity.log_in("alice", PASSWORD, Origin("10.0.0.1"))


@pytest.fixture
async def claims(identity, tokens):
    return await identity.caller(tokens.access_token)


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
