"""What docs/costs.md says that an event takes of Azure's services is what the emulators count."""

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from lightning.client import Client
from ops.chaos.installation import PASSWORD, Installation, until
from ops.emulators.cosmos import CosmosEmulator
from ops.emulators.servicebus import ServiceBusEmulator
from tests.architecture.tree import ROOT

pytestmark = pytest.mark.timeout(180)

#: Each user posts one event, so none shares a batch with another, and none waits for another.
USERS = 8

#: Messages of an event and of what comes of it.
MESSAGES = {"user.message": 1, "llm.chat": 2}

#: Nothing more comes of the events when nothing was asked for so long.
QUIET_SECONDS = 1.0


@dataclass
class Platform:
    """A platform without a clock, which costs by itself; and what its services count."""

    running: Installation
    cosmos: CosmosEmulator
    bus: ServiceBusEmulator
    clients: list[Client] = field(default_factory=list)

    def counted(self) -> dict[str, float]:
        """Give how much was asked so far."""
        used = httpx2.get(f"{self.cosmos.control_url}/usage", trust_env=False).json()
        operations = self.bus.call(lambda server: Counter(server.faults.operations))
        return {
            "RU": sum(each["charge"] for each in used.values()),
            "reads": sum(each["count"] for name, each in used.items() if name != "batch"),
            "batches": used["batch"]["count"],
            "sends": operations["send"],
            "receives": operations["deliver"],
            "completions": operations["settle"],
            "spans": _spans(self.running.data),
        }

    def costs(self, kind: str) -> dict[str, float]:
        """Have one user after another post an event; give what each took with all that came of it."""
        before, beside = self.quiet(), Counter[str]()
        for number, client in enumerate(self.clients, 1):
            # for seconds the ingress remembers who they are, on a busy machine no longer: it is asked anew
            asked = self.counted()
            httpx2.get(
                f"{self.running.url}/api/me", headers=client.headers(), trust_env=False
            ).raise_for_status()
            beside.update({name: count - asked[name] for name, count in self.counted().items()})
            client.send(kind, {"content": "What does it cost?"})
            messages = before["completions"] + MESSAGES[kind] * number
            until(lambda least=messages: self.counted()["completions"] >= least, "its messages are done")
        after = self.quiet()
        beside["spans"] = USERS  # one each, which is written later
        return {name: (after[name] - before[name] - beside[name]) / USERS for name in after}

    def quiet(self) -> dict[str, float]:
        """Wait until nothing more is asked; give the counts then."""
        seen: list[dict[str, float]] = [self.counted()]

        def is_quiet() -> bool:
            time.sleep(QUIET_SECONDS)
            seen.append(self.counted())
            return seen[-1] == seen[-2]

        until(is_quiet, "all of it is done")
        return seen[-1]


def _spans(data: Path) -> int:
    """Count the spans; the file is made with the first of them."""
    if not (data / "spans.db").exists():
        return 0
    with closing(sqlite3.connect(data / "spans.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'spans'").fetchone():
            return 0
        return connection.execute("SELECT count(*) FROM spans").fetchone()[0]


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    with ExitStack() as stack:
        cosmos = stack.enter_context(CosmosEmulator(ranges=3, control_port=0))
        bus = stack.enter_context(ServiceBusEmulator())
        settings = {
            "LIGHTNING_STORAGE": "cosmos",
            "COSMOS_CONNECTION": cosmos.connection_string,
            "LIGHTNING_BROKER": "servicebus",
            "SERVICEBUS_CONNECTION": bus.connection_string,
        }
        data = tmp_path_factory.mktemp("costs") / "data"
        running = stack.enter_context(Installation(data, settings, clock=False))
        platform = Platform(running, cosmos, bus)
        for number in range(USERS):
            running.register(f"user{number}", PASSWORD)
            client = stack.enter_context(Client(running.url))
            client.log_in(f"user{number}", PASSWORD)
            client.send("user.message", {"content": "The ingress remembers where their log is."})
            platform.clients.append(client)
        yield platform


def table(heading: str) -> list[list[str]]:
    """Give the rows of the table under a heading of the page."""
    page = (ROOT / "docs" / "costs.md").read_text()
    part = re.split(r"\n##+ ", page.partition(f"## {heading}\n")[2])[0]
    rows = [line.strip("| ").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows if not set("".join(row)) <= set("-: ")]


@pytest.mark.parametrize("kind", ["user.message", "llm.chat"])
def test_the_page_says_what_is_counted(platform, kind):
    names, *rows = table("What an event takes")
    [said] = [dict(zip(names[1:], map(float, row[1:]), strict=True)) for row in rows if row[0] == kind]
    found = platform.costs(kind)
    units = said.pop("RU"), found.pop("RU")
    assert {name: round(found[name]) for name in said} == said, found
    # documents have a few bytes more or less
    assert units[0] == pytest.approx(units[1], rel=0.05), units


def test_the_example_is_calculated_from_what_an_event_takes():
    names, *rows = table("What an event takes")
    takes = {row[0]: dict(zip(names[1:], map(float, row[1:]), strict=True)) for row in rows}
    costs = {row[0]: row for row in table("A million of each")}

    def price(service: str) -> float:
        [found] = re.findall(r"p` = ([\d.]+)", costs[service][2])
        return float(found)

    for column, kind in ((3, "user.message"), (4, "llm.chat")):
        taken = takes[kind]
        operations = taken["sends"] + taken["receives"] + taken["completions"]
        expected = {
            "Cosmos DB, serverless": taken["RU"] * price("Cosmos DB, serverless"),
            "Cosmos DB, autoscale": taken["RU"] * 1e6 / 360_000 / 0.33 * price("Cosmos DB, autoscale"),
            "Service Bus Standard": operations * price("Service Bus Standard"),
            "Log Analytics": taken["spans"] * 1.5 * price("Log Analytics"),
        }
        for service, dollars in expected.items():
            assert float(costs[service][column]) == pytest.approx(dollars, abs=0.01), (service, kind)
