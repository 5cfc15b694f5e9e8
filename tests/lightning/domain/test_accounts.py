"""Accounts, over the real SQLite store."""

import asyncio
import time

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.domain.accounts import Account, Accounts
from lightning.domain.passwords import InvalidAccount
from lightning.domain.usernames import normal_username
from lightning.errors import Conflict, Transient, Unauthorized
from lightning.ids import account_id

PASSWORD = "correct horse"
BAD_USERNAMES = [
    *("", "ab", "a" * 65, "a b c", "a/b", "a:b", "<b>", "../..", "abc\0", "abc\n"),
    *("abc\u200b", "abc\u202e", "a\udc80b", "\U0001f600" * 3, "\ufdfa" * 4, "e\u0301" * 200),
]


@pytest.fixture
def accounts(storage):
    return Accounts(storage, rounds=4)


class TestRegister:
    async def test_the_account_can_sign_in(self, accounts):
        account = await accounts.register("Alice", PASSWORD)

        assert account == Account(account_id("alice"), "alice", "user")
        assert await accounts.authenticate("alice", PASSWORD) == account

    async def test_roles_are_kept(self, accounts):
        await accounts.register("root", PASSWORD, role="operator")
        assert (await accounts.authenticate("root", PASSWORD)).role == "operator"

    @pytest.mark.parametrize("variant", ["alice", "ALICE", "\uff21lice", "\u1d2clice"])
    async def test_a_name_is_unique_in_all_its_variants(self, accounts, variant):
        await accounts.register("Alice", PASSWORD)

        with pytest.raises(Conflict) as caught:
            await accounts.register(variant, "another password")
        assert (caught.value.code, caught.value.pointer) == ("username_taken", "/username")
        assert await accounts.authenticate(variant, PASSWORD)

    async def test_one_of_many_at_once_wins(self, accounts):
        results = await asyncio.gather(
            *(accounts.register("alice", f"password {i}") for i in range(8)), return_exceptions=True
        )
        won = [i for i, result in enumerate(results) if isinstance(result, Account)]
        assert len(won) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 7
        assert await accounts.authenticate("alice", f"password {won[0]}")

    async def test_only_the_hash_is_stored(self, storage, tmp_path):
        account = await Accounts(storage).register("alice", PASSWORD)

        stored = await storage.get("users", account.id, "account")
        assert stored.body["passwordHash"].startswith("$2b$12$")
        assert stored.body["userID"] == account.id
        await storage.close()
        assert not any(PASSWORD.encode() in path.read_bytes() for path in tmp_path.iterdir())

    async def test_the_container_is_the_one_that_is_named(self, storage):
        account = await Accounts(storage, "repos", rounds=4).register("alice", PASSWORD)
        assert await storage.get("repos", account.id, "account")
        assert await storage.get("users", account.id, "account") is None


class TestInvalid:
    @pytest.mark.parametrize(
        "username",
        BAD_USERNAMES,
    )
    async def test_usernames(self, accounts, username):
        with pytest.raises(InvalidAccount) as caught:
            await accounts.register(username, PASSWORD)
        assert (caught.value.status, caught.value.pointer) == (422, "/username")

    @pytest.mark.parametrize("username", ["abc", "a" * 64, "a.b_c-d@e+1", "जनक1", "Åsa", "李小龍"])
    async def test_good_usernames(self, accounts, username):
        assert await accounts.register(username, PASSWORD)

    @pytest.mark.parametrize(
        ("password", "says"),
        [
            ("", "at least 8"),
            ("1234567", "at least 8"),
            ("a" * 73, "at most 72 bytes in UTF-8; this one has 73"),
            ("é" * 37, "this one has 74"),
            ("1234567\0", "U+0000"),
            ("1234567\ud800", "not text"),
        ],
    )
    async def test_passwords(self, accounts, password, says):
        with pytest.raises(InvalidAccount) as caught:
            await accounts.register("alice", password)
        assert (caught.value.status, caught.value.pointer) == (422, "/password")
        assert says in caught.value.message
        assert not password or password not in caught.value.message

    @pytest.mark.parametrize("password", ["12345678", "a" * 72, "é" * 36, "        "])
    async def test_good_passwords(self, accounts, password):
        await accounts.register("alice", password)
        assert await accounts.authenticate("alice", password)
        with pytest.raises(Unauthorized):
            await accounts.authenticate("alice", password[:-1] + "x")


class TestAuthenticate:
    @pytest.mark.parametrize(
        ("username", "password"),
        [
            ("alice", "wrong password"),
            ("alice", PASSWORD.upper()),
            ("alice", ""),
            ("alice", PASSWORD + "\0"),
            ("alice", PASSWORD + "x" * 72),
            ("alice", "\ud800" * 8),
            ("nobody", PASSWORD),
            ("no body", PASSWORD),
            ("", ""),
            ("account", PASSWORD),
        ],
    )
    async def test_every_failure_looks_the_same(self, accounts, username, password):
        await accounts.register("alice", PASSWORD)
        with pytest.raises(Unauthorized) as caught:
            await accounts.authenticate(username, password)
        assert (caught.value.message, caught.value.code) == (
            "wrong username or password",
            "wrong_credentials",
        )
        assert caught.value.pointer is None

    async def test_nobodys_hash_is_well_formed_and_nobodys(self, accounts, monkeypatch):
        seen = []
        check = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", lambda p, h: seen.append(h) or check(p, h))
        with pytest.raises(Unauthorized):
            await accounts.authenticate("nobody", PASSWORD)
        assert [len(h) for h in seen] == [60]
        assert seen[0].startswith(b"$2b$04$")

    async def test_every_failure_takes_the_same_time(self, storage):
        accounts = Accounts(storage, rounds=9)
        await accounts.register("alice", PASSWORD)
        cases = [
            ("alice", "wrong password"),
            ("nobody", PASSWORD),
            ("no body", PASSWORD),
            ("alice", "x" * 100),
            ("alice", ""),
        ]

        # what a hash costs is what it computes; how long that takes depends on what else the machine does
        times: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
        for _ in range(7):
            for case in cases:
                started = time.process_time()
                with pytest.raises(Unauthorized):
                    await accounts.authenticate(*case)
                times[case].append(time.process_time() - started)

        quickest = [min(values) for values in times.values()]
        assert max(quickest) < 2 * min(quickest)  # a case without a hash would take a fiftieth


class TestLoad:
    async def test_the_loop_runs_on_while_hashes_are_computed(self, storage):
        accounts = Accounts(storage, rounds=11)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticker = asyncio.create_task(tick())
        await accounts.register("alice", PASSWORD)
        ticker.cancel()
        assert ticks > 10

    async def test_so_many_at_a_time(self, storage, monkeypatch):
        accounts = Accounts(storage, rounds=4, concurrency=2)
        running, most = 0, 0
        real = asyncio.to_thread

        async def watched(*arguments):
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await real(*arguments)
            finally:
                running -= 1

        monkeypatch.setattr(asyncio, "to_thread", watched)
        await asyncio.gather(*(accounts.register(f"user{i}", PASSWORD) for i in range(10)))
        assert most == 2

    async def test_a_crowd_at_the_registration_keeps_nobody_from_logging_in(self, storage):
        # Given an account, and as many registrations as are taken at a time
        accounts = Accounts(storage, rounds=4, concurrency=1, max_waiting=1)
        await accounts.register("alice", PASSWORD)
        crowd = [asyncio.create_task(accounts.register(f"user{i}", PASSWORD)) for i in range(20)]
        # When its owner comes, and somebody who wants that very name
        account, taken = await asyncio.gather(
            accounts.authenticate("alice", PASSWORD),
            accounts.register("alice", PASSWORD),
            return_exceptions=True,
        )
        # Then the one is let in, and the other hears at once why not
        assert account.username == "alice"
        assert taken.code == "username_taken"
        await asyncio.gather(*crowd, return_exceptions=True)

    async def test_a_crowd_is_sent_away(self, storage):
        accounts = Accounts(storage, rounds=9, concurrency=1, max_waiting=2)
        results = await asyncio.gather(
            *(accounts.register(f"user{i}", PASSWORD) for i in range(5)), return_exceptions=True
        )
        refusals = [result for result in results if isinstance(result, Transient)]
        assert len(refusals) == 2
        assert refusals[0].retry_after == 1.0
        assert await accounts.register("later", PASSWORD)  # and there is room again


@given(st.text(max_size=70))
def test_normal_names_stay_as_they_are(username):
    try:
        name = normal_username(username)
    except InvalidAccount:
        return
    assert normal_username(name) == name == normal_username(username.casefold())
