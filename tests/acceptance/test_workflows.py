"""The workflows of the specification, through HTTP only; in each, one process is killed at random."""

from collections.abc import Callable, Iterator

import pytest

from ops.chaos.installation import Installation, ModelServer
from tests.acceptance.workflows import Workflow, call, dialogue, reply, shell, work

pytestmark = pytest.mark.timeout(600)

SETTINGS = {
    "LIGHTNING_CLAIM_SECONDS": "4",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_RETRY_SECONDS": "0.2",
    "LIGHTNING_LEASE_SECONDS": "1",
    "LIGHTNING_THREADS": "6",
    "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
    "LIGHTNING_WEBHOOK_RETRIES": "0.5,0.5,1,1",
}

Begin = Callable[..., Workflow]


@pytest.fixture(scope="module")
def begin(tmp_path_factory) -> Iterator[Begin]:
    """Give what begins a workflow, in one installation for all of them."""
    folder = tmp_path_factory.mktemp("workflows")
    with (
        ModelServer(folder) as model,
        Installation(folder / "data", {**SETTINGS, **model.environment()}) as running,
    ):
        yield lambda *asked: Workflow(running, model, *asked)


DEPLOYMENT = {
    "deployment/staging.toml": 'strategy = "blue-green"\nrollback = "sh deployment/rollback.sh"\n',
    "deployment/history.csv": "version,outcome\n1.4.0,succeeded\n",
    "deployment/deploy.sh": """\
test "$(tail -n 1 deployment/history.csv)" = "$2,succeeded" || exit 9
echo "$1" > staging.version
test "$1" != 1.6.0 || { echo "health check of $1: 503"; exit 3; }
echo "$1,succeeded" >> deployment/history.csv
echo "staging runs $1"
""",
    "deployment/migrate.sh": 'echo "$1" > staging.schema\necho "the schema is $1"\n',
    "deployment/rollback.sh": """\
cp deployment/good.version staging.version
echo "$1,rolled back to $(cat staging.version)" >> deployment/history.csv
echo "staging runs $(cat staging.version) again"
""",
    "deployment/good.version": "1.5.0\n",
    "staging.version": "1.4.0\n",
    "staging.schema": "14\n",
}


def deploying(version: str, before: str, schema: int) -> dict:
    """Give the call that deploys a version and its schema together, or neither."""
    undo = work("", f"Roll {version} back.")
    schema_undo = work("", f"Take the schema back to {schema - 1}.")
    return call(
        "run_agents",
        agents=[
            work("migrate", f"Bring the schema to {schema}.", undo=schema_undo),
            work("deploy", f"Put {version} on staging, behind {before}.", undo=undo),
        ],
    )


def test_a_deployment_that_fails_is_rolled_back(begin):
    first, second = "Deploy the latest version of my app to staging: 1.5.0", "Now deploy 1.6.0 to staging."
    steps = [
        *dialogue(
            second,
            reply("I look at what came of the last one.", call("read_file", path="deployment/history.csv")),
            reply(
                "I deploy 1.6.0.",
                call("send_message", content="1.6.0 is on its way to staging."),
                deploying("1.6.0", "1.5.0", 16),
                require=["1.5.0,succeeded"],
            ),
            reply(
                "1.6.0 failed its health check (503): staging is back at 1.5.0.",
                require=["deploy failed", "503", "Undone: migrate, deploy"],
            ),
        ),
        *dialogue(
            first,
            reply(
                "I look up how it is deployed.",
                call("read_file", path="deployment/staging.toml"),
                call("read_file", path="deployment/history.csv"),
            ),
            reply(
                "I deploy 1.5.0.",
                call("send_message", content="1.5.0 is on its way to staging."),
                deploying("1.5.0", "1.4.0", 15),
                require=["blue-green", "sh deployment/rollback.sh", "1.4.0,succeeded"],
            ),
            reply("Staging runs 1.5.0.", require=["All 2 tasks succeeded.", "1.5.0 is live", "It is sent."]),
        ),
        *shell("Bring the schema to 15.", "sh deployment/migrate.sh 15", "the schema is 15", "15 it is"),
        *shell(
            "Put 1.5.0 on staging, behind 1.4.0.",
            "sh deployment/deploy.sh 1.5.0 1.4.0",
            "staging runs 1.5.0",
            "1.5.0 is live",
        ),
        *shell("Bring the schema to 16.", "sh deployment/migrate.sh 16", "the schema is 16", "16 it is"),
        # it takes until the other is done
        *shell(
            "Put 1.6.0 on staging, behind 1.5.0.",
            "sh deployment/deploy.sh 1.6.0 1.5.0",
            "exit code 3",
            "The health check said 503.",
            succeeded=False,
            hold=True,
            hold_after=0,
        ),
        *shell(
            "Roll 1.6.0 back.", "sh deployment/rollback.sh 1.6.0", "staging runs 1.5.0 again", "It is back."
        ),
        *shell("Take the schema back to 15.", "sh deployment/migrate.sh 15", "the schema is 15", "15 again"),
    ]
    with begin("deployment", DEPLOYMENT, steps) as flow:
        # Given a user who wants to be asked the first time before agents run
        conversation = flow.converse(read_file="never", send_message="never", run_agents="first")
        # When a version is deployed, and agreed to
        flow.say(conversation, first)
        asked = flow.agrees("run_agents")
        assert [each["name"] for each in asked["agents"]] == ["migrate", "deploy"]
        # Then it is told, and the history has it
        flow.answered(conversation, "Staging runs 1.5.0.")
        assert flow.file("deployment/history.csv").endswith("1.4.0,succeeded\n1.5.0,succeeded\n")
        # When the next one fails, behind a migration that succeeded
        flow.say(conversation, second)
        flow.sees("the schema is migrated", lambda: flow.file("staging.schema") == "16\n")
        flow.answered(conversation, "staging is back at 1.5.0")
        # Then both are undone by the procedures of the repository, and what was done is there to be read
        assert flow.file("deployment/history.csv").endswith("1.5.0,succeeded\n1.6.0,rolled back to 1.5.0\n")
        assert (flow.file("staging.version"), flow.file("staging.schema")) == ("1.5.0\n", "15\n")
        # And the user was told how it went, while it went
        assert flow.told() == ["1.5.0 is on its way to staging.", "1.6.0 is on its way to staging."]
        shown = [flow.client.run(each["id"])["progress"] for each in flow.client.runs()["runs"]]
        assert any("health check of 1.6.0: 503" in each["message"] for run in shown for each in run)
        flow.judge(runs=6, commits=5, side_by_side=2)


JOURNALS = {
    "journal/2026-10-02.md": "# Coral reefs\nInsight: bleaching follows the heat by four weeks.\n",
    "journal/2026-10-19.md": "# Talk with Mira\nInsight: shaded nurseries lose half as many corals.\n",
    "journal/2026-08-01.md": "# Before\nInsight: buy better boots.\n",
    "insights/2026-08.md": "- Boots matter.\n",
    "profile.md": "Interests: reefs, heat. Style: short, with dates.\n",
}


def test_a_question_about_journals_is_answered_and_adds_to_them(begin):
    asked = "What were my key insights from last month's research?"
    insight = "- Shade within four weeks of a heat wave could halve the loss of corals.\n"
    steps = dialogue(
        asked,
        reply(
            "I look through the journal.",
            call("search_files", pattern="Insight:"),
            call("list_files", prefix="insights/"),
            call("read_file", path="profile.md"),
        ),
        reply(
            "I read the entries of October.",
            call("read_file", path="journal/2026-10-02.md"),
            call("read_file", path="journal/2026-10-19.md"),
            require=[
                "journal/2026-10-02.md:2:",
                "journal/2026-10-19.md:2:",
                "insights/2026-08.md",
                "with dates",
            ],
        ),
        reply(
            "Both belong together, which I note.",
            call(
                "write_files",
                files=[{"path": "insights/2026-10.md", "content": insight}],
                message="Note what October's entries say together",
            ),
            require=["# Coral reefs", "# Talk with Mira", "half as many corals"],
        ),
        reply(
            "2 October: bleaching follows the heat by four weeks. 19 October: shade halves the loss. "
            "To follow up: Is four weeks enough to shade a nursery?",
            require=["It is done, as commit", "bleaching follows the heat by four weeks"],
        ),
    )
    with begin("knowledge", JOURNALS, steps) as flow:
        # Given a user whose model may look around, and asks before it writes
        conversation = flow.converse(
            list_files="never", read_file="never", search_files="never", write_files="first"
        )
        # When they ask, and agree with what is to be noted
        flow.say(conversation, asked)
        assert flow.agrees("write_files")["files"] == [{"path": "insights/2026-10.md", "content": insight}]
        # Then the answer says what stands there and what to ask next, and the note is there
        assert "four weeks" in flow.answered(conversation, "To follow up:")
        assert flow.file("insights/2026-10.md") == insight
        flow.judge(runs=0, commits=1)
