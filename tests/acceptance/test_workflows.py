"""The workflows of the specification, through HTTP only; in each, one process is killed at random."""

from collections.abc import Callable, Iterator

import pytest

from ops.chaos.installation import Installation, ModelServer
from tests.acceptance.workflow_files import COMPETITORS, DEPLOYMENT, JOURNALS, PROCESSING, REPORT
from tests.acceptance.workflows import Workflow, call, dialogue, reply, shell, work
from tests.receiver import receiving

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
            reply(
                "I look at what came of the last one.",
                call("read_file", path="deployment/history.csv"),
                call("list_runs"),
            ),
            reply(
                "I deploy 1.6.0.",
                call("send_message", content="1.6.0 is on its way to staging."),
                deploying("1.6.0", "1.5.0", 16),
                require=["1.5.0,succeeded", '"state":"succeeded"'],
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
        conversation = flow.converse(
            read_file="never", send_message="never", list_runs="never", run_agents="first"
        )
        # When a version is deployed, and agreed to, while they look on
        flow.watch("staging is back at 1.5.0")
        flow.say(conversation, first)
        asked = flow.agrees("run_agents")
        assert [each["name"] for each in asked["agents"]] == ["migrate", "deploy"]
        # Then it is told, and the history has it
        flow.answered(conversation, "Staging runs 1.5.0.")
        assert flow.file("deployment/history.csv").endswith("1.4.0,succeeded\n1.5.0,succeeded\n")
        # When the next one fails, behind a migration that succeeded
        flow.say(conversation, second)
        flow.sees("the migration is over", lambda: flow.ended() == 3)
        assert flow.file("staging.schema") == "16\n"
        flow.answered(conversation, "staging is back at 1.5.0")
        # Then both are undone by the procedures of the repository, and what was done is there to be read
        assert flow.file("deployment/history.csv").endswith("1.5.0,succeeded\n1.6.0,rolled back to 1.5.0\n")
        assert (flow.file("staging.version"), flow.file("staging.schema")) == ("1.5.0\n", "15\n")
        assert flow.commits()[0] == flow.commits(path="staging.schema")[0], (
            "what was done first is undone last"
        )
        # And the user was told how it went, while it went; live frames of one of both may have been missed
        told = [f"{version} is on its way to staging." for version in ("1.5.0", "1.6.0")]
        assert flow.told() == told
        seen = flow.watched()
        first_told, first_end, second_told = map(seen.index, [told[0], "Staging runs 1.5.0.", told[1]])
        live = [*seen[first_told:first_end], *seen[second_told:-1]]
        assert {"run", "log", "progress"} & set(live), seen
        shown = [flow.client.run(each["id"])["progress"] for each in flow.client.runs()["runs"]]
        assert any("health check of 1.6.0: 503" in each["message"] for run in shown for each in run)
        flow.judge(runs=6, commits=5, side_by_side=2)


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


def test_data_is_processed_on_schedule_and_stakeholders_are_told(begin):
    asked, due = "Process the sales every day at six.", "It is time to process the sales."
    order, news = "Run processing/run.sh.", "Sales of 2026-11-25: 60 in total, 1 rejected."
    steps = [
        *dialogue(
            due,
            reply(
                "I read the rules.",
                call("read_file", path="processing/rules.toml"),
                call("read_file", path="processing/history.csv"),
            ),
            reply(
                "I process them.",
                call("run_agent", **work("", order)),
                require=["negative amounts", "2026-11-24,total,70"],
            ),
            reply(
                "It is done, and they are to know.",
                call("send_message", content=news),
                require=["succeeded", "60 in total and 1 rejected"],
            ),
            reply("60, behind 70 of the day before.", require=["It is sent."]),
        ),
        *dialogue(
            asked,
            reply(
                "I make a schedule.",
                call("schedule", content=due, to="conversation", cron="0 6 * * *", timezone="Europe/Berlin"),
            ),
            reply("It runs at six, Berlin time.", require=["The schedule ", " is made. It fires next at "]),
        ),
        *shell(order, "sh processing/run.sh", "total,60\nrejected,1", "60 in total and 1 rejected"),
    ]
    with receiving() as receiver, begin("processing", PROCESSING, steps) as flow:
        # Given stakeholders who have messages sent to them, and a user who is asked before it is planned
        flow.posts_messages_to(f"{receiver.url}/ok/stakeholders")
        conversation = flow.converse(
            schedule="always", read_file="never", run_agent="never", send_message="never"
        )
        flow.say(conversation, asked)
        assert flow.agrees("schedule")["cron"] == "0 6 * * *"
        flow.answered(conversation, "It runs at six")
        [schedule] = flow.sees("it is planned", lambda: flow.client.schedules()["schedules"])
        # When it is due
        flow.client.run_schedule(schedule["id"], key="now")
        # Then it is processed by the rules of the repository, and what came of it is kept there
        flow.answered(conversation, "behind 70 of the day before")
        assert flow.file("results/2026-11-25.csv") == "total,60\nrejected,1\n"
        assert flow.file("processing/history.csv") == "2026-11-24,total,70\n2026-11-25,total,60\n"
        # And the stakeholders have one message, however often it was delivered
        flow.judge(runs=1, commits=1)
        came = {post.id: post.json["data"]["metadata"]["content"] for post in receiver.to("/ok/stakeholders")}
        assert list(came.values()) == [news]
        fires = flow.client.schedule_fires(schedule["id"])["fires"]
        assert len(fires) == 1, fires


def test_several_agents_make_one_report(begin):
    asked = "Analyze competitor pricing and generate a report."
    alpha, beta, history, write = "Collect alpha.", "Collect beta.", "Analyse August.", "Write the report."
    steps = [
        *dialogue(
            asked,
            reply(
                "I read what we had before.",
                call("read_file", path="reports/2026-08.md"),
                call("read_file", path="preferences.md"),
            ),
            reply(
                "I have the prices collected, and August analysed.",
                call(
                    "run_agents",
                    agents=[work("alpha", alpha), work("beta", beta), work("history", history)],
                ),
                require=["Alpha undercuts us soon", "change since the report before"],
            ),
            reply(
                "I have the report written.",
                call("run_agent", **work("", write)),
                require=["All 3 tasks succeeded.", "alpha costs 90", "beta costs 120", "the mean was 105"],
            ),
            reply(
                "I read it.",
                call("read_file", path="reports/2026-11.md"),
                require=["reports/2026-11.md is there"],
            ),
            reply(f"As foreseen in August, Alpha is cheaper.\n\n{REPORT}", require=[REPORT]),
        ),
        *shell(alpha, "sh tools/collect.sh alpha", "alpha,90", "alpha costs 90"),
        *shell(beta, "sh tools/collect.sh beta", "beta,120", "beta costs 120"),
        *shell(history, "sh tools/analyse.sh", "mean of August,105", "the mean was 105"),
        *shell(write, "sh tools/report.sh", REPORT, "reports/2026-11.md is there"),
    ]
    with begin("competitors", COMPETITORS, steps) as flow:
        # Given a user who lets agents work without being asked
        conversation = flow.converse(read_file="never", run_agents="never", run_agent="never")
        # When they want a report
        flow.say(conversation, asked)
        # Then it is told, and is in the repository, made of what three agents had committed
        assert flow.answered(conversation, "As foreseen in August").endswith(REPORT)
        assert flow.file("reports/2026-11.md") == REPORT
        [group] = flow.client.events(type="worker.group.result")["events"]
        assert [each["name"] for each in group["metadata"]["results"]] == ["alpha", "beta", "history"]
        flow.judge(runs=4, commits=4, side_by_side=3)
