"""Who gets in, and what a page of another site gets."""

import pytest

from tests.api.conftest import serving
from tests.api.dashboard.browsing import Visitor, visiting


def test_who_comes_without_a_path_is_shown_the_login_and_then_what_was_wanted(person):
    visitor = Visitor(person)
    with visitor.http:
        answer = visitor.http.get("/")
        assert answer.url.path == "/dashboard/login"

        answer = visitor.get("/events")
        assert answer.url.params["next"] == "/dashboard/events"
        assert visitor.log_in(next="/dashboard/events").url.path == "/dashboard/events"


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "/dashboard//evil", "/dashboard/\\evil", ""]
)
def test_a_login_leads_nowhere_else(person, elsewhere):
    visitor = Visitor(person)
    with visitor.http:
        assert visitor.log_in(next=elsewhere).url.path == "/dashboard/"


def test_a_wrong_password_is_told_and_not_repeated(person):
    visitor = Visitor(person)
    with visitor.http:
        answer = visitor.log_in("wrong-secret")
        assert answer.status_code == 401
        assert "wrong-secret" not in answer.text
        assert 'role="alert"' in answer.text
        assert not visitor.http.cookies


def test_who_guesses_is_stopped_as_at_the_api(tmp_path):
    with serving(tmp_path / "data", LIGHTNING_LOGIN_FAILURES="2") as ingress:
        visitor = Visitor(ingress.person())
        with visitor.http:
            assert [visitor.log_in("wrong").status_code for _ in range(3)] == [401, 401, 429]
            assert visitor.log_in().status_code == 429


def test_the_cookie_is_kept_from_scripts_and_other_sites(person):
    visitor = Visitor(person)
    visitor.http.follow_redirects = False
    with visitor.http:
        plain = visitor.log_in().headers["set-cookie"].lower()
        assert plain.startswith("lightning_dashboard=")
        assert {"httponly", "samesite=lax", "path=/"} <= {part.strip() for part in plain.split(";")}
        assert "secure" not in plain

        visitor.http.headers["x-forwarded-proto"] = "https"
        secure = visitor.log_in().headers["set-cookie"].lower()
        assert secure.startswith("__host-lightning=")
        assert {"httponly", "samesite=lax", "path=/", "secure"} <= {p.strip() for p in secure.split(";")}
        assert "domain" not in secure


def test_a_session_is_stored_as_a_hash_listed_and_ended_like_every_other(ingress, person):
    with visiting(person) as visitor:
        cookie = visitor.http.cookies["lightning_dashboard"]
        secret = cookie.rpartition(".")[2]
        for file in ingress.data.glob("*.db*"):
            assert secret.encode() not in file.read_bytes()

        # it is one of the sessions, and its end is the end of the pages
        sessions = person.get("/api/sessions").json()["sessions"]
        [browser] = [each["id"] for each in sessions if not each["current"]]
        assert browser in cookie
        assert person.request("DELETE", f"/api/sessions/{browser}").status_code == 204
        assert visitor.get("/").url.path == "/dashboard/login"


def test_a_cookie_opens_nothing_of_the_api_and_no_token_opens_a_page(ingress, person):
    tokens = person.tokens()
    with visiting(person) as visitor:
        cookie = visitor.http.cookies["lightning_dashboard"]
        user, session, secret = cookie.removeprefix("lbs_").split(".")
        for shown in (cookie, secret):
            answer = visitor.http.get("/api/me", headers={"authorization": f"Bearer {shown}"})
            assert answer.status_code == 401
        for made in (cookie, f"lrt_{user}.{session}.x.{secret}", f"lrt_{user}.{session}.x.browser.{secret}"):
            answer = visitor.http.post("/api/token/refresh", json={"refresh_token": made})
            assert answer.status_code == 401
        _, _, family, current = tokens["refresh_token"].removeprefix("lrt_").split(".")
        session = ingress.issuer.verify(tokens["access_token"], "user").session
        for tried in (
            tokens["access_token"],
            tokens["refresh_token"],
            f"lbs_{user}.{session}.{current}",
            f"lbs_{user}.{session}.{family}",
            "lbs_..",
            "lbs_a.b.c",
            "",
        ):
            visitor.http.cookies.clear()
            visitor.http.cookies["lightning_dashboard"] = tried
            assert visitor.get("/events").url.path == "/dashboard/login", tried


def test_who_logs_out_or_is_disabled_is_out(ingress, person):
    with visiting(person) as visitor:
        cookie = visitor.http.cookies["lightning_dashboard"]
        assert visitor.post("/logout").url.path == "/dashboard/login"
        visitor.http.cookies["lightning_dashboard"] = cookie
        assert visitor.get("/").url.path == "/dashboard/login"

        visitor.http.cookies.clear()
        visitor.log_in()
        with ingress.accounts() as made:
            made.run(made.accounts.set_disabled(person.username, disabled=True))
            ingress.catch_up(made.storage)
        assert visitor.get("/").url.path == "/dashboard/login"


def test_a_script_of_a_page_that_is_not_logged_in_any_more_is_sent_to_the_login(person):
    visitor = Visitor(person)
    visitor.http.follow_redirects = False
    with visitor.http:
        answer = visitor.http.get("/dashboard/live", headers={"hx-request": "true"})
        assert answer.status_code == 401
        assert answer.headers["hx-redirect"] == "/dashboard/login"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_forms_of_other_sites_do_nothing(visitor, headers):
    event = visitor.person.says("hello")
    form = {"csrf": visitor.csrf, "username": visitor.person.username, "password": "x"}
    for path in (f"/events/{event['id']}/cancel", "/logout", "/login", "/register"):
        answer = visitor.http.post(f"/dashboard{path}", data=form, headers=headers)
        assert answer.status_code == 403, path
        assert "set-cookie" not in answer.headers
    assert visitor.person.get(f"/api/events/{event['id']}").json()["state"] == "accepted"


def test_a_form_without_the_word_of_this_session_does_nothing(visitor, operator):
    event = visitor.person.says("hello")
    address = f"/dashboard/events/{event['id']}/cancel"
    for form in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": operator.csrf}, {"csrf": visitor.csrf[:-1]}):
        assert visitor.http.post(address, data=form).status_code == 403
    assert visitor.http.post(address, content=b"\xff=1").status_code == 400
    assert visitor.person.get(f"/api/events/{event['id']}").json()["state"] == "accepted"


def test_every_page_is_bound_to_itself(visitor):
    for path in ("/", "/login", "/events", "/nowhere", "/events/nothing"):
        answer = visitor.get(path)
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("text/html")
        # nothing in it that the policy would refuse, and no address of elsewhere
        assert not any(word in answer.text for word in (" style=", "<style", " onclick", "<script>", "://"))


def test_files_are_kept_until_they_change(visitor):
    answer = visitor.get("/static/htmx.min.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    again = visitor.http.get(answer.url, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    for name in ("../page.py", "%2e%2e/page.py", "nothing.js"):
        assert visitor.http.get(f"/dashboard/static/{name}").status_code == 404


def test_people_make_accounts_where_they_may(person, tmp_path):
    visitor = Visitor(person)
    with visitor.http:
        answer = visitor.http.post(
            "/dashboard/register", data={"username": "newcomer-1", "password": "short"}
        )
        assert answer.status_code == 422
        good = {"username": "newcomer-1", "password": "correct horse"}
        answer = visitor.http.post("/dashboard/register", data=good)
        assert answer.url.path == "/dashboard/"
        assert "newcomer-1" in answer.text
        visitor.http.cookies.clear()
        assert visitor.http.post("/dashboard/register", data=good).status_code == 409
    with serving(tmp_path / "data", LIGHTNING_REGISTRATION="closed") as closed:
        visitor = Visitor(closed.person())
        with visitor.http:
            assert "register" not in visitor.page("/login")
            answer = visitor.http.post("/dashboard/register", data=good)
            assert answer.status_code == 403
