"""Limits on guessing: what they stop, whom they let through, and what they leave behind."""

import asyncio
from contextlib import suppress

import pytest

from lightning.domain.expiry import Expiry
from lightning.domain.login_limits import Bounds, LoginLimits, TooManyAttempts
from lightning.errors import Forbidden, Transient, Unauthorized
from lightning.storage import Create, Where

BOUNDS = Bounds(pair=3, account=6, address=10, window_seconds=300)
WRONG = Unauthorized("wrong")


@pytest.fixture
def limits(storage, clock):
    return LoginLimits(storage, BOUNDS, now=clock)


async def attempt(limits, account="alice", address="10.0.0.1", outcome: Exception | None = WRONG):
    """Try once; tell whether the password was looked at."""
    with suppress(type(outcome) if outcome is not None and not isinstance(outcome, Transient) else ()):
        async with limits.attempt(account, address):
            if outcome is not None:
                raise outcome
    return True


async def exhaust(limits, times, **who):
    for _ in range(times):
        assert await attempt(limits, **who)
    with pytest.raises(TooManyAttempts) as caught:
        await attempt(limits, **who)
    return caught.value


class TestBounds:
    async def test_a_pair(self, limits, clock):
        # Given a window that began a while ago
        await attempt(limits)
        clock.now += 100
        refused = await exhaust(limits, 2)
        assert (refused.status, refused.code) == (429, "too_many_attempts")
        assert refused.retry_after == 200

        # Then even the right password is not looked at, while other pairs are
        with pytest.raises(TooManyAttempts):
            await attempt(limits, outcome=None)
        assert await attempt(limits, address="10.0.0.2")
        assert await attempt(limits, account="bobby")

        # And when the window is over, it is
        clock.now += 200
        assert await attempt(limits, outcome=None)

    async def test_an_address_with_many_names(self, limits):
        for number in range(10):
            assert await attempt(limits, account=f"name-{number}")
        with pytest.raises(TooManyAttempts):
            await attempt(limits, account="one-more")
        assert await attempt(limits, account="one-more", address="10.0.0.2")

    async def test_an_account_from_many_addresses(self, limits):
        for number in range(6):
            assert await attempt(limits, address=f"10.0.1.{number}")
        with pytest.raises(TooManyAttempts):
            await attempt(limits, address="10.0.1.200")
        assert await attempt(limits, account="bobby", address="10.0.1.200")

    async def test_attempts_at_once_are_counted_before_they_are_looked_at(self, storage, beside, clock):
        # When twelve guesses come at the same moment, at two processes
        processes = [LoginLimits(each, BOUNDS, now=clock) for each in (storage, beside)]
        looked_at = 0

        async def guess(number):
            nonlocal looked_at
            async with processes[number % 2].attempt("alice", "10.0.0.1"):
                looked_at += 1
                await asyncio.sleep(0.05)
                raise WRONG

        await asyncio.gather(*(guess(number) for number in range(12)), return_exceptions=True)

        # Then no more are looked at than a window takes
        assert looked_at == BOUNDS.pair


class TestOwner:
    async def test_a_crowd_does_not_lock_them_out_where_they_usually_are(self, limits, clock):
        # Given an account that is logged in to from one address now and then
        home = {"address": "192.168.0.7"}
        await attempt(limits, outcome=None, **home)
        for _ in range(20):
            # When many addresses use up its limit in every window
            for number in range(6):
                await attempt(limits, address=f"10.1.0.{number}")
            with pytest.raises(TooManyAttempts):
                await attempt(limits, address="10.1.0.100", outcome=None)

            # Then its owner gets in from there all the same
            assert await attempt(limits, outcome=None, **home)
            clock.now += 300

    async def test_an_address_is_not_known_by_trying(self, limits):
        await exhaust(limits, 3)
        for number in range(3):
            await attempt(limits, address=f"10.0.1.{number}")
        with pytest.raises(TooManyAttempts):
            await attempt(limits, address="10.0.1.3")
        with pytest.raises(TooManyAttempts):
            await attempt(limits, address="10.0.1.2")

    async def test_a_known_address_may_not_guess_more_than_others(self, limits):
        await attempt(limits, outcome=None)
        await exhaust(limits, 3)

    async def test_a_success_gives_back_its_own_count_only(self, limits):
        # Given a guesser who has an account of their own at the same address
        for number in range(9):
            await attempt(limits, account=f"name-{number}")
        for _ in range(5):
            assert await attempt(limits, account="own", outcome=None)

        # Then the guesses stay counted
        await attempt(limits, account="the-tenth")
        with pytest.raises(TooManyAttempts):
            await attempt(limits, account="the-eleventh")

    async def test_any_number_of_log_ins(self, limits):
        for _ in range(30):
            assert await attempt(limits, outcome=None)

    @pytest.mark.parametrize("outcome", [Transient("busy"), Forbidden("disabled")])
    async def test_what_was_no_wrong_password_is_given_back(self, limits, outcome):
        for _ in range(30):
            with pytest.raises(type(outcome)):
                async with limits.attempt("alice", "10.0.0.1"):
                    raise outcome

    async def test_a_success_after_its_window_takes_nothing_from_the_next(self, limits, clock):
        # Given an attempt that takes so long that another window begins meanwhile
        async with limits.attempt("alice", "10.0.0.1"):
            clock.now += 301
            await attempt(limits)
        # Then the failure in that one stays counted
        await exhaust(limits, 2)


class TestRemains:
    async def test_what_is_over_is_removed(self, storage, limits, clock):
        # Given the documents of many invented names
        for number in range(60):
            with suppress(TooManyAttempts):
                await attempt(limits, account=f"name-{number}", address=f"10.0.2.{number}")
        assert len((await storage.query("users", None, limit=1000)).items) == 180

        # When the window is over and attempts go on
        clock.now += 301
        for _ in range(100):
            await attempt(limits, outcome=None)

        # Then they are gone, and those of the attempts that go on are not
        left = await storage.query("users", None, [Where("kind", "in", ("login-limit",))], limit=1000)
        assert len(left.items) == 3

    async def test_names_and_addresses_are_not_written_down(self, storage, limits, tmp_path):
        # since people type passwords into the field of the name
        await attempt(limits, account="my-secret-password", address="203.0.113.77")
        await storage.close()
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"my-secret-password" not in content
        assert b"203.0.113.77" not in content

    async def test_a_document_that_was_renewed_meanwhile_is_left_alone(self, storage, clock):
        await storage.batch(
            "users", "x", [Create({"id": "a", "userID": "x", "kind": "session", "expiresAt": clock.now})]
        )
        assert await Expiry(storage, now=clock).sweep() == 0
        clock.now += 1
        results = await asyncio.gather(*(Expiry(storage, now=clock).sweep() for _ in range(3)))
        assert max(results) == 1
        assert await storage.get("users", "x", "a") is None
