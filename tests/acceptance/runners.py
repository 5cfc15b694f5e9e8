"""Where the containers of acceptance tests run: in the sandbox, and in Container Instances on loopback.

`make test` runs in the latter what depends on it most, `make chaos` everything.
"""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from lightning.containers.opening import open_runner
from ops.chaos.installation import Installation, until
from ops.chaos.runners import EmulatedContainers, OwnSandbox, RunnerServer
from tests.acceptance.images import make_image

#: An image that holds a shell, a few programs and what they need.
IMAGE = "registry.example/shell:1"

#: A directory of the image, which tests write to while containers see it.
GATES = "gates"

#: Tests that run on Container Instances in `make test` too, by parts of their names.
IN_EVERY_RUN = {
    "test_tasks": "its_run_is_shown killed_starts_nothing is_cancelled is_undone",
    "test_tasks_crash": "runner:accepted run:collected",
}


class Containers:
    """One runner under test, which installations share.

    Parameters:
      server: Where runs are.
      images: Directory of unpacked images.
    """

    def __init__(self, server: RunnerServer, images: Path) -> None:
        self._server = server
        self.emulated = isinstance(server, EmulatedContainers)
        self.gates = images / IMAGE / GATES

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        return self._server.environment()

    def deployments(self) -> int:
        """Count how often containers were started on Container Instances."""
        assert isinstance(self._server, EmulatedContainers)
        return self._server.deployments()

    def left(self, installation: Installation) -> list[str]:
        """Name the containers that are left of an installation, as the runner knows them."""
        return asyncio.run(_listed(installation))


async def _listed(installation: Installation) -> list[str]:
    runner = open_runner(installation.settings)
    try:
        return [run.name async for run in runner.list()]
    finally:
        await runner.close()


class Starts:
    """Counts the containers that start for an installation while it is open, at the runner itself.

    The sandbox notes each start in the run's directory, which goes with the run: a thread looks there all the
    time, so what is counted must run for a while.

    Parameters:
      containers: The runner under test; None is the sandbox that an installation has by itself.
      installation: Whose containers.
    """

    def __init__(self, containers: Containers | None, installation: Installation) -> None:
        self._emulated = containers if containers is not None and containers.emulated else None
        self._runs = installation.data / "runs"
        self._seen: set[tuple[str, float]] = set()
        self._old = set(began(self._runs).items())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before = 0 if self._emulated is None else self._emulated.deployments()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self._seen |= set(began(self._runs).items())

    def count(self) -> int:
        """Count them."""
        if self._emulated is not None:
            return self._emulated.deployments() - self._before
        return len(self._seen - self._old)


def began(runs: Path) -> dict[str, float]:
    """Tell of each container of a sandbox that began when it did, in words of the runner's own records."""
    found: dict[str, float] = {}
    for path in runs.glob("[!.]*/began.json"):  # what is being removed has another name
        try:
            found[path.parent.name] = json.loads(path.read_text())["at"]
        except FileNotFoundError:  # it was removed just now
            continue
    return found


@pytest.fixture(scope="module", params=["sandbox", "aci"])
def containers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containers]:
    """Run the tests of a module on each runner."""
    folder = tmp_path_factory.mktemp("containers")
    images = folder / "images"
    make_shell_image(images / IMAGE)
    if request.param == "sandbox":
        yield Containers(OwnSandbox(images), images)
        return
    with EmulatedContainers(images, folder / "arm") as server:
        until(server.serves, "Container Instances are emulated", seconds=60)
        yield Containers(server, images)


def make_shell_image(root: Path) -> None:
    """Make the image."""
    programs = [path for name in ("sh", "sleep", "cat", "mkdir") if (path := shutil.which(name))]
    make_image(root, {path: path for path in programs})
    if not (root / "bin").exists():
        (root / "bin").symlink_to("usr/bin")
    (root / GATES).mkdir()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make chaos` runs."""
    left_out = [] if config.getoption("--chaos") else [item for item in items if _is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_left_out(item: pytest.Item) -> bool:
    if not hasattr(item, "callspec") or item.callspec.params.get("containers") != "aci":
        return False
    names = IN_EVERY_RUN.get(item.path.stem, "")
    return not any(name in item.name for name in names.split())
