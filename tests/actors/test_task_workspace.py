"""Tasks that work on a repository: from which commit they begin, and what is told of what they committed."""

import pytest

from actors.task_looks import Looks
from agents.workspace import UNAVAILABLE
from lightning.ids import run_id
from lightning.repositories import NO_COMMIT
from tests.actors.tasks import SLEEPER, Dying, Installation
from tests.contract.repository_kits import exchange, put

pytestmark = pytest.mark.timeout(180)

#: No run API is here, from which an agent could fetch its workspace: so it ends. What is told of its run does
#: not depend on that; those that come to a good end are in `tests/acceptance/test_run_workspace.py`.
NO_API = UNAVAILABLE


@pytest.fixture
async def running_at(tmp_path):
    """Open an installation whose worker may die."""
    opened = []

    def make(point=None):
        # a run is not over within the delivery that starts it: what happens meanwhile is what is asked here
        looks = Looks(patience_seconds=0)
        opened.append(Installation(tmp_path, crash=Dying(point), looks=looks))
        return opened[-1]

    yield make
    for each in opened:
        for name in await each.containers():
            await each.runner.remove(name)
        await each.storage.close()


async def repository_of(running, user="anna", name="notes"):
    """Make a repository with a file; give what is known of it, and itself."""
    known = await running.repositories.create(user, name)
    repository = running.repositories.open(user, known)
    await put(repository)
    return known, repository


async def workspace_of(running, task):
    run = await running.runs.of_task("anna", task)
    return None if run is None else run.document.get("workspace")


async def based(running, task):
    """Deliver until it is known where a run begins, and give that."""

    async def condition():
        return await workspace_of(running, task) is not None

    await running.deliver(condition)
    return await workspace_of(running, task)


@pytest.mark.parametrize("by", ["id", "name"])
async def test_what_a_run_committed_is_told(running_at, by):
    # Given a task that begins from the newest commit of a repository
    running = running_at()
    known, repository = await repository_of(running)
    task = await running.post(repo=getattr(known, by))
    given = await based(running, task)
    assert given == {"repo": known.id, "base": await repository.tip()}
    # When its run commits, and others do after it
    made = await exchange(repository, {"a.txt": "mine\n"}, given["base"], run=run_id(task))
    await put(repository, "later.txt")
    await running.over(task)
    # Then its result and its run tell which commit is its own
    result = await running.result(task)
    assert (result["exitCode"], result["repo"], result["commit"]) == (NO_API, known.id, made.commit)
    assert await workspace_of(running, task) == {**given, "commit": made.commit}


async def test_a_run_that_commits_nothing(running_at):
    running = running_at()
    known = await running.repositories.create("anna", "empty")
    task = await running.post(repo="empty")
    await running.over(task)
    result = await running.result(task)
    assert (result["exitCode"], result["repo"]) == (NO_API, known.id)
    assert "commit" not in result
    assert await workspace_of(running, task) == {"repo": known.id, "base": NO_COMMIT, "commit": None}
    # And without a repository nothing is told of one
    task = await running.post()
    await running.over(task)
    assert not {"repo", "commit"} & (await running.result(task)).keys()


@pytest.mark.parametrize("point", ["run:based", "run:started", "run:recorded"])
async def test_a_worker_that_goes_on_begins_from_the_same(running_at, point):
    # Given a worker that dies once it is known where a run begins
    running = running_at(point)
    _, repository = await repository_of(running)
    base = await repository.tip()
    task = await running.post(repo="notes")

    async def died():
        return running.crash.point is None

    await running.deliver(died)
    # When somebody changes the repository before another worker goes on
    await put(repository, "later.txt")
    await running.over(task)
    # Then it began from where the first one had said
    assert (await workspace_of(running, task))["base"] == base
    assert len(running.runner.began) == 1


@pytest.mark.parametrize("point", ["run:collected", "run:removed", "step:handled"])
async def test_a_death_at_the_end_loses_no_commit(running_at, point):
    running = running_at(point)
    _, repository = await repository_of(running)
    task = await running.post(repo="notes")
    given = await based(running, task)
    made = await exchange(repository, {"a.txt": "mine\n"}, given["base"], run=run_id(task))
    await running.over(task)
    assert running.crash.point is None
    assert (await running.result(task))["commit"] == made.commit


async def test_what_a_cancelled_run_committed_stands_with_it(running_at):
    running = running_at()
    _, repository = await repository_of(running)
    task = await running.post(repo="notes", **SLEEPER)
    await running.running(task)
    base = (await workspace_of(running, task))["base"]
    made = await exchange(repository, {"a.txt": "mine\n"}, base, run=run_id(task))
    await running.dispatch.cancel("anna", task)

    async def settled():
        return "commit" in (await workspace_of(running, task))

    await running.deliver(settled)
    assert (await workspace_of(running, task))["commit"] == made.commit


class TestRefused:
    async def refused(self, running, repo):
        task = await running.post(repo=repo)
        await running.over(task)
        result = await running.result(task)
        assert (result["status"], result["error"]["code"]) == ("failed", "repository_missing")
        assert repo in result["message"]
        assert running.runner.began == set()
        assert await running.containers() == []

    async def test_one_that_is_not_there(self, running_at):
        await self.refused(running_at(), "nothing")

    @pytest.mark.parametrize("by", ["id", "name"])
    async def test_another_users(self, running_at, by):
        running = running_at()
        known, _ = await repository_of(running, user="bert")
        await self.refused(running, getattr(known, by))

    async def test_one_that_is_deleted_while_its_task_waits(self, running_at):
        running = running_at()
        known, _ = await repository_of(running)
        await running.repositories.delete("anna", known.id)
        await self.refused(running, known.id)

    async def test_one_whose_deletion_did_not_come_to_its_end(self, running_at):
        # Given a repository whose removal was cut off after it was begun
        running = running_at()
        known, _ = await repository_of(running)
        store = running.repositories._store
        running.repositories._store = Cut()
        with pytest.raises(ConnectionError):
            await running.repositories.delete("anna", known.id)
        running.repositories._store = store
        await self.refused(running, known.id)

    async def test_one_where_we_do_not_go_any_more(self, running_at):
        # Given a repository on a host that the operator allowed, and does not allow any more
        running = running_at()
        guard = running.repositories._guard
        running.repositories._guard = type(guard).allowing("127.0.0.1")
        await running.repositories.create("anna", "site", url="http://127.0.0.1:9/site.git")
        running.repositories._guard = guard
        task = await running.post(repo="site")
        await running.over(task)
        result = await running.result(task)
        assert (result["status"], result["error"]["code"]) == ("failed", "repository_unusable"), result


class Cut:
    """A store of repositories that is cut off."""

    async def delete(self, *_):
        raise ConnectionError
