"""`lightning login` and `--user`: sessions that commands keep, share and renew, beside a real platform."""

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ops.chaos.installation import PASSWORD
from tests.fake_platform import FakePlatform, serving
from tests.ops.conftest import LIGHTNING, CommandLine, run
from tests.ops.terminal import CTRL_D

pytestmark = pytest.mark.timeout(60)

#: Life of an access token.
TOKEN_SECONDS = 2


@pytest.fixture(scope="module")
def platform(installed):
    with installed([], LIGHTNING_TESTING="1", LIGHTNING_TOKEN_SECONDS=str(TOKEN_SECONDS)) as running:
        running.installation.user("ada").close()
        yield running


@pytest.fixture
def here(platform, tmp_path):
    """The command with a data directory of its own, as on another machine."""
    return CommandLine(platform.url, tmp_path / "data")


@pytest.fixture
def ada(here):
    log_in(here)
    return here


def log_in(command: CommandLine) -> None:
    ran = command.run("login", "--user", "Ada", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Ada is logged in\n", "")


def session_file(command: CommandLine):
    [path] = (command.data / "sessions").glob("*.json")
    return path


def kept(command: CommandLine) -> dict:
    return json.loads(session_file(command).read_text())


def sessions(platform, name: str) -> set[str]:
    """Give the sessions of an account, as the store has them."""
    ran = run([LIGHTNING, "users", "sessions", name, "--data", str(platform.data), "--json"])
    return {session["id"] for session in json.loads(ran.stdout)}


def let_the_access_token_end() -> None:
    time.sleep(TOKEN_SECONDS + 0.1)


def succeeds(ran) -> str:
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_whoever_is_logged_in_speaks_as_themselves(platform, here):
    # Given a user who logs in once
    before = sessions(platform, "ada")
    log_in(here)
    # When commands run as them
    said = json.loads(succeeds(here.run("send", "I am Ada", "--user", "ada", "--json")))
    found = json.loads(succeeds(here.run("events", "--user", "ADA", "--json")))
    # Then they act as them, in one session
    assert said["userID"] == kept(here)["user_id"]
    assert said["id"] in [event["id"] for event in found["events"]]
    assert len(sessions(platform, "ada") - before) == 1
    # And what is kept is for its owner only, and the password is not in it
    assert stat.S_IMODE(session_file(here).stat().st_mode) == 0o600
    assert stat.S_IMODE(session_file(here).parent.stat().st_mode) == 0o700
    assert PASSWORD not in session_file(here).read_text()


def test_an_access_token_that_is_over_is_renewed_and_the_next_one_kept(platform, ada):
    before, session = kept(ada), sessions(platform, "ada")
    let_the_access_token_end()
    succeeds(ada.run("events", "--user", "ada"))
    after = kept(ada)
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]
    assert sessions(platform, "ada") == session
    succeeds(ada.run("events", "--user", "ada"))


def test_commands_at_once_do_not_end_the_session(platform, ada):
    let_the_access_token_end()
    with ThreadPoolExecutor() as threads:
        ran = list(threads.map(lambda _: ada.run("events", "--user", "ada"), range(4)))
    for each in ran:
        succeeds(each)
    let_the_access_token_end()
    succeeds(ada.run("events", "--user", "ada"))


def test_a_command_that_was_killed_before_it_kept_its_tokens_ends_nothing(ada):
    # Given a renewal that is recorded on the platform, and not here
    before = session_file(ada).read_text()
    let_the_access_token_end()
    succeeds(ada.run("events", "--user", "ada"))
    session_file(ada).write_text(before)
    # Then the token before still does
    succeeds(ada.run("events", "--user", "ada"))


def test_a_conversation_goes_on_when_its_access_token_is_over(ada):
    with ada.at_a_terminal("chat", "--user", "ada") as terminal:
        for said in ("hello", "again"):
            terminal.until("> ")
            terminal.type(f"{said}\n")
            terminal.until(f"You said: {said}")
            let_the_access_token_end()
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    succeeds(ada.run("events", "--user", "ada"))


def test_log_out_ends_the_session_for_all_who_have_it(platform, ada, tmp_path):
    # Given a session, and a copy of it
    another = CommandLine(platform.url, tmp_path / "another")
    copy = another.data / "sessions" / session_file(ada).name
    copy.parent.mkdir(parents=True)
    copy.write_text(session_file(ada).read_text())
    # When its user logs out
    ran = run([LIGHTNING, "logout", "--user", "ada", "--data", str(ada.data)])
    assert succeeds(ran) == "ada is logged out\n"
    # Then neither does any more
    assert list(session_file(another).parent.glob("*.json")) == [copy]
    for command in (ada, another):
        ran = command.run("events", "--user", "ada")
        assert (ran.returncode, ran.stdout) == (1, "")
        [line] = ran.stderr.splitlines()
        assert "lightning login --user ada" in line
        assert list((command.data / "sessions").glob("*.json")) == []
    # And once more is the same
    ran = run([LIGHTNING, "logout", "--user", "ada", "--data", str(ada.data), "--json"])
    assert json.loads(succeeds(ran)) == {"user": "ada", "state": "not logged in"}


def test_to_log_in_again_ends_the_session_before(platform, ada):
    before = sessions(platform, "ada")
    log_in(ada)
    after = sessions(platform, "ada")
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
    session = sessions(platform, "first")
    # Then further commands go on with it, whether or not the access token is over
    let_the_access_token_end()
    succeeds(platform.run("events"))
    assert sessions(platform, "first") == session
    # And when it is ended, another one begins
    run([LIGHTNING, "users", "revoke", "first", "--data", str(platform.data)])
    let_the_access_token_end()
    succeeds(platform.run("events"))
    assert len(sessions(platform, "first")) == 1
    # And `login` and `logout` know who is meant
    assert succeeds(platform.run("login")) == "first is logged in\n"
    logged_out = run([LIGHTNING, "logout", "--data", str(platform.data)])
    assert succeeds(logged_out) == "first is logged out\n"
    assert sessions(platform, "first") == set()
