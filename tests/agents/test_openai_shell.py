"""The shell agent without a sandbox: what it reads, what it keeps, and how it ends when it must."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents.brief import Order, has_network
from agents.dialogue import Call, Dialogue, Reply, read
from agents.kept import Kept, shorten
from agents.shell import Shell, commands_environment
from agents.tools import arguments_of, seconds_of
from ops.chaos.installation import until
from tests.agents.test_entry import agent
from tests.architecture.tree import ROOT


def completion(*calls, content=None):
    made = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for number, (name, given) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content, "tool_calls": made}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def there(platform):
    return {
        "LIGHTNING_API_URL": f"http://127.0.0.1:{platform.server_port}",
        "LIGHTNING_RUN_TOKEN": "the-token",
        "PATH": os.environ["PATH"],
    }


MODELS = (200, {"data": [{"id": "usual"}, {"id": "other"}]})


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("Do it.", Order("Do it.")),
        ({"prompt": "Do it.", "model": None}, Order("Do it.")),
        ({"prompt": "Do it.", "model": "m", "turns": 7}, Order("Do it.", "m", 7)),
    ],
)
def test_an_order_is_a_text_or_has_one(given, order):
    assert Order.read(given) == order


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "nothing to do"),
        (" ", "nothing to do"),
        (["Do it."], "nothing to do"),
        ({"prompt": 3}, "nothing to do"),
        ({"prompt": "x", "model": 3}, "`model`"),
        ({"prompt": "x", "turns": 0}, "`turns`"),
        ({"prompt": "x", "turns": True}, "`turns`"),
        ({"prompt": "x", "sudo": True}, "sudo"),
    ],
)
def test_another_order_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Order.read(given)


def test_of_an_output_the_begin_and_the_end_are_kept():
    kept = Kept(10)
    for piece in (b"", b"abc", b"defg", b"hijklmnop"):
        kept.add(piece)
    assert kept.text() == "abcde\n[6 bytes of 16 left out here]\nlmnop"
    whole = Kept(16)
    whole.add(b"abcdefghijklmnop")
    assert (whole.text(), whole.dropped) == ("abcdefghijklmnop", 0)
    assert shorten("abcdefghijklmnop", 11) == "abc ... nop"


def test_a_dialogue_keeps_the_task_and_the_latest_turn():
    # Given three turns, of which one fits
    dialogue = Dialogue("system", "task", most_chars=3000)
    for number in range(3):
        call = Call(f"c{number}", "bash", json.dumps({"command": "x" * 900}))
        dialogue.reply(Reply("", [call], is_cut=False, prompt_tokens=0, completion_tokens=0))
        dialogue.result(call, f"{number}" * 900)
    messages = dialogue.messages()
    # Then the older ones are short, and each call still has its result
    assert [each["role"] for each in messages] == ["system", "user", *["assistant", "tool"] * 3]
    assert messages[1]["content"] == "task"
    assert "left out" in messages[3]["content"]
    assert "left_out" in messages[2]["tool_calls"][0]["function"]["arguments"]
    assert messages[7]["content"] == "2" * 900
    # And when the model takes no more, what is left of it is shortened, to an end
    dialogue.result(call, "4" * 5000)
    while dialogue.shrink():
        pass
    latest, longest = (each["content"] for each in dialogue.messages()[7:])
    assert latest == "2" * 900
    assert longest.startswith("444")
    assert " ... " in longest
    assert len(longest) <= 1000


def test_calls_without_an_id_of_their_own_get_one():
    answer = completion(("bash", {}), ("bash", {}), ("bash", {}))
    for call, given in zip(answer["choices"][0]["message"]["tool_calls"], ["", "c", "c"], strict=True):
        call["id"] = given
    assert [call.id for call in read(answer, 4).calls] == ["call-4-0", "c", "call-4-2"]


def test_a_command_may_take_as_long_as_is_said_within_bounds():
    for given, seconds in [("7.5", 7.5), ("0", 1), ("-1e999", 1), ("NaN", 1), ("1e999", 1800)]:
        arguments = f'{{"command": "true", "timeout_seconds": {given}}}'
        assert seconds_of(arguments_of("bash", arguments)) == seconds
    assert seconds_of(arguments_of("bash", '{"command": "true"}')) == 120


def test_commands_get_no_variable_of_the_platform():
    given = {
        "LIGHTNING_RUN_TOKEN": "t0ken",
        "lightning_api_url": "http://127.0.0.1",
        "OPENAI_API_KEY": "t0ken",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20t0ken",
        "THEIR_COPY": "Bearer t0ken",
        "PYTHONPATH": "/opt/lightning",
        "HOME": "/workspace",
        "PATH": "/bin",
        "COLOR": "blue",
    }
    got = commands_environment(given)
    assert (got["HOME"], got["COLOR"], got["PATH"].split(":")[0]) == ("/workspace", "blue", "/bin")
    assert "t0ken" not in json.dumps(got)
    assert not got.keys() & (given.keys() - {"HOME", "COLOR", "PATH"})


def test_a_way_out_is_a_route(tmp_path):
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\tGateway\n")
    assert not has_network(routes)
    routes.write_text("Iface\tDestination\tGateway\ntap0\t00000000\t0202000A\n")
    assert has_network(routes)
    assert has_network(tmp_path / "unknown")


def test_what_a_command_left_behind_is_ended(tmp_path):
    shell = Shell(tmp_path, {"PATH": os.environ["PATH"]}, most_bytes=1000)
    ran = shell.run("sleep 600 > /dev/null 2>&1 & echo $!; exec sleep 0.1", timeout_seconds=60)
    left = int(ran.output)
    assert (ran.exit_code, ran.left_open, Path(f"/proc/{left}").exists()) == (0, False, True)
    shell.close()
    until(lambda: is_over(left), "it is ended")


def is_over(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_without_a_platform_or_a_model_it_says_so(platform):
    ran = agent("openai_shell", task='{"input": "Do it."}')
    assert (ran.returncode, ran.stdout.count("no run API")) == (69, 1)
    platform.answers += [(200, {"data": [{"id": "echo"}, {"id": "usual"}]}), *[(200, {})] * 5]
    ran = agent("openai_shell", task='{"input": "Do it."}', **there(platform))
    assert (ran.returncode, ran.stdout) == (69, "No language model is set up here, only an echo.\n")


@pytest.mark.parametrize("code", ["model_not_configured", "model_quota_exhausted"])
def test_a_model_that_only_an_operator_can_mend_is_not_asked_again(platform, code):
    platform.answers += [MODELS, (502, {"code": code, "detail": "there is no key"}), *[(200, {})] * 5]
    ran = agent("openai_shell", task='{"input": "Do it."}', **there(platform))
    assert (ran.returncode, ran.stdout) == (69, "The model did not answer: there is no key\n")
    assert platform.requests[-1][3]["output"]["outcome"] == "model_unavailable"


def test_it_ends_when_it_loses_its_right(platform, tmp_path):
    # Given a platform that takes no progress any more after the first command
    answer = completion(("bash", {"command": f"touch {tmp_path}/first"}))
    platform.answers += [MODELS, (200, answer), (401, {"code": "invalid_token", "detail": "the run is over"})]
    ran = agent("openai_shell", task='{"input": "Do it."}', **there(platform))
    # Then that was the last thing that it did
    assert ran.returncode == 77
    assert ran.stdout.endswith("The run may not go on: the run is over\n")
    assert (tmp_path / "first").exists()
    assert platform.answers == []
    asked = platform.requests[1]
    assert asked[:3] == ("POST", "/v1/chat/completions", "Bearer the-token")
    assert asked[3]["model"] == "usual"


def test_when_it_is_told_to_end_its_command_ends_too(platform, tmp_path):
    platform.answers += [
        MODELS,
        (200, completion(("bash", {"command": f"echo $$ > {tmp_path}/pid; sleep 600"}))),
    ]
    environment = {**there(platform), "PYTHONPATH": str(ROOT), "LIGHTNING_TASK": '{"input": "Do it."}'}
    command = [sys.executable, "-S", "-m", "agents", "openai_shell"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it works", seconds=60)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 143
        running.communicate()
    until(lambda: is_over(int((tmp_path / "pid").read_text())), "the command is ended")
