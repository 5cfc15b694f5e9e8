"""What is measured on which installation."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import orjson
import typer

from ops.bench.plan import Kind, Plan, Result
from ops.bench.target import Target

#: One measurement ends after so long, whatever happens.
LIMIT_SECONDS = 100.0

STREAMS_PER_USER = 10

#: What an ingress, and the load, have open besides streams.
SPARE_DESCRIPTORS = 200


def measure(plan: Plan) -> Result:
    """Run a measurement in a process of its own.

    Raises:
      typer.Exit: It failed; why stands on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.load"],
        input=orjson.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise typer.Exit(1)
    return Result(**orjson.loads(done.stdout))


def _plan(kind: Kind, target: Target, *, events: int = 0, seconds: float, connections: int = 1) -> Plan:
    return Plan(
        kind,
        target.url,
        target.tokens,
        connections=connections,
        events=events,
        seconds=seconds,
        processes=target.processes(),
        databases=target.databases(),
    )


def ingress(users: int) -> dict[str, Result]:
    """Measure one ingress process, and beside it what its store alone can do."""
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {"LIGHTNING_LOG_LEVEL": "warning"}
        target = stack.enter_context(Target(Path(folder), users=users, environment=environment, whole=False))
        for connections in (32, 64):
            results[f"store alone, {connections} writers"] = measure(
                Plan("ceiling", connections=connections, events=40_000, seconds=2.5)
            )
            results[f"accepted, {connections} connections"] = measure(
                _plan("accept", target, connections=connections, events=40_000, seconds=5)
            )
    return results


def whole(users: int, workers: int, threads: int) -> dict[str, Result]:
    """Measure a platform as `lightning up` starts it, from the post to the end of the step."""
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {"LIGHTNING_WORKERS": str(workers), "LIGHTNING_THREADS": str(threads)}
        target = stack.enter_context(Target(Path(folder), users=users, environment=environment, whole=True))
        latency = _plan("latency", target, events=200, seconds=10)
        throughput = _plan("throughput", target, connections=32, seconds=10)
        for kind, events in (("user.message", 4000), ("llm.chat", 2000)):
            results[f"idle, {kind} to done"] = measure(replace(latency, type=kind))
            results[f"done, {kind}"] = measure(replace(throughput, type=kind, events=events))
            time.sleep(1)  # what the answers bring about ends before the next measurement
    return results


def neighbours(workers: int, threads: int, *, events: int = 10_000) -> dict[str, Result]:
    """Measure what a user waits for alone, and behind the many events that another one has just posted."""
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {
            "LIGHTNING_WORKERS": str(workers),
            "LIGHTNING_THREADS": str(threads),
            "LIGHTNING_STUCK_SECONDS": "600",  # it is we who keep the worker from going on
        }
        target = stack.enter_context(Target(Path(folder), users=2, environment=environment, whole=True))
        noisy, small = target.tokens.items()
        for kind in ("user.message", "llm.chat"):
            plan = replace(_plan("latency", target, events=10, seconds=60), type=kind, tokens=dict([small]))
            alone = measure(plan)
            flood = _plan("accept", target, events=events, seconds=60, connections=32)
            with _standing_still(target.processes()["worker"], target.data):
                measure(replace(flood, type=kind, tokens=dict([noisy])))
            beside = measure(replace(plan, warm_up=0))
            ratio = {"times of what the longest took alone": beside.max_ms / alone.max_ms}
            results[f"ten, {kind}, alone"] = alone
            results[f"ten, {kind}, behind {events:,}"] = replace(beside, figures=ratio)
    return results


def first_token(
    workers: int, threads: int, *, users: int = 8, questions: int = 200, warm_up: int = 16
) -> dict[str, Result]:
    """Measure what the platform adds to the time in which a model begins to answer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, pid = stack.enter_context(scripted_model(folder))
        environment = {
            "LIGHTNING_WORKERS": str(workers),
            "LIGHTNING_THREADS": str(threads),
            "LIGHTNING_LLM": "openai",
            "OPENAI_BASE_URL": model,
            "OPENAI_API_KEY": "bench",
            "OPENAI_MODEL": "scripted",
        }
        # each measurement has users of its own, whose streams bring nothing of what was before
        target = stack.enter_context(
            Target(folder / "data", users=users + 1, environment=environment, whole=True)
        )
        plan = _plan("first-token", target, events=questions, seconds=40)
        plan = replace(plan, model=model, warm_up=warm_up, processes={**plan.processes, "model": pid})
        one, *others = target.tokens.items()
        return {
            f"first token, {len(who)} in flight": measure(replace(plan, tokens=dict(who)))
            for who in ([one], others)
        }


def runs(workers: int, threads: int, *, at_once: int, alone: int = 60) -> dict[str, Result]:
    """Measure tasks of the echo: one after another until the first line of each, then many at once."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {"LIGHTNING_WORKERS": str(workers), "LIGHTNING_THREADS": str(threads)}
        target = stack.enter_context(
            Target(Path(folder), users=1, environment=environment, whole=True, reaped=True)
        )
        parents = {"runs": [target.reaper(), target.processes()["worker"]]}
        one, many = _plan("first-line", target, events=alone, seconds=40), _plan("runs", target, seconds=60)
        return {
            "task to first line, idle": measure(replace(one, parents=parents)),
            f"echo runs, {at_once} at once": measure(replace(many, events=at_once, parents=parents)),
        }


@contextmanager
def _standing_still(pid: int, data: Path) -> Generator[None]:
    """Keep a process from going on, so that all that is posted meanwhile waits."""
    with ExitStack() as locks:
        # one that stood still while it writes would keep everybody else from that
        for name in ("log.db-queue.lock", "log.db-turn.lock", "queue.db.lock"):
            fcntl.flock(locks.enter_context((data / name).open("rb")), fcntl.LOCK_EX)
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def scripted_model(folder: Path) -> Generator[tuple[str, int]]:
    """Run a model's server that answers a few words at once, and the others one by one.

    Yields:
      Its address, up to and with ``/v1``, and its process id.
    """
    script = folder / "script.json"
    script.write_bytes(
        orjson.dumps([{"reply": "Foxes jump because it is fun.", "chunks": 6, "delay_ms": 15}])
    )
    command = [sys.executable, "-m", "ops.emulators.openai", "--script", str(script)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None or not (address := server.stdout.readline().strip()):
                raise typer.Exit(1)
            yield address, server.pid
        finally:
            server.terminate()


def idle_streams(streams: int, *, seconds: float = 20) -> dict[str, Result]:
    """Measure what open streams cost an ingress, ten for each user."""
    users = max(1, streams // STREAMS_PER_USER)
    allow_descriptors(streams + SPARE_DESCRIPTORS)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        most = str(-(-streams // users))
        environment = {"LIGHTNING_LOG_LEVEL": "warning", "LIGHTNING_STREAMS_PER_USER": most}
        target = stack.enter_context(Target(Path(folder), users=users, environment=environment, whole=False))
        plan = _plan("idle-streams", target, connections=streams, events=100, seconds=seconds)
        return {f"posted to {streams:,} idle streams": measure(plan)}


def allow_descriptors(needed: int) -> None:
    """Let this process, and those that it starts, have so many open files.

    Raises:
      typer.BadParameter: The hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise typer.BadParameter(
            f"{needed} open files are needed and the hard limit is {hard}: raise it (ulimit -Hn {needed}, as "
            "root), or choose fewer --streams"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
