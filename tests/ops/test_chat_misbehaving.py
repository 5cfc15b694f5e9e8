"""`lightning chat` with a platform that is slow or refuses where the real one does not."""

import pytest

from ops.chaos.installation import until
from tests.fake_platform import Fault
from tests.ops.terminal import CTRL_C, CTRL_D

pytestmark = pytest.mark.timeout(60)


def test_ctrl_c_that_comes_too_late_shows_the_answer(fake, platform):
    # Given an answer that is recorded, and not yet known to the person
    platform.script = lambda _: [("delta", 1, 0, "Al"), ("hold",), ("answer", "All of it")]
    platform.lateness["/api/events/event-1"] = 1.0
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("Al")
        platform.released.set()
        until(lambda: platform.events[0]["state"] == "done", "it is recorded")
        # When they press Ctrl-C
        terminal.type(CTRL_C)
        # Then they are shown the answer, which nobody could cancel any more
        terminal.until("l of it")
        assert "cancelled" not in terminal.until("> ")
        assert platform.count("POST", "/api/events/event-1/cancel") == 1


def test_a_cancel_that_is_refused_gives_the_prompt_back(fake, platform):
    platform.script = lambda _: [("delta", 1, 0, "On"), ("hold",)]
    platform.faults.append(Fault("POST", "/api/events/event-1/cancel", 404, "not_found"))
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("On")
        terminal.type(CTRL_C)
        terminal.until("refused: not_found")
        terminal.until("> ")


def test_ctrl_c_twice_does_not_wait_for_the_platform(fake, platform):
    platform.script = lambda _: [("delta", 1, 0, "On"), ("hold",)]
    platform.delays["/api/events/event-1/cancel"] = 20
    with fake.at_a_terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("go\n")
        terminal.until("On")
        terminal.type(CTRL_C)
        until(lambda: platform.count("POST", "/api/events/event-1/cancel") == 1, "the cancel is asked for")
        terminal.type(CTRL_C)
        terminal.until("no longer", seconds=10)
        terminal.until("> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
