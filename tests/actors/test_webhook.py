"""The webhook actor and the messenger before it, over a real store and a real receiver on loopback."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from standardwebhooks import Webhook as Verifier

from actors.actor import Retries
from actors.chat_answers import ChatAnswers
from actors.messenger import Messenger
from actors.step import Step
from actors.task_joins import TaskJoins
from actors.webhook import LIFE_SECONDS, WebhookDelivery
from lightning.domain.deliveries import Deliveries
from lightning.domain.turns import Turns
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import DELIVERABLE, Webhooks
from lightning.events import Draft, now_text
from lightning.ids import derived_id, new_id
from lightning.live import Notifier
from lightning.log import Dispatch, EventLog, wakeup
from lightning.outbound import Courier, Guard, Lanes, Outbound
from lightning.settings import Settings
from lightning.storage import Upsert
from tests.memory_queue import Clock, MemoryQueue
from tests.receiver import receiving
from tests.stores import storage_of

GUARD = Guard.allowing("127.0.0.1")
WAITS = (5.0, 30.0, 120.0)


class Installation:
    """Messenger, webhook actor, step and log of one process; its clock moves by hand."""

    def __init__(self, storage, waits=WAITS, chance=lambda: 0.0):
        self.storage = storage
        self.clock = Clock()
        self.log = EventLog(storage, clock=self.clock)
        self.queue = MemoryQueue()
        self.webhooks = Webhooks(storage, GUARD)
        self.health = WebhookHealth(
            storage, first_pause_seconds=waits[0], clock=self.clock, randomness=chance
        )
        self.deliveries = Deliveries(storage, self.log)
        self.lanes = Lanes(8)
        dispatch = Dispatch(self.log, self.queue)
        notifier = Notifier(None, "whsec_" + "A" * 32)
        actors = {
            "messenger": Messenger(
                notifier, self.webhooks, TaskJoins(self.log, dispatch), ChatAnswers(Turns(storage))
            ),
            "webhook": WebhookDelivery(
                self.log,
                self.webhooks,
                self.health,
                self.deliveries,
                Courier(Outbound(GUARD, timeout_seconds=0.5)),
                self.lanes,
                Retries(len(waits) + 1, waits),
                randomness=chance,
            ),
        }
        self.step = Step(self.log, dispatch, actors, owner="me")

    async def endpoint(self, url, **options):
        settings = {"name": "team", "types": DELIVERABLE, **options}
        return await self.webhooks.create("anna", url, **settings)

    async def says(self, content="hello", **metadata):
        """Record a message, and let the messenger see to it."""
        draft = Draft(new_id(), "user.message", "test", {"content": content, **metadata}, now_text(), {})
        [event] = await self.log.append("anna", [draft])
        await self.step.run(wakeup(event))
        return await self.log.get("anna", event["id"])

    async def delivery(self, webhook, message=None):
        """Record a delivery as the messenger does, and give its id; without a message it is a test."""
        if message is not None:
            return derived_id(message["id"], f"webhook-{webhook.id}")
        draft = Draft(new_id(), "webhook.delivery", "test", {"webhookID": webhook.id}, now_text(), {})
        await self.log.append("anna", [draft])
        return draft.id

    async def attempt(self, delivery):
        """Look at a delivery once when it is due, and give it with the wait until the next time."""
        event = await self.log.get("anna", delivery)
        self.clock.now = max(self.clock.now, event["dueAt"])
        await self.step.run(wakeup(event))
        event = await self.log.get("anna", delivery)
        return event, event["dueAt"] - self.clock.now

    async def noted(self, webhook, delivery):
        for found in (await self.deliveries.latest("anna", webhook.id)).deliveries:
            if found.event["id"] == delivery:
                return found.attempts
        raise AssertionError("there is no such delivery")


@pytest.fixture
async def storage(tmp_path: Path):
    store = storage_of(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def platform(storage):
    return Installation(storage)


@pytest.fixture(scope="module")
def receiver():
    with receiving() as receiver:
        yield receiver


class TestMessage:
    async def test_a_message_goes_to_each_endpoint_as_an_event_of_its_own(self, platform, receiver):
        # Given two endpoints that want it, one that does not, and one that is disabled
        one = await platform.endpoint(f"{receiver.url}/ok/one")
        two = await platform.endpoint(f"{receiver.url}/ok/two", types=["user.message"])
        await platform.endpoint(f"{receiver.url}/ok/other", types=["llm.chat.response"])
        off = await platform.endpoint(f"{receiver.url}/ok/off")
        await platform.webhooks.change("anna", off.id, disabled=True)
        # When a message is recorded
        message = await platform.says("hello")
        # Then it is done, and followed by a delivery to each of the two
        ids = [derived_id(message["id"], f"webhook-{webhook.id}") for webhook in (one, two)]
        assert (message["state"], message["outputs"]) == ("done", ids)
        # And each is posted, signed, in the shape of Standard Webhooks
        for webhook, delivery, path in zip((one, two), ids, ("/ok/one", "/ok/two"), strict=True):
            event, _ = await platform.attempt(delivery)
            assert (event["type"], event["state"], event["cause"]) == (
                "webhook.delivery",
                "done",
                message["id"],
            )
            assert event["metadata"] == {"webhookID": webhook.id, "eventID": message["id"]}
            [post] = receiver.to(path)
            assert post.id == delivery
            told = Verifier(webhook.secret).verify(post.body, post.headers)
            assert (told["type"], told["timestamp"]) == ("user.message", message["timestamp"])
            assert told["data"]["metadata"] == {"content": "hello"}
            assert (told["data"]["id"], told["data"]["seq"]) == (message["id"], message["seq"])
        assert receiver.to("/ok/other") == receiver.to("/ok/off") == []

    async def test_a_user_without_webhooks_costs_one_read(self, platform, monkeypatch):
        [event] = await platform.log.append(
            "anna", [Draft("m", "user.message", "test", {"content": "x"}, "now", {})]
        )
        reads = []
        get = platform.storage.get

        async def counting(container, partition, id):
            reads.append(id)
            return await get(container, partition, id)

        monkeypatch.setattr(platform.storage, "get", counting)
        await platform.step.run(wakeup(event))
        assert reads == ["webhooks"]

    async def test_who_is_named_alone_gets_it(self, platform, receiver):
        named = await platform.endpoint(f"{receiver.url}/ok/named", name="stakeholders", types=[])
        await platform.endpoint(f"{receiver.url}/ok/team")
        message = await platform.says("report", to=["stakeholders"])
        assert message["outputs"] == [await platform.delivery(named, message)]

    async def test_a_name_that_nobody_has_is_a_dead_event_that_may_be_replayed(self, platform, receiver):
        await platform.endpoint(f"{receiver.url}/ok/team")
        message = await platform.says("report", to=["team", "stakeholders"])
        assert (message["state"], message["error"]["code"]) == ("dead", "unknown_recipient")
        assert message["outputs"] == []


class TestDelivery:
    async def test_a_repetition_says_the_same_under_the_same_id(self, platform, receiver):
        # Given an endpoint that fails once
        webhook = await platform.endpoint(f"{receiver.url}/ok/again")
        receiver.will_answer("/ok/again", 500)
        message = await platform.says()
        delivery = await platform.delivery(webhook, message)
        # When it is tried until it is done
        event, wait = await platform.attempt(delivery)
        assert (event["state"], event["attempts"], wait) == ("accepted", 1, 5)
        event, _ = await platform.attempt(delivery)
        # Then both posts have one id and one body
        first, second = receiver.to("/ok/again")
        assert event["state"] == "done"
        assert (first.id, first.body) == (second.id, second.body)
        # And the log has both
        one, two = await platform.noted(webhook, delivery)
        assert (one.number, one.status, one.error, one.answer) == (1, 500, "unexpected_status", "as you say")
        assert (two.number, two.status, two.error) == (2, 204, None)

    async def test_it_is_given_up_after_the_last_attempt(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/never")
        receiver.will_answer("/ok/never", *[404] * 9)
        delivery = await platform.delivery(webhook)
        waits = [(await platform.attempt(delivery))[1] for _ in WAITS]
        event, _ = await platform.attempt(delivery)
        assert waits == [5, 30, 120]
        assert (event["state"], event["error"]["code"]) == ("dead", "unexpected_status")
        assert [each.number for each in await platform.noted(webhook, delivery)] == [1, 2, 3, 4]
        assert len(receiver.to("/ok/never")) == 4

    @pytest.mark.parametrize("status", [503, 422])
    async def test_it_is_tried_for_a_day(self, storage, receiver, status):
        # Given an endpoint that refuses, and waits as they are by default
        waits = tuple(float(wait) for wait in Settings.model_fields["webhook_retries"].default.split(","))
        platform = Installation(storage, waits)
        path = f"/ok/day-{status}"
        webhook = await platform.endpoint(f"{receiver.url}{path}")
        receiver.will_answer(path, *[status] * 20)
        delivery, waited = await platform.delivery(webhook), []
        # When it is tried until it is given up
        event = await platform.log.get("anna", delivery)
        while event["state"] == "accepted":
            event, wait = await platform.attempt(delivery)
            waited.append(wait)
        # Then that was so often, and so long
        assert len(receiver.to(path)) == 11
        assert waited[:-1] == pytest.approx(list(waits))
        assert sum(waited[:-1]) > 23 * 3600

    @pytest.mark.parametrize(("chance", "stretch"), [(0.0, 1.0), (0.5, 1.1), (1.0, 1.2)])
    async def test_chance_spreads_the_attempts_and_none_is_early(self, storage, receiver, chance, stretch):
        platform = Installation(storage, (5.0, 28800.0), lambda: chance)
        webhook = await platform.endpoint(f"{receiver.url}/ok/spread")
        receiver.will_answer("/ok/spread", 422, 422)
        delivery = await platform.delivery(webhook)
        waits = [(await platform.attempt(delivery))[1] for _ in range(2)]
        assert waits == pytest.approx([5.0 * stretch, 28800.0 * stretch])

    async def test_410_disables_the_endpoint(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/gone/1")
        event, _ = await platform.attempt(await platform.delivery(webhook))
        assert (event["state"], event["error"]["code"]) == ("dead", "endpoint_gone")
        found = await platform.webhooks.find("anna", webhook.id)
        assert (found.disabled, found.reason) == (True, "endpoint_gone")
        # and what comes later is not sent, and the log says so
        delivery = await platform.delivery(webhook)
        event, _ = await platform.attempt(delivery)
        [skipped] = await platform.noted(webhook, delivery)
        assert (event["state"], skipped.error) == ("done", "webhook_disabled")
        assert len(receiver.to("/gone/1")) == 1

    async def test_what_waits_for_a_deleted_endpoint_is_dropped(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/deleted")
        delivery = await platform.delivery(webhook)
        await platform.webhooks.delete("anna", webhook.id)
        event, _ = await platform.attempt(delivery)
        assert event["state"] == "done"
        assert [each.error for each in await platform.noted(webhook, delivery)] == ["webhook_deleted"]
        assert receiver.to("/ok/deleted") == []

    @pytest.mark.parametrize(
        ("behaviour", "status", "error"),
        [
            ("hang", None, "timeout"),
            ("trickle", None, "timeout"),
            ("trickle_body", 200, "timeout"),
            ("redirect", 307, "redirect_refused"),
            ("broken", None, "broken_answer"),
        ],
    )
    async def test_a_bad_receiver_is_noted_and_tried_again(
        self, platform, receiver, behaviour, status, error
    ):
        webhook = await platform.endpoint(f"{receiver.url}/{behaviour}/noted")
        delivery = await platform.delivery(webhook)
        event, wait = await platform.attempt(delivery)
        assert (event["state"], event["error"]["code"], wait) == ("accepted", error, 5)
        [attempt] = await platform.noted(webhook, delivery)
        assert (attempt.status, attempt.error) == (status, error)
        assert attempt.milliseconds < 2000
        assert receiver.to("/ok/redirected") == []

    async def test_an_endless_answer_is_an_answer(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/endless/noted")
        delivery = await platform.delivery(webhook)
        assert (await platform.attempt(delivery))[0]["state"] == "done"
        [attempt] = await platform.noted(webhook, delivery)
        assert len(attempt.answer) == 1024

    async def test_an_address_that_is_not_allowed_any_more(self, platform, receiver):
        # Given an endpoint that was made when the operator allowed it
        webhook = await platform.endpoint(f"{receiver.url}/ok/disallowed")
        document = await platform.storage.get("events", "anna", "webhooks")
        document.body["webhooks"][0]["url"] = "https://127.0.0.2/"
        await platform.storage.batch("events", "anna", [Upsert(document.body)])
        delivery = await platform.delivery(webhook)
        event, _ = await platform.attempt(delivery)
        assert event["error"]["code"] == "address_refused"
        assert [each.error for each in await platform.noted(webhook, delivery)] == ["address_refused"]

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        ("asked", "wait"),
        [
            ("17", 17),
            ("2", 5),
            ("86400", 3600),
            ("soon", 5),
            ("-3", 5),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 5),
        ],
    )
    async def test_retry_after_is_honoured_within_bounds(self, platform, receiver, status, asked, wait):
        webhook = await platform.endpoint(f"{receiver.url}/ok/busy")
        receiver.will_answer("/ok/busy", (status, {"retry-after": asked}))
        assert (await platform.attempt(await platform.delivery(webhook)))[1] == wait

    async def test_retry_after_may_be_a_date(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/date")
        moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        receiver.will_answer("/ok/date", (503, {"retry-after": moment}))
        assert 50 < (await platform.attempt(await platform.delivery(webhook)))[1] <= 61

    async def test_after_a_rotation_both_secrets_verify(self, platform, receiver):
        old = await platform.endpoint(f"{receiver.url}/ok/rotated")
        new = await platform.webhooks.rotate("anna", old.id)
        await platform.attempt(await platform.delivery(old))
        [post] = receiver.to("/ok/rotated")
        for secret in (old.secret, new.secret):
            assert Verifier(secret).verify(post.body, post.headers)["type"] == "webhook.test"
        assert len(post.headers["webhook-signature"].split()) == 2

    async def test_it_stays_in_the_trace(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/traced?token=secret")
        with TracerProvider().get_tracer("test").start_as_current_span("process") as span:
            await platform.attempt(await platform.delivery(webhook))
        [post] = receiver.to("/ok/traced?token=secret")
        assert post.headers["traceparent"].split("-")[1] == f"{span.get_span_context().trace_id:032x}"

    async def test_an_attempt_whose_worker_died_is_missing_in_the_log_by_name(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/died")
        delivery = await platform.delivery(webhook)
        # Given a worker that claimed the delivery and died
        await platform.log.claim("anna", delivery, 0, "dead worker", 1)
        platform.clock.now += 2
        # When another one delivers it
        await platform.attempt(delivery)
        # Then the log has both attempts
        lost, made = await platform.noted(webhook, delivery)
        assert (lost.number, lost.error, lost.at) == (1, "interrupted", None)
        assert (made.number, made.status) == (2, 204)


class TestIsolation:
    async def test_while_an_endpoint_fails_others_wait_without_an_attempt(self, platform, receiver):
        # Given an endpoint that hung for one delivery
        webhook = await platform.endpoint(f"{receiver.url}/hang/circuit")
        first, *others = [await platform.delivery(webhook, await platform.says()) for _ in range(4)]
        await platform.attempt(first)
        # When others are due
        waits = []
        for delivery in others:
            await platform.step.run(wakeup(await platform.log.get("anna", delivery)))
            event = await platform.log.get("anna", delivery)
            waits.append(event["dueAt"] - platform.clock.now)
            # Then they are put off, which is no attempt
            assert (event["state"], event["attempts"]) == ("accepted", 0)
        # one behind the other, none before the pause is over
        assert waits == pytest.approx([5.05, 5.10, 5.15])
        assert len(receiver.to("/hang/circuit")) == 1

    async def test_waiting_forgets_no_attempt(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/hang/kept")
        mine, theirs = [await platform.delivery(webhook, await platform.says()) for _ in range(2)]
        # Given a delivery with a failed attempt, while another one has just tried and failed again
        await platform.attempt(mine)
        platform.clock.now += 5
        await platform.attempt(theirs)
        # When it looks again too early
        event, wait = await platform.attempt(mine)
        # Then its attempt still counts, with its reason
        assert (event["attempts"], event["error"]["code"]) == (1, "timeout")
        assert 10 <= wait < 10.2

    async def test_many_that_wait_cost_few_looks_and_come_back_in_a_pace(self, platform, receiver):
        # Given an endpoint that was down, and many deliveries that found it so
        webhook = await platform.endpoint(f"{receiver.url}/ok/many")
        receiver.will_answer("/ok/many", *[503] * 2)
        deliveries = [await platform.delivery(webhook, await platform.says()) for _ in range(40)]
        for delivery in deliveries:
            await platform.step.run(wakeup(await platform.log.get("anna", delivery)))
        due = {delivery: (await platform.log.get("anna", delivery))["dueAt"] for delivery in deliveries}
        # When each comes in its moment, and the first of them finds it down still
        for delivery in sorted(due, key=due.__getitem__):
            await platform.attempt(delivery)
        # Then one has tried, and the others wait again, each for a moment of its own
        assert len(receiver.to("/ok/many")) == 2
        due = {delivery: (await platform.log.get("anna", delivery))["dueAt"] for delivery in deliveries}
        moments = sorted(due.values())
        assert moments[0] >= (await platform.health.get("anna", webhook.id)).not_before
        assert min(later - sooner for sooner, later in pairwise(moments)) > 0.04
        # And when it is back, all are delivered in their moments
        for delivery in sorted(due, key=due.__getitem__):
            assert (await platform.attempt(delivery))[0]["state"] == "done"
        assert len({post.id for post in receiver.to("/ok/many")}) == 40

    async def test_all_go_on_when_the_endpoint_is_back(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/back")
        receiver.will_answer("/ok/back", 503)
        deliveries = [await platform.delivery(webhook, await platform.says()) for _ in range(3)]
        await platform.attempt(deliveries[0])
        platform.clock.now += 5
        for delivery in deliveries:
            event, _ = await platform.attempt(delivery)
            assert event["state"] == "done"
        assert (
            await platform.health.get("anna", webhook.id) == type(await platform.health.get("anna", "new"))()
        )

    async def test_a_refused_message_says_nothing_about_others(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/picky")
        receiver.will_answer("/ok/picky", 422)
        bad, good = [await platform.delivery(webhook, await platform.says()) for _ in range(2)]
        assert (await platform.attempt(bad))[0]["state"] == "accepted"
        assert (await platform.attempt(good))[0]["state"] == "done"

    async def test_a_full_lane_is_no_attempt(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/full")
        delivery = await platform.delivery(webhook)
        with platform.lanes.room("anna", webhook.id), platform.lanes.room("anna", webhook.id):
            event, wait = await platform.attempt(delivery)
        assert (event["state"], event["attempts"]) == ("accepted", 0)
        assert 0 < wait < 1
        assert receiver.to("/ok/full") == []

    async def test_a_test_is_made_at_once_while_the_endpoint_fails(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/asked")
        await platform.health.failed("anna", webhook.id)
        assert (await platform.attempt(await platform.delivery(webhook)))[0]["state"] == "done"
        assert (await platform.health.get("anna", webhook.id)).failures == 0

    async def test_what_waits_for_a_dead_endpoint_is_given_up_after_a_day(self, platform, receiver):
        webhook = await platform.endpoint(f"{receiver.url}/ok/day")
        delivery = await platform.delivery(webhook, await platform.says())
        stored = await platform.storage.get("events", "anna", delivery)
        past = datetime.fromtimestamp(time.time() - LIFE_SECONDS - 60, UTC).isoformat()
        await platform.storage.batch("events", "anna", [Upsert({**stored.body, "recordedAt": past})])
        await platform.health.failed("anna", webhook.id)
        event, _ = await platform.attempt(delivery)
        assert (event["state"], event["error"]["code"]) == ("dead", "endpoint_unavailable")
