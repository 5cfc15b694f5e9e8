"""A repository keeps its promises on every store, whoever works on it.

What git does with files, histories and bundles is the same on each: `tests/lightning/repositories`.
"""

import asyncio
import random

import pytest

from lightning.errors import InvalidRequest, NotFound, Transient, Unauthorized
from lightning.ids import new_id
from lightning.repositories import NO_COMMIT, Cause, Change, Limits, RepositoryStore
from lightning.repositories.head import Heads
from lightning.storage import Storage
from tests.contract.repository_kits import Cut, Worker, exchange, parts, paths_of, put, text_of
from tests.stores import catch_up


@pytest.fixture
async def worker_of(open_store, tmp_path):
    """Give what starts one more worker on the same repository."""
    name, opened = new_id(), []

    def start(machine: str = "one", storage: Storage | None = None, **limits: int) -> Worker:
        if storage is None:
            storage = open_store()
            opened.append(storage)
        store = RepositoryStore(storage, tmp_path / machine, limits=Limits(**limits))
        return Worker(storage, store, store.open("anna", name), name)

    first = start()
    await first.store.create("anna", name)
    yield start
    for storage in opened:
        await storage.close()


@pytest.fixture
def worker(worker_of):
    return worker_of()


@pytest.fixture
def repository(worker):
    return worker.repository


class TestWorkers:
    async def test_another_machine_sees_what_was_written(self, worker, worker_of):
        other = worker_of("two")
        await put(worker.repository)
        catch_up(other.storage, worker.storage)
        assert await text_of(other.repository) == "one\n"
        await put(other.repository, "b.txt")
        catch_up(worker.storage, other.storage)
        assert await paths_of(worker.repository) == ["a.txt", "b.txt"]

    async def test_a_machine_that_lost_its_copies_goes_on(self, worker, worker_of):
        for number in range(3):
            await put(worker.repository, f"{number}.txt")
        fresh = worker_of("new")
        catch_up(fresh.storage, worker.storage)
        await put(fresh.repository, "3.txt")
        assert len((await fresh.repository.log()).commits) == 4

    async def test_whoever_commits_at_once_loses_nothing(self, worker_of):
        # Given three workers, two of them on one machine
        workers = [worker_of("one"), worker_of("one"), worker_of("two")]
        count = 3

        # When each commits over and over, at the same time
        async def commit_all(number):
            for each in range(count):
                cause = Cause(f"run-{number}-{each}")
                await put(workers[number].repository, f"{number}-{each}.txt", cause=cause)

        await asyncio.gather(*map(commit_all, range(len(workers))))

        # Then the history is a line in which each commit stands once
        fresh = worker_of("new")
        for worker in workers:
            catch_up(fresh.storage, worker.storage)
        commits = (await fresh.repository.log(limit=100)).commits
        assert len(commits) == len({commit.run for commit in commits}) == count * len(workers)
        assert len(await paths_of(fresh.repository)) == count * len(workers)

    async def test_the_same_run_committed_by_two_at_once_commits_once(self, worker_of):
        workers = [worker_of("one"), worker_of("two")]
        made = await asyncio.gather(
            *(put(w.repository, text=f"{n}", cause=Cause("run-1")) for n, w in enumerate(workers))
        )
        assert len(set(made)) == 1
        fresh = worker_of("new")
        catch_up(fresh.storage, workers[0].storage)
        assert len((await fresh.repository.log()).commits) == 1

    async def test_a_crash_behind_the_publication_repeats_nothing(self, worker, worker_of):
        # Given a worker whose write of the head arrives, and whose answer does not
        storage = worker_of("one").storage
        broken = worker_of("one", storage=Cut(storage))
        with pytest.raises(Transient):
            await put(broken.repository, cause=Cause("run-1"))

        # When another goes on with the run
        catch_up(worker.storage, storage)
        again = await worker.repository.commit(
            [Change("a.txt", b"two\n")], message="m", author="a", base=NO_COMMIT, cause=Cause("run-1")
        )

        # Then there is one commit
        assert not again.created
        assert len((await worker.repository.log()).commits) == 1

    async def test_a_write_whose_answer_is_lost_is_looked_for(self, worker_of):
        storage = worker_of("one").storage
        broken = worker_of("one", storage=Cut(storage, reads=True))
        made = await broken.repository.commit([Change("a", b"1")], message="m", author="a")
        assert made.created
        assert len((await broken.repository.log()).commits) == 1

    async def test_rests_of_a_crash_are_removed_and_nothing_else(self, worker, worker_of):
        # Given parts of a bundle whose writer died before the head was written
        await put(worker.repository)
        dead = worker_of("two", storage=Cut(worker.storage, before=True))
        with pytest.raises(Transient):
            await put(dead.repository, "b.txt")
        assert len(await parts(worker.storage)) == 2

        # When so many changes follow that bundles are put together
        careful = worker_of("one", storage=worker.storage, bundles=3)
        for number in range(3):
            await put(careful.repository, f"{number}.txt")

        # Then one bundle is left, with everything
        assert len(await parts(worker.storage)) == 1
        fresh = worker_of("new", storage=worker.storage)
        assert len((await fresh.repository.log()).commits) == 4

    async def test_what_somebody_is_writing_is_not_taken_for_rests(self, worker, worker_of):
        # Given a worker that has written the parts of a bundle, and not the head yet
        await put(worker.repository)

        async def tidy():
            await Heads(worker.storage, "anna", worker.name, part_bytes=1000).tidy()

        slow = worker_of("two", storage=Cut(worker.storage, meanwhile=tidy))

        # When another looks for rests just then
        made = await put(slow.repository, "b.txt")

        # Then the bundle is whole
        fresh = worker_of("new", storage=worker.storage)
        assert await fresh.repository.tip() == made
        assert await text_of(fresh.repository, "b.txt") == "one\n"

    async def test_a_large_file_comes_in_parts(self, worker_of):
        worker = worker_of("one", part_bytes=1000)
        data = random.Random(1).randbytes(20_000)
        await worker.repository.commit([Change("x", data)], message="m", author="a")
        assert len(await parts(worker.storage)) > 1
        fresh = worker_of("new", storage=worker.storage)
        assert (await fresh.repository.read("x")).data == data

    async def test_a_repository_is_bounded(self, worker_of):
        repository = worker_of("one", repository_bytes=3000).repository
        before = await put(repository)
        data = random.Random(1).randbytes(5_000)
        with pytest.raises(InvalidRequest) as refused:
            await repository.commit([Change("x", data)], message="m", author="a")
        assert refused.value.code == "repository_too_large"
        assert await repository.tip() == before

    async def test_a_deleted_repository_is_gone(self, worker, worker_of, tmp_path):
        await put(worker.repository)
        [name] = [path.stem for path in (tmp_path / "one").iterdir()]
        await worker.store.delete("anna", name)
        await worker.store.delete("anna", name)
        assert await parts(worker.storage) == []
        assert list((tmp_path / "one").iterdir()) == []
        for attempt in (worker.repository.tip(), put(worker.repository), worker.repository.files()):
            with pytest.raises(NotFound):
                await attempt


class TestRuns:
    async def test_what_a_run_sends_is_one_commit_and_none_behind_its_end(self, worker, worker_of):
        # Given a run on one machine, whose worker is on another
        ingress, ended = worker_of("two"), []
        base = await put(worker.repository)
        catch_up(ingress.storage, worker.storage)

        async def goes_on():
            if ended:
                raise Unauthorized("the run is over")

        async def ends():
            await goes_on()
            ended.append(await worker.repository.settle("run-2", base=base))

        # When it sends its files twice, and another one ends while it does
        for _ in range(2):
            made = await exchange(ingress.repository, {"b.txt": "mine"}, base, goes_on=goes_on)
        with pytest.raises(Unauthorized):
            await exchange(ingress.repository, {"c.txt": "late"}, base, run="run-2", goes_on=ends)

        # Then there is one commit of the one, and none of the other
        assert ended == [None]
        catch_up(worker.storage, ingress.storage)
        assert await worker.repository.settle("run-1", base=base) == made.commit
        assert [each.run for each in (await worker.repository.log()).commits] == ["run-1", None]
