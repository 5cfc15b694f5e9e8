"""Sessions over HTTP: refresh, revocation, change of password, and how soon another process knows."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from tests.api.conftest import PASSWORD, PATIENCE_SECONDS, assert_problem, serving

#: What one process revokes, the others refuse after at most so long.
PROMISED_SECONDS = 5.0

NEW_PASSWORD = "a new and better password"


@pytest.fixture(scope="module")
def beside(ingress):
    """A second ingress of the same installation."""
    with serving(ingress.data) as second:
        yield second


@pytest.fixture
def accounts(ingress):
    with ingress.accounts() as accounts:
        yield accounts


def whoami(ingress, token):
    return ingress.http.get("/api/me", headers={"authorization": f"Bearer {token}"})


def refresh(ingress, token):
    return ingress.http.post("/api/token/refresh", json={"refresh_token": token})


def revoke(ingress, token):
    return ingress.http.post("/api/token/revoke", json={"refresh_token": token})


def assert_refused_soon(ingress, token):
    """Wait until a token is refused, for as long as is promised."""
    deadline = time.monotonic() + PROMISED_SECONDS + 1.0
    while (answer := whoami(ingress, token)).status_code == 200:
        assert time.monotonic() < deadline, "the token is accepted for longer than is promised"
        time.sleep(0.05)
    assert_problem(answer, 401, "invalid_token")


def session_of(token):
    return jwt.decode(token, options={"verify_signature": False})["sid"]


def change_password(person, current=PASSWORD, new=NEW_PASSWORD, **more):
    form = {"currentPassword": current, "newPassword": new, **more}
    return person.request("POST", "/api/password", json=form)


class TestRefresh:
    def test_a_log_in_gives_both_tokens(self, person):
        tokens = person.tokens()
        assert set(tokens) == {
            "access_token",
            "token_type",
            "expires_in",
            "userID",
            "refresh_token",
            "refresh_expires_in",
        }
        assert tokens["expires_in"] == 3600
        assert tokens["refresh_expires_in"] == 30 * 24 * 3600
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        assert claims["sid"]
        assert claims["exp"] - claims["iat"] == 3600

    def test_the_lives_are_settings(self, tmp_path):
        lives = {"LIGHTNING_TOKEN_SECONDS": "900", "LIGHTNING_REFRESH_SECONDS": "7200"}
        with serving(tmp_path / "data", **lives) as ingress:
            tokens = ingress.person().tokens()
        assert (tokens["expires_in"], tokens["refresh_expires_in"]) == (900, 7200)

    def test_the_end_of_a_session_is_a_setting(self, tmp_path):
        with serving(tmp_path / "data", LIGHTNING_SESSION_SECONDS="3600") as ingress:
            assert ingress.person().tokens()["refresh_expires_in"] == 3600

    def test_each_refresh_gives_the_next(self, ingress, person):
        tokens = person.tokens()
        seen = {tokens["refresh_token"]}
        for _ in range(3):
            # When the newest refresh token is used
            answer = refresh(ingress, tokens["refresh_token"])
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"
            tokens = answer.json()

            # Then the access token is good, and the refresh token is another one
            assert whoami(ingress, tokens["access_token"]).json()["userID"] == person.id
            assert tokens["refresh_token"] not in seen
            seen.add(tokens["refresh_token"])

    def test_one_that_is_used_again_later_ends_the_session(self, ingress, person):
        # Given a thief who refreshed with what they stole, and again
        stolen = person.tokens()
        second = refresh(ingress, stolen["refresh_token"]).json()
        third = refresh(ingress, second["refresh_token"]).json()
        assert whoami(ingress, third["access_token"]).status_code == 200

        # When the owner uses theirs
        assert_problem(refresh(ingress, stolen["refresh_token"]), 401, "invalid_refresh_token")

        # Then nothing of this session is good any more, while another session is
        assert_problem(refresh(ingress, third["refresh_token"]), 401, "invalid_refresh_token")
        assert_problem(whoami(ingress, third["access_token"]), 401, "invalid_token")
        assert person.get("/api/me").status_code == 200

    def test_a_lost_answer_is_given_again(self, ingress, beside, person):
        # Given a refresh whose answer never came
        lost = refresh(ingress, (first := person.tokens())["refresh_token"]).json()

        # When the client asks again, here or at another process
        again = [refresh(at, first["refresh_token"]) for at in (ingress, beside)]

        # Then it gets the same refresh token, which works
        assert [answer.json()["refresh_token"] for answer in again] == [lost["refresh_token"]] * 2
        assert refresh(ingress, lost["refresh_token"]).status_code == 200

    def test_many_at_once_stay_logged_in(self, ingress, beside, person):
        # When the tabs of one browser refresh at the same moment
        token = person.tokens()["refresh_token"]
        with ThreadPoolExecutor(8) as tabs:
            answers = list(tabs.map(lambda n: refresh((ingress, beside)[n % 2], token), range(8)))

        # Then all go on with the same one
        assert [answer.status_code for answer in answers] == [200] * 8
        [following] = {answer.json()["refresh_token"] for answer in answers}
        assert refresh(ingress, following).status_code == 200

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: "",
            lambda token: "lrt_",
            lambda token: "lrt_...",
            lambda token: token[4:],
            lambda token: token + "x",
            lambda token: token + ".x",
            lambda token: token[:-1],
            lambda token: "é".join(token.split(".")),
            lambda token: "lrt_" + "x" * 900,
        ],
    )
    def test_what_is_none(self, ingress, person, change):
        token = person.tokens()["refresh_token"]
        assert_problem(refresh(ingress, change(token)), 401, "invalid_refresh_token")

    def test_an_invented_one_ends_nobodys_session(self, ingress, person):
        # Given somebody who knows user and session, which every access token tells
        tokens = person.tokens()
        user, session, family, secret = tokens["refresh_token"].split(".")

        # When they invent the rest
        for invented in (f"{user}.{session}.x.y", f"{user}.{session}.x.{secret}"):
            assert refresh(ingress, invented).status_code == 401
            assert revoke(ingress, invented).status_code == 204
        other = ingress.person()
        assert refresh(ingress, f"lrt_{other.id}.{session}.{family}.{secret}").status_code == 401

        # Then the session goes on
        assert refresh(ingress, tokens["refresh_token"]).status_code == 200

    def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(self, ingress, person):
        tokens = person.tokens()
        assert_problem(refresh(ingress, tokens["access_token"]), 401, "invalid_refresh_token")
        assert_problem(whoami(ingress, tokens["refresh_token"]), 401, "invalid_token")


class TestRevoke:
    def test_it_ends_at_once(self, ingress, beside, person):
        # Given a session that was seen
        tokens = person.tokens()
        assert whoami(ingress, tokens["access_token"]).status_code == 200

        # When its refresh token is revoked
        answer = revoke(ingress, tokens["refresh_token"])
        assert (answer.status_code, answer.content) == (204, b"")

        # Then nothing of it is accepted
        assert_problem(whoami(ingress, tokens["access_token"]), 401, "invalid_token")
        assert_problem(refresh(beside, tokens["refresh_token"]), 401, "invalid_refresh_token")

    @pytest.mark.parametrize("token", ["", "nonsense", "lrt_a.b.c.d"])
    def test_whether_there_was_one_is_not_told(self, ingress, token):
        assert revoke(ingress, token).status_code == 204

    def test_one_that_was_rotated_ends_it_too(self, ingress, person):
        first = person.tokens()
        second = refresh(ingress, first["refresh_token"]).json()
        assert revoke(ingress, first["refresh_token"]).status_code == 204
        assert refresh(ingress, second["refresh_token"]).status_code == 401


class TestSessions:
    def test_people_see_where_they_are_logged_in(self, ingress, person):
        # Given a session besides the one that asks
        assert person.log_in(user_agent="A browser " + "x" * 500).status_code == 200

        # When the sessions are listed
        answer = person.get("/api/sessions")
        assert answer.status_code == 200
        newest, oldest = answer.json()["sessions"]

        # Then each tells where it comes from, and which one asks
        assert set(newest) == {"id", "createdAt", "usedAt", "expiresAt", "address", "agent", "current"}
        assert (newest["address"], newest["current"], oldest["current"]) == ("127.0.0.1", False, True)
        assert newest["agent"].startswith("A browser")
        assert len(newest["agent"]) == 200
        assert newest["createdAt"] == newest["usedAt"] < newest["expiresAt"]

    def test_one_is_ended(self, ingress, person):
        tokens = person.tokens()
        session = session_of(tokens["access_token"])
        assert person.request("DELETE", f"/api/sessions/{session}").status_code == 204

        assert_problem(whoami(ingress, tokens["access_token"]), 401, "invalid_token")
        assert person.get("/api/me").status_code == 200
        assert_problem(person.request("DELETE", f"/api/sessions/{session}"), 404, "not_found")

    def test_other_documents_of_the_account_are_no_sessions(self, person):
        for name in ("account", "-account", "%2e%2e%2faccount"):
            answer = person.request("DELETE", f"/api/sessions/{name}")
            assert answer.status_code == 404
        assert person.get("/api/me").status_code == 200


class TestPassword:
    def test_it_ends_every_session_but_the_new_one(self, ingress, person):
        # Given a second session
        other = person.tokens()
        assert whoami(ingress, other["access_token"]).status_code == 200

        # When the password is changed
        answer = change_password(person)
        assert answer.status_code == 200, answer.text
        fresh = answer.json()

        # Then the tokens of the answer are good, and all before are not
        assert whoami(ingress, fresh["access_token"]).json()["userID"] == person.id
        assert refresh(ingress, fresh["refresh_token"]).status_code == 200
        for token in (person.token, other["access_token"]):
            assert_problem(whoami(ingress, token), 401, "invalid_token")
        assert_problem(refresh(ingress, other["refresh_token"]), 401, "invalid_refresh_token")

        # And only the new password logs in
        assert_problem(person.log_in(), 401, "wrong_credentials")
        assert person.log_in(password=NEW_PASSWORD).status_code == 200

    def test_the_current_one_is_asked_for(self, person):
        answer = change_password(person, current="not the password")
        assert_problem(answer, 403, "wrong_password", pointer="/currentPassword")
        assert person.log_in().status_code == 200

    def test_guesses_of_it_are_limited(self, tmp_path):
        with serving(tmp_path / "data", LIGHTNING_LOGIN_FAILURES="3") as ingress:
            person = ingress.person()
            for _ in range(3):
                assert change_password(person, current="not the password").status_code == 403
            assert_problem(change_password(person), 429, "too_many_attempts")

    @pytest.mark.parametrize("new", ["short", "x" * 73])
    def test_one_that_will_not_do(self, person, new):
        problem = assert_problem(
            change_password(person, new=new), 422, "invalid_account", pointer="/newPassword"
        )
        assert new not in problem["detail"]
        assert person.get("/api/me").status_code == 200

    def test_a_form_that_is_none(self, person):
        assert_problem(change_password(person, more=1), 422, "invalid_field", pointer="/more")
        answer = person.request("POST", "/api/password", json={"currentPassword": PASSWORD})
        assert_problem(answer, 422, "invalid_field", pointer="/newPassword")


#: What ends somebody's access, done in one process or in the store itself.
ENDINGS = {
    "revoke": lambda person, accounts: revoke(person.ingress, person.refresh_token),
    "end the session": lambda person, accounts: person.request(
        "DELETE", f"/api/sessions/{session_of(person.token)}"
    ),
    "change the password": lambda person, accounts: change_password(person),
    "disable": lambda person, accounts: accounts.set_disabled(person.username, disabled=True),
    "change the role": lambda person, accounts: accounts.set_role(person.username, "operator"),
    "set a password": lambda person, accounts: accounts.set_password(person.username, NEW_PASSWORD),
    "end all sessions": lambda person, accounts: accounts.end_sessions(person.username),
}


def test_whatever_ends_access_is_soon_known_in_another_process(ingress, beside, accounts):
    # Given people whose tokens the other process has just accepted
    people = {act: ingress.person() for act in ENDINGS}
    untouched = ingress.person()
    for person in people.values():
        tokens = person.tokens()
        person.token, person.refresh_token = tokens["access_token"], tokens["refresh_token"]
    for person in (untouched, *people.values()):
        assert whoami(beside, person.token).status_code == 200

    # When the access of each ends
    for act, end in ENDINGS.items():
        done = end(people[act], accounts.accounts)
        if asyncio.iscoroutine(done):
            accounts.run(done)
        else:
            assert done.is_success, (act, done.text)

    # Then the other process refuses each in time, and nobody else
    for person in people.values():
        assert_refused_soon(beside, person.token)
    assert whoami(beside, untouched.token).status_code == 200


class TestOperators:
    """What `lightning users` does to an account, seen from a process that knows nothing of it."""

    def test_a_disabled_account_gets_nothing_until_it_is_enabled(self, ingress, accounts, person):
        # Given a disabled account
        tokens = person.tokens()
        accounts.run(accounts.accounts.set_disabled(person.username, disabled=True))

        # Then its tokens and its password give nothing, and only who knows the password learns why
        assert_problem(refresh(ingress, tokens["refresh_token"]), 401, "invalid_refresh_token")
        assert_problem(person.log_in(), 403, "account_disabled")
        assert_problem(person.log_in(password="wrong password"), 401, "wrong_credentials")

        # And when it is enabled, it logs in, while the sessions before stay ended
        accounts.run(accounts.accounts.set_disabled(person.username, disabled=False))
        assert person.log_in().status_code == 200
        assert_problem(refresh(ingress, tokens["refresh_token"]), 401, "invalid_refresh_token")

    def test_a_new_role_comes_with_the_next_refresh(self, ingress, accounts, person):
        tokens = person.tokens()
        accounts.run(accounts.accounts.set_role(person.username, "operator"))
        fresh = refresh(ingress, tokens["refresh_token"]).json()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while whoami(ingress, fresh["access_token"]).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert whoami(ingress, fresh["access_token"]).json()["role"] == "operator"
