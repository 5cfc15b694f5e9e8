"""`/api/webhooks` over HTTP. No worker runs: deliveries are recorded and wait."""

import asyncio
import time

import pytest

from api.webhook_forms import DeliverableType
from lightning.domain.deliveries import Attempt, Deliveries
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import DELIVERABLE, MAX_WEBHOOKS
from lightning.log import EventLog
from tests.api.conftest import assert_problem, serving
from tests.stores import storage_of

URL = "https://hooks.example.com/lightning?key=of-the-receiver"
SHOWN = {"id", "url", "name", "types", "disabled", "reason", "createdAt"}


def create(person, **changes):
    answer = person.request("POST", "/api/webhooks", json={"url": URL, **changes})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_webhook_from_its_creation_to_its_end(person):
    # When somebody makes one
    made = create(person)
    # Then its secret is shown, once
    assert set(made) == {*SHOWN, "secret"}
    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["name"], made["types"]) == (URL, "hooks.example.com", [*DELIVERABLE])
    shown = {name: made[name] for name in SHOWN}
    path = f"/api/webhooks/{made['id']}"
    assert person.get("/api/webhooks").json() == {"webhooks": [shown]}
    assert person.get(path).json() == {**shown, "failing": None}

    # When they change it
    changes = {"name": "team", "types": ["user.message"], "disabled": True}
    changed = person.request("PATCH", path, json=changes).json()
    # Then that stands, and the rest as before
    assert changed == {**shown, **changes}
    assert person.get(path).json() == {**changed, "failing": None}
    assert person.request("PATCH", path, json={}).json() == changed

    # When they rotate the secret
    rotated = person.request("POST", f"{path}/rotate")
    assert (rotated.status_code, set(rotated.json())) == (200, {*SHOWN, "secret"})
    assert rotated.json()["secret"] != made["secret"]

    # When they delete it
    assert person.request("DELETE", path).status_code == 204
    # Then it is gone
    assert_problem(person.get(path), 404, "not_found")
    assert person.get("/api/webhooks").json() == {"webhooks": []}


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "invalid_field", "/url"),
        ({"url": 1}, "invalid_field", "/url"),
        ({"url": "http://example.com/"}, "invalid_url", "/url"),
        ({"url": "https://user:pw@example.com/"}, "invalid_url", "/url"),
        ({"url": "https://2130706433/"}, "invalid_url", "/url"),
        ({"url": "https://169.254.169.254/"}, "address_refused", "/url"),
        ({"url": "https://[::1]/"}, "address_refused", "/url"),
        ({"url": URL, "name": ""}, "invalid_field", "/name"),
        ({"url": URL, "name": " x"}, "invalid_field", "/name"),
        ({"url": URL, "types": ["llm.chat"]}, "invalid_field", "/types/0"),
        ({"url": URL, "secret": "whsec_mine"}, "invalid_field", "/secret"),
    ],
)
def test_what_cannot_be_a_webhook(person, body, code, pointer):
    assert_problem(person.request("POST", "/api/webhooks", json=body), 422, code, pointer=pointer)
    assert person.get("/api/webhooks").json() == {"webhooks": []}


def test_a_change_is_held_to_the_same_rules(person):
    path = f"/api/webhooks/{create(person)['id']}"
    for changes, code in [
        ({"url": "https://10.0.0.1/"}, "address_refused"),
        ({"disabled": "no"}, "invalid_field"),
    ]:
        answer = person.request("PATCH", path, json=changes)
        assert_problem(answer, 422, code, pointer=f"/{next(iter(changes))}")
    assert person.get(path).json()["url"] == URL


def test_one_too_many(person):
    for _ in range(MAX_WEBHOOKS):
        create(person)
    answer = person.request("POST", "/api/webhooks", json={"url": URL})
    assert_problem(answer, 409, "too_many_webhooks")


def test_a_test_is_a_delivery(person):
    webhook = create(person)
    # When somebody asks for a test
    answer = person.request("POST", f"/api/webhooks/{webhook['id']}/test")
    # Then it is recorded as an event, and stands in the delivery log
    assert answer.status_code == 202
    delivery = answer.json()
    event = person.get(answer.headers["location"]).json()
    assert (event["id"], event["type"]) == (delivery["id"], "webhook.delivery")
    assert event["metadata"] == {"webhookID": webhook["id"]}
    page = person.get(f"/api/webhooks/{webhook['id']}/deliveries").json()
    assert page == {"deliveries": [delivery], "next": None}
    assert (delivery["state"], delivery["attempts"], delivery["nextAttemptAt"]) == ("accepted", [], None)


def test_nobody_posts_a_delivery(person):
    event = person.event(type="webhook.delivery", metadata={"webhookID": create(person)["id"]})
    assert_problem(person.post(event), 403, "platform_event", pointer="/type")


def test_deliveries_are_listed_newest_first_and_by_page(person):
    webhook, other = create(person), create(person)
    ids = [person.request("POST", f"/api/webhooks/{webhook['id']}/test").json()["id"] for _ in range(5)]
    person.request("POST", f"/api/webhooks/{other['id']}/test")
    found, before = [], {}
    while True:
        page = person.get(f"/api/webhooks/{webhook['id']}/deliveries", limit=2, **before).json()
        found += [delivery["id"] for delivery in page["deliveries"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert found == ids[::-1]
    for parameters in ({"limit": 51}, {"limit": 0}, {"before": 0}, {"before": "x"}):
        answer = person.get(f"/api/webhooks/{webhook['id']}/deliveries", **parameters)
        assert_problem(answer, 400, "invalid_parameter")


def test_a_message_is_delivered_once_more(person):
    webhook = create(person)
    path = f"/api/webhooks/{webhook['id']}"
    first = person.request("POST", f"{path}/test").json()
    again = person.request("POST", f"{path}/deliveries/{first['id']}/redeliver")
    assert again.status_code == 202
    assert again.json()["redeliveryOf"] == first["id"] != again.json()["id"]
    # but only what was a delivery to this endpoint
    other = f"/api/webhooks/{create(person)['id']}"
    said = person.says("hello")
    for base, delivery in ((other, first["id"]), (path, said["id"]), (path, "nothing")):
        assert_problem(person.request("POST", f"{base}/deliveries/{delivery}/redeliver"), 404, "not_found")


def test_nothing_is_delivered_to_a_disabled_webhook(person):
    path = f"/api/webhooks/{create(person)['id']}"
    first = person.request("POST", f"{path}/test").json()
    person.request("PATCH", path, json={"disabled": True})
    for action in ("test", f"deliveries/{first['id']}/redeliver"):
        assert_problem(person.request("POST", f"{path}/{action}"), 409, "webhook_disabled")


def test_the_log_shows_attempts_and_the_webhook_its_health(tmp_path):
    with serving(tmp_path / "data") as ingress:
        person = ingress.person()
        path = f"/api/webhooks/{create(person)['id']}"
        delivery = person.request("POST", f"{path}/test").json()
        event = person.get(f"/api/events/{delivery['id']}").json()
        attempt = Attempt(1, "2026-01-31T12:00:00Z", 12, 500, "unexpected_status", "it answered 500", "oops")

        async def fail():
            storage = storage_of(ingress.data)
            await Deliveries(storage, EventLog(storage)).note(event, attempt)
            await WebhookHealth(storage, first_pause_seconds=60).failed(person.id, path.rpartition("/")[2])
            ingress.catch_up(storage)
            await storage.close()

        # Given an attempt that a worker noted
        asyncio.run(fail())
        # Then it is shown
        [shown] = person.get(f"{path}/deliveries").json()["deliveries"]
        assert shown["attempts"] == [
            {
                "number": 1,
                "at": "2026-01-31T12:00:00Z",
                "milliseconds": 12,
                "status": 500,
                "error": "unexpected_status",
                "message": "it answered 500",
                "answer": "oops",
            }
        ]
        assert shown["nextAttemptAt"] is not None
        failing = person.get(path).json()["failing"]
        assert (failing["failures"], set(failing)) == (1, {"failures", "since", "nextTrialAt"})
        assert failing["since"] < failing["nextTrialAt"]


def test_the_operator_lets_webhooks_go_to_named_networks(tmp_path):
    with serving(tmp_path / "data", LIGHTNING_WEBHOOK_ALLOW="127.0.0.1,hooks.internal") as ingress:
        person = ingress.person()
        create(person, url="http://127.0.0.1:9999/x")
        create(person, url="http://hooks.internal/x")
        answer = person.request("POST", "/api/webhooks", json={"url": "http://127.0.0.2:9999/x"})
        assert_problem(answer, 422, "address_refused", pointer="/url")


def test_the_types_of_the_wire_are_those_of_the_platform():
    assert DeliverableType.__args__ == DELIVERABLE


def test_creation_is_quick(person):
    # no name is looked up, which could take as long as somebody's server likes
    started = time.monotonic()
    create(person, url="https://a-name-that-nobody-has.invalid/")
    assert time.monotonic() - started < 2
