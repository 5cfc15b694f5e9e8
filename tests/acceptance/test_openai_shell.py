"""The shell agent in the real sandbox, with a scripted model behind the platform's gateway."""

import json
import time

import pytest

from lightning.shim import folder
from lightning.telemetry.spans import SpanStore
from ops.chaos.installation import Installation, ModelServer, until
from ops.eval.judging import judge
from ops.eval.running import run
from ops.eval.scenario import SHIPPED, read

pytestmark = pytest.mark.timeout(240)

SETTINGS = {"LIGHTNING_CLAIM_SECONDS": "2", "LIGHTNING_SWEEP_SECONDS": "1", "LIGHTNING_THREADS": "4"}

SMALL = {"cpu": 1, "memoryMiB": 256, "diskMiB": 16, "pids": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with ModelServer(tmp_path_factory.mktemp("model")) as model:
        yield model


@pytest.fixture(scope="module")
def running(model, tmp_path_factory):
    settings = {**SETTINGS, **model.environment(), "OPENAI_MODELS": "other-model"}
    with Installation(tmp_path_factory.mktemp("shell") / "data", settings) as installation:
        yield installation


@pytest.fixture(scope="module")
def client(running):
    with running.user("ada") as client:
        yield client


def bash(command, **arguments):
    return {"name": "bash", "arguments": {"command": command, **arguments}}


def finish(summary, *, succeeded=True):
    return {"name": "finish", "arguments": {"succeeded": succeeded, "summary": summary}}


def calls(*made, **step):
    """One answer of the model, which calls tools; what it must have been told stands in ``require``."""
    return {"tool_calls": list(made), "times": 1, **step}


class Done:
    """A task that is over: what its result says, and what the model was asked."""

    def __init__(self, event, result, asked):
        self.event, self.result, self.asked = event, result, asked
        self.said = result["result"]

    def told(self, request=-1):
        """Give the outputs that the model was last told, oldest first."""
        return [each["content"] for each in self.asked[request]["messages"] if each["role"] == "tool"]


def post(client, model, script, input="Do it.", **task):
    assert model.control.post("/control/script", json=script).status_code == 200
    model.control.delete("/control/requests")
    asked = {"agent": "openai_shell", "input": input, "network": "none", "resources": SMALL}
    return client.send("worker.task", {**asked, **task})


def over(client, model, event):
    ended = client.wait(event, timeout_seconds=120)
    [result] = [each["metadata"] for each in ended["outputs"] if each["type"] == "worker.task.result"]
    requests = model.control.get("/control/requests").json()["requests"]
    return Done(event, result, [each["body"] for each in requests])


def work(client, model, script, input="Do it.", **task):
    return over(client, model, post(client, model, script, input, **task))


def test_it_works_mends_its_mistake_and_commits(running, client, model):
    # Given a repository, and a model whose first command fails, and which is told so
    client.create_repository("numbers")
    client.write_file("numbers", "numbers.txt", b"3\n1\n2\n")
    script = [
        calls(bash("sort numbers.tx > sorted.txt"), require=["Sort the numbers.", "There is no network"]),
        calls(
            bash("ls; sort numbers.txt > sorted.txt && cat sorted.txt"),
            require=["exit code 2", "No such file or directory"],
        ),
        calls(finish("sorted"), require=["exit code 0", "numbers.txt\nsorted.txt\n1\n2\n3"]),
    ]
    done = work(client, model, script, "Sort the numbers.", repo="numbers")
    # Then it is done, in one commit
    assert done.result["status"] == "succeeded", done.result
    assert done.said["outcome"] == "finished"
    assert (done.said["summary"], done.said["turns"], done.said["commands"]) == ("sorted", 3, 2)
    assert client.read_file("numbers", "sorted.txt") == b"1\n2\n3\n"
    assert client.repository("numbers")["commit"] == done.result["commit"]

    # And its run tells each command, with its exit code and what it printed
    reported = client.run(done.result["runID"])
    first, second = (each["message"] for each in reported["progress"])
    assert first.startswith("$ sort numbers.tx > sorted.txt\n[exit code 2 after ")
    assert "No such file" in first
    assert second.endswith("sorted.txt\n1\n2\n3")
    metrics = {each["name"]: each["value"] for each in reported["metrics"]}
    assert (metrics["turns"], metrics["commands"]) == (3, 2)
    assert done.said["usage"] == {name: metrics[name] for name in ("prompt_tokens", "completion_tokens")}
    assert "$ sort numbers.tx > sorted.txt\n[exit code 2" in done.result["output"]

    # And the trace has a span for each, beside those of the model's calls, below the one of the agent
    store = SpanStore(running.data / "spans.db")

    def spans(name):
        traces = [store.trace(trace_id) for trace_id in store.traces_of_event(done.event["id"])]
        return [span for trace in traces for span in trace if span.name == name]

    until(lambda: len(spans("execute_tool bash")) == 2, "the spans of the commands are stored", seconds=60)
    until(lambda: len(spans("chat gpt-3.5-turbo")) == 3, "the spans of the model are stored", seconds=60)
    until(lambda: spans("invoke_agent openai_shell"), "the span of the agent is stored", seconds=60)
    [agent] = spans("invoke_agent openai_shell")
    failed, well = spans("execute_tool bash")
    assert {failed.parent_id, well.parent_id} == {agent.span_id}
    asked = spans("POST /v1/chat/completions")
    assert {span.parent_id for span in asked} == {agent.span_id}
    assert {span.parent_id for span in spans("chat gpt-3.5-turbo")} == {span.span_id for span in asked}
    assert (failed.status, failed.status_message, well.status) == ("error", "exit code 2", "ok")
    assert failed.attributes["gen_ai.tool.call.arguments"] == "sort numbers.tx > sorted.txt"
    assert failed.attributes["process.exit.code"] == 2
    assert "No such file" in failed.attributes["gen_ai.tool.call.result"]
    store.close()


#: Looks for a token wherever a process of the run's user can look, in memory too.
THIEF = r"""
import glob, os, re, urllib.request
token = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}")
found = [name for name, value in os.environ.items() if token.search(value.encode())]
looked = 0
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/task/*/environ"):
    try:
        found += [path] if token.search(open(path, "rb").read()) else []
    except OSError:
        pass
for path in glob.glob("/proc/[0-9]*/cmdline"):
    found += [path] if token.search(open(path, "rb").read()) else []
for maps in glob.glob("/proc/[0-9]*/maps"):
    if maps == f"/proc/{os.getpid()}/maps":
        continue
    try:
        with open(maps) as lines, open(maps[:-4] + "mem", "rb", 0) as memory:
            for line in lines:
                begin, end = (int(each, 16) for each in line.split()[0].split("-"))
                try:
                    memory.seek(begin)
                    found += [maps] if token.search(memory.read(end - begin)) else []
                    looked += 1
                except (OSError, OverflowError, ValueError):
                    pass
    except OSError:
        pass
for folder in ("/tmp", "/workspace", "/run", "/dev/shm"):
    for top, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(top, name)
            if os.path.isfile(path) and path != "/workspace/thief.py":
                found += [path] if token.search(open(path, "rb").read()) else []
try:
    found.append(urllib.request.urlopen("http://127.0.0.1:8000/run/task", timeout=20).status)
except urllib.error.HTTPError as error:
    refused = error.code
print("looked" if looked else "saw nothing", "refused", refused, "found", sorted(set(found)))
"""


def test_what_the_model_runs_cannot_read_the_token(client, model):
    # Given a model that was talked into looking for the token, beside a process that may be looked into
    script = [
        calls(bash("sleep 60 & python3 thief.py; kill %1")),
        calls(bash("env | grep -E -c '^(LIGHTNING|OPENAI|OTEL)_'; echo $HOME")),
        calls(finish("looked")),
    ]
    done = work(client, model, script, files={"thief.py": THIEF})
    # Then it finds none, and its requests are refused
    looked, environment = done.told()
    assert "looked refused 401 found []" in looked
    assert environment.endswith("\n0\n/workspace\n")
    assert "eyJ" not in json.dumps([done.asked, done.result, client.run(done.result["runID"])])


def test_what_a_model_does_wrongly_is_told_to_it(client, model):
    # Given a model that calls several tools at once, most of them wrongly, and then says nothing
    wrong = [
        {"name": "bash", "arguments": '{"command": "ls'},
        {"name": "python", "arguments": {"code": "1"}},
        {"name": "bash", "arguments": {"cmd": "ls"}},
        {"name": "bash", "arguments": ["ls"]},
        {"name": "bash", "arguments": {"command": "echo a\u0000b"}},
        bash("echo well"),
        bash("echo again", timeout_seconds="5"),
        *[bash("echo more")] * 10,
    ]
    script = [
        calls(*wrong),
        {"reply": "", "times": 1, "require": ["well"]},
        {"reply": "It is done.", "times": 1, "require": ["You said nothing."]},
    ]
    done = work(client, model, script)
    # Then each call was answered, and a text without a call ends it
    assert (done.result["status"], done.said["summary"]) == ("succeeded", "It is done.")
    told = done.told()
    assert len(told) == len(wrong)
    for said, expected in zip(
        told, ["no JSON", "no tool 'python'", "'command'", "object", "character"], strict=False
    ):
        assert expected in said
    assert told[5].endswith("]\nwell\n")
    assert "'timeout_seconds'" in told[6]
    assert told[15].endswith("]\nmore\n")
    assert "at a time" in told[16]
    assert done.said["commands"] == 10


def test_outputs_and_commands_have_bounds(client, model):
    # Given commands that print without end, print no text, wait for input, take too long, leave others behind
    script = [
        calls(
            bash("yes abcdefg | head -c 3000000; echo the end"),
            bash("head -c 5000 /dev/urandom"),
            bash("read answer; echo got $?"),
            bash("trap '' TERM; echo begun; sleep 600 & sleep 600", timeout_seconds=1),
            bash("(while sleep 0.1; do echo tick; done) & echo started"),
            bash("printf '\\033[31mred\\033[0m gr\\303\\274n\\n'; exit 3"),
            bash("kill -KILL $$"),
        ),
        calls(bash("pgrep -c sleep; setsid sleep 600 > /dev/null 2>&1 < /dev/null &"), finish("bounded")),
    ]
    begun = time.monotonic()
    done = work(client, model, script)
    assert time.monotonic() - begun < 100
    assert done.said["summary"] == "bounded"
    endless, binary, reads, slow, left, colored, killed = done.told()
    assert len(endless) < 17_000
    assert "bytes of 3000008 left out here]" in endless
    assert endless.endswith("the end\n")
    assert "[5000 bytes that are no text]" in binary
    assert reads.endswith("got 1\n")
    assert slow.startswith("[ended after 1 s, for it took too long]\nbegun")
    assert "goes on" in left.partition("\n")[0]
    assert "started" in left
    assert (colored[:12], colored.partition("\n")[2]) == ("[exit code 3", "red gr\u00fcn\n")
    assert killed.startswith("[exit code 137 ")


def test_a_spent_budget_ends_it(client, model):
    # Given a model that never ends, and costs 1,000 tokens each time
    usage = {"prompt_tokens": 900, "completion_tokens": 100}
    script = [{"tool_calls": [bash("echo on > on.txt")], "usage": usage}]
    client.create_repository("spent")
    client.write_file("spent", "a.txt", b"a")
    before = client.repository("spent")["commit"]
    done = work(client, model, script, budget={"tokens": 4000}, repo="spent")
    # Then it ends with a word for it, and nothing is committed
    assert (done.result["status"], done.result["exitCode"]) == ("failed", 75)
    assert done.said["outcome"] == "budget_exhausted"
    assert "budget of the task is spent" in done.result["output"].splitlines()[-1]
    assert done.said["commands"] == done.said["usage"]["completion_tokens"] / 100 > 0
    assert client.repository("spent")["commit"] == before


def test_it_ends_after_so_many_turns(client, model):
    done = work(client, model, [{"tool_calls": [bash("true")]}], {"prompt": "Go on.", "turns": 3})
    assert (done.result["exitCode"], done.said["outcome"]) == (75, "too_many_turns")
    assert len(done.asked) == 3


def test_wrong_input_is_refused_before_anything_is_done(client, model):
    done = work(client, model, [], {"promt": "Do it."})
    assert (done.result["exitCode"], done.said["outcome"]) == (65, "wrong_input")
    assert done.asked == []


def test_the_task_may_name_a_model(client, model):
    done = work(client, model, [calls(finish("done"))], {"prompt": "Do it.", "model": "other-model"})
    assert [each["model"] for each in done.asked] == ["other-model"]
    # And one that is not allowed is told to the user
    done = work(client, model, [], {"prompt": "Do it.", "model": "nobody"})
    assert (done.result["exitCode"], done.said["outcome"]) == (65, "wrong_input")
    assert "other-model" in done.said["summary"]


def test_when_the_model_takes_no_more_the_oldest_is_left_out(client, model):
    # Given a model that takes 3,000 words, and commands that print 2,000 each
    refuse = {"code": "context_length_exceeded", "message": "Too long."}
    script = [
        {"over_words": 3000, "status": 400, "error": refuse},
        calls(bash("seq 1 2000")),
        calls(bash("seq 2001 4000"), require=["1\n2\n3"]),
        calls(finish("read"), require=["Read all of it.", "2001\n2002"]),
    ]
    done = work(client, model, script, "Read all of it.")
    assert done.said["summary"] == "read", done.result
    first, second = done.told()
    assert "left out to save room" in first
    assert second.endswith("4000\n")


def test_a_running_platform_judges_scenarios_too(client, model):
    # Given a scenario that comes with `lightning eval`, and a platform with a model of its own
    [scenario] = read(SHIPPED / "01-write-a-file.toml")
    assert model.control.post("/control/script", json=scenario.steps()).status_code == 200
    model.control.delete("/control/requests")
    kept = client.repositories()
    # When it is run there, with another model, and by another agent
    came = run(client, scenario, model="other-model")
    assert judge(scenario, came) == []
    assert {each["body"]["model"] for each in model.control.get("/control/requests").json()["requests"]} == {
        "other-model"
    }
    assert client.run(came.run_id)["agent"] == "openai_shell"
    problems = judge(scenario, run(client, scenario, agent="echo"))
    # Then the echo does not pass, and nothing of either is left
    assert problems == ["hello.txt is missing", "nothing was committed"]
    assert client.repositories() == kept


def test_a_run_that_is_cancelled_ends(running, client, model):
    event = post(client, model, [{"tool_calls": [bash("sleep 600")]}])
    runs = lambda: [each for each in client.runs()["runs"] if each["taskID"] == event["id"]]  # noqa: E731
    until(lambda: runs() and "sleep" in client.run_log(runs()[0]["id"])["text"], "it works", seconds=100)
    [run] = [each for each in (running.data / "runs").iterdir() if folder.holder(str(each)) is not None]
    client.cancel(event["id"])
    until(lambda: runs()[0]["status"] == "cancelled", "it has ended", seconds=60)
    # Then nothing of it goes on
    until(lambda: folder.holder(str(run)) is None, "its processes are gone", seconds=60)
