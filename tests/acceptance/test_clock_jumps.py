"""The clock of the machine is put forward and back under a running platform: nothing lost, nothing twice."""

import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lightning.client import Client
from ops.chaos.installation import PASSWORD, Installation, ModelServer, until
from tests.stores import settings_of
from worker.nursery import Nursery

pytestmark = pytest.mark.timeout(180)

SCRIPT = [
    {"last_contains": ["held"], "hold": True, "hold_after": 0},
    {"last_contains": ["busy"], "status": 429, "headers": {"Retry-After": "3"}, "error": "slow", "times": 1},
]

HASTE = {
    "LIGHTNING_TESTING": "1",
    "LIGHTNING_CLAIM_SECONDS": "3",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_LEASE_SECONDS": "3",
}

HOUR, DAY = 3600, 86_400


class Skew:
    """What the clocks of an installation are wrong by."""

    def __init__(self, path: Path):
        path.write_bytes(struct.pack("d", 0.0))
        self._file = path.open("r+b", buffering=0)

    def set(self, seconds: float) -> None:
        self._file.seek(0)
        self._file.write(struct.pack("d", seconds))


@pytest.fixture(scope="module")
def skewed(tmp_path_factory):
    """Give what processes begin as copies of, and what all of their clocks are wrong by."""
    path = tmp_path_factory.mktemp("skew") / "seconds"
    skew = Skew(path)
    with pytest.MonkeyPatch.context() as patch:
        # the clock is put into an interpreter as it starts: what is loaded then knows no other
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("skew")))
        patch.setenv("SKEW_FILE", str(path))
        nursery = Nursery.launched(["api.main", "worker.main", "worker.clock"])
    yield nursery, skew
    nursery.close()
    skew._file.close()


@pytest.fixture
def skew(skewed):
    skewed[1].set(0)
    return skewed[1]


@pytest.fixture
def start(skewed):
    return skewed[0].start


def logged_in(running: Installation) -> Client:
    """Log in by the clock as it is now."""
    client = Client(running.url)
    client.log_in("storm", PASSWORD)
    return client


@pytest.mark.parametrize(
    "jump",
    [DAY, -DAY, pytest.param(HOUR, marks=pytest.mark.chaos), pytest.param(-HOUR, marks=pytest.mark.chaos)],
    ids=["a day forward", "a day back", "an hour forward", "an hour back"],
)
def test_a_jump_of_the_clock_loses_nothing_and_repeats_nothing(tmp_path, start, skew, jump):
    with ModelServer(tmp_path, SCRIPT) as model:
        environment = {**settings_of(tmp_path / "data"), **HASTE, **model.environment()}
        with (
            Installation(tmp_path / "data", environment, workers=2, start=start) as running,
            running.user() as client,
        ):
            # Given chats that a worker waits for, one that is to be tried again, one whose turn has not come
            said = [
                *(("held 1", "a"), ("held 2", "b"), ("busy", "c")),
                ("next", "a"),
            ]
            posted = [
                client.send("llm.chat", {"content": content, "conversationID": conversation})
                for content, conversation in said
            ]
            until(lambda: model.calls() == 3, "the model is asked")
            # When the clock jumps, and more is said just before and after
            posted.append(client.send("llm.chat", {"content": "before"}))
            skew.set(jump)
            with logged_in(running) as again:
                now = datetime.now(UTC) + timedelta(seconds=jump)
                posted.append(again.send("llm.chat", {"content": "after"}, timestamp=now))
                assert again.wait(posted[-1], timeout_seconds=60)["state"] == "done"
                # and claims and leases of before would have run out
                time.sleep(4)
                model.release()
                # Then all are answered, and the model was asked once for each, and once more when it was busy
                done = [again.wait(event, timeout_seconds=60) for event in posted]
                assert model.calls() == len(posted) + 1
    assert [event["outputs"][0]["metadata"]["content"] for event in done] == [
        f"You said: {content}" for content, _ in [*said, ("before", ""), ("after", "")]
    ]


#: Each is put right again before the next one.
JUMPS = [HOUR, 0, -HOUR, 0, DAY, 0, -DAY, 0]


def test_no_jump_of_the_clock_fires_a_slot_twice_or_holds_up_what_is_made_then(tmp_path, start, skew):
    environment = {**settings_of(tmp_path / "data"), **HASTE}
    with (
        Installation(tmp_path / "data", environment, clocks=2, start=start) as running,
        running.user() as client,
    ):
        # Given schedules of each policy, one of which fires all the time
        begun = [
            scheduled(client, every=10, catchUp="none", overlap="allow"),
            scheduled(client, every=10, catchUp="latest", overlap="allow"),
            scheduled(client, cron="0 * * * *", catchUp="all", overlap="allow"),
        ]
        until(lambda: ticks_of(client, begun[1]), "a slot has fired")
        for jump in JUMPS:
            # When the clocks of all processes jump
            skew.set(jump)
            with logged_in(running) as again:
                # Then what is to fire soon by them does
                soon = datetime.now(UTC) + timedelta(seconds=jump + 3)
                once = scheduled(again, timestamp=soon.isoformat())
                until(lambda again=again, once=once: has_fired(again, once), f"it fires, {jump} s off")
        # And no slot of any has come twice, nor fired two events
        with logged_in(running) as again:
            for schedule in begun:
                ticks = ticks_of(again, schedule)
                slots = [tick["metadata"]["slot"] for tick in ticks]
                assert len(set(slots)) == len(slots)
                assert all(len(tick["outputs"]) <= 1 for tick in ticks)
            # the day ahead had its slots, each once: by the hour those that were missed, too
            assert len(slots) >= DAY / HOUR - 1


def scheduled(client: Client, **form) -> str:
    event = {"type": "user.message", "metadata": {"content": "now"}}
    return client.create_schedule(event, **form)["id"]


def ticks_of(client: Client, schedule: str) -> list[dict]:
    found = client.events(type="schedule.tick", limit=200)["events"]
    return [each for each in found if each["metadata"]["scheduleID"] == schedule]


def has_fired(client: Client, schedule: str) -> bool:
    return [tick["state"] for tick in ticks_of(client, schedule)] == ["done"]
