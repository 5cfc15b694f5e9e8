"""Sessions: what a clock, a crash and a thief do to them."""

import pytest

from lightning.domain.accounts import Accounts
from lightning.domain.sessions import GRACE_SECONDS, MAX_SESSIONS, Origin, Sessions
from lightning.errors import Unauthorized
from tests.lightning.domain.conftest import Died, Mortal
from tests.stores import catch_up

PASSWORD = "correct horse"
MONTH = 30 * 24 * 3600


@pytest.fixture
def accounts(storage):
    return Accounts(storage, rounds=4)


@pytest.fixture
def sessions(storage, accounts, clock):
    return Sessions(storage, accounts, now=clock)


@pytest.fixture
async def account(accounts):
    return await accounts.register("alice", PASSWORD)


@pytest.fixture
async def grant(sessions, account):
    return await sessions.start(account, Origin("10.0.0.1", "tests"))


class TestRotation:
    async def test_it_lives_as_long_as_it_is_used(self, sessions, account, grant, clock):
        token = grant.refresh_token
        for _ in range(2):
            clock.now += MONTH - 1
            token = (await sessions.rotate(token)).refresh_token
        assert await sessions.holds(account, grant.session_id)

    async def test_it_ends_after_three_months_however_it_is_used(self, sessions, account, grant, clock):
        # Given a session that is used all the time
        token = grant.refresh_token
        for _ in range(3):
            clock.now += MONTH - 1
            last = await sessions.rotate(token)
            token = last.refresh_token
        # Then its client is told that the end is near
        assert (grant.seconds, last.seconds) == (MONTH, 3)
        assert await sessions.holds(account, grant.session_id)
        # When it comes
        clock.now += 3
        # Then it is one
        assert not await sessions.holds(account, grant.session_id)
        assert await sessions.all(account) == []
        with pytest.raises(Unauthorized):
            await sessions.rotate(token)

    async def test_a_shorter_end_holds_for_sessions_that_there_are(
        self, storage, accounts, account, grant, clock
    ):
        clock.now += 3600
        stricter = Sessions(storage, accounts, longest_seconds=3600, now=clock)
        assert not await stricter.holds(account, grant.session_id)
        with pytest.raises(Unauthorized):
            await stricter.rotate(grant.refresh_token)

    async def test_it_ends_when_it_is_not(self, sessions, account, grant, clock):
        clock.now += MONTH
        with pytest.raises(Unauthorized):
            await sessions.rotate(grant.refresh_token)
        assert not await sessions.holds(account, grant.session_id)
        assert await sessions.all(account) == []

    async def test_the_one_before_gives_the_same_answer_for_a_while(self, sessions, grant, clock):
        following = await sessions.rotate(grant.refresh_token)
        clock.now += GRACE_SECONDS
        assert await sessions.rotate(grant.refresh_token) == following

    async def test_after_that_while_it_ends_the_session(self, sessions, account, grant, clock):
        following = await sessions.rotate(grant.refresh_token)
        clock.now += GRACE_SECONDS + 0.1
        for token in (grant.refresh_token, following.refresh_token):
            with pytest.raises(Unauthorized):
                await sessions.rotate(token)
        assert not await sessions.holds(account, grant.session_id)

    async def test_the_one_before_the_one_before_ends_it_at_once(self, sessions, account, grant):
        second = await sessions.rotate(grant.refresh_token)
        await sessions.rotate(second.refresh_token)
        with pytest.raises(Unauthorized):
            await sessions.rotate(grant.refresh_token)
        assert not await sessions.holds(account, grant.session_id)

    async def test_a_process_that_dies_before_its_answer(self, storage, beside, accounts, grant, clock):
        # Given a rotation that was recorded by a process that died before it answered
        await Sessions(storage, accounts, now=clock).rotate(grant.refresh_token)

        # When the client asks another process some seconds later
        clock.now += 10
        catch_up(beside, storage)
        other = Sessions(beside, Accounts(beside, rounds=4), now=clock)
        following = await other.rotate(grant.refresh_token)

        # Then it goes on
        clock.now += 3600
        assert await other.rotate(following.refresh_token)

    async def test_a_process_that_dies_before_it_records(self, storage, accounts, sessions, grant, clock):
        with pytest.raises(Died):
            await Sessions(Mortal(storage, 1), accounts, now=clock).rotate(grant.refresh_token)
        clock.now += 3600
        assert await sessions.rotate(grant.refresh_token)

    async def test_what_is_stored_gives_no_token(self, storage, sessions, grant, tmp_path):
        following = await sessions.rotate(grant.refresh_token)
        secrets = {part for each in (grant, following) for part in each.refresh_token.split(".")[2:]}
        assert len(secrets) == 3
        await storage.close()
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert not [secret for secret in secrets if secret.encode() in content]


class TestAccount:
    async def test_one_that_was_changed_meanwhile_gets_no_session(self, sessions, accounts, account):
        # Given somebody who was authenticated with a password that is another by now
        await accounts.set_password("alice", "another password")
        with pytest.raises(Unauthorized):
            await sessions.start(account, Origin())
        assert await sessions.all(await accounts.named("alice")) == []

    async def test_a_password_changes_once(self, accounts, account):
        changed = await accounts.change_password(account, "another password", lambda _: [])
        assert changed.generation == account.generation + 1
        with pytest.raises(Unauthorized):
            await accounts.change_password(account, "a third password", lambda _: [])
        assert await accounts.authenticate("alice", "another password")

    @pytest.mark.parametrize("change", ["end_sessions", "set_password", "set_disabled"])
    async def test_all_end_with_one_write(self, storage, accounts, sessions, account, grant, change):
        # Given as many sessions as a batch could not delete
        for _ in range(120):
            await sessions.start(account, Origin())
        options = {
            "end_sessions": {},
            "set_password": {"password": PASSWORD},
            "set_disabled": {"disabled": True},
        }

        # When one write ends them, by a process that would die at the second
        mortal = Accounts(Mortal(storage, 2), rounds=4)
        changed = await getattr(mortal, change)("alice", **options[change])

        # Then none holds
        assert await sessions.all(changed) == []
        assert not await sessions.holds(changed, grant.session_id)
        with pytest.raises(Unauthorized):
            await sessions.rotate(grant.refresh_token)

    async def test_their_number_is_bounded(self, sessions, account, grant, clock):
        kept = await sessions.start(account, Origin())
        for _ in range(MAX_SESSIONS):
            clock.now += 1
            kept = await sessions.rotate(kept.refresh_token)
            await sessions.start(account, Origin())

        # the one that was used longest ago had to go, and not the one that is used
        assert len(await sessions.all(account)) == MAX_SESSIONS
        assert not await sessions.holds(account, grant.session_id)
        assert await sessions.holds(account, kept.session_id)
