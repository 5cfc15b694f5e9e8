"""Invitations: used once, whoever comes at once and whenever a process dies."""

import asyncio

import pytest

from lightning.domain.accounts import Account, Accounts
from lightning.domain.invitations import Invitations
from lightning.domain.passwords import InvalidAccount
from lightning.errors import Conflict, Forbidden, LightningError, Unauthorized
from tests.lightning.domain.conftest import Died, Mortal

PASSWORD = "correct horse"
DAY = 24 * 3600


def invitations_on(storage, clock):
    return Invitations(storage, Accounts(storage, rounds=4), now=clock)


@pytest.fixture
def accounts(storage):
    return Accounts(storage, rounds=4)


@pytest.fixture
def invitations(storage, clock):
    return invitations_on(storage, clock)


@pytest.fixture
async def token(invitations):
    return (await invitations.invite(DAY)).token


async def real_accounts(accounts):
    return [account.username for account in (await accounts.all())[0]]


class TestUse:
    async def test_it_lets_one_in(self, accounts, invitations, token):
        account = await invitations.register(token, "Alice", PASSWORD)
        assert await accounts.authenticate("alice", PASSWORD) == account

        with pytest.raises(Forbidden) as caught:
            await invitations.register(token, "bobby", PASSWORD)
        assert (caught.value.code, caught.value.pointer) == ("invitation_refused", "/invitation")
        assert await real_accounts(accounts) == ["alice"]

    async def test_it_ends(self, accounts, invitations, token, clock):
        clock.now += DAY
        with pytest.raises(Forbidden):
            await invitations.register(token, "alice", PASSWORD)
        assert await real_accounts(accounts) == []

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: "",
            lambda token: token[:-1],
            lambda token: token + "x",
            lambda token: token[4:],
            lambda token: token.split(".")[0],
            lambda token: token.split(".")[0] + ".",
            lambda token: "lin_unknown." + token.split(".")[1],
            lambda token: token.replace(".", "é"),
            lambda token: "lin_" + "x." * 500,
        ],
    )
    async def test_what_is_none(self, storage, accounts, invitations, token, change):
        with pytest.raises(Forbidden):
            await invitations.register(change(token), "alice", PASSWORD)
        assert await storage.get("users", "alice", "account") is None
        assert await real_accounts(accounts) == []

    @pytest.mark.parametrize(
        ("username", "password", "error"),
        [("al", PASSWORD, InvalidAccount), ("alice", "short", InvalidAccount), ("taken", PASSWORD, Conflict)],
    )
    async def test_a_mistake_does_not_use_it_up(
        self, accounts, invitations, token, username, password, error
    ):
        await accounts.register("taken", "another password")
        with pytest.raises(error):
            await invitations.register(token, username, password)
        assert await invitations.register(token, "alice", PASSWORD)

    async def test_only_its_hash_is_stored(self, invitations, token, storage, tmp_path):
        await invitations.register(token, "alice", PASSWORD)
        secret = token.split(".")[1].encode()
        await storage.close()
        assert not any(secret in path.read_bytes() for path in tmp_path.iterdir())


class TestAtOnce:
    async def test_of_many_names_one_gets_in(self, storage, beside, accounts, clock, token):
        # When eight people use one invitation at once, at two processes
        processes = [invitations_on(each, clock) for each in (storage, beside)]
        results = await asyncio.gather(
            *(processes[n % 2].register(token, f"person-{n}", PASSWORD) for n in range(8)),
            return_exceptions=True,
        )

        # Then one is in, and the others are refused and left nothing behind
        [winner] = [result for result in results if isinstance(result, Account)]
        assert await real_accounts(accounts) == [winner.username]
        losers = [result for result in results if result is not winner]
        assert all(isinstance(result, Forbidden) for result in losers), losers
        with pytest.raises(Forbidden):
            await processes[0].register(token, "latecomer", PASSWORD)

    async def test_of_one_name_one_gets_in(self, storage, beside, accounts, clock, token):
        processes = [invitations_on(each, clock) for each in (storage, beside)]
        results = await asyncio.gather(
            *(processes[n % 2].register(token, "alice", f"password {n}") for n in range(6)),
            return_exceptions=True,
        )
        won = [n for n, result in enumerate(results) if isinstance(result, Account)]
        assert len(won) == 1
        assert await accounts.authenticate("alice", f"password {won[0]}")

    async def test_two_invitations_for_one_name(self, invitations, accounts):
        tokens = [(await invitations.invite(DAY)).token for _ in range(2)]
        results = await asyncio.gather(
            *(invitations.register(token, "alice", PASSWORD) for token in tokens), return_exceptions=True
        )
        assert sum(isinstance(result, Account) for result in results) == 1
        # the other invitation is still good
        [left] = [
            token for token, result in zip(tokens, results, strict=True) if isinstance(result, LightningError)
        ]
        assert await invitations.register(left, "bobby", PASSWORD)
        assert await real_accounts(accounts) == ["alice", "bobby"]


class TestDeath:
    """The process dies before each of the three writes of a registration."""

    @pytest.fixture(params=[1, 2, 3], ids=lambda at: f"before write {at}")
    async def died(self, request, storage, clock, token):
        with pytest.raises(Died):
            await invitations_on(Mortal(storage, request.param), clock).register(token, "alice", PASSWORD)

    @pytest.mark.usefixtures("died")
    async def test_nobody_is_in(self, accounts):
        assert await real_accounts(accounts) == []
        with pytest.raises(Unauthorized):
            await accounts.authenticate("alice", PASSWORD)

    @pytest.mark.usefixtures("died")
    @pytest.mark.parametrize("name", ["alice", "alice-again"])
    async def test_the_invitation_is_still_good_once(self, accounts, invitations, token, name):
        account = await invitations.register(token, name, "another password")
        assert await accounts.authenticate(name, "another password") == account
        with pytest.raises(Forbidden):
            await invitations.register(token, "third", PASSWORD)
        assert await real_accounts(accounts) == [name]

    @pytest.mark.usefixtures("died")
    async def test_the_name_is_not_lost(self, accounts, invitations, token):
        # When somebody else takes the name with an invitation of their own, or where registration is open
        other = (await invitations.invite(DAY)).token
        await invitations.register(other, "alice", "another password")
        assert await accounts.authenticate("alice", "another password")

        # Then the first invitation is still good for another name
        assert await invitations.register(token, "alice-again", PASSWORD)

    @pytest.mark.usefixtures("died")
    async def test_open_registration_takes_the_name(self, accounts):
        await accounts.register("alice", "another password")
        assert await accounts.authenticate("alice", "another password")

    async def test_an_answer_that_is_lost_after_the_last_write(self, accounts, invitations, token):
        # Given somebody whose account was made, and who does not know it
        await invitations.register(token, "alice", PASSWORD)
        # When they try again
        with pytest.raises(LightningError):
            await invitations.register(token, "alice", PASSWORD)
        # Then they can log in, and still nobody else can get in
        assert await accounts.authenticate("alice", PASSWORD)
        with pytest.raises(Forbidden):
            await invitations.register(token, "bobby", PASSWORD)
