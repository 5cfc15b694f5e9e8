"""Runs that work on a repository, from inside of a sandbox: what they change is one commit, and undone."""

import json
import re
import shutil

import pytest

from ops.chaos.installation import until
from tests.acceptance.images import interpreter, make_image
from tests.acceptance.running_up import Up
from tests.architecture.tree import ROOT
from tests.contract.repository_kits import git
from worker.agent_home import sandbox_agents

pytestmark = pytest.mark.timeout(300)

#: The ingress dies once, between the first commit of a run and its answer.
SETTINGS = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_CRASH_AT": "web/workspace:committed",
    "LIGHTNING_CLAIM_SECONDS": "2",
    "LIGHTNING_SWEEP_SECONDS": "1",
}

IMAGE = "registry.example/programs:1"

SMALL = {"cpu": 1, "memoryMiB": 256, "diskMiB": 16, "pids": 32}

PROGRAMS = ("bash", "curl", "tar", "mkdir")

#: The entry point as it starts agents by name, and one of a package that the task brings.
ENTRY = [sandbox_agents().words[0], "-S", "-B", "-m", "agents", "theirs"]

EDITOR = """
import pathlib


def run(task, api):
    if task["input"] == "wait":
        api.progress("It is here.")
        while not api.messages(wait_seconds=5):
            pass
    notes = pathlib.Path("notes.md")
    notes.write_text(notes.read_text() + "One more line.\\n")
    pathlib.Path("made").mkdir()
    pathlib.Path("made/by.txt").write_text(task["id"])
    return 0
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    data = tmp_path_factory.mktemp("workspace") / "data"
    programs = {f"/bin/{name}": path for name in PROGRAMS if (path := shutil.which(name))}
    make_image(data / "images" / IMAGE, {**programs, **interpreter()})
    running = Up(data, SETTINGS, anew=True)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(up):
    with up.client() as client:
        yield client


@pytest.fixture
def repo(client, request):
    """Give the name of a repository with one file."""
    name = re.sub(r"[^a-z-]+", "-", request.node.name)[:60].strip("-")
    client.create_repository(name)
    client.write_file(name, "notes.md", b"Notes.\n")
    return name


def post(client, command, repo, **asked):
    given = {"image": IMAGE, "command": command, "network": "none", "resources": SMALL, "repo": repo}
    return client.send("worker.task", {**given, **asked})


def edits(client, repo, **asked):
    """Post a task for the agent that edits, as one that is started by name."""
    files = {
        "theirs.py": EDITOR,
        "theirs-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n",
        "theirs-1.0.dist-info/entry_points.txt": "[lightning.agents]\ntheirs = theirs:run\n",
    }
    environment = {"PYTHONPATH": "/opt/lightning:/workspace"}
    return post(client, ENTRY, repo, files=files, environment=environment, **asked)


def result_of(client, event):
    over = client.wait(event, timeout_seconds=240)
    [result] = [each for each in over["outputs"] if each["type"] == "worker.task.result"]
    return result["metadata"]


def command(up, *words):
    """Run `lightning` as the first user."""
    return up.run(*words, "--url", up.url, "--data", str(up.data))


def cloned(client, repo, tmp_path):
    """Clone a repository from its bundle."""
    (tmp_path / "x.bundle").write_bytes(client.read_bundle(repo))
    git("clone", "-q", "x.bundle", "clone", cwd=tmp_path)
    return tmp_path / "clone"


def test_a_run_is_one_commit_though_the_ingress_dies_behind_it(up, client, repo, tmp_path):
    # Given an ingress that dies between a commit and its answer
    web = up.children("api.main")
    # When an agent edits a file of a repository
    event = edits(client, repo)
    result = result_of(client, event)
    # Then the ingress died
    assert (up.data / "crashed-web-workspace-committed").exists()
    assert up.children("api.main") != web
    # And the run succeeded with one commit, counted from outside, of what it changed alone
    assert result["status"] == "succeeded", result
    clone = cloned(client, repo, tmp_path)
    run = result["runID"]
    own = git("log", "--format=%H", f"--grep=^Lightning-Run: {run}$", cwd=clone).split()
    assert own == [result["commit"]]
    assert git("rev-list", "--count", "HEAD", cwd=clone).strip() == "2"
    trailers = git("log", "-1", "--format=%(trailers:key=Lightning-Event,valueonly)", cwd=clone).strip()
    assert trailers == event["id"]
    assert (clone / "notes.md").read_text() == "Notes.\nOne more line.\n"
    changed = git("show", "--format=", "--name-only", "HEAD", cwd=clone).split()
    assert changed == ["made/by.txt", "notes.md"]

    # And its run tells so, to programs and to people
    shown = client.run(run)
    assert (shown["commit"], shown["repo"]) == (result["commit"], result["repo"])
    assert shown["base"] == git("rev-parse", "HEAD~1", cwd=clone).strip()
    assert result["commit"] in command(up, "runs", "show", run).stdout

    # When it is undone, twice
    undone = command(up, "runs", "revert", run)
    assert undone.returncode == 0, undone.stderr
    again = json.loads(command(up, "runs", "revert", run, "--json").stdout)
    # Then one commit did so
    tip = client.repository(repo)["commit"]
    assert again == {"commit": tip, "created": False}
    assert tip in undone.stdout
    assert client.read_file(repo, "notes.md") == b"Notes.\n"
    assert len(client.repository_log(repo)["commits"]) == 3


def test_a_conflict_fails_the_run_and_nothing_is_overwritten(client, repo):
    # Given an agent that has its workspace, and waits
    event = edits(client, repo, input="wait")

    def here():
        return [run for run in client.runs()["runs"] if run["taskID"] == event["id"]]

    until(lambda: here() and client.run(here()[0]["id"])["progress"], "it has its workspace", seconds=120)
    # When somebody changes the same file before it goes on
    theirs = client.write_file(repo, "notes.md", b"Theirs.\n")["commit"]
    client.tell_run(here()[0]["id"], "go on")
    result = result_of(client, event)
    # Then the run fails, and says of which file
    assert (result["status"], result["exitCode"]) == ("failed", 73)
    assert "notes.md" in result["output"].splitlines()[-1]
    assert "commit" not in result
    assert client.repository(repo)["commit"] == theirs
    # And there is nothing to undo
    with pytest.raises(Exception, match="nothing") as refused:
        client.undo_run(result["runID"])
    assert refused.value.code == "nothing_to_revert"


def test_the_example_of_the_page_commits(client, repo):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    [program] = re.findall(r"```sh\n(.*?)```", (ROOT / "agents" / "CONTRACT.md").read_text(), re.DOTALL)
    result = result_of(client, post(client, ["bash", "-c", program], repo))
    assert result["status"] == "succeeded", result["output"]
    [commit, _] = client.repository_log(repo)["commits"]
    assert (commit["id"], commit["runID"]) == (result["commit"], result["runID"])
    assert client.read_file(repo, "notes.md") == b"Notes.\nOne more line.\n"


def test_from_the_command_line_a_repository_is_named(up, client, repo):
    # The echo changes nothing
    ran = command(up, "runs", "start", "echo", "--repo", repo, "--network", "none")
    assert ran.returncode == 0, ran.stderr
    [run] = [each for each in client.runs()["runs"] if each["agent"] == "echo"]
    assert (run["repo"], run["commit"]) == (client.repository(repo)["id"], None)
    refused = command(up, "runs", "start", "echo", "--repo", "nothing", "--network", "none")
    assert refused.returncode == 1
    assert "no repository 'nothing'" in refused.stdout
    undone = command(up, "runs", "revert", run["id"])
    assert (undone.returncode, undone.stdout) == (1, "")
    assert "nothing" in undone.stderr
