"""The commands beside a real platform: what they print, what they never print, how they end."""

import csv
import io
import json
import signal
import subprocess

import pytest
from typer.testing import CliRunner

from lightning.client import ClientError
from ops.access import first_user
from ops.chaos.installation import until
from ops.cli import app
from ops.ports import free_port
from tests.acceptance.images import make_image
from tests.ops.conftest import CommandLine, clean_environment, run
from tests.ops.terminal import CTRL_C, CTRL_D

pytestmark = pytest.mark.timeout(120)

#: Sets the title, clears the screen, paints it red, rings, goes back over the line: none of it may arrive.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\rover\x08\u202eback\n\tfine"
PLAIN = "]0;owned[2J[31mred31moverback\n\tfine"

MESSAGE = {"name": "send_message", "arguments": {"content": HOSTILE}}

SCRIPT = [
    {"last_contains": ["hostile"], "reply": HOSTILE},
    {"last_contains": ["refused"], "status": 400, "error": "not \x1b[31mthat\nmodel"},
    {"last_contains": ["tell me"], "times": 1, "tool_calls": [MESSAGE]},
    {"last_contains": ["who am I"], "require": ["I am Ada"], "reply": "You are Ada."},
]


@pytest.fixture(scope="module")
def real(installed):
    with installed(SCRIPT) as running:
        yield running


def has_control_characters(text: str) -> bool:
    return any((ord(c) < 32 and c not in "\n\t\r") or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in text)


def test_a_person_talks_and_leaves(real):
    with real.at_a_terminal("chat") as terminal:
        # Given somebody who says something
        terminal.until("> ")
        terminal.type("I am Ada\n")
        terminal.until("You said: I am Ada")
        # When they go on in the same conversation
        terminal.until("> ")
        terminal.type("who am I?\n")
        # Then it remembers
        terminal.until("You are Ada.")
        terminal.until("> ")
        # And Ctrl-D leaves, and says how to come back
        terminal.type(CTRL_D)
        terminal.until("lightning chat --conversation ")
        assert terminal.end() == 0
        conversation = terminal.seen.split()[-1]
    said = real.run("chat", "--conversation", conversation, stdin="who am I?\n")
    assert (said.returncode, said.stdout, said.stderr) == (0, "You are Ada.\n", "")


def test_ctrl_c_at_the_prompt_leaves(real):
    with real.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        assert terminal.insist(CTRL_C) == 0
        assert "Traceback" not in terminal.seen


def test_a_new_conversation_knows_nothing_of_the_old_one(real):
    with real.at_a_terminal("chat") as terminal:
        for typed, shown in [
            ("I am Ada", "You said: I am Ada"),
            ("/new", "new conversation"),
            # the scripted model refuses to answer without the name
            ("who am I?", "422"),
            ("/nonsense", "there is no /nonsense"),
            ("/help", "/title TEXT"),
        ]:
            terminal.until("> ")
            terminal.type(f"{typed}\n")
            terminal.until(shown)
        terminal.until("> ")
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_each_line_of_a_pipe_is_a_message_of_one_conversation(real):
    ran = real.run("chat", stdin="I am Ada\n\nwho am I?")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "You said: I am Ada\nYou are Ada.\n", "")


def test_a_program_talks_in_json_lines(real):
    ran = real.run("chat", "--json", stdin="I am Ada\nrefused\n")
    assert ran.returncode == 1
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    pieces = [line["piece"] for line in lines if "piece" in line]
    [answer] = [line["answer"] for line in lines if "answer" in line]
    [error] = [line["error"] for line in lines if "error" in line]
    assert "".join(pieces) == "You said: I am Ada" == answer["outputs"][0]["metadata"]["content"]
    assert answer["state"] == "done"
    assert error["code"] == "model_refused"


def test_an_answer_cannot_act_on_the_terminal(real):
    # Given a model whose answer is full of terminal sequences
    # When it is shown in every way there is
    with real.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("be hostile\n")
        terminal.until("\tfine")
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert "[31mred31moverback" in terminal.seen
    chatted = real.run("chat", stdin="be hostile\n")
    assert chatted.stdout == PLAIN + "\n"
    sent = real.run("send", "be hostile")
    assert PLAIN in sent.stdout
    followed = real.shell("", "| sed '/back fine/q'", "tail")  # sed leaves with the line, and tail with it
    assert "[31mred31moverback fine" in followed.stdout
    refused = real.run("chat", stdin="refused\n")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    # Then no way lets anything through
    for shown in (terminal.seen, chatted.stdout, sent.stdout, followed.stdout, refused.stderr):
        assert not has_control_characters(shown), shown


def test_tail_ends_quietly_when_nobody_reads_any_more(real):
    # Given a log that does not grow, so that no further line is written
    real.run("send", "for the log")
    ran = real.shell("", "| head -1; exit ${PIPESTATUS[0]}", "tail", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["seq"] == 1


def test_the_tree_of_an_answer_is_drawn(real):
    sent = json.loads(real.run("send", "hello", "--json").stdout)
    # When it is followed to its end
    drawn = real.run("events", "tree", sent["id"], "--follow")
    # Then the response hangs below the message
    assert (drawn.returncode, drawn.stderr) == (0, "")
    first, second = drawn.stdout.strip().splitlines()
    assert first.startswith("llm.chat done")
    assert second.startswith("└── llm.chat.response done")
    listed = json.loads(real.run("events", "tree", sent["id"], "--json").stdout)
    assert [each["type"] for each in listed] == ["llm.chat", "llm.chat.response"]
    # And of what is not there, one line says so
    missing = real.run("events", "tree", "nothing")
    assert missing.returncode == 1
    assert "no such event" in missing.stderr


@pytest.mark.parametrize("command", [("events",), ("events", "--json"), ("doctor",), ("doctor", "--json")])
def test_other_commands_end_quietly_too(real, command):
    ran = real.shell("", "| true; exit ${PIPESTATUS[0]}", *command)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_tail_shows_what_comes(real):
    # Given somebody who follows the log from its end
    head = json.loads(real.run("events", "--json", "--limit", "200").stdout)["events"]
    after = str(head[-1]["seq"]) if head else "0"
    follower = subprocess.Popen(
        real.command("tail", "--after", after, "--type", "llm.chat.response", "--json"),
        stdout=subprocess.PIPE, text=True, env=clean_environment(),
    )  # fmt: skip
    # When something is said
    sent = json.loads(real.run("send", "into the log", "--json").stdout)
    # Then they see the answer and nothing else, at once
    assert follower.stdout
    seen = json.loads(follower.stdout.readline())
    assert (seen["type"], seen["cause"]) == ("llm.chat.response", sent["id"])
    # And Ctrl-C ends it as it ends any program
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    follower.stdout.close()


def test_tail_shows_runs_while_they_go_on(real):
    # Given an image that holds a shell, and somebody who follows the log live and has seen something already
    make_image(real.data / "images" / "shell", {"/bin/sh": "/bin/sh", "/bin/sleep": "/bin/sleep"})
    follower = subprocess.Popen(
        real.command("tail", "--live"), stdout=subprocess.PIPE, text=True, env=clean_environment()
    )
    assert follower.stdout
    sent = json.loads(real.run("send", "before the run", "--json").stdout)
    lines = iter(follower.stdout.readline, "")
    assert any(sent["id"] in line for line in lines)
    # When a run prints something, and goes on
    script = "printf 'half a '; sleep 0.1; printf 'line\\033[31m\\n'; sleep 600"
    with real.client() as client:
        task = client.send(
            "worker.task", {"image": "shell", "command": ["/bin/sh", "-c", script], "network": "none"}
        )
        # Then they see where it stands, and each line once it is whole, without what a terminal would act on
        seen = []
        for line in lines:
            seen.append(line)
            if "half a line" in line:
                break
        [started] = [line.split()[1] for line in seen if line.endswith("  starting\n")]
        assert seen[-1] == f"run {started} | half a line[31m\n"
        client.cancel(task["id"])
    assert any("worker.task.result" in line for line in lines)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    follower.stdout.close()


def test_doctor_speaks_json(real):
    ran = real.run("doctor", "--json")
    findings = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {"python", "sqlite", "ingress"} <= {finding["part"] for finding in findings}
    assert {finding["verdict"] for finding in findings} <= {"ok", "missing", "wrong"}


def examined(real, **settings: str) -> dict[str, dict]:
    """Ask the doctor, and give what it found by part."""
    ran = CliRunner().invoke(
        app, ["doctor", "--json", "--url", real.url, "--data", str(real.data)], env=settings
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.exit_code == any(finding["verdict"] == "wrong" for finding in found)
    return {finding["part"]: finding for finding in found}


def test_doctor_tries_the_sandbox_and_names_what_its_network_needs(real, tmp_path):
    # Given a machine whose sandbox works, without slirp4netns
    (tmp_path / "bin").mkdir()
    without = {"PATH": str(tmp_path / "bin")}
    # When the doctor looks, then the network of runs is missing, and nothing is wrong
    found = examined(real, **without)
    assert found["sandbox"]["verdict"] == "ok", found["sandbox"]
    assert found["network"]["verdict"] == "missing"
    assert "slirp4netns" in found["network"]["detail"]
    # And nothing is missing where runs are to have none, or it is installed
    assert "network" not in examined(real, **without, LIGHTNING_SANDBOX_NETWORK="none")
    (tmp_path / "bin" / "slirp4netns").symlink_to("/bin/true")
    assert examined(real, **without)["network"]["verdict"] == "ok"


def test_doctor_says_that_a_sandbox_cannot_be_made(real):
    # Given a user who may make no user namespaces
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces &&"
    asked = real.command("doctor", "--json")
    ran = run(["unshare", "--user", "--map-root-user", "bash", "-c", f'{forbid} "$@"', "bash", *asked])
    # When the doctor looks, then it is wrong, in words that say what is needed
    [found] = [each for each in map(json.loads, ran.stdout.splitlines()) if each["part"] == "sandbox"]
    assert (ran.returncode, found["verdict"]) == (1, "wrong")
    assert "user namespaces" in found["detail"]


@pytest.mark.parametrize(
    ("part", "place"),
    [
        pytest.param("data", "a file", id="file"),
        pytest.param("data", "a file/data", id="below-a-file"),
        pytest.param("disk", "taken", id="the-probe-cannot-be-written"),
    ],
)
def test_doctor_finds_fault_with_what_can_be_no_data_directory(real, tmp_path, part, place):
    # Given a file where the data directory is to be, or above it, or a directory where no file can be made
    (tmp_path / "a file").write_text("x")
    (tmp_path / "taken" / ".doctor").mkdir(parents=True)
    # When the doctor looks
    ran = CommandLine(real.url, tmp_path / place).run("doctor", "--json")
    # Then it says what to do, and has looked at the rest as well
    findings = {finding["part"]: finding for finding in map(json.loads, ran.stdout.splitlines())}
    assert (ran.returncode, ran.stderr) == (1, "")
    assert findings[part]["verdict"] == "wrong"
    assert "LIGHTNING_DATA" in findings[part]["detail"]
    assert findings["ingress"]["verdict"] == "ok"


@pytest.mark.parametrize(
    "command",
    [("send", "hi"), ("tail",), ("chat",), ("conversations", "list")],
)
def test_nobody_there_is_one_line(real, command):
    ran = CommandLine(f"http://127.0.0.1:{free_port()}", real.data).run(*command)
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert "lightning up" in line


def test_a_directory_without_an_installation_is_one_line(real, tmp_path):
    ran = CommandLine(real.url, tmp_path).run("send", "hi")
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert "--data" in line
    # nothing is made there
    assert list(tmp_path.iterdir()) == []


def test_another_installations_directory_is_one_line(real, tmp_path):
    (tmp_path / "first_user.json").write_text(json.dumps({"username": "first", "password": "of another"}))
    ran = CommandLine(real.url, tmp_path).run("send", "hi")
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert "--data" in line


def test_a_first_user_whose_password_was_changed_is_told_so_and_logs_in_with_the_new_one(real, tmp_path):
    # Given a file with a password that is not the account's any more
    kept = tmp_path / "first_user.json"
    kept.write_text(json.dumps({"username": "first", "password": "the old one"}))
    here = CommandLine(real.url, tmp_path)
    # When a command is given, then it says what is wrong, and what to do
    said = here.run("events").stderr
    assert said.count("\n") == 1
    assert f"is not the one in {kept}" in said
    assert "lightning login --password-stdin" in said
    # And when that is done, then commands go on with it
    _, password = first_user(real.data)
    assert here.run("login", "--password-stdin", stdin=f"{password}\n").stdout == "first is logged in\n"
    assert here.run("events").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ("schedule", "create", "hi", "--every", "nan"),
        ("schedule", "create", "hi", "--every", "1e400"),
        ("schedule", "change", "of-mine", "--jitter", "inf"),
        ("runs", "start", "echo", "--timeout", "nan"),
        ("runs", "start", "echo", "--input", '{"a": NaN}'),
        ("runs", "start", "echo", "--input", "1e999"),
        ("runs", "start", "echo", "--input", r'"\ud800"'),
        ("send", "half \udcff"),
        ("runs", "show", "\udcff"),
        ("repos", "put", "mine", "a", "pyproject.toml", "-m", "\udcff"),
    ],
)
def test_what_cannot_be_sent_is_one_line(real, command):
    ran = real.run(*command)
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert "NaN, infinity or half a character" in line


@pytest.mark.parametrize(
    "command",
    [
        ("chat", "--model", "m", "--conversation", "c"),
        ("tail", "--after", "-1"),
        ("cancel",),
        ("nonsense",),
        ("runs", "start", "echo", "--input", "[" * 5000),
        ("schedule", "create", "[" * 5000, "--type", "worker.task", "--every", "60"),
    ],
)
def test_wrong_use_is_a_status_of_its_own(real, command):
    ran = real.run(*command)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def runs_of(real) -> list[dict]:
    return json.loads(real.run("runs", "list", "--json").stdout)["runs"]


def test_runs_are_started_listed_shown_read_and_cancelled(real):
    # When somebody has the echo run
    before = runs_of(real)
    started = real.run("runs", "start", "echo", "--input", '{"text": "a\\u001b[31mb"}', "--network", "none")
    # Then they see what it printed, without what a terminal would act on
    assert (started.returncode, started.stderr) == (0, "")
    assert '{"text": "a\\u001b[31mb"}' in started.stdout
    assert not has_control_characters(started.stdout)
    # And the run is listed and shown, with its log
    [run] = [each for each in runs_of(real) if each not in before]
    assert run["id"] in real.run("runs", "list").stdout
    shown = real.run("runs", "show", run["id"]).stdout
    assert "succeeded" in shown
    assert run["taskID"] in shown
    # and with what it said came of it
    assert json.loads(real.run("runs", "show", run["id"], "--json").stdout)["result"]["output"] == {
        "text": "a\x1b[31mb"
    }
    assert "\\u001b" in shown
    for arguments in ([], ["--follow"]):
        log = real.run("runs", "logs", run["id"], *arguments)
        assert log.stdout.startswith("I am echo")
    assert json.loads(real.run("runs", "logs", run["id"], "--json").stdout)["run"] == run["id"]
    # And one that is over is neither told anything nor cancelled, which is one line
    for arguments in (["tell", run["id"], "x"], ["cancel", run["id"]]):
        refused = real.run("runs", *arguments)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    # And one that failed says so
    failed = real.run("runs", "start", "nobody", "--network", "none")
    assert failed.returncode == 1
    assert "exit code 64" in failed.stdout


def ran(real, *arguments, stdin=""):
    """Run a command in this process, which is quicker; what it raises is printed by `lightning` itself."""
    return CliRunner().invoke(app, [*arguments, "--url", real.url, "--data", str(real.data)], input=stdin)


def test_a_repository_is_worked_with(real, tmp_path):
    # Given somebody who makes a repository
    assert ran(real, "repos", "create", "notes").stdout.startswith("made notes ")

    # When they put files there, from a pipe and from a file
    put = ran(real, "repos", "put", "notes", "deep/today.md", "-m", "Say hello", stdin=HOSTILE)
    assert put.stdout.startswith("committed ")
    (tmp_path / "x.bin").write_bytes(b"\x00\xff")
    assert ran(real, "repos", "put", "notes", "x.bin", str(tmp_path / "x.bin")).exit_code == 0
    assert ran(real, "repos", "put", "notes", "x.bin", str(tmp_path / "x.bin")).stdout.startswith(
        "unchanged "
    )

    # Then they find them again in every way
    assert [line.split() for line in ran(real, "repos", "files", "notes").stdout.splitlines()] == [
        [str(len(HOSTILE.encode())), "deep/today.md"],
        ["2", "x.bin"],
    ]
    assert ran(real, "repos", "cat", "notes", "deep/today.md").stdout_bytes.decode() == HOSTILE
    log = ran(real, "repos", "log", "notes")
    assert [line.rpartition(": ")[2] for line in log.stdout.splitlines()] == ["Write x.bin", "Say hello"]
    found = ran(real, "repos", "search", "notes", "FINE", "-i")
    assert found.stdout == "deep/today.md:2: \tfine\n"
    assert ran(real, "repos", "search", "notes", "nowhere").exit_code == 1
    first = json.loads(ran(real, "repos", "log", "notes", "--json").stdout)["commits"][-1]["id"]
    diff = ran(real, "repos", "diff", "notes", first)
    assert "+++ b/deep/today.md" in diff.stdout
    shown = json.loads(ran(real, "repos", "show", "notes", "--json").stdout)
    assert shown["name"] == "notes"

    # And nothing that they print acts on a terminal
    assert not has_control_characters(found.stdout + diff.stdout + log.stdout)

    # And the history leaves as a bundle that git takes
    bundle = tmp_path / "notes.bundle"
    assert ran(real, "repos", "bundle", "notes", str(bundle)).exit_code == 0
    subprocess.run(["git", "clone", "-q", str(bundle), str(tmp_path / "clone")], check=True, timeout=100)
    assert (tmp_path / "clone/x.bin").read_bytes() == b"\x00\xff"
    assert ran(real, "repos", "bundle", "notes", str(bundle), "--load").stdout.startswith("unchanged ")

    # And a file goes, and so does the repository
    assert ran(real, "repos", "rm", "notes", "x.bin").stdout.startswith("committed ")
    refused = ran(real, "repos", "rm", "notes", "x.bin")
    assert isinstance(refused.exception, ClientError)
    assert refused.exception.code == "no_such_file"
    assert ran(real, "repos", "revert", "notes", "run-1").exception.code == "nothing_to_revert"
    assert ran(real, "repos", "delete", "notes").exit_code == 0
    assert json.loads(ran(real, "repos", "list", "--json").stdout) == []


def test_a_schedule_is_worked_with(real):
    # Given a schedule that somebody makes
    made = ran(real, "schedule", "create", HOSTILE, "--cron", "@daily", "--timezone", "Europe/Berlin")
    assert made.exit_code == 0, made.output
    made_id = made.stdout.split()[1]
    assert len(made.stdout.splitlines()) == 6
    # When they look at it, and have it fire
    shown = ran(real, "schedule", "show", made_id)
    fired = ran(real, "schedule", "run", made_id)
    assert fired.stdout.startswith("fired ")
    assert ran(real, "schedule", "pause", made_id).stdout == "paused\n"
    listed = ran(real, "schedule", "list")
    assert listed.stdout.count("0 0 * * *") == 1
    assert ran(real, "schedule", "resume", made_id).stdout.startswith("active 20")
    again = ran(
        real, "schedule", "backfill", made_id, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "--json"
    )
    assert json.loads(again.stdout)["type"] == "schedule.backfill"
    # Then what they see acts on no terminal
    assert not has_control_characters(shown.stdout + listed.stdout)
    told = json.loads(ran(real, "schedule", "show", made_id, "--json").stdout)
    assert "fired" in {each["outcome"] for each in told["fires"]}
    # And what is named of it changes
    changed = ran(
        real,
        "schedule",
        "change",
        made_id,
        "--every",
        "PT15M",
        "--catch-up-window",
        "60",
        "--content",
        "anew",
    )
    assert changed.stdout.startswith(f"changed {made_id}\n  20")
    told = json.loads(ran(real, "schedule", "show", made_id, "--json").stdout)
    assert (
        told["every"],
        told["cron"],
        told["catchUpWindow"],
        told["timezone"],
        told["event"]["metadata"],
    ) == (
        *(900, None, 60, "Europe/Berlin"),
        {"content": "anew"},
    )
    # And what is wrong is one error, and what is deleted is gone
    refused = ran(real, "schedule", "create", "x", "--cron", "0 0 30 2 *")
    assert "never comes" in str(refused.exception)
    assert ran(real, "schedule", "create", "x", "--every", "60", "--type", "worker.task").exit_code == 2
    assert ran(real, "schedule", "delete", made_id).exit_code == 0
    assert ran(real, "schedule", "show", made_id).exception.code == "not_found"


def test_lists_never_cut_what_the_next_command_needs(real):
    # Given a conversation with a long id and title, as a client may choose them, and a schedule
    conversation = "a-conversation-that-its-client-has-given-a-long-id-" + "x" * 60
    said = ran(real, "send", "I am Ada, " * 20, "--conversation", conversation)
    assert said.exit_code == 0, said.output
    event = said.stdout.split()[2]
    made = ran(real, "schedule", "create", "something " * 10, "--cron", "0 9 * * 1-5", "--timezone", "UTC")
    assert made.exit_code == 0, made.output
    [schedule] = json.loads(ran(real, "schedule", "list", "--limit", "1", "--json").stdout)["schedules"]
    # When they are listed where there is no room, as in a pipe
    lists = [ran(real, *command).stdout for command in (("events",), ("conversations", "list"))]
    fires = ran(real, "schedule", "list").stdout
    # Then the ids are whole, and so is the moment when something fires
    assert [event in lists[0], conversation in lists[1]] == [True, True]
    assert schedule["nextFires"][0] in fires
    assert schedule["id"] in fires


def test_a_person_is_shown_exactly_what_they_approve(real):
    # Given a model that wants to do what its user must agree to
    with real.client() as client:
        tools = [{"name": "send_message", "approval": "always"}]
        conversation = client.create_conversation(tools=tools)["id"]
        client.wait(client.send("llm.chat", {"content": "tell me", "conversationID": conversation}))
        [approval] = json.loads(real.run("approvals", "list", "--json").stdout)["approvals"]
        # When they are asked
        asked = real.run("approvals", "approve", approval["id"], stdin="y\n")
        # Then they see all of it, and nothing that a terminal acts on
        assert asked.returncode == 0, asked.stderr
        assert f"arguments: {json.dumps(approval['arguments'])}\n" in asked.stdout
        assert asked.stdout.endswith("approved\n")
        assert not has_control_characters(asked.stdout)
        # And the other way to say it comes too late
        late = real.run("approvals", "refuse", approval["id"], "--hash", approval["hash"])
        assert (late.returncode, "approved already" in late.stderr) == (1, True)
        assert real.run("approvals", "show", approval["id"]).stdout.count("state: approved") == 1
        assert approval["id"] in real.run("approvals", "list", "--all").stdout


def test_the_audit_is_written_in_every_way(real):
    # Given an answer that is full of terminal sequences, and somebody's own name for where it came from
    sent = json.loads(real.run("send", "be hostile", "--json").stdout)
    with real.client() as client:
        formula = client.send("user.message", {"content": "x"}, source="=cmd|' /c calc'!a1\x1b[31m")
        client.wait(formula)
    # When they ask what it caused, for programs
    told = [json.loads(line) for line in ran(real, "audit", sent["id"]).stdout.splitlines()]
    assert [record["kind"] for record in told] == ["event", "event", "model_call"]
    assert told[2]["eventID"] == told[1]["eventID"] != sent["id"] == told[0]["eventID"]
    assert (told[2]["inputTokens"] > 0, told[2]["outputTokens"] > 0) == (True, True)
    # for a spreadsheet
    table = ran(real, "audit", "first", "--since", "1h", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert {record["eventID"] for record in told} <= {row["eventID"] for row in rows}
    [message] = [row for row in rows if row["eventID"] == formula["id"]]
    assert message["by"] == "'=cmd|' /c calc'!a1[31m"
    # and for themselves
    shown = ran(real, "audit", formula["id"], "--format", "table").stdout
    assert "user.message done" in shown
    # Then nothing of it acts on a terminal, and of what is not there one error says so
    assert not has_control_characters(table + shown)
    assert ran(real, "audit", "nobody-at-all").exception.status == 404
    # an id that is no event's may be a user's
    assert ran(real, "audit", client.user_id).exit_code == 0
    assert "give a date" in str(ran(real, "audit", "--since", "never").exception)


def test_a_trace_tells_what_waited_and_what_it_cost(real, monkeypatch):
    def drawn(named):
        return CliRunner().invoke(app, ["trace", named, "--data", str(real.data)])

    # Given an answer of a model that has a price
    sent = json.loads(real.run("send", "hello there", "--json").stdout)
    [call] = [
        each for line in ran(real, "audit", sent["id"]).stdout.splitlines()
        if (each := json.loads(line))["kind"] == "model_call"
    ]  # fmt: skip
    monkeypatch.setenv("LIGHTNING_MODEL_PRICES", json.dumps({call["name"]: {"input": 1e6, "output": 1e6}}))
    # When its spans have been written
    cost = f"models: calls 1, tokens {call['inputTokens']} + {call['outputTokens']}, $"
    until(lambda: cost in drawn(sent["id"]).stdout, "the trace is told", seconds=30)
    # Then the waterfall tells how long messages waited, too
    shown = drawn(sent["id"]).stdout
    assert "ms queued" in shown.splitlines()[0]
    # And its own id shows the trace, too; of what is not there, or is no text, one error says so
    trace_id = shown.split()[1]
    assert cost in drawn(trace_id.upper()).stdout
    for not_there in ("0" * 32, "\udcff"):
        assert "there is no trace" in str(drawn(not_there).exception)
    # and for a program it is beside each span
    spans = json.loads(
        CliRunner().invoke(app, ["trace", trace_id, "--data", str(real.data), "--json"]).stdout
    )
    assert [span["dollars"] for span in spans if span["dollars"] is not None] == [
        call["inputTokens"] + call["outputTokens"]
    ]
    assert any(span["queued_ns"] is not None for span in spans)
