"""A conversation with tools through the public face: runs that join, and a person who is asked."""

import json

import pytest

from ops.chaos.installation import Installation, ModelServer, until

pytestmark = pytest.mark.timeout(180)

SMALL = {"LIGHTNING_CLAIM_SECONDS": "2", "LIGHTNING_SWEEP_SECONDS": "1", "LIGHTNING_THREADS": "4"}

RUN = {"name": "run_agent", "arguments": {"agent": "echo", "input": "canary-of-the-run"}}
WRITE = {
    "name": "write_files",
    "arguments": {"files": [{"path": "note.txt", "content": "hi"}], "message": "Note"},
}
SCRIPT = [
    {"last_contains": ["Do both"], "times": 1, "tool_calls": [RUN, WRITE]},
    # it answers only if both results are there
    {
        "contains": ["Do both"],
        "require": ["canary-of-the-run", "succeeded", "It is done, as commit"],
        "reply": "Both are done.",
    },
]


def test_a_run_and_an_approval_join_and_the_model_goes_on(tmp_path):
    with (
        ModelServer(tmp_path, SCRIPT) as model,
        Installation(tmp_path / "data", {**SMALL, **model.environment()}) as running,
        running.user() as client,
    ):
        # Given a conversation whose user lets its model run agents, and wants to be asked before it writes
        client.create_repository("notes")
        tools = [{"name": "run_agent", "approval": "never"}, {"name": "write_files", "approval": "always"}]
        conversation = client.create_conversation(tools=tools, repo="notes")["id"]
        # When its model wants both
        said = client.wait(client.send("llm.chat", {"content": "Do both", "conversationID": conversation}))
        # Then the turn closes and says what it waits for
        [response] = [each for each in said["outputs"] if each["type"] == "llm.chat.response"]
        assert [each["call"] for each in response["metadata"]["waitsFor"]] == ["run_agent", "write_files"]
        [approval] = client.approvals(pending=1)["approvals"]
        assert approval["arguments"] == json.loads(json.dumps(WRITE["arguments"]))
        # When the user agrees
        assert client.decide(approval["id"], "approve", approval["hash"])["state"] == "approved"

        # Then it is done, the run has ended, and the model goes on with both results
        def answers():
            found = client.messages(conversation)["messages"]
            return [each["metadata"]["content"] for each in found if each["type"] == "llm.chat.response"]

        until(lambda: len(answers()) == 2, "the turn goes on", seconds=90)
        assert answers()[0] == "Both are done."
        assert len(client.runs()["runs"]) == 1
