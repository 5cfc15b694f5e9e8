"""Webhooks from outside: real processes, and receivers on loopback that behave as receivers do.

What endpoints that hang cost others, in time, is measured by `python -m ops.bench neighbours`.
"""

import sys
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook

from actors.task_looks import WATCHED_RUNS
from ops.chaos.installation import Installation, until
from tests.acceptance import queues
from tests.receiver import receiving
from tests.stores import settings_of
from worker.pool import QUICK_THREADS

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("queue")]

SETTINGS = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
    "LIGHTNING_WEBHOOK_TIMEOUT": "1.5",
    "LIGHTNING_WEBHOOK_RETRIES": "0.3,0.3",
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_LEASE_SECONDS": "1",
    "LIGHTNING_THREADS": "2",
}
SABOTEUR = str(Path(__file__).with_name("saboteur.py"))
PYTHON = (sys.executable, "-m")

#: Endpoints that come to no end.
SLOW = ("hang", "trickle", "trickle_body")

#: For a test in which nothing of that is given up.
WEBHOOK_THREADS = 16
FOR_EVER = {
    "LIGHTNING_WEBHOOK_TIMEOUT": "100",
    "LIGHTNING_WEBHOOK_THREADS": str(WEBHOOK_THREADS),
    "LIGHTNING_CLAIM_SECONDS": "60",
}

#: A worker takes so many messages of a queue at a time: if all of them hang, it looks at no other.
TAKEN = 2 * (int(SETTINGS["LIGHTNING_THREADS"]) + WEBHOOK_THREADS + WATCHED_RUNS + QUICK_THREADS)


class Owner:
    """Somebody with webhooks."""

    def __init__(self, running: Installation, name: str):
        self.client = running.user(name)
        self.http = httpx2.Client(
            base_url=running.url, headers=self.client.headers(), timeout=20, trust_env=False
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.http.close()

    def call(self, method: str, path: str, status: int, **body):
        answer = self.http.request(method, path, **({"json": body} if body else {}))
        assert answer.status_code == status, answer.text
        return answer.json()

    def webhook(self, url: str, **settings):
        return self.call("POST", "/api/webhooks", 201, url=url, **settings)

    def deliveries(self, webhook) -> list[dict]:
        return self.call("GET", f"/api/webhooks/{webhook['id']}/deliveries?limit=50", 200)["deliveries"]

    def says(self, content: str, **metadata):
        return self.client.send("user.message", {"content": content, **metadata})


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def install(data: Path, program=PYTHON, **environment: str) -> Installation:
    environment = {**settings_of(data), **SETTINGS, **environment}
    return Installation(data, environment, program=program, queue=queues.current)


@pytest.fixture
def running(tmp_path, queue):
    del queue  # there before the installation is
    with install(tmp_path / "data") as running:
        yield running


def test_each_receiver_is_dealt_with_by_itself_and_leaves_a_full_log(running, receiver):
    behaviours = ["hang", "trickle", "trickle_body", "redirect", "gone", "endless", "broken", "ok"]
    with Owner(running, "owner") as owner:
        # Given an endpoint of each kind, and one that knows better after a while
        webhooks = {each: owner.webhook(f"{receiver.url}/{each}/log", name=each) for each in behaviours}
        webhooks["recovers"] = owner.webhook(f"{receiver.url}/ok/recovers", name="recovers")
        receiver.will_answer("/ok/recovers", 500, 503)
        # When a message is sent to all of them
        message = owner.client.wait(owner.says("to all"))
        assert len(message["outputs"]) == len(webhooks)

        def over():
            found = [owner.deliveries(webhook) for webhook in webhooks.values()]
            return all(each["state"] != "accepted" for [each] in found)

        until(over, "every delivery is over", seconds=60)
        # Then the good one had it before the bad ones were tried for the last time
        paths = [post.path for post in receiver.posts]
        assert all(paths[: paths.index("/ok/log")].count(f"/{each}/log") < 3 for each in SLOW)
        # And the log says of each what was tried and what came back
        log = {name: owner.deliveries(webhook)[0] for name, webhook in webhooks.items()}
        ends = {
            name: (
                each["state"],
                [(attempt["status"], attempt["error"]) for attempt in each["attempts"]],
            )
            for name, each in log.items()
        }
        assert ends == {
            "hang": ("dead", [(None, "timeout")] * 3),
            "trickle": ("dead", [(None, "timeout")] * 3),
            "trickle_body": ("dead", [(200, "timeout")] * 3),
            "redirect": ("dead", [(307, "redirect_refused")] * 3),
            "gone": ("dead", [(410, "unexpected_status")]),
            "endless": ("done", [(200, None)]),
            "broken": ("dead", [(None, "broken_answer")] * 3),
            "ok": ("done", [(204, None)]),
            "recovers": (
                "done",
                [(500, "unexpected_status"), (503, "unexpected_status"), (204, None)],
            ),
        }
        assert all(attempt["milliseconds"] < 3000 for each in log.values() for attempt in each["attempts"])
        assert log["gone"]["error"]["code"] == "endpoint_gone"
        gone = owner.call("GET", f"/api/webhooks/{webhooks['gone']['id']}", 200)
        assert (gone["disabled"], gone["reason"]) == (True, "endpoint_gone")
        # And nobody followed the redirect
        assert [post.path for post in receiver.posts if "redirected" in post.path] == []
        # And what was dead can be delivered once more, under an id of its own
        receiver.will_answer("/redirect/log")
        first = log["redirect"]["id"]
        again = owner.call(
            "POST", f"/api/webhooks/{webhooks['redirect']['id']}/deliveries/{first}/redeliver", 202
        )
        until(lambda: receiver.to("/redirect/log")[-1].id == again["id"], "it is delivered once more")


def test_what_a_receiver_repeats_is_forgotten_with_the_conversation(running, receiver):
    with Owner(running, "owner") as owner:
        # Given an endpoint whose answers repeat what they were sent, and a conversation that it was told of
        webhook = owner.webhook(f"{receiver.url}/parrot/x", types=["llm.chat.response"])
        owner.client.wait(owner.client.send("llm.chat", {"content": "my secret", "conversationID": "c"}))
        owner.client.wait(
            owner.client.send("llm.chat", {"content": "my other secret", "conversationID": "d"})
        )

        def answers():
            return [attempt["answer"] for each in owner.deliveries(webhook) for attempt in each["attempts"]]

        until(lambda: len(answers()) == 2, "both are delivered")
        # and had delivered once more
        first = owner.deliveries(webhook)[-1]["id"]
        owner.call("POST", f"/api/webhooks/{webhook['id']}/deliveries/{first}/redeliver", 202)
        until(lambda: len(answers()) == 3, "it is delivered once more")
        assert [("my secret" in answer) for answer in answers()] == [True, False, True]
        # When the conversation is deleted
        deletion = owner.call("DELETE", "/api/conversations/c", 202)
        until(
            lambda: owner.call("GET", f"/api/events/{deletion['id']}?wait=20", 200)["state"] == "done",
            "it is forgotten",
        )
        # Then the log of deliveries still says that it was delivered, and not what
        assert [bool(answer) for answer in answers()] == [False, True, False]
        assert "my other secret" in answers()[1]
        assert {attempt["status"] for each in owner.deliveries(webhook) for attempt in each["attempts"]} == {
            200
        }


def isolate(tmp_path, receiver, program=PYTHON, **environment) -> bool:
    """Have endpoints hang for ever, and tell whether others are served; if not, they hold all there is."""
    environment = {**FOR_EVER, **environment}
    with (
        install(tmp_path / "data", program, **environment) as running,
        Owner(running, "villain") as villain,
        Owner(running, "good") as good,
    ):
        for number in range(5):
            villain.webhook(f"{receiver.url}/hang/{number}")
        for each in SLOW:
            good.webhook(f"{receiver.url}/{each}/good", name=each, types=[])
        good.webhook(f"{receiver.url}/ok/good", name="ok", types=[])
        # Given somebody some of whose own endpoints come to no end, which holds up no other
        good.says("to all", to=[*SLOW, "ok"])
        until(lambda: receiver.open == len(SLOW) and receiver.to("/ok/good") != [], "the others have it")
        # and 200 deliveries to endpoints that hang, several times as many as a worker has threads
        for number in range(40):
            villain.says(f"message {number}")
        until(lambda: any("/hang/0" in post.path for post in receiver.posts), "the first one hangs")
        for number in range(8):
            # When somebody else is told something, and asks something
            good.says(f"good {number}", to=["ok"])
            answer = good.client.wait(good.client.send("llm.chat", {"content": "hello"}))
            assert answer["state"] == "done"

            def is_delivered(enough=number + 2):
                return len(receiver.to("/ok/good")) >= enough

            until(
                lambda is_delivered=is_delivered: is_delivered() or receiver.open == TAKEN,
                "it is delivered",
            )
            if not is_delivered():
                return False
        return True


def test_endpoints_that_hang_hold_up_nobody_else(tmp_path, receiver):
    assert isolate(tmp_path, receiver)
    # and each of them had a quarter of the threads at most
    most = max(receiver.most_open[path] for path in receiver.most_open if "hang" in path)
    assert most <= WEBHOOK_THREADS / 4


def test_the_test_of_isolation_notices_when_there_is_none(tmp_path, receiver):
    # Given no lanes, and no queue of their own for the many messages of one user
    saboteur = (sys.executable, SABOTEUR, "no_isolation")
    assert not isolate(tmp_path, receiver, saboteur, LIGHTNING_BULK_ABOVE="1000")


def test_a_worker_that_dies_behind_the_post_repeats_it_under_the_same_id(tmp_path, receiver):
    with (
        install(tmp_path / "data", LIGHTNING_CRASH_AT="worker/step:handled") as running,
        Owner(running, "owner") as owner,
    ):
        # Given a worker that dies between the post and the end of its event
        webhook = owner.webhook(f"{receiver.url}/ok/crash")
        delivery = owner.call("POST", f"/api/webhooks/{webhook['id']}/test", 202)
        until(running.crashed, "the worker dies")
        # When another one takes the event up
        until(lambda: owner.deliveries(webhook)[0]["state"] == "done", "it is delivered")
        # Then there were two posts under one id, and the log has both
        first, second = receiver.to("/ok/crash")
        assert first.id == second.id == delivery["id"]
        assert first.body == second.body
        attempts = owner.deliveries(webhook)[0]["attempts"]
        assert [(attempt["number"], attempt["status"]) for attempt in attempts] == [(1, 204), (2, 204)]
        # And both are signed
        for post in (first, second):
            Webhook(webhook["secret"]).verify(post.body, post.headers)


def test_one_trace_from_the_request_to_the_webhook_and_no_secret_of_the_address_in_it(running, receiver):
    with Owner(running, "owner") as owner:
        canary = "canary-5b1c9d"
        owner.webhook(f"{receiver.url}/ok/{canary}?key={canary}", types=["llm.chat.response"])
        # When a chat that belongs to a trace is answered
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        event = {
            "timestamp": "2026-01-31T12:00:00Z",
            "source": "test",
            "type": "llm.chat",
            "userID": owner.client.user_id,
            "metadata": {"content": "hello"},
        }
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        assert owner.http.post("/api/events", json=event, headers=headers).status_code == 202
        until(lambda: receiver.to(f"/ok/{canary}?key={canary}"), "it is delivered")
        # Then the endpoint is told the same trace
        [post] = receiver.to(f"/ok/{canary}?key={canary}")
        assert post.json["type"] == "llm.chat.response"
        assert post.headers["traceparent"].split("-")[1] == trace
        assert "tracestate" not in post.headers
        assert "baggage" not in post.headers

        def spans():
            return b"".join(path.read_bytes() for path in running.data.glob("spans.db*"))

        # And the span of the post names neither path nor query
        until(lambda: b"lightning.webhook" in spans(), "the span is written")
        assert canary.encode() not in spans()


def test_stakeholders_are_told_and_a_name_that_nobody_has_is_said(running, receiver):
    with Owner(running, "owner") as owner:
        owner.webhook(f"{receiver.url}/ok/stakeholder", name="stakeholders", types=[])
        owner.webhook(f"{receiver.url}/ok/team", name="team")
        owner.client.wait(owner.says("results", to=["stakeholders"]))
        until(lambda: receiver.to("/ok/stakeholder"), "the stakeholder has it")
        lost = owner.client.wait(owner.says("results", to=["shareholders"]))
        assert (lost["state"], lost["error"]["code"]) == ("dead", "unknown_recipient")
        assert receiver.to("/ok/team") == []
