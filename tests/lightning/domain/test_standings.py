"""What is remembered of a token's standing: for how long, how much, and asked how often."""

import asyncio

import pytest

from lightning.domain import standings as module
from lightning.domain.accounts import Accounts
from lightning.domain.service_tokens import ServiceTokens
from lightning.domain.sessions import Origin, Sessions
from lightning.domain.standings import FRESH_SECONDS, Standings
from lightning.domain.tokens import TokenIssuer
from lightning.errors import Transient

KEY = "k" * 32


class Slow:
    """A store that counts what is read, and holds each answer until it is let go."""

    def __init__(self, storage):
        self._storage = storage
        self.reads = 0
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.broken = False

    async def get(self, *arguments):
        self.reads += 1
        if self.broken:
            raise Transient("the store is away")
        stored = await self._storage.get(*arguments)
        self.asked.set()
        await self.go.wait()
        return stored

    def __getattr__(self, name):
        return getattr(self._storage, name)


@pytest.fixture
def slow(storage):
    return Slow(storage)


@pytest.fixture
def accounts(storage):
    return Accounts(storage, rounds=4)


@pytest.fixture
def standings(slow, clock):
    accounts = Accounts(slow, rounds=4)
    return Standings(accounts, Sessions(slow, accounts), ServiceTokens(slow), clock=clock)


@pytest.fixture
async def log_in(storage, accounts):
    issuer = TokenIssuer(KEY)

    async def begin(name="alice"):
        account = await accounts.read(name) or await accounts.register(name, "correct horse")
        grant = await Sessions(storage, accounts).start(account, Origin())
        token = issuer.issue("user", account.id, role=account.role, claims={"sid": grant.session_id})
        return issuer.verify(token, "user")

    return begin


async def test_a_hit_reads_nothing(standings, slow, log_in):
    claims = await log_in()
    assert await standings.stands(claims)
    before = slow.reads
    for _ in range(100):
        assert await standings.stands(claims)
    assert slow.reads == before


async def test_an_answer_is_good_for_so_long(standings, accounts, log_in, clock):
    claims = await log_in()
    assert await standings.stands(claims)
    await accounts.end_sessions("alice")
    clock.now += FRESH_SECONDS - 0.1
    assert await standings.stands(claims)
    clock.now += 0.1
    assert not await standings.stands(claims)


async def test_what_is_forgotten_is_read_again(standings, accounts, log_in):
    claims = await log_in()
    assert await standings.stands(claims)
    await accounts.end_sessions("alice")
    standings.forget(claims.subject)
    assert not await standings.stands(claims)


async def test_many_at_once_read_once(standings, slow, log_in):
    claims = await log_in()
    slow.go.clear()
    asked = [asyncio.create_task(standings.stands(claims)) for _ in range(50)]
    await asyncio.sleep(0)
    slow.go.set()
    assert all(await asyncio.gather(*asked))
    assert slow.reads == 2  # the account and the session


async def test_an_answer_that_was_forgotten_while_it_was_read_is_not_kept(standings, slow, accounts, log_in):
    # Given a read that has begun
    claims = await log_in()
    slow.go.clear()
    asked = asyncio.create_task(standings.stands(claims))
    await slow.asked.wait()

    # When the session ends before it is answered
    await accounts.end_sessions("alice")
    standings.forget(claims.subject)
    slow.go.set()
    await asked

    # Then whoever asks now is told
    assert not await standings.stands(claims)


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(standings, slow, log_in):
    claims = await log_in()
    slow.go.clear()
    first, second = (asyncio.create_task(standings.stands(claims)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    slow.go.set()
    assert await second


async def test_a_store_that_is_away_lets_nobody_in_and_is_asked_again(standings, slow, log_in):
    claims = await log_in()
    slow.broken = True
    with pytest.raises(Transient):
        await standings.stands(claims)
    slow.broken = False
    assert await standings.stands(claims)


async def test_the_memory_is_bounded(standings, log_in, monkeypatch):
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 3)
    for number in range(5):
        assert await standings.stands(await log_in(f"person-{number}"))
    assert len(standings._known) == 3
    assert not standings._reading
