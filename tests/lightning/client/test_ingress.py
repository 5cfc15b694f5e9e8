"""Both clients against a real ingress: they speak its wire."""

from datetime import UTC, datetime

import pytest

from lightning.client import ClientError, SessionFile
from tests.api.conftest import serving


@pytest.fixture(scope="module")
def ingress(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("ingress") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def known():
    """Session files of the users that there are."""
    return {}


@pytest.fixture
def client(connect, ingress, request, known, tmp_path_factory):
    """A client of a user of its kind, who registers and logs in at first and goes on with the session."""
    name = f"ada-{request.node.callspec.id}"
    if name in known:
        client = connect(ingress.url, session=known[name])
        client.resume()
        return client
    known[name] = SessionFile(tmp_path_factory.mktemp("sessions") / "ada.json")
    client = connect(ingress.url, session=known[name])
    user_id = client.register(name, "a long enough password")
    client.log_in(name, "a long enough password")
    assert client.user_id == user_id
    return client


def head(client) -> int:
    """Give the place of the last event."""
    return max((event["seq"] for event in client.events(limit=200)["events"]), default=0)


def test_what_is_sent_is_in_the_log_and_on_the_stream(client):
    # Given some events
    begin = head(client)
    sent = [client.send("user.message", {"content": f"message {n}"}) for n in range(3)]
    assert [event["state"] for event in sent] == ["accepted"] * 3
    # Then the log has them, one by one and in a list
    assert client.event(sent[0]["id"]) == sent[0]
    assert client.events(after=begin + 1, limit=1)["events"] == [sent[1]]
    # And who follows the log sees them, and those that come
    arriving = client.tail(begin + 1)
    assert [next(arriving) for _ in range(2)] == sent[1:]
    later = client.send("user.message", {"content": "later"})
    assert next(arriving) == later
    arriving.close()


def test_the_same_key_is_the_same_event_and_another_one_a_conflict(client):
    said, begin = {"content": "once"}, head(client)
    moment = datetime.now(UTC)
    first = client.send("user.message", said, idempotency_key="mine", timestamp=moment)
    assert client.send("user.message", said, idempotency_key="mine", timestamp=moment) == first
    # an event of another moment is another event
    with pytest.raises(ClientError) as raised:
        client.send("user.message", said, idempotency_key="mine")
    assert (raised.value.status, raised.value.code) == (409, "id_taken")
    assert [event["id"] for event in client.events(after=begin)["events"]] == [first["id"]]


def test_a_refusal_says_what_and_where(client):
    with pytest.raises(ClientError) as raised:
        client.send("llm.chat", {"content": ""})
    assert (raised.value.status, raised.value.code) == (422, "invalid_field")
    assert raised.value.pointer == "/metadata/content"
    assert not raised.value.temporary
    with pytest.raises(ClientError) as raised:
        client.event("no/such?event")
    assert (raised.value.status, raised.value.code) == (404, "not_found")


def test_a_token_alone_is_enough(connect, client, ingress):
    token = client.headers()["authorization"].removeprefix("Bearer ")
    another = connect(ingress.url, token=token)
    assert another.send("user.message", {"content": "by token"})["userID"] == client.user_id


def test_a_wrong_password_is_refused(connect, client, ingress):
    with pytest.raises(ClientError) as raised:
        connect(ingress.url).log_in("nobody", "a wrong password")
    assert (raised.value.status, raised.value.code) == (401, "wrong_credentials")


def test_a_schedule_is_worked_with(client):
    # Given a schedule, which is one only, however often it is asked for under its key
    event = {"type": "user.message", "metadata": {"content": "good morning"}}
    made = client.create_schedule(event, key="mine", cron="0 9 * * 1-5", timezone="Europe/Berlin")
    assert client.create_schedule(event, key="mine", cron="0 9 * * 1-5", timezone="Europe/Berlin") == made
    assert made["id"] in {each["id"] for each in client.schedules(limit=200)["schedules"]}
    # When it is changed, paused, resumed, and asked to fire
    assert client.change_schedule(made["id"], description="wake")["description"] == "wake"
    assert client.pause_schedule(made["id"])["state"] == "paused"
    assert client.resume_schedule(made["id"])["state"] == "active"
    tick = client.run_schedule(made["id"])
    span = {"startAt": "2026-01-05T00:00:00Z", "endAt": "2026-01-06T00:00:00Z"}
    assert client.backfill_schedule(made["id"], **span)["type"] == "schedule.backfill"
    # Then it is told so, until it is gone
    assert client.schedule(made["id"])["fires"][0]["id"] == tick["id"]
    assert client.schedule_fires(made["id"])["fires"][0]["reason"] == "now"
    client.delete_schedule(made["id"])
    with pytest.raises(ClientError, match="no such schedule"):
        client.schedule(made["id"])
