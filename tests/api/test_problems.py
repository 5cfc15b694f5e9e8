"""What every route has in common: problems, health, and the door of `/notify`."""

import json
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from standardwebhooks import Webhook

from api.app import ROUTES
from lightning.keys import FILE
from tests.api.conftest import assert_problem, concrete, serving
from tests.stores import on_cosmos

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ALLOWED: dict[str, set[str]] = {}
for _route in ROUTES:
    ALLOWED.setdefault(_route.path, set()).update(_route.methods or ())
REFUSED = [(method, path) for path, allowed in ALLOWED.items() for method in METHODS if method not in allowed]


class TestRouting:
    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/api",
            "/api/",
            "/api/nothing",
            "/api/events/a/b",
            "/API/events",
            "/notify/x",
            "/%00",
            "/../etc/passwd",
        ],
    )
    @pytest.mark.parametrize("method", METHODS)
    def test_no_such_route(self, ingress, method, path):
        assert_problem(ingress.http.request(method, path), 404, "not_found")

    @pytest.mark.parametrize(("method", "path"), REFUSED)
    def test_no_such_method(self, ingress, method, path):
        # When a route is asked with a method that it does not have
        answer = ingress.http.request(method, concrete(path))

        # Then the answer is a problem that says so
        assert_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"]

    @pytest.mark.parametrize("path", ALLOWED)
    def test_allow_names_every_method_of_the_path(self, ingress, path):
        # RFC 9110, section 15.5.6
        answer = ingress.http.request("OPTIONS", concrete(path))
        assert {name.strip() for name in answer.headers["allow"].split(",")} == ALLOWED[path]

    def test_a_trace_context_that_is_none_costs_nothing(self, ingress):
        person = ingress.person()
        for traceparent in ("", "x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\xff" * 55, "0" * 4000):
            headers = {**person.headers(), "traceparent": traceparent.encode("latin-1")}
            answer = ingress.http.post("/api/events", json=person.event(), headers=headers)
            assert answer.status_code == 202, traceparent


class TestHealth:
    def test_everything_is_well(self, ingress):
        # When health is asked for, by anybody
        answer = ingress.http.get("/api/health")

        # Then each part is named, and nothing secret
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "ok",
            "live": True,
            "ready": True,
            "parts": {"storage": {"ready": True}, "queue": {"ready": True}},
        }

    def test_it_leaves_nothing_behind(self, ingress):
        person = ingress.person()
        ingress.http.get("/api/health")
        assert person.says("first")["seq"] == 1


@pytest.fixture(scope="module")
def secret(ingress):
    return ingress.settings.notify_secret.get_secret_value()


def signed(secret, body, *, moment=None, id="msg_1", **changes):
    """Give the headers of a signed webhook; those that are changed to None are left out."""
    moment = moment or datetime.now(UTC)
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, moment, body),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return {name: value for name, value in headers.items() if value is not None}


OTHER_SECRET = "whsec_" + "QUJD" * 10
BODY = json.dumps({"type": "frames", "users": {"somebody": 3}})

BADLY_SIGNED = {
    "not at all": lambda secret: {},
    "with another secret": lambda secret: signed(OTHER_SECRET, BODY),
    "another body": lambda secret: signed(secret, BODY + " "),
    "another id": lambda secret: signed(secret, BODY) | {"webhook-id": "msg_2"},
    "another time": lambda secret: signed(secret, BODY, webhook_timestamp="1700000000"),
    "long ago": lambda secret: signed(secret, BODY, moment=datetime.now(UTC) - timedelta(minutes=6)),
    "far ahead": lambda secret: signed(secret, BODY, moment=datetime.now(UTC) + timedelta(minutes=6)),
    "no id": lambda secret: signed(secret, BODY, webhook_id=None),
    "no time": lambda secret: signed(secret, BODY, webhook_timestamp=None),
    "no signature": lambda secret: signed(secret, BODY, webhook_signature=None),
    "empty signature": lambda secret: signed(secret, BODY, webhook_signature=""),
    "half a signature": lambda secret: signed(secret, BODY, webhook_signature="v1,"),
    "no version": lambda secret: signed(secret, BODY, webhook_signature="abc"),
    "another version": lambda secret: (
        signed(secret, BODY) | {"webhook-signature": "v2," + signed(secret, BODY)["webhook-signature"][3:]}
    ),
    "no base64": lambda secret: signed(secret, BODY, webhook_signature="v1,***"),
    "beyond ASCII": lambda secret: signed(secret, BODY, webhook_signature=b"v1,\xff\xfe"),
    "time in words": lambda secret: signed(secret, BODY, webhook_timestamp="now"),
    "no number": lambda secret: signed(secret, BODY, webhook_timestamp="nan"),
    "endless": lambda secret: signed(secret, BODY, webhook_timestamp="inf"),
    "beyond all calendars": lambda secret: signed(secret, BODY, webhook_timestamp="9" * 30),
}


class TestNotify:
    @pytest.mark.parametrize("make", BADLY_SIGNED.values(), ids=BADLY_SIGNED)
    def test_badly_signed(self, ingress, secret, make):
        answer = ingress.http.post("/notify", content=BODY, headers=make(secret))
        assert_problem(answer, 401, "signature_refused")

    @pytest.mark.parametrize(
        "body", [BODY, '{"type": "frames"}', '{"type": "frames", "users": {"nobody": 1}, "more": [1]}']
    )
    def test_signed(self, ingress, secret, body):
        answer = ingress.http.post("/notify", content=body, headers=signed(secret, body))
        assert (answer.status_code, answer.content) == (204, b"")

    def test_signed_with_two_secrets_while_they_are_rotated(self, ingress, secret):
        headers = signed(secret, BODY)
        other = signed(OTHER_SECRET, BODY)["webhook-signature"]
        headers["webhook-signature"] = f"{other} {headers['webhook-signature']}"
        assert ingress.http.post("/notify", content=BODY, headers=headers).status_code == 204

    @pytest.mark.parametrize(
        "body", ["", "x", "[]", "null", "1", "{}", '{"users": 1}', '{"users": ["a"]}', "\ufeff{}"]
    )
    def test_signed_nonsense(self, ingress, secret, body):
        answer = ingress.http.post("/notify", content=body.encode(), headers=signed(secret, body))
        assert_problem(answer, 400, "not_a_notification")

    def test_signed_nonsense_without_bottom(self, ingress, secret):
        # on a connection of its own: after a 500 uvicorn closes it under the next request
        body = "[" * 200_000
        url = f"{ingress.url}/notify"
        answer = httpx2.post(url, content=body, headers=signed(secret, body), trust_env=False)
        assert_problem(answer, 400)

    def test_too_large(self, ingress, secret):
        body = json.dumps({"users": {"x" * 262_144: 1}})
        answer = ingress.http.post("/notify", content=body, headers=signed(secret, body))
        assert_problem(answer, 413, "too_large")

    def test_a_users_token_opens_nothing(self, ingress):
        person = ingress.person()
        answer = person.request("POST", "/notify", content=BODY)
        assert_problem(answer, 401, "signature_refused")

    def test_it_wakes_a_reader(self, ingress, secret):
        wake(ingress, secret)

    def test_it_wakes_a_reader_whose_store_is_behind(self, tmp_path, cosmos_emulator):
        # Given a store of which each process reads what is a moment old, unless it knows of newer writes
        assert cosmos_emulator.lag.seconds > 0
        with on_cosmos(), serving(tmp_path / "data") as ingress:
            wake(ingress, ingress.settings.notify_secret.get_secret_value())


def wake(ingress, secret):
    """Record events in another process, which tells of them, and see that a reader gets them at once."""
    # Given a reader, and another process that records events in the same data directory
    person = ingress.person()
    with person.stream() as frames, serving(ingress.data) as elsewhere:
        begin = time.monotonic()
        for number in range(1, 5):
            event = person.event(metadata={"content": str(number)})
            said = elsewhere.http.post("/api/events", json=event, headers=person.headers())
            assert said.status_code == 202

            # When that process says so
            session = elsewhere.platform.log.session()
            body = json.dumps({"type": "frames", "users": {person.id: number}, "session": session})
            answer = ingress.http.post("/notify", content=body, headers=signed(secret, body))
            assert answer.status_code == 204

            # Then the reader gets it
            assert next(frames).data == said.json()

        # And sooner than by looking for itself
        assert time.monotonic() - begin < 5


def test_the_keys_are_for_the_owner_only(ingress):
    assert (ingress.data / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.sqlite_file
def test_the_log_is_for_the_owner_only(ingress):
    assert (ingress.data / "log.db").stat().st_mode & 0o077 == 0
