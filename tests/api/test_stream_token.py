"""Who may open a stream: short tokens, cookies, and pages of other sites."""

import json
import time
from http.cookies import SimpleCookie

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.app import ROUTES
from api.streams import CHECK_SECONDS
from lightning.domain.tokens import TokenIssuer
from tests.api.conftest import PATIENCE_SECONDS, assert_problem, serving
from tests.api.test_deltas import wait_for_streams

LISTED = "https://app.example.com"


@pytest.fixture(scope="module")
def ingress(tmp_path_factory):
    origins = f"{LISTED}, https://other.example.com:8443"
    with serving(tmp_path_factory.mktemp("origins") / "data", LIGHTNING_ALLOWED_ORIGINS=origins) as ingress:
        yield ingress


def make(person, **headers) -> tuple[str, SimpleCookie]:
    answer = person.request("POST", "/api/stream-token", headers=headers)
    assert answer.status_code == 201, answer.text
    person.ingress.http.cookies.clear()  # each test sends its cookies itself
    return answer.json()["stream_token"], SimpleCookie(answer.headers["set-cookie"])


@pytest.fixture
def token(person):
    return make(person)[0]


def opening(ingress, headers, *, websocket: bool, query: str = "") -> tuple[int, dict]:
    """Open a stream, and give the status and the problem, if there is one."""
    url = f"{ingress.url}{'/api/ws' if websocket else '/api/stream'}{query}"
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with ingress.http.stream("GET", url, headers={**(upgrade if websocket else {}), **headers}) as answer:
        if answer.status_code in {101, 200}:
            return answer.status_code, {}
        answer.read()
        return answer.status_code, assert_problem(answer, answer.status_code)


both = pytest.mark.parametrize("websocket", [False, True], ids=["sse", "websocket"])


class TestToken:
    def test_it_is_short_and_set_as_a_cookie_that_pages_cannot_read(self, ingress, person):
        answer = person.request("POST", "/api/stream-token")
        ingress.http.cookies.clear()
        assert answer.status_code == 201
        assert answer.json()["expires_in"] == 60
        claims = ingress.issuer.verify(answer.json()["stream_token"], "stream")
        assert claims.subject == person.id
        assert 55 < claims.expires_at - time.time() <= 60
        # and the stream lasts as long as the access token
        assert claims.extra["until"] == ingress.issuer.verify(person.token, "user").expires_at
        [cookie] = SimpleCookie(answer.headers["set-cookie"]).values()
        assert (cookie.key, cookie.value) == ("lightning_stream", answer.json()["stream_token"])
        assert cookie["httponly"]
        assert cookie["samesite"] == "strict"
        assert (cookie["path"], cookie["max-age"], cookie["secure"]) == ("/api", "60", "")

    def test_over_https_the_cookie_stays_there(self, person):
        _, cookies = make(person, **{"x-forwarded-proto": "https"})
        assert cookies["lightning_stream"]["secure"]

    def test_it_lasts_no_longer_than_the_access_token(self, ingress, person):
        person.token = person.token_of(lifetime_seconds=10)
        answer = person.request("POST", "/api/stream-token")
        ingress.http.cookies.clear()
        assert 1 <= answer.json()["expires_in"] <= 10

    @both
    def test_it_opens_a_stream(self, ingress, token, websocket):
        for headers in ({"authorization": f"Bearer {token}"}, {"authorization": f"bearer  {token}"}):
            assert opening(ingress, headers, websocket=websocket) == (101 if websocket else 200, {})

    @pytest.mark.parametrize(
        ("method", "path"),
        [(r.method, r.path) for r in ROUTES if r.scope is not None and r.path != "/api/stream"],
    )
    def test_it_opens_nothing_else(self, ingress, token, method, path):
        headers = {"authorization": f"Bearer {token}"}
        answer = ingress.http.request(method, path.replace("{id}", "x"), headers=headers)
        assert_problem(answer, 401, "invalid_token")
        answer = ingress.http.request(method, path, headers={"cookie": f"lightning_stream={token}"})
        assert_problem(answer, 401, "token_missing")

    @both
    @pytest.mark.parametrize(
        "bad",
        [
            "garbage",
            lambda issuer: issuer.issue("stream", "victim", lifetime_seconds=-1),
            lambda issuer: issuer.issue("stream", "victim", claims={"until": 1}),
            lambda issuer: issuer.issue("run", "victim"),
            lambda issuer: TokenIssuer("k" * 32).issue("stream", "victim"),
        ],
        ids=["garbage", "expired", "its access token expired", "of a run", "of another installation"],
    )
    def test_a_bad_one(self, ingress, websocket, bad):
        token = bad if isinstance(bad, str) else bad(ingress.issuer)
        shown = [{"authorization": f"Bearer {token}"}]
        shown.append({"cookie": f"lightning_stream={token}", "origin": ingress.url})
        if websocket:
            shown.append({"sec-websocket-protocol": f"lightning.v1, lightning.token.{token}"})
        for headers in shown:
            status, problem = opening(ingress, headers, websocket=websocket)
            assert (status, problem["code"]) == (401, "invalid_token")

    @both
    def test_none(self, ingress, websocket):
        status, problem = opening(ingress, {}, websocket=websocket)
        assert (status, problem["code"]) == (401, "token_missing")

    @both
    @pytest.mark.parametrize("name", ["token", "access_token", "Access_Token", "stream_token", "jwt"])
    def test_in_an_address_it_is_refused_with_what_to_do(self, ingress, person, token, websocket, name):
        status, problem = opening(ingress, person.headers(), websocket=websocket, query=f"?{name}={token}")
        assert (status, problem["code"]) == (400, "token_in_url")
        assert "/api/stream-token" in problem["detail"]

    def test_an_access_token_is_no_cookie(self, ingress, person):
        headers = {"cookie": f"lightning_stream={person.token}"}
        assert opening(ingress, headers, websocket=False)[0] == 401

    def test_offered_as_a_subprotocol_it_is_not_echoed(self, ingress, person, token):
        offered = [f"lightning.token.{token}", "lightning.v1"]
        with person.websocket(headers={}, subprotocols=offered) as socket:
            assert socket.response.headers["sec-websocket-protocol"] == "lightning.v1"
            assert token not in str(socket.response.headers)
        with person.websocket(headers={}, subprotocols=offered[:1]) as socket:
            assert "sec-websocket-protocol" not in socket.response.headers


def cases(*values):
    return pytest.mark.parametrize(("headers", "sse", "ws"), values)


class TestOrigin:
    @cases(
        ({"origin": "{own}"}, 200, 101),
        ({"origin": LISTED}, 200, 101),
        ({"origin": "https://other.example.com:8443"}, 200, 101),
        ({"origin": "https://evil.example.com"}, 403, 403),
        ({"origin": "https://other.example.com"}, 403, 403),
        ({"origin": "null"}, 403, 403),
        ({"origin": ""}, 403, 403),
        # a page names its origin to a WebSocket always, to its own site's streams not
        ({}, 200, 403),
        ({"sec-fetch-site": "same-origin"}, 200, 403),
        ({"sec-fetch-site": "same-site"}, 403, 403),
        ({"sec-fetch-site": "cross-site"}, 403, 403),
    )
    def test_with_a_cookie(self, ingress, token, headers, sse, ws):
        shown = {name: value.format(own=ingress.url) for name, value in headers.items()}
        shown["cookie"] = f"a=b; lightning_stream={token}"
        for websocket, status in ((False, sse), (True, ws)):
            got, problem = opening(ingress, shown, websocket=websocket)
            assert got == status
            assert problem.get("code") == ("foreign_origin" if status == 403 else None)

    @cases(
        ({}, 200, 101),
        ({"origin": LISTED}, 200, 101),
        ({"origin": "{own}"}, 200, 101),
        ({"origin": "https://evil.example.com"}, 403, 403),
        ({"sec-fetch-site": "cross-site"}, 200, 101),
    )
    def test_with_a_bearer_token(self, ingress, person, headers, sse, ws):
        shown = {name: value.format(own=ingress.url) for name, value in headers.items()}
        for websocket, status in ((False, sse), (True, ws)):
            assert opening(ingress, {**person.headers(), **shown}, websocket=websocket)[0] == status

    def test_a_page_of_a_listed_origin_may_read(self, ingress, person):
        for origin, allowed in ((LISTED, LISTED), (ingress.url, None)):
            headers = {**person.headers(), "origin": origin}
            with ingress.http.stream("GET", "/api/stream", headers=headers) as answer:
                assert answer.headers.get("access-control-allow-origin") == allowed


class TestBadOrigins:
    @both
    @pytest.mark.parametrize("origin", ["http://[", "", "null", "http://", "://", "http://a b"])
    def test_what_is_none_is_foreign(self, ingress, person, token, websocket, origin):
        for headers in (person.headers(), {"cookie": f"lightning_stream={token}"}):
            status, problem = opening(ingress, {**headers, "origin": origin}, websocket=websocket)
            assert (status, problem["code"]) == (403, "foreign_origin")

    def test_without_one_nothing_is_allowed_to_others(self, ingress, person):
        with ingress.http.stream("GET", "/api/stream", headers=person.headers()) as answer:
            assert "access-control-allow-origin" not in answer.headers


class TestScopes:
    def limited(self, person, *scopes) -> str:
        """Make a service token, and a stream token of it."""
        draft = {"name": "t", "scopes": list(scopes)}
        token = person.request("POST", "/api/service-tokens", json=draft).json()["token"]
        answer = person.ingress.http.post("/api/stream-token", headers={"authorization": f"Bearer {token}"})
        person.ingress.http.cookies.clear()
        assert answer.status_code == (201 if "events:read" in scopes else 403)
        return answer.json().get("stream_token", token)

    @both
    def test_without_reading_there_is_no_stream(self, ingress, person, websocket):
        headers = {"authorization": f"Bearer {self.limited(person, 'events:write')}"}
        status, problem = opening(ingress, headers, websocket=websocket)
        assert (status, problem["code"]) == (403, "scope_missing")

    @pytest.mark.parametrize("scopes", [["events:read"], ["events:read", "events:write"]])
    def test_a_stream_takes_events_only_if_its_token_may_write(self, person, scopes):
        headers = {"authorization": f"Bearer {self.limited(person, *scopes)}"}
        with person.websocket(headers=headers) as ws:
            ws.send(json.dumps({"type": "event", "event": person.event()}))
            answer = json.loads(ws.recv(PATIENCE_SECONDS))
        if "events:write" in scopes:
            assert answer["type"] in {"accepted", "event"}
        else:
            assert (answer["type"], answer["problem"]["code"]) == ("problem", "scope_missing")
            assert person.log() == []


class TestEnd:
    def test_a_stream_is_cut_off_when_its_session_is_revoked(self, ingress, person):
        # Given a stream, by a stream token of a session
        session = ingress.issuer.verify(person.token, "user").session
        token, _ = make(person)
        with person.websocket(headers={"authorization": f"Bearer {token}"}) as ws:
            # When the session is ended
            assert person.request("DELETE", f"/api/sessions/{session}").status_code == 204
            # Then the stream ends, and the token opens no other
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd.code == 4401
        status, _ = opening(ingress, {"authorization": f"Bearer {token}"}, websocket=True)
        assert status == 401

    @both
    def test_a_stream_ends_with_its_access_token(self, ingress, person, websocket):
        # Given a stream by a stream token whose access token has little time left
        person.token = person.token_of(lifetime_seconds=2)
        token, _ = make(person)
        headers = {"authorization": f"Bearer {token}"}
        begin = time.monotonic()
        if websocket:
            with person.websocket(headers=headers) as ws:
                with pytest.raises(ConnectionClosed) as closed:
                    ws.recv(PATIENCE_SECONDS)
                # Then it is closed with a code that says so
                assert closed.value.rcvd.code == 4401
        else:
            with ingress.http.stream("GET", "/api/stream", headers=headers) as answer:
                assert b"".join(answer.iter_bytes()) == b""
        assert time.monotonic() - begin < 2 + 2 * CHECK_SECONDS
        wait_for_streams(ingress, 0, person)


class TestLimit:
    def test_one_user_has_so_many_and_leaving_makes_room(self, tmp_path):
        with serving(tmp_path / "data", LIGHTNING_STREAMS_PER_USER="3") as ingress:
            person, other = ingress.person(), ingress.person()
            for _ in range(4):
                # Given as many streams as one may have, of both kinds
                with person.stream(), person.websocket(), person.stream():
                    wait_for_streams(ingress, 3, person)
                    # When one more is opened
                    with ingress.http.stream("GET", "/api/stream", headers=person.headers()) as answer:
                        # Then it is refused
                        answer.read()
                        assert_problem(answer, 429, "too_many_streams")
                        assert int(answer.headers["retry-after"]) > 0
                    with pytest.raises(InvalidStatus) as refused, person.websocket():
                        pass
                    assert refused.value.response.status_code == 429
                    assert refused.value.response.headers["retry-after"]
                    # And others have their own
                    with other.stream():
                        pass
                # And all of them left: whoever comes next has room
                wait_for_streams(ingress, 0, person)
            wait_for_streams(ingress, 0, other)
            assert len(ingress.platform.hub) == 0

    def test_refused_openings_take_no_room(self, tmp_path):
        with serving(tmp_path / "data", LIGHTNING_STREAMS_PER_USER="1") as ingress:
            person = ingress.person()
            for query in ("?after=x", "?deltas=2", "?token=x"):
                for websocket in (False, True):
                    assert opening(ingress, person.headers(), websocket=websocket, query=query)[0] == 400
            for method in ("HEAD", "HEAD"):
                answer = person.request(method, "/api/stream")
                assert answer.headers["content-type"].startswith("text/event-stream")
            with person.stream():
                wait_for_streams(ingress, 1, person)
