"""`lightning users`, on the store of an installation that runs and of one that does not."""

import json

import pytest
from typer.testing import CliRunner

from lightning.domain.sessions import Origin
from ops.access import first_user, make_first_user
from ops.cli import app
from tests.api.conftest import PASSWORD, assert_problem, serving


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def run(data, monkeypatch):
    monkeypatch.setenv("LIGHTNING_DATA", str(data.parent / "another"))

    def command(*arguments, fails=False, stdin=None):
        ran = CliRunner().invoke(app, ["users", *arguments, "--data", str(data)], input=stdin)
        assert ran.exit_code == int(fails), ran.output
        return ran.stderr if fails else ran.stdout

    return command


@pytest.fixture
def show(run):
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options))


def log_in(ingress, username, password):
    return ingress.http.post("/api/token", json={"username": username, "password": password})


class TestAccounts:
    def test_one_is_added_and_can_log_in(self, data, show):
        # When an operator is added, before anything ever ran
        made = show("add", "Ada", "--role", "operator")
        assert (made["username"], made["role"], made["disabled"]) == ("ada", "operator", False)

        # Then they can log in with the password that was shown
        with serving(data, LIGHTNING_REGISTRATION="closed") as ingress:
            token = log_in(ingress, "ada", made["password"]).json()["access_token"]
            me = ingress.http.get("/api/me", headers={"authorization": f"Bearer {token}"})
            assert me.json() == {"userID": made["userID"], "role": "operator"}

        # And are listed, without it
        assert show("list") == [{name: made[name] for name in made if name != "password"}]

    @pytest.mark.parametrize("command", [("list",), ("add", "ada")])
    def test_a_file_is_no_installation(self, data, run, command):
        # Given a file where the data directory is to be
        data.write_text("x")
        # Then one line says so
        [line] = run(*command, fails=True).splitlines()
        assert str(data) in line
        assert "mend it" in line

    def test_a_password_from_standard_input(self, data, run, show):
        run("add", "ada", "--password-stdin", stdin=f"{PASSWORD}\n")
        with serving(data) as ingress:
            assert log_in(ingress, "ada", PASSWORD).status_code == 200
        printed = run("password", "ada", "--password-stdin", stdin="another password\n")
        assert "another password" not in printed
        with serving(data) as ingress:
            assert log_in(ingress, "ada", PASSWORD).status_code == 401
            assert log_in(ingress, "ada", "another password").status_code == 200
            assert log_in(ingress, "ada", show("password", "ada")["password"]).status_code == 200

    def test_they_are_changed_while_the_platform_runs(self, data, run, show):
        with serving(data) as ingress:
            person = ingress.person()
            assert show("role", person.username, "operator")["role"] == "operator"
            assert person.log_in().status_code == 200
            assert show("disable", person.username)["disabled"] is True
            assert_problem(person.log_in(), 403, "account_disabled")
            assert "disabled" in run("list")
            assert show("enable", person.username)["disabled"] is False
            assert person.log_in().status_code == 200

    def test_more_than_a_page_of_them(self, data, show):
        with serving(data) as ingress, ingress.accounts() as beside:
            for _ in range(3):
                ingress.person()
            page, following = beside.run(beside.accounts.all(limit=2))
            rest, end = beside.run(beside.accounts.all(limit=2, page=following))
        names = [account.username for account in (*page, *rest)]
        assert len(names) == 3
        assert end is None
        assert [account["username"] for account in show("list")] == names == sorted(names)


class TestSessions:
    def test_they_are_listed_and_ended(self, data, run, show):
        with serving(data) as ingress:
            # Given two sessions
            person = ingress.person()
            assert person.log_in(user_agent="[red]a browser").status_code == 200
            newest, oldest = show("sessions", person.username)
            assert newest["agent"] == "[red]a browser"
            assert newest["id"] in run("sessions", person.username)
            moments = [newest[name][:19] for name in ("createdAt", "usedAt")]
            assert all(moment in run("sessions", person.username) for moment in moments), "they are not cut"
            assert "[red]" in run("sessions", person.username), "what a client calls itself is no markup"

            # When one is ended, then the other is left
            run("revoke", person.username, "--session", newest["id"])
            assert [session["id"] for session in show("sessions", person.username)] == [oldest["id"]]

            # And when all are ended, with the service tokens
            draft = {"name": "nightly", "scopes": ["events:read"]}
            made = person.request("POST", "/api/service-tokens", json=draft).json()
            run("revoke", person.username)
            assert show("sessions", person.username) == []
            headers = {"authorization": f"Bearer {made['token']}"}
            answer = ingress.http.get("/api/events", headers=headers)
            assert_problem(answer, 401, "invalid_token")


class TestInvite:
    def test_one_is_made_and_used(self, data, run, show):
        with serving(data, LIGHTNING_REGISTRATION="invite") as ingress:
            made = show("invite", "--expires-days", "2")
            form = {"username": "invited", "password": PASSWORD, "invitation": made["invitation"]}
            assert ingress.http.post("/api/register", json=form).status_code == 201
            assert ingress.http.post("/api/register", json=form).status_code == 403
        assert run("invite").startswith("lin_")


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("add", "ad"), "3 to 64 characters"),
            (("add", "ada"), "taken"),
            (("role", "nobody", "operator"), "lightning users list"),
            (("disable", "no name"), "lightning users list"),
            (("password", "nobody"), "lightning users list"),
            (("sessions", "nobody"), "lightning users list"),
            (("revoke", "ada", "--session", "x"), "lightning users sessions ada"),
        ],
        ids=str,
    )
    def test_they_are_one_line_that_says_what_to_do(self, run, arguments, says):
        run("add", "ada")
        said = run(*arguments, fails=True)
        assert says in said
        assert said.count("\n") == 1

    def test_a_short_password(self, run):
        assert "at least 8" in run("add", "ada", "--password-stdin", stdin="short\n", fails=True)

    def test_a_directory_without_an_installation_is_not_made(self, data, run):
        assert "--data" in run("list", fails=True)
        assert not data.exists()

    def test_wrong_settings(self, run, monkeypatch):
        monkeypatch.setenv("LIGHTNING_REGISTRATION", "perhaps")
        assert "LIGHTNING_REGISTRATION" in run("list", fails=True)


@pytest.mark.parametrize("registration", ["open", "invite", "closed"])
def test_the_first_user_is_made_whoever_may_register(data, registration):
    with serving(data, LIGHTNING_REGISTRATION=registration) as ingress:
        # When the first user is made, and made again at the next start
        for _ in range(2):
            assert make_first_user(ingress.settings) == "first"

        # Then they can log in, and keep what they are
        username, password = first_user(data)
        assert log_in(ingress, username, password).status_code == 200
        with ingress.accounts() as beside:
            beside.run(beside.accounts.set_role("first", "operator"))
            make_first_user(ingress.settings)
            account = beside.run(beside.accounts.named("first"))
            assert account.role == "operator"
            assert beside.run(beside.sessions.start(account, Origin()))


def test_no_password_is_made_up_for_a_first_user_who_has_one(data):
    with serving(data) as ingress:
        # Given the first user's account, as an import brings it, and no file with its password
        make_first_user(ingress.settings)
        kept = data / "first_user.json"
        password = kept.read_text()
        kept.unlink()
        # When the installation begins again, then there is no file that names another password
        assert make_first_user(ingress.settings) == "first"
        assert not kept.exists()
        # And where the file was copied back, it is left as it was
        kept.write_text(password)
        make_first_user(ingress.settings)
        assert log_in(ingress, *first_user(data)).status_code == 200
