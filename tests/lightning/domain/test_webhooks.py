"""Endpoints of users, and who gets a message."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from lightning.domain.webhook import recipients
from lightning.domain.webhook_health import LOOK_APART_SECONDS, MAX_LINES, MAX_LOOK_SECONDS, WebhookHealth
from lightning.domain.webhooks import DELIVERABLE, MAX_WEBHOOKS, OVERLAP_SECONDS, Webhooks
from lightning.errors import Conflict, InvalidEvent, NotFound, Permanent
from lightning.outbound import Guard
from lightning.pacing import LEAST_DISTANCE
from tests.memory_queue import Clock
from tests.stores import storage_of

URL = "https://hooks.example.com/lightning"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def storage(tmp_path: Path):
    store = storage_of(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def webhooks(storage, clock):
    return Webhooks(storage, Guard(), clock=clock)


async def made(webhooks, user="anna", name="team", url=URL, types=DELIVERABLE):
    return await webhooks.create(user, url, name=name, types=types)


class TestEndpoints:
    async def test_an_endpoint_is_found_by_its_owner(self, webhooks):
        one, two = await made(webhooks), await made(webhooks, name="other")
        assert await webhooks.of("anna") == [one, two]
        assert await webhooks.find("anna", two.id) == two
        assert await webhooks.find("bert", two.id) is None
        assert await webhooks.of("bert") == []

    async def test_many_who_ask_at_once_share_what_is_read(self, storage, webhooks):
        class Remote:
            reads = 0

            async def get(self, *where):
                self.reads += 1
                await asyncio.sleep(0)  # others go on meanwhile, as with every store that is elsewhere
                return await storage.get(*where)

        # Given an endpoint, and many messages to its user that come at once
        one, remote = await made(webhooks), Remote()
        asked = Webhooks(remote, Guard())
        found = await asyncio.gather(*(asked.of("anna") for _ in range(20)))
        # Then each has it, after two reads: the one under way, and one for those who came meanwhile
        assert found == [[one]] * 20
        assert remote.reads == 2

    async def test_without_a_name_it_goes_by_its_host(self, webhooks):
        assert (await made(webhooks, name=None)).name == "hooks.example.com"

    async def test_a_user_has_so_many_and_no_more(self, webhooks):
        # When many are made at once
        results = await asyncio.gather(
            *(made(webhooks) for _ in range(MAX_WEBHOOKS + 5)), return_exceptions=True
        )
        # Then as many stand as one may have
        refused = [each.code for each in results if isinstance(each, Conflict)]
        assert refused == ["too_many_webhooks"] * 5
        assert len(await webhooks.of("anna")) == MAX_WEBHOOKS

    async def test_where_it_may_not_be(self, webhooks):
        with pytest.raises(InvalidEvent):
            await made(webhooks, url="https://127.0.0.1/")
        one = await made(webhooks)
        with pytest.raises(InvalidEvent):
            await webhooks.change("anna", one.id, url="http://example.com/")
        assert await webhooks.of("anna") == [one]

    async def test_changes_at_the_same_time_are_all_kept(self, webhooks):
        one = await made(webhooks)
        await asyncio.gather(
            webhooks.change("anna", one.id, name="renamed"),
            webhooks.change("anna", one.id, types=["user.message"]),
            made(webhooks),
        )
        found = await webhooks.find("anna", one.id)
        assert (found.name, found.types) == ("renamed", ["user.message"])
        assert len(await webhooks.of("anna")) == 2

    async def test_what_is_not_there_cannot_be_changed(self, webhooks):
        one = await made(webhooks)
        await webhooks.delete("anna", one.id)
        for change in (
            webhooks.delete("anna", one.id),
            webhooks.rotate("anna", one.id),
            webhooks.change("anna", one.id, name="x"),
        ):
            with pytest.raises(NotFound):
                await change

    async def test_after_a_rotation_both_secrets_hold_for_a_day(self, webhooks, clock):
        one = await made(webhooks)
        two = await webhooks.rotate("anna", one.id)
        assert two.secrets(clock.now) == [two.secret, one.secret]
        assert two.secrets(clock.now + OVERLAP_SECONDS) == [two.secret]
        # and of three the last two
        three = await webhooks.rotate("anna", one.id)
        assert three.secrets(clock.now) == [three.secret, two.secret]

    async def test_it_is_disabled_for_what_its_own_address_said(self, webhooks):
        one = await made(webhooks)
        await webhooks.disable("anna", one.id, url="https://before.example/", reason="endpoint_gone")
        assert not (await webhooks.find("anna", one.id)).disabled
        await webhooks.disable("anna", one.id, url=URL, reason="endpoint_gone")
        found = await webhooks.find("anna", one.id)
        assert (found.disabled, found.reason) == (True, "endpoint_gone")
        # and enabling it forgets why
        found = await webhooks.change("anna", one.id, disabled=False)
        assert (found.disabled, found.reason) == (False, None)


class TestRecipients:
    @pytest.fixture
    async def four(self, webhooks):
        await made(webhooks, name="all")
        await made(webhooks, name="chats", types=["llm.chat.response"])
        await made(webhooks, name="stakeholders", types=[])
        await made(webhooks, name="stakeholders", types=["user.message"])
        return await webhooks.of("anna")

    def names(self, webhooks, type, to=None):
        return [webhook.name for webhook in recipients(webhooks, type, to)]

    async def test_by_type(self, four):
        assert self.names(four, "llm.chat.response") == ["all", "chats"]
        assert self.names(four, "user.message") == ["all", "stakeholders"]

    async def test_who_is_named_gets_it_whatever_the_types_and_nobody_else_does(self, four):
        assert self.names(four, "user.message", ["stakeholders"]) == ["stakeholders", "stakeholders"]
        assert self.names(four, "user.message", ["chats", four[0].id, "chats"]) == ["all", "chats"]

    async def test_a_name_that_nobody_has_reaches_nobody(self, four):
        with pytest.raises(Permanent) as refused:
            recipients(four, "user.message", ["all", "nobody"])
        assert refused.value.code == "unknown_recipient"

    async def test_disabled_endpoints_get_nothing(self, webhooks, four):
        await webhooks.change("anna", four[0].id, disabled=True)
        await webhooks.change("anna", four[2].id, disabled=True)
        now = await webhooks.of("anna")
        assert self.names(now, "llm.chat.response") == ["chats"]
        assert len(recipients(now, "user.message", ["stakeholders"])) == 1
        # and who names one alone hears of it
        with pytest.raises(Permanent) as refused:
            recipients(now, "user.message", ["all"])
        assert refused.value.code == "recipient_disabled"


class TestHealth:
    @pytest.fixture
    def health(self, storage, clock):
        return WebhookHealth(storage, first_pause_seconds=5, clock=clock, randomness=lambda: 0.5)

    async def pause(self, health, clock):
        """Give the seconds until the endpoint is tried again."""
        return (await health.get("anna", "w")).not_before - clock.now

    async def wait(self, health, delivery="d", **options):
        return (await health.admit("anna", "w", delivery, 20, **options)).wait_seconds

    async def test_an_endpoint_is_good_until_it_fails(self, health):
        assert await self.wait(health) == 0
        await health.failed("anna", "w")
        assert await self.wait(health) == pytest.approx(5 + LOOK_APART_SECONDS)
        # and others are not meant
        assert (await health.admit("anna", "other", "d", 20)).wait_seconds == 0
        assert (await health.admit("bert", "w", "d", 20)).wait_seconds == 0

    async def test_one_delivery_tries_and_the_others_wait_for_it(self, health, clock):
        await health.failed("anna", "w")
        clock.now += 5
        # When many come as soon as it may be tried
        admissions = await asyncio.gather(*(health.admit("anna", "w", str(n), 20) for n in range(10)))
        # Then one tries, and the others come later, one behind the other
        places = [5 + LOOK_APART_SECONDS * n for n in range(1, 10)]
        assert sorted(each.wait_seconds for each in admissions) == pytest.approx([0, *places])
        [trial] = [n for n, each in enumerate(admissions) if each.is_trial]
        # And is let through again after a crash, and another one when it does not come back
        assert await self.wait(health, str(trial)) == 0
        clock.now += 21
        assert await self.wait(health, "another") == 0

    async def test_the_pause_doubles_to_a_bound(self, health, clock):
        pauses = []
        for _ in range(10):
            assert await self.wait(health) == 0
            await health.failed("anna", "w")
            pauses.append(await self.pause(health, clock))
            clock.now += pauses[-1]
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]

    async def test_what_was_under_way_when_it_failed_is_not_counted_again(self, health):
        for _ in range(4):
            await health.failed("anna", "w")
        assert (await health.get("anna", "w")).failures == 1

    async def test_the_endpoint_may_ask_for_more(self, health, clock):
        await health.failed("anna", "w", 120)
        assert await self.pause(health, clock) == 120
        assert await self.wait(health) > 120

    async def test_however_many_wait_few_look_in_a_second(self, storage, clock):
        # Given an endpoint that fails, and very many deliveries that come together
        chance = random.Random(1)
        health = WebhookHealth(storage, first_pause_seconds=5, clock=clock, randomness=chance.random)
        await health.failed("anna", "w")
        waits = [await self.wait(health, str(n)) for n in range(1000)]
        # Then none looks before it is tried again, and no second has more than a few
        assert min(waits) > 5
        seconds = Counter(int(wait) for wait in waits)
        assert max(seconds.values()) <= 1 / (LOOK_APART_SECONDS * LEAST_DISTANCE)
        assert max(waits) == pytest.approx(5 + 1000 * LOOK_APART_SECONDS, rel=0.1)
        # And other endpoints know nothing of it
        await health.failed("anna", "other")
        assert (await health.admit("anna", "other", "d", 20)).wait_seconds < 6

    async def test_nobody_is_put_off_for_a_day(self, health, clock):
        await health.failed("anna", "w")
        health._lines.wait("w", clock.now, 100 * MAX_LOOK_SECONDS)
        assert await self.wait(health) == MAX_LOOK_SECONDS

    async def test_the_lines_that_are_remembered_are_bounded(self, health, clock):
        for n in range(MAX_LINES + 100):
            health._lines.wait(f"w{n}", clock.now, float(n + 1))
        assert len(health._lines) == MAX_LINES
        assert f"w{MAX_LINES + 99}" in health._lines

    async def test_a_good_trial_frees_all(self, health, clock):
        await health.failed("anna", "w")
        clock.now += 5
        assert (await health.admit("anna", "w", "d", 20)).is_trial
        await health.worked("anna", "w")
        assert [await self.wait(health, str(n)) for n in range(3)] == [0, 0, 0]

    async def test_who_is_waited_for_by_a_person_tries_at_once(self, health):
        await health.failed("anna", "w")
        admission = await health.admit("anna", "w", "d", 20, at_once=True)
        assert (admission.wait_seconds, admission.is_trial) == (0, True)
        # but not beside another trial: asking often holds no more room than waiting
        assert await self.wait(health, "another", at_once=True) == 5
        # and never at the end of the line
        for n in range(100):
            await self.wait(health, str(n))
        assert await self.wait(health, "another", at_once=True) == 5

    async def test_a_new_address_is_tried_at_once(self, webhooks, health):
        one = await made(webhooks)
        await health.failed("anna", one.id)
        await webhooks.change("anna", one.id, name="renamed")
        assert (await health.get("anna", one.id)).failures == 1
        await webhooks.change("anna", one.id, url="https://elsewhere.example/")
        assert (await health.get("anna", one.id)).failures == 0
