"""Every container runner keeps the promises of the port."""

import asyncio
import os
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lightning.containers import Runner, RunSpec, RunStatus
from lightning.errors import NotFound, Permanent, Transient
from tests.contract.runner_kits import KITS, SMALL, AciKit, start_elsewhere, stop_elsewhere

#: The most that a test waits for what takes a moment.
PATIENCE_SECONDS = 45


@pytest.fixture(scope="module")
def arm_emulator():
    with AciKit.emulator() as emulator:
        yield emulator


@pytest.fixture(params=KITS)
def kit(request, tmp_path):
    return KITS[request.param](tmp_path, lambda: request.getfixturevalue("arm_emulator"))


@pytest.fixture
async def runner(kit):
    runner = kit.open()
    yield runner
    async for run in runner.list():
        await runner.remove(run.name)
    await runner.close()


async def until(condition, what: str):
    """Wait for a condition, and return what it gave."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.01)
    return found


async def end_of(runner: Runner, name: str) -> RunStatus:
    async def ended():
        status = await runner.status(name)
        return status if status.ended else None

    return await until(ended, f"{name} ends")


async def output_of(runner: Runner, name: str) -> str:
    text, since = b"", 0
    while (portion := await runner.logs(name, since)).data:
        text, since = text + portion.data, portion.next
    return text.decode()


async def says(runner: Runner, name: str, word: str) -> None:
    async def said():
        return word in await output_of(runner, name)

    await until(said, f"{name} says {word}")


async def run(runner: Runner, spec: RunSpec) -> RunStatus:
    await runner.start(spec)
    return await end_of(runner, spec.name)


def processes_with(mark: str) -> list[int]:
    """Processes of this machine that hold a word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return [process for process in found if process != os.getpid()]


async def test_a_run_goes_from_running_to_its_end(kit, runner):
    # Given a run that waits until it is stopped by its own clock
    began = time.time()
    await runner.start(kit.shell("run-1", "echo here; sleep 0.3; echo there"))
    # When somebody looks while it runs
    await says(runner, "run-1", "here")
    status = await runner.status("run-1")
    # Then it runs, since when it does
    assert (status.state, status.reason, status.exit_code) == ("running", None, None)
    assert began - 2 <= status.started_at <= time.time() + 2
    # And at its end it has succeeded
    status = await end_of(runner, "run-1")
    assert (status.state, status.reason, status.exit_code) == ("succeeded", "exit", 0)
    assert status.started_at <= status.ended_at
    assert await output_of(runner, "run-1") == "here\nthere\n"


async def test_a_start_whose_time_is_past_starts_nothing(kit, runner):
    # Given a start by somebody whose right to it has ended
    late = replace(kit.shell("run-1", "echo late"), start_by=time.time() - 0.1)
    with pytest.raises(Transient) as refused:
        await runner.start(late)
    # Then nothing began, and who has the right may start it
    assert refused.value.code == "start_too_late"
    assert (await run(runner, replace(late, start_by=time.time() + 60))).state == "succeeded"


@pytest.mark.parametrize("ended", [False, True])
async def test_news_are_told_or_none_are_waited_for(kit, runner, ended):
    # Given a run that has printed something
    await runner.start(kit.shell("run-1", "echo here; sleep 2; echo there"))
    await says(runner, "run-1", "here")
    begun = time.monotonic()
    # When somebody waits for more, or for its end
    await runner.news("run-1", None if ended else len("here\n"), seconds=PATIENCE_SECONDS)
    # Then they wait until there is, unless the runner cannot tell; nobody waits for a run that is not there
    if kit.tells_of_news:
        assert "there" in await output_of(runner, "run-1")
        assert not ended or (await runner.status("run-1")).ended
    await runner.news("run-2", seconds=PATIENCE_SECONDS)
    assert time.monotonic() - begun < PATIENCE_SECONDS
    # And no longer than they want
    await runner.news("run-1", 1000, seconds=0.01)


@pytest.mark.parametrize("code", [1, 3, 255])
async def test_an_exit_code_comes_back(kit, runner, code):
    status = await run(runner, kit.shell("run-1", f"exit {code}"))
    assert (status.state, status.reason, status.exit_code) == ("failed", "exit", code) or code > 128
    assert status.exit_code == code
    assert str(code) in status.message or code > 128


async def test_a_signal_of_its_own_is_told_from_an_exit(kit, runner):
    status = await run(runner, kit.shell("run-1", "kill -9 $$"))
    assert (status.state, status.reason, status.exit_code) == ("failed", "killed", 137)


async def test_both_outputs_come_in_their_order(kit, runner):
    await run(runner, kit.shell("run-1", "echo a; echo b >&2; echo c"))
    assert await output_of(runner, "run-1") == "a\nb\nc\n"


async def test_two_starts_at_once_are_one(kit, runner):
    # Given the same spec, started by several at once and from another process
    spec = kit.shell("run-1", "echo ran; sleep 0.2")
    others = [kit.open() for _ in range(3)]
    await asyncio.gather(
        asyncio.to_thread(start_elsewhere, kit, spec), *(one.start(spec) for one in (runner, *others))
    )
    # When it is over, and started again after that
    await end_of(runner, "run-1")
    await runner.start(spec)
    # Then it ran once
    assert (await runner.status("run-1")).ended
    assert await output_of(runner, "run-1") == "ran\n"
    for one in others:
        await one.close()


async def test_the_first_spec_under_a_name_stands(kit, runner):
    await run(runner, kit.shell("run-1", "echo first"))
    await run(runner, kit.shell("run-1", "echo second; exit 1"))
    assert (await runner.status("run-1")).exit_code == 0
    assert await output_of(runner, "run-1") == "first\n"


async def test_another_process_sees_and_ends_a_run(kit, runner):
    # Given a run that another process started, which is gone
    spec = kit.shell("run-1", "echo here; sleep 1000")
    assert await asyncio.to_thread(start_elsewhere, kit, spec) == 0
    # Then it runs on
    await says(runner, "run-1", "here")
    assert (await runner.status("run-1")).state == "running"
    # And a third process can stop it
    await asyncio.to_thread(stop_elsewhere, kit, "run-1")
    assert (await end_of(runner, "run-1")).reason == "stopped"


async def test_the_log_is_read_from_an_offset_in_portions(kit, runner):
    await run(runner, kit.shell("run-1", "printf 'naïve %s' one; printf ' two'"))
    whole = (await runner.logs("run-1")).data
    assert whole == "naïve one two".encode()
    # When it is read in pieces that cut a character
    first = await runner.logs("run-1", limit=3)
    rest = await runner.logs("run-1", first.next)
    # Then the pieces join, and after the last there is nothing
    assert (first.since, len(first.data), rest.since) == (0, 3, 3)
    assert first.data + rest.data == whole
    assert (await runner.logs("run-1", rest.next)).data == b""


async def test_a_stopped_run_ends_with_every_process(kit, runner):
    # Given a run with a process that left its session
    mark = f"4711.{secrets.randbelow(10**9)}"
    await runner.start(kit.shell("run-1", f"setsid sleep {mark} & echo here; sleep {mark}"))
    await says(runner, "run-1", "here")
    # When it is stopped
    await runner.stop("run-1")
    # Then it has failed, as it was stopped, and none of its processes is left
    status = await end_of(runner, "run-1")
    assert (status.state, status.reason) == ("failed", "stopped")

    async def gone():
        return not processes_with(mark)

    await until(gone, "its processes are gone")
    # And stopping it again changes nothing
    await runner.stop("run-1")
    assert await runner.status("run-1") == status


async def test_time_is_up_for_every_process(kit, runner):
    mark = f"4711.{secrets.randbelow(10**9)}"
    script = f"trap '' TERM; setsid sleep {mark} & sleep {mark}"
    status = await run(runner, kit.shell("run-1", script, limits=replace(SMALL, wall_seconds=1)))
    assert (status.state, status.reason) == ("failed", "timeout")
    assert "1 second" in status.message

    async def gone():
        return not processes_with(mark)

    await until(gone, "its processes are gone")


async def test_memory_that_is_spent_ends_the_run(kit, runner):
    hog = "x = bytearray()\nwhile True: x += bytes(1 << 20)"
    spec = replace(kit.shell("run-1", ""), command=["python3", "-c", hog])
    status = await run(runner, spec)
    assert (status.state, status.reason) == ("failed", "out_of_memory")
    assert "128 MiB" in status.message


async def test_an_image_that_is_nowhere_is_named(kit, runner):
    image = "registry.invalid/nobody/nothing:1"
    # Given an image that no registry has, when a run asks for it
    try:
        status = await run(runner, kit.shell("run-1", "echo here", image=image))
        state, why, message = status.state, status.reason, status.message
    except Permanent as error:
        state, why, message = "refused", error.code, error.message
    # Then it is refused at once, or ends, and the image is named
    assert (state, why) in {("refused", "image_missing"), ("failed", "missing_image")}
    assert image in message


async def test_variables_and_files_are_there_and_secrets_are_nowhere_else(kit, runner):
    # Given a run with plain and secure variables, and files
    spec = kit.shell(
        "run-1",
        'echo "$PLAIN"; test "$SECRET" = "$(cat deep/er/copy)" && echo the same; cat -- "a file"; sleep 1000',
        environment={"PLAIN": "with 'quotes' and\nlines"},
        secure_environment={"SECRET": "canary-5309"},
        files={"a file": b"data\n", "deep/er/copy": b"canary-5309"},
        tags={"userID": "anna"},
    )
    await runner.start(spec)
    # Then the code inside has all of them
    await says(runner, "run-1", "data")
    assert await output_of(runner, "run-1") == "with 'quotes' and\nlines\nthe same\ndata\n"
    # And nobody outside is told the secret
    assert "canary" not in repr(spec)
    assert "canary" not in repr(await runner.status("run-1"))
    assert "canary" not in repr([run async for run in runner.list()])


async def test_runs_are_listed_with_their_tags_until_they_are_removed(kit, runner):
    await runner.start(kit.shell("run-1", "true", tags={"userID": "anna", "eventID": "1"}))
    await runner.start(kit.shell("run-2", "sleep 1000"))
    await end_of(runner, "run-1")
    listed = {run.name: dict(run.tags) async for run in runner.list()}
    assert listed.keys() == {"run-1", "run-2"}
    assert listed["run-1"].items() >= {"userID": "anna", "eventID": "1"}.items()
    await runner.remove("run-1")
    assert [run.name async for run in runner.list()] == ["run-2"]


async def test_a_removed_run_is_gone_with_its_processes(kit, runner):
    mark = f"4711.{secrets.randbelow(10**9)}"
    await runner.start(kit.shell("run-1", f"echo here; sleep {mark}"))
    await says(runner, "run-1", "here")
    await runner.remove("run-1")

    async def gone():
        return not processes_with(mark)

    await until(gone, "its processes are gone")
    with pytest.raises(NotFound):
        await runner.status("run-1")
    with pytest.raises(NotFound):
        await runner.logs("run-1")
    # And again: nothing
    await runner.remove("run-1")
    await runner.stop("run-1")


@pytest.mark.parametrize("name", ["run-0", "..", "a/b", ""])
async def test_a_run_that_never_was_is_not_found(runner, name):
    with pytest.raises(NotFound) as refused:
        await runner.status(name)
    assert refused.value.code == "run_not_found"
    await runner.stop(name)
    await runner.remove(name)


POINTS = [(kit, point) for kit, known in KITS.items() for point in known.start_points]


@pytest.mark.parametrize(("kit", "point"), POINTS, indirect=["kit"])
async def test_a_starter_that_dies_is_mended_by_the_next(kit, runner, point):
    # Given a process that dies while it starts a run
    spec = kit.shell("run-1", "echo ran; sleep 0.2")
    assert await asyncio.to_thread(start_elsewhere, kit, spec, point) == -9
    # When the run would go on by itself, it does
    if kit.start_points[point]:
        await says(runner, "run-1", "ran")
    # And when it is started again, it has run once
    await runner.start(spec)
    assert (await end_of(runner, "run-1")).state == "succeeded"
    assert await output_of(runner, "run-1") == "ran\n"


POINTS = [(kit, point) for kit, known in KITS.items() for point in known.holder_points]


@pytest.mark.parametrize(("kit", "point"), POINTS, indirect=["kit"])
async def test_a_run_whose_holder_dies_is_over_and_says_so(kit, runner, point):
    # Given a run whose holder dies at a point
    mark = f"4711.{secrets.randbelow(10**9)}"
    spec = kit.shell("run-1", f"echo ran; test {point} = ended || sleep {mark}")
    dying = kit.open_dying(point)
    with suppress(Transient):
        await dying.start(spec)
    await dying.close()
    # When it is started again, where nothing had begun
    await runner.start(spec)
    if kit.holder_points[point]:
        await says(runner, "run-1", "ran")
        await runner.stop("run-1")
    # Then it is over within a moment, not running for ever, and it ran once at most
    status = await end_of(runner, "run-1")
    assert status.reason == ("stopped" if kit.holder_points[point] else "launcher_lost")
    assert (await output_of(runner, "run-1")).count("ran") <= 1

    # And nothing of it is left
    async def gone():
        return not processes_with(mark)

    await until(gone, "its processes are gone")
