"""What an attacker finds in a sandbox: nothing of the platform, and no way out."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lightning.containers import RunSpec
from lightning.containers.sandbox import SandboxRunner
from tests.lightning.containers.runs import PATIENCE_SECONDS, SMALL, finish, python

PROBE = Path(__file__).with_name("probe.py").read_bytes()
CANARY = "canary-867"


def command_lines() -> list[bytes]:
    """Read those of all processes of this machine."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it is gone
            lines.append(path.read_bytes())
    return lines


@contextmanager
def listening(family: int, address: object) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind(address)
        server.listen()
        yield server


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    return SandboxRunner(data / "runs", images=data / "images")


@pytest.fixture(scope="module")
def findings(runner, tmp_path_factory):
    """Let the probe look, from a worker whose environment and files hold secrets."""
    canary = tmp_path_factory.mktemp("platform") / "signing-key"
    canary.write_text(CANARY)
    canary.chmod(0o644)
    abstract = f"lightning-{secrets.token_hex(8)}"
    with (
        pytest.MonkeyPatch.context() as patch,
        listening(socket.AF_INET, ("127.0.0.1", 0)) as server,
        listening(socket.AF_UNIX, "\0" + abstract),
    ):
        patch.setenv("JWT_SIGNING_KEY", CANARY)
        patch.setenv("LD_LIBRARY_PATH", CANARY)
        probe = [str(server.getsockname()[1]), abstract, str(canary), "/etc/shadow"]
        spec = RunSpec(
            "probe",
            ["python3", "probe.py", *probe],
            network="none",
            limits=SMALL,
            environment={"LD_LIBRARY_PATH": "/workspace/evil"},
            secure_environment={"LIGHTNING_TOKEN": "its own"},
            files={"probe.py": PROBE},
        )
        with asyncio.Runner() as loop:
            status, output = loop.run(finish(runner, spec))
    assert status.exit_code == 0, output
    return json.loads(output[output.index("{") :])


def test_the_environment_is_the_spec_and_nothing_of_the_platform(findings):
    assert findings["environment"].keys() - {"LC_CTYPE"} == {
        "HOME", "LANG", "PATH", "PWD", "LIGHTNING_TOKEN", "LD_LIBRARY_PATH",
    }  # fmt: skip
    assert findings["environment"]["LIGHTNING_TOKEN"] == "its own"
    assert CANARY not in json.dumps(findings)
    # and no other process in it has one of the platform's
    assert len(findings["environments"]) >= 1
    assert not any("JWT" in text for text in findings["environments"].values())


def test_the_processes_of_the_host_are_not_seen(findings):
    # nor is bubblewrap's own, which knows the environment of the command whatever that hides of itself
    assert list(findings["processes"]) == ["2"]


def test_it_is_nobody_without_capabilities_and_can_become_nothing_else(findings):
    status = findings["status"]
    assert (status["Uid"], status["Gid"]) == ("\t".join(["65534"] * 4),) * 2
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert (findings["calls"]["setuid"], findings["calls"]["setgroups"]) == ("EINVAL", "EPERM")


async def test_signals_are_as_a_program_expects_them(runner, request):
    # Given that a worker written in Python ignores two of them, and one behind nohup another
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    # When a run looks at its own
    spec = replace(python("signals", ""), command=["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
    _, output = await finish(runner, spec)
    blocked, ignored = (int(mask, 16) for mask in output.split()[1::2])
    # 32 and 33 are the C library's own, which it ignores for a child that it spawns and lets nobody change
    assert (blocked, ignored & ~(0b11 << 31)) == (0, 0)


def test_it_inherits_no_descriptor_that_leads_out(findings):
    paths = list(findings["descriptors"].values())
    pipes = [path for path in paths if path.startswith("pipe:")]
    others = [path for path in paths if path not in {*pipes, "/dev/null"}]
    # its output's pipe, and bubblewrap's own library, in memory and sealed
    assert len(pipes) == 2
    assert len(set(pipes)) == 1
    assert all(path.startswith("/memfd:libcap") for path in others), others


def test_only_its_own_directories_can_be_written(findings):
    assert sorted(findings["written"]) == ["/dev/shm", "/tmp", "/workspace"]
    assert findings["kernel"] in {"EACCES", "EROFS"}


def test_files_and_sockets_of_the_platform_are_not_there(findings):
    assert findings["files"] == ["ENOENT", "ENOENT"]
    assert findings["above"] in {"ENOENT", "EACCES"}
    assert findings["sockets"] == []
    assert findings["abstract"] == "ECONNREFUSED"


def test_there_is_no_network_and_no_way_to_the_loopback_of_the_host(findings):
    assert findings["interfaces"] == ["lo"]
    assert findings["routes"] == []
    assert (findings["udp"], findings["metadata"]) == ("ENETUNREACH", "ENETUNREACH")
    assert findings["loopback"] == "ECONNREFUSED"


ALLOWED = {"setuid", "setgroups"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probe's numbers are those of x86_64")
def test_dangerous_system_calls_are_refused(findings):
    refused = {name: error for name, error in findings["calls"].items() if name not in ALLOWED}
    expected = dict.fromkeys(refused, "EPERM") | {
        "clone3": "ENOSYS",
        "x32 getpid": "ENOSYS",
        **dict.fromkeys(("vsock", "packet", "alg"), "EAFNOSUPPORT"),
    }
    assert refused == expected
    assert findings["32 bits"] == -signal.SIGSYS


async def test_processes_are_bounded(runner):
    # Given a program that forks for as long as it can, when it runs
    program = """
import os, time
children = []
try:
    while len(children) < 200:
        child = os.fork()
        if child == 0:
            time.sleep(100)
            os._exit(0)
        children.append(child)
except OSError as error:
    print(error.strerror)
print(len(children))
"""
    _, output = await finish(runner, python("forks", program))
    # Then it has as many as the limit says, itself counted
    assert output == f"Resource temporarily unavailable\n{SMALL.pids - 1}\n"


async def test_disk_is_bounded(runner):
    program = """
for place in ("/workspace", "/tmp"):
    written = 0
    try:
        with open(place + "/file", "wb", buffering=0) as file:
            while written < 64 << 20:
                written += file.write(bytes(1 << 16))
    except OSError as error:
        print(error.strerror, written >> 20)
"""
    _, output = await finish(runner, python("disk", program))
    assert output == f"No space left on device {SMALL.disk_mib}\n" * 2


async def test_memory_behind_files_counts(runner):
    # Given more shared memory than the run may hold, when it is filled
    program = "import os\nwith open('/dev/shm/x', 'wb') as f:\n  for _ in range(60): f.write(bytes(1 << 20))"
    status, _ = await finish(runner, python("shared", program, limits=replace(SMALL, memory_mib=32)))
    assert status.reason == "out_of_memory"


async def test_output_is_bounded_and_says_so(runner):
    limits = replace(SMALL, log_bytes=4096)
    _, output = await finish(runner, python("loud", "print('x' * 100000)", limits=limits))
    assert output == "x" * 4096 + "\n[the output beyond 4096 bytes was dropped]\n"


async def test_files_outside_the_working_directory_are_refused_and_links_lead_nowhere(runner, tmp_path):
    # Given an image whose directories are links to the host
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    image = runner._images / "evil"
    for name in ("usr", "bin", "lib", "lib64"):
        (image / name).parent.mkdir(parents=True, exist_ok=True)
    (image / "data").symlink_to(tmp_path)
    (image / "workspace").symlink_to(tmp_path)
    for name in ("bin", "lib", "lib64"):
        (image / name).symlink_to(f"usr/{name}")
    # When a run of it reads and writes through them
    mounted = SandboxRunner(tmp_path / "runs", images=runner._images, mounts={"/usr": Path("/usr")})
    script = "cat /data/secret; echo pwd: $PWD; echo mine > /workspace/secret; cat /workspace/secret"
    spec = RunSpec("links", ["/usr/bin/sh", "-c", script], image="evil", network="none", limits=SMALL)
    _, output = await finish(mounted, spec)
    # Then it is in its own file system all the time
    assert output.endswith("pwd: /workspace\nmine\n")
    assert CANARY not in output
    assert secret.read_text() == CANARY


async def test_the_secret_of_a_run_is_nowhere_on_the_disk_or_in_a_command_line(runner):
    # Given a run that holds a secret
    token = f"token-{secrets.token_hex(8)}"
    program = "import time; print('up', flush=True); time.sleep(100)"
    await runner.start(python("keeps", program, secure_environment={"TOKEN": token}))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await runner.logs("keeps")).data:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    # Then no file of its state and no command line of this machine has it
    state = [path.read_bytes() for path in (runner._runs / "keeps").iterdir()]
    assert not any(token.encode() in text for text in (*state, *command_lines()))
    await runner.remove("keeps")


def test_a_shim_loads_little():
    # Given the interpreter as a shim is started, when it has imported all that it needs
    program = "import sys; sys.path.append(sys.argv[1]); import lightning.shim.main; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(__file__).parents[3])]
    ran = subprocess.run(command, capture_output=True, check=True, timeout=60)
    loaded = set(ran.stdout.decode().split())
    # Then it is its own package, and of the library only what starts fast
    ours = {name for name in loaded if name.startswith("lightning.")}
    assert all(name.startswith("lightning.shim") for name in ours), ours
    assert not loaded & {"pathlib", "dataclasses", "asyncio", "subprocess", "threading", "logging", "inspect"}
