"""Service tokens over HTTP: what a program may do with one, and what it never may."""

import time

import jwt
import pytest

from api.app import ROUTES
from api.operation import SCOPES
from lightning.domain.service_tokens import MAX_SERVICE_TOKENS
from tests.api.conftest import PASSWORD, assert_problem, concrete, serving

GRANTABLE = [scope for scope in SCOPES if scope != "account"]

#: Every route that asks for a scope, but the one that any token may ask.
SCOPED = [route for route in ROUTES if route.scope is not None and route.path != "/api/me"]


def make(person, scopes=("events:read",), **more):
    draft = {"name": "nightly", "scopes": list(scopes), **more}
    return person.request("POST", "/api/service-tokens", json=draft)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def owner(ingress):
    return ingress.person()


@pytest.fixture(scope="module")
def token_with(owner):
    made = {}

    def give(*scopes):
        if scopes not in made:
            answer = make(owner, scopes)
            assert answer.status_code == 201, answer.text
            made[scopes] = answer.json()["token"]
        return made[scopes]

    return give


class TestMake:
    def test_the_token_is_shown_once(self, person):
        # When a service token is made
        answer = make(person, ["events:read", "events:write", "events:read"], expiresIn=3600)
        assert answer.status_code == 201
        made = answer.json()
        token = made.pop("token")

        # Then it holds what was asked for
        assert set(made) == {"id", "name", "scopes", "createdAt", "expiresAt"}
        assert (made["name"], made["scopes"]) == ("nightly", ["events:read", "events:write"])
        claims = jwt.decode(token, options={"verify_signature": False})
        assert jwt.get_unverified_header(token)["typ"] == "service+jwt"
        assert claims["aud"] == "lightning:service"
        assert claims["exp"] - claims["iat"] == 3600
        assert answer.headers["location"] == f"/api/service-tokens/{made['id']}"

        # And is listed and shown without the token
        assert person.get("/api/service-tokens").json() == {"serviceTokens": [made]}
        assert person.get(answer.headers["location"]).json() == made

    @pytest.mark.parametrize(
        ("changes", "code", "pointer"),
        [
            ({"scopes": ["account"]}, "invalid_scope", "/scopes"),
            ({"scopes": ["events:read", "account"]}, "invalid_scope", "/scopes"),
            ({"scopes": []}, "invalid_field", "/scopes"),
            ({"scopes": ["everything"]}, "invalid_field", "/scopes/0"),
            ({"scopes": "events:read"}, "invalid_field", "/scopes"),
            ({"name": ""}, "invalid_field", "/name"),
            ({"name": "x" * 101}, "invalid_field", "/name"),
            ({"expiresIn": 59}, "invalid_field", "/expiresIn"),
            ({"expiresIn": 10**9}, "invalid_field", "/expiresIn"),
            ({"role": "operator"}, "invalid_field", "/role"),
        ],
        ids=str,
    )
    def test_what_cannot_be(self, person, changes, code, pointer):
        draft = {"name": "nightly", "scopes": ["events:read"], **changes}
        answer = person.request("POST", "/api/service-tokens", json=draft)
        assert_problem(answer, 422, code, pointer=pointer)

    def test_there_are_so_many(self, person):
        for _ in range(MAX_SERVICE_TOKENS):
            assert make(person).status_code == 201
        assert_problem(make(person), 409, "too_many_service_tokens")

        # and one that is revoked makes room
        first = person.get("/api/service-tokens").json()["serviceTokens"][0]
        assert person.request("DELETE", f"/api/service-tokens/{first['id']}").status_code == 204
        assert make(person).status_code == 201


class TestScopes:
    @pytest.mark.parametrize("route", SCOPED, ids=lambda route: f"{route.method} {route.path}")
    def test_without_the_scope_of_a_route_it_opens_nothing(self, ingress, token_with, route):
        # Given a token that may do everything else
        token = token_with(*(scope for scope in GRANTABLE if scope != route.scope))
        answer = ingress.http.request(route.method, concrete(route.path), headers=bearer(token))
        assert_problem(answer, 403, "scope_missing")

    @pytest.mark.parametrize("scope", GRANTABLE)
    def test_with_the_scope_it_opens_the_route(self, ingress, token_with, scope):
        for route in SCOPED:
            if route.scope == scope and route.path != "/api/stream":
                answer = ingress.http.request(
                    route.method, concrete(route.path), headers=bearer(token_with(scope)), content=b""
                )
                assert answer.status_code not in (401, 403), answer.text

    def test_it_posts_for_its_owner_and_nobody_else(self, ingress, owner, token_with):
        headers = bearer(token_with("events:write"))
        mine = ingress.http.post("/api/events", json=owner.event(), headers=headers)
        assert mine.status_code == 202
        theirs = ingress.http.post("/api/events", json=ingress.person().event(), headers=headers)
        assert_problem(theirs, 403, "foreign_user", pointer="/userID")

    def test_it_may_ask_whose_it_is(self, ingress, owner, token_with):
        answer = ingress.http.get("/api/me", headers=bearer(token_with("webhooks:read")))
        assert answer.json() == {"userID": owner.id, "role": "user"}

    def test_it_makes_no_further_tokens_and_changes_no_password(self, ingress, token_with):
        headers = bearer(token_with(*GRANTABLE))
        for method, path in [
            ("POST", "/api/service-tokens"),
            ("GET", "/api/service-tokens"),
            ("POST", "/api/password"),
            ("GET", "/api/sessions"),
        ]:
            answer = ingress.http.request(method, path, headers=headers, json={})
            assert_problem(answer, 403, "scope_missing")

    def test_scopes_that_it_was_not_given(self, ingress, token_with):
        # Given a token whose scopes were changed after it was signed
        head, body, signature = token_with("events:read").split(".")
        _, other, _ = token_with(*GRANTABLE).split(".")
        for forged in (f"{head}.{other}.{signature}", f"{head}.{body}.{signature[:-4]}AAAA"):
            assert_problem(ingress.http.get("/api/me", headers=bearer(forged)), 401, "invalid_token")

    def test_one_without_scopes_opens_nothing(self, ingress, owner):
        made = make(owner).json()
        token = ingress.issuer.issue("service", owner.id, claims={"tid": made["id"]})
        assert_problem(ingress.http.get("/api/events", headers=bearer(token)), 403, "scope_missing")


class TestEnd:
    def test_it_is_revoked_at_once_here_and_soon_elsewhere(self, ingress, person):
        # Given a token that two processes have seen
        made = make(person).json()
        headers = bearer(made["token"])
        with serving(ingress.data) as beside:
            for at in (ingress, beside):
                assert at.http.get("/api/events", headers=headers).status_code == 200

            # When it is revoked
            address = f"/api/service-tokens/{made['id']}"
            assert person.request("DELETE", address).status_code == 204

            # Then it is refused
            assert_problem(ingress.http.get("/api/events", headers=headers), 401, "invalid_token")
            deadline = time.monotonic() + 6
            while (answer := beside.http.get("/api/events", headers=headers)).status_code == 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert_problem(answer, 401, "invalid_token")
        assert_problem(person.get(address), 404, "not_found")
        assert_problem(person.request("DELETE", address), 404, "not_found")

    def test_it_outlives_the_session_that_made_it(self, ingress, person):
        made = make(person).json()
        session = jwt.decode(person.token, options={"verify_signature": False})["sid"]
        assert person.request("DELETE", f"/api/sessions/{session}").status_code == 204
        assert ingress.http.get("/api/events", headers=bearer(made["token"])).status_code == 200

    def test_it_outlives_a_password(self, ingress, person):
        made = make(person).json()
        form = {"currentPassword": PASSWORD, "newPassword": "another one, and long enough"}
        assert person.request("POST", "/api/password", json=form).status_code == 200
        assert ingress.http.get("/api/events", headers=bearer(made["token"])).status_code == 200

    def test_it_ends_with_its_account(self, ingress, person):
        made = make(person).json()
        with ingress.accounts() as beside:
            beside.run(beside.accounts.set_disabled(person.username, disabled=True))
            # what comes from there, or later, is refused
            ingress.catch_up(beside.storage)
        assert_problem(ingress.http.get("/api/events", headers=bearer(made["token"])), 401, "invalid_token")


class TestReplay:
    """A token brings nothing about by a replay that it could not bring about otherwise."""

    def replay(self, person, event, *scopes):
        token = make(person, scopes).json()["token"]
        return person.request("POST", f"/api/events/{event['id']}/replay", headers=bearer(token))

    def test_a_delivery_needs_the_scope_of_webhooks(self, person):
        # Given a delivery that was cancelled
        webhook = person.request("POST", "/api/webhooks", json={"url": "https://example.com/hook"}).json()
        event = person.request("POST", f"/api/webhooks/{webhook['id']}/test").json()
        person.request("POST", f"/api/events/{event['id']}/cancel")
        # Then whoever may only post events delivers nothing
        assert_problem(self.replay(person, event, "events:write"), 403, "scope_missing")
        # And whoever may makes no event of the platform's, which redelivery does
        answer = self.replay(person, event, "events:write", "webhooks:write")
        assert_problem(answer, 403, "platform_event")
        assert [each["id"] for each in person.log()] == [event["id"]]

    def test_a_deletion_needs_the_scope_of_conversations(self, person):
        person.request("POST", "/api/conversations", json={"conversationID": "c"})
        event = person.request("DELETE", "/api/conversations/c").json()
        assert_problem(self.replay(person, event, "events:write"), 403, "scope_missing")
        assert_problem(self.replay(person, event, "events:write", "conversations:write"), 409, "not_over")

    def test_a_message_needs_the_scope_of_events(self, person):
        event = person.says("hello")
        person.request("POST", f"/api/events/{event['id']}/cancel")
        assert_problem(self.replay(person, event, "events:read"), 403, "scope_missing")
        assert self.replay(person, event, "events:write").json()["replayOf"] == event["id"]
