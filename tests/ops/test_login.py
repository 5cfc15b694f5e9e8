"""`lightning login` and `--user`: sessions that commands keep, share and renew, beside a real platform."""

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from lightning.client import Client, SessionFile
from ops.chaos.installation import PASSWORD
from tests.fake_platform import FakePlatform, serving
from tests.ops.conftest import LIGHTNING, CommandLine, run
from tests.ops.terminal import CTRL_D

pytestmark = pytest.mark.timeout(60)

#: Life of an access token.
TOKEN_SECONDS = 3


@pytest.fixture(scope="module")
def platform(installed):
    short = {"LIGHTNING_TESTING": "1", "LIGHTNING_TOKEN_SECONDS": str(TOKEN_SECONDS)}
    with installed([], **short) as running, running.installation.user("ada") as ada:
        running.ada = ada
        yield running


@pytest.fixture
def here(platform, tmp_path):
    """The command with a data directory of its own, as on another machine."""
    return CommandLine(platform.url, tmp_path / "data")


@pytest.fixture(scope="module")
def ada(platform, tmp_path_factory):
    """The command where a user is logged in, and stays so."""
    command = CommandLine(platform.url, tmp_path_factory.mktemp("ada") / "data")
    log_in(command)
    return command


def log_in(command: CommandLine) -> None:
    ran = command.run("login", "--user", "Ada", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Ada is logged in\n", "")


def session_file(command: CommandLine):
    [path] = (command.data / "sessions").glob("*.json")
    return path


def kept(command: CommandLine) -> dict:
    return json.loads(session_file(command).read_text())


def sessions(of) -> set[str]:
    """Give a user's sessions, as the platform lists them."""
    while (answer := httpx2.get(f"{of.url}/api/sessions", headers=of.headers())).status_code == 401:
        of.events(limit=1)  # its access token was good for a moment, which is over
    return {session["id"] for session in answer.raise_for_status().json()["sessions"]}


def renewed(of):
    """Give a client with an access token that is good for a moment."""
    of.events(limit=1)
    return of


def let_the_access_token_end() -> None:
    time.sleep(TOKEN_SECONDS + 0.1)


def believe_it_has_ended(command: CommandLine) -> None:
    """Have the next command renew its access token, without the wait."""
    session_file(command).write_text(json.dumps({**kept(command), "expires_at": 0}))


def succeeds(ran) -> str:
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_whoever_is_logged_in_speaks_as_themselves(platform, here):
    # Given a user who logs in once
    before = sessions(renewed(platform.ada))
    log_in(here)
    # When commands run as them
    said = json.loads(succeeds(here.run("send", "I am Ada", "--user", "ada", "--json")))
    found = json.loads(succeeds(here.run("events", "--user", "ADA", "--json")))
    # Then they act as them, in one session
    assert said["userID"] == kept(here)["user_id"]
    assert said["id"] in [event["id"] for event in found["events"]]
    assert len(sessions(renewed(platform.ada)) - before) == 1
    # And what is kept is for its owner only, and the password is not in it
    assert stat.S_IMODE(session_file(here).stat().st_mode) == 0o600
    assert stat.S_IMODE(session_file(here).parent.stat().st_mode) == 0o700
    assert PASSWORD not in session_file(here).read_text()


def test_an_access_token_that_is_over_is_renewed_and_the_next_one_kept(platform, ada):
    before, session = kept(ada), sessions(renewed(platform.ada))
    believe_it_has_ended(ada)
    succeeds(ada.run("events", "--user", "ada"))
    after = kept(ada)
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]
    assert sessions(renewed(platform.ada)) == session
    succeeds(ada.run("events", "--user", "ada"))


def test_commands_at_once_do_not_end_the_session(platform, ada):
    believe_it_has_ended(ada)
    with ThreadPoolExecutor() as threads:
        ran = list(threads.map(lambda _: ada.run("events", "--user", "ada"), range(4)))
    for each in ran:
        succeeds(each)
    believe_it_has_ended(ada)
    succeeds(ada.run("events", "--user", "ada"))


def test_a_command_that_was_killed_before_it_kept_its_tokens_ends_nothing(ada):
    # Given a renewal that is recorded on the platform, and not here
    before = session_file(ada).read_text()
    believe_it_has_ended(ada)
    succeeds(ada.run("events", "--user", "ada"))
    session_file(ada).write_text(before)
    # Then the token before still does
    succeeds(ada.run("events", "--user", "ada"))


def test_a_conversation_goes_on_when_its_access_token_is_over(ada):
    with ada.at_a_terminal("chat", "--user", "ada") as terminal:
        for said in ("hello", "again"):
            terminal.until("> ")
            if said == "again":
                let_the_access_token_end()
            terminal.type(f"{said}\n")
            terminal.until(f"You said: {said}")
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    succeeds(ada.run("events", "--user", "ada"))


def test_log_out_ends_the_session_for_all_who_have_it(platform, here, tmp_path):
    # Given a session, and a copy of it
    log_in(here)
    another = CommandLine(platform.url, tmp_path / "another")
    copy = another.data / "sessions" / session_file(here).name
    copy.parent.mkdir(parents=True)
    copy.write_text(session_file(here).read_text())
    # When its user logs out
    ran = run([LIGHTNING, "logout", "--user", "ada", "--data", str(here.data)])
    assert succeeds(ran) == "ada is logged out\n"
    # Then neither does any more
    assert list(session_file(another).parent.glob("*.json")) == [copy]
    for command in (here, another):
        ran = command.run("events", "--user", "ada")
        assert (ran.returncode, ran.stdout) == (1, "")
        [line] = ran.stderr.splitlines()
        assert "lightning login --user ada" in line
        assert list((command.data / "sessions").glob("*.json")) == []
    # And once more is the same
    ran = run([LIGHTNING, "logout", "--user", "ada", "--data", str(here.data), "--json"])
    assert json.loads(succeeds(ran)) == {"user": "ada", "state": "not logged in"}


def test_to_log_in_again_ends_the_session_before(platform, here):
    log_in(here)
    before = sessions(renewed(platform.ada))
    log_in(here)
    after = sessions(renewed(platform.ada))
    assert len(after) == len(before)
    assert after != before


def test_a_session_is_shown_to_no_other_platform(ada):
    # Given another platform
    with serving(FakePlatform()) as other:
        # When a command is sent there
        ran = CommandLine(other.url, ada.data).run("events", "--user", "ada")
        # Then it says that nobody is logged in there, and shows it nothing
        assert ran.returncode == 1
        assert f"not logged in to {other.url}" in ran.stderr
        assert other.requests == []
    succeeds(ada.run("events", "--user", "ada"))


def test_a_password_is_asked_for_and_not_shown(here):
    with here.at_a_terminal("login", "--user", "ada") as terminal:
        terminal.until("Password: ")
        terminal.type(f"{PASSWORD}\n")
        terminal.until("ada is logged in")
        assert terminal.end() == 0
    assert PASSWORD not in terminal.seen
    succeeds(here.run("events", "--user", "ada"))


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("login", "--user", "ada", "--password-stdin"), "not her password\n", "wrong"),
        (("login", "--user", "ada"), "", "--password-stdin"),
        (("login",), "", "--user"),
        (("send", "hi", "--user", "ada"), "", "lightning login --user ada"),
    ],
)
def test_who_is_not_logged_in_is_told_in_one_line(here, arguments, stdin, said):
    ran = here.run(*arguments, stdin=stdin)
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert said in line
    assert list(here.data.glob("sessions/*.json")) == []


def test_the_first_user_keeps_a_session_and_is_logged_in_again_when_it_is_over(platform):
    # Given the first user's session
    succeeds(platform.run("events"))
    session = sessions_of_the_first(platform)
    # Then further commands go on with it, whether or not the access token is over
    believe_it_has_ended(platform)
    succeeds(platform.run("events"))
    assert sessions_of_the_first(platform) == session
    # And when it is ended, another one begins
    succeeds(run([LIGHTNING, "users", "revoke", "first", "--data", str(platform.data)]))
    believe_it_has_ended(platform)
    succeeds(platform.run("events"))
    [another] = sessions_of_the_first(platform)
    assert another not in session
    # And `login` and `logout` know who is meant
    assert succeeds(platform.run("login")) == "first is logged in\n"
    logged_out = run([LIGHTNING, "logout", "--data", str(platform.data)])
    assert succeeds(logged_out) == "first is logged out\n"
    assert not list((platform.data / "sessions").glob("*.json"))


def sessions_of_the_first(platform) -> set[str]:
    with Client(platform.url, session=SessionFile(session_file(platform))) as client:
        client.resume()
        return sessions(client)
